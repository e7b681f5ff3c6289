"""What the files of a container refuse beyond a wrong request."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError, InvalidRequestError


class ContainerFileNotFoundError(ApiError):
    """No such file in the container, or deleted (404; ``code`` and ``param`` are null)."""

    status = 404

    def __init__(self) -> None:
        super().__init__("File not found.")


class ContentNotFoundError(ApiError):
    """The file is listed, but has no contents (404)."""

    status = 404

    def __init__(self, file_id: str, container_id: str) -> None:
        super().__init__(f"File {file_id} not found on container {container_id}")


class FileTooLargeError(InvalidRequestError):
    """A File is too long to be copied into a container (400).

    :param param: the field that names the File.
    :param limit: in bytes.
    """

    def __init__(self, param: str, size: int, limit: int) -> None:
        super().__init__(
            f"Invalid '{param}': file too large. Expected a file of at most {limit} bytes, "
            f"but got one of {size} bytes.",
            param=param,
            code="invalid_value",
        )
