"""``/v1/uploads``: routes, serialising, rules and errors, one module each."""
