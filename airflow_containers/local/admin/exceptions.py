"""What ``/_local/`` refuses beyond a wrong request."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError


class RemoteNotAllowedError(ApiError):
    """The caller is on another machine and the server has no key (403)."""

    status = 403

    def __init__(self) -> None:
        super().__init__("The admin endpoints answer this machine only, unless the server has an --api-key.")
