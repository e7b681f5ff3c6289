"""``/_local/``: what tests may ask of the server beyond the API; routes, serialising, state, errors."""
