"""Container files, Files and Uploads on the wire.

The limits are those of the published OpenAPI document (schemas ``CreateContainerFileBody``,
``CreateFileRequest``, ``CreateUploadRequest``, ``CompleteUploadRequest``) and of its descriptions.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator

from airflow_containers.api.models._base import (
    Deleted,
    LenientInt,
    LenientText,
    ListInput,
    Page,
    PrintableText,
    RequestModel,
    ResponseModel,
    identified,
    lenient_mapping,
)

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Bytes of a file that is sent in one request. The document says 512 MB; larger ones go by parts."""

MAX_UPLOAD_BYTES: Final = 8 * 1024 * 1024 * 1024
"""Bytes of a file that is sent in parts (8 GB)."""

MAX_PART_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one part (64 MB), and the size of the parts that the official client makes."""

MIN_FILE_SECONDS: Final = 3_600
MAX_FILE_SECONDS: Final = 2_592_000

FilePurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
FILE_PURPOSES: Final[tuple[str, ...]] = get_args(FilePurpose)

_MD5: Final = re.compile(r"[0-9a-f]{32}")


class CopyFileRequest(RequestModel):
    """The body of ``POST /containers/{container_id}/files`` that copies a file of the Files API.

    :param file_id: id of the file; the document's "name of the file" is wrong.
    """

    file_id: PrintableText = Field(max_length=512)


class FileExpiry(RequestModel):
    """When a file of the Files API ends.

    :param seconds: seconds after its creation, 3,600 (an hour) to 2,592,000 (30 days).
    """

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(ge=MIN_FILE_SECONDS, le=MAX_FILE_SECONDS)


class CreateUploadRequest(RequestModel):
    """The body of ``POST /uploads``.

    :param bytes: size of the whole file, up to 8 GiB.
    :param mime_type: content type of the file.
    """

    bytes: int = Field(ge=0, le=MAX_UPLOAD_BYTES)
    filename: str = Field(min_length=1)
    mime_type: PrintableText
    purpose: FilePurpose
    expires_after: FileExpiry | None = None


class CompleteUploadRequest(RequestModel):
    """The body of ``POST /uploads/{upload_id}/complete``.

    :param part_ids: ids of the parts, in the order of the file.
    :param md5: checksum of the whole file, 32 lower-case hexadecimal digits.
    """

    part_ids: Annotated[list[PrintableText], ListInput]
    md5: str | None = None

    @field_validator("md5")
    @classmethod
    def _is_a_checksum(cls, md5: str | None) -> str | None:
        if md5 is not None and not _MD5.fullmatch(md5):
            raise ValueError("it is no MD5 checksum, expected 32 lower-case hexadecimal digits")
        return md5


class ContainerFile(ResponseModel):
    """A file in a container as the service describes it.

    :param id: ``cfile_`` and 32 hexadecimal digits, on OpenAI's service.
    :param bytes: its size; ``None`` was seen for files that a command had made.
    :param path: where it is in the container, chosen by the service. Entries with several paths in one were
        seen: it is a text and no promise.
    :param source: ``user`` or ``assistant``.
    :param created_at: seconds since 1970.
    """

    id: str = Field(min_length=1)
    object: LenientText = None
    container_id: LenientText = None
    created_at: LenientInt = None
    bytes: LenientInt = None
    path: LenientText = None
    source: LenientText = None


class ContainerFilePage(Page):
    """One page of the files in a container."""

    data: Annotated[list[ContainerFile], BeforeValidator(identified)] = Field(default_factory=list)


class DeletedContainerFile(Deleted):
    """The answer to the delete of a container file."""


class File(ResponseModel):
    """A file of the Files API as the service describes it.

    :param id: ``file-…``.
    :param expires_at: seconds since 1970; ``None`` for one that stays until it is deleted.
    """

    id: str = Field(min_length=1)
    object: LenientText = None
    bytes: LenientInt = None
    created_at: LenientInt = None
    expires_at: LenientInt = None
    filename: LenientText = None
    purpose: LenientText = None
    status: LenientText = None
    status_details: LenientText = None


class FilePage(Page):
    """One page of the files of the Files API."""

    data: Annotated[list[File], BeforeValidator(identified)] = Field(default_factory=list)


class DeletedFile(Deleted):
    """The answer to the delete of a file."""


class Upload(ResponseModel):
    """A file that is sent in parts.

    :param status: ``pending``, ``completed``, ``cancelled`` or ``expired``.
    :param expires_at: seconds since 1970, an hour after it was begun.
    :param file: the file that came of it, once it is completed.
    """

    id: str = Field(min_length=1)
    object: LenientText = None
    bytes: LenientInt = None
    created_at: LenientInt = None
    expires_at: LenientInt = None
    filename: LenientText = None
    purpose: LenientText = None
    status: LenientText = None
    file: Annotated[File | None, BeforeValidator(lenient_mapping)] = None


class UploadPart(ResponseModel):
    """One part of an upload."""

    id: str = Field(min_length=1)
    object: LenientText = None
    created_at: LenientInt = None
    upload_id: LenientText = None


class Content(ResponseModel):
    """Bytes, as they are. A call with this answer is read by ``download`` or ``stream``, not by ``send``."""
