"""``/v1/skills``: routes, serialising, rules and errors, one module each; and what takes skills apart."""
