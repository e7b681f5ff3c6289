"""``/v1/containers``: routes, serialising, rules and errors, one module each."""
