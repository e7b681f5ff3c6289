"""``/v1/files``: routes, serialising, rules and errors, one module each."""
