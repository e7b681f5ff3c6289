"""Operators for hosted sandbox containers."""

from __future__ import annotations

import airflow

# Up to Airflow 3.1, a path of the scheme is taken apart rightly only if its file system was imported before.
# Whoever has a container's id has an operator from here, and fsspec is loaded by then.
if getattr(airflow, "__version__", "").startswith(("2.", "3.0.", "3.1.")):
    import airflow_containers.filesystems.paths  # noqa: F401
