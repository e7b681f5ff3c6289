"""What ``/v1/uploads`` refuses beyond a wrong request."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError, InvalidRequestError


class NoSuchUploadError(ApiError):
    """No such Upload (404)."""

    status = 404

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"No such Upload object: {upload_id}", param="id")


class UploadNotPendingError(InvalidRequestError):
    """The Upload takes no parts and cannot be completed or cancelled any more (400).

    :param status: of the Upload.
    """

    def __init__(self, upload_id: str, status: str) -> None:
        super().__init__(f"Upload {upload_id} is {status}. Expected a pending one.")


class TooManyBytesError(InvalidRequestError):
    """A part is more than what is left of the announced bytes (400)."""

    def __init__(self, announced: int, got: int) -> None:
        super().__init__(
            f"The parts have {got} bytes together, more than the {announced} bytes of the Upload.",
            param="data",
        )


class PartIdsError(InvalidRequestError):
    """``part_ids`` names a part that is not of this Upload, or one twice (400).

    :param index: of the entry.
    """

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(
            f"Invalid 'part_ids[{index}]': {problem}", param=f"part_ids[{index}]", code="invalid_value"
        )


class IncompleteUploadError(InvalidRequestError):
    """The parts that are named have not exactly the announced bytes (400)."""

    def __init__(self, announced: int, got: int) -> None:
        super().__init__(
            f"The parts have {got} bytes together. Expected the {announced} bytes of the Upload.",
            param="part_ids",
        )


class ChecksumError(InvalidRequestError):
    """``md5`` is not that of the bytes that came in (400)."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Invalid 'md5': the bytes that were uploaded have another checksum ({found}).",
            param="md5",
            code="invalid_value",
        )
