"""``/v1/containers/{container_id}/files``: routes, serialising, rules and errors, one module each."""
