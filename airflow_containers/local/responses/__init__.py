"""``/v1/responses``: a model, and what it has run in containers."""
