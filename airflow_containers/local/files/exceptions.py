"""What ``/v1/files`` refuses beyond a wrong request."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError, InvalidRequestError


class NoSuchFileError(ApiError):
    """No such File, or deleted, or expired (404)."""

    status = 404

    def __init__(self, file_id: str) -> None:
        super().__init__(f"No such File object: {file_id}", param="id")


class UnknownFileReferenceError(InvalidRequestError):
    """A request refers to a File that is not there (400).

    :param param: the field that names it.
    """

    def __init__(self, param: str, file_id: str) -> None:
        super().__init__(
            f"Invalid '{param}': No such File object: {file_id[:100]}", param=param, code="invalid_value"
        )
