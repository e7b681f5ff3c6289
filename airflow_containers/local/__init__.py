"""A local server that speaks the Containers API, for development and tests.

:func:`create_app` makes the ASGI application, :class:`~airflow_containers.local.process.LocalServer`
runs it in a process of its own. Importing this package loads neither Starlette nor uvicorn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_containers.local.app import LocalApp, create_app

__all__ = ["API_KEY_VARIABLE", "MODEL_KEY_VARIABLE", "LocalApp", "create_app"]

API_KEY_VARIABLE = "AIRFLOW_CONTAINERS_LOCAL_API_KEY"
"""Environment variable that the server takes its key from, so that it shows in no process list."""

MODEL_KEY_VARIABLE = "AIRFLOW_CONTAINERS_MODEL_API_KEY"
"""Environment variable with the key of the model's server, so that it shows in no process list."""


def __getattr__(name: str) -> object:
    if name in ("LocalApp", "create_app"):
        from airflow_containers.local import app

        return getattr(app, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
