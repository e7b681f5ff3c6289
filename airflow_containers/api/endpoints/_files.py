"""Container files, Files and Uploads."""

from __future__ import annotations

from typing import Any, Final

from airflow_containers.api.bodies import MultipartBody, Source, guess_content_type
from airflow_containers.api.endpoints._call import Call, Order, page_query, path_with
from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import (
    FILE_PURPOSES,
    MAX_FILE_BYTES,
    MAX_FILE_SECONDS,
    MAX_PART_BYTES,
    MIN_FILE_SECONDS,
    CompleteUploadRequest,
    ContainerFile,
    ContainerFilePage,
    Content,
    CopyFileRequest,
    CreateUploadRequest,
    DeletedContainerFile,
    DeletedFile,
    File,
    FileExpiry,
    FilePage,
    Upload,
    UploadPart,
)
from airflow_containers.api.validation import quoted, validate

MAX_FILES_PAGE_SIZE: Final = 10_000
"""Files on one page of the Files API, and its default."""

CONTENT_HEADERS: Final = {
    "accept": "application/binary",
    # Compressed, the length of the file would not be known, and an interrupted download could not be resumed.
    "accept-encoding": "identity",
}
_FILES: Final = "/containers/{container_id}/files"
_FILE: Final = "/containers/{container_id}/files/{file_id}"


def create_container_file(container_id: str, source: Source) -> Call[ContainerFile]:
    """``POST /containers/{container_id}/files`` with a file. Not repeatable: it would make a second file.

    The service chooses the path; the answer has it.
    """
    return Call(
        "POST",
        path_with(_FILES, container_id=container_id),
        ContainerFile,
        body=MultipartBody(files=[("file", source, guess_content_type(source.name))]),
        repeatable=False,
        about_container=True,
        subject=source.name,
    )


def copy_file_into_container(container_id: str, file_id: str) -> Call[ContainerFile]:
    """``POST /containers/{container_id}/files`` with the id of a file of the Files API. Not repeatable."""
    return Call(
        "POST",
        path_with(_FILES, container_id=container_id),
        ContainerFile,
        body=validate(CopyFileRequest, {"file_id": file_id}),
        repeatable=False,
        about_container=True,
        about_file=True,
        subject=file_id,
    )


def list_container_files(
    container_id: str,
    *,
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
) -> Call[ContainerFilePage]:
    """``GET /containers/{container_id}/files``: one page. Refreshes the container's idle clock.

    :param after: id of the last file of the page before.
    :param limit: files on the page, 1 to 100; 20 if left out.
    :param order: by creation time, ``desc`` if left out.
    """
    return Call(
        "GET",
        path_with(_FILES, container_id=container_id),
        ContainerFilePage,
        query=page_query(after, limit, order),
        about_container=True,
    )


def retrieve_container_file(container_id: str, file_id: str) -> Call[ContainerFile]:
    """``GET /containers/{container_id}/files/{file_id}``: what is known of a file."""
    return Call(
        "GET",
        path_with(_FILE, container_id=container_id, file_id=file_id),
        ContainerFile,
        about_container=True,
        about_file=True,
    )


def delete_container_file(container_id: str, file_id: str) -> Call[DeletedContainerFile]:
    """``DELETE /containers/{container_id}/files/{file_id}``."""
    return Call(
        "DELETE",
        path_with(_FILE, container_id=container_id, file_id=file_id),
        DeletedContainerFile,
        about_container=True,
        about_file=True,
        body_optional=True,
    )


def container_file_content(container_id: str, file_id: str) -> Call[Content]:
    """``GET /containers/{container_id}/files/{file_id}/content``: the bytes."""
    return Call(
        "GET",
        path_with(_FILE + "/content", container_id=container_id, file_id=file_id),
        Content,
        headers=CONTENT_HEADERS,
        about_container=True,
        about_file=True,
    )


def create_file(
    source: Source, *, purpose: str = "user_data", expires_after: int | None = None
) -> Call[File]:
    """``POST /files``. Not repeatable: it would make a second file.

    :param source: up to 512 MiB; larger ones go by :func:`create_upload`.
    :param purpose: ``assistants``, ``batch``, ``fine-tune``, ``vision``, ``user_data`` or ``evals``.
    :param expires_after: seconds, 3,600 to 2,592,000; it stays until it is deleted if left out.
    """
    if source.size > MAX_FILE_BYTES:
        raise InvalidRequestError(
            f"{source.name}: it has {source.size} bytes, and one request takes at most {MAX_FILE_BYTES}; "
            "send it in parts (create_upload)"
        )
    fields = [("purpose", _checked_purpose(purpose))]
    if (expiry := _expiry(expires_after)) is not None:
        fields += [
            ("expires_after[anchor]", expiry.anchor),
            ("expires_after[seconds]", str(expiry.seconds)),
        ]
    return Call(
        "POST",
        "/files",
        File,
        body=MultipartBody(fields, [("file", source, guess_content_type(source.name))]),
        repeatable=False,
        subject=source.name,
    )


def list_files(
    *,
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
    purpose: str | None = None,
) -> Call[FilePage]:
    """``GET /files``: one page.

    :param after: id of the last file of the page before.
    :param limit: files on the page, 1 to 10,000, which is the default.
    :param order: by creation time, ``desc`` if left out.
    :param purpose: only files of that purpose.
    """
    query = page_query(after, limit, order, most=MAX_FILES_PAGE_SIZE)
    if purpose is not None:
        if not purpose or not purpose.isascii() or not purpose.isprintable():
            raise InvalidRequestError(f"purpose: got {quoted(purpose)}, expected one such as 'user_data'")
        query["purpose"] = purpose
    return Call("GET", "/files", FilePage, query=query)


def retrieve_file(file_id: str) -> Call[File]:
    """``GET /files/{file_id}``."""
    return Call("GET", path_with("/files/{file_id}", file_id=file_id), File)


def delete_file(file_id: str) -> Call[DeletedFile]:
    """``DELETE /files/{file_id}``."""
    return Call("DELETE", path_with("/files/{file_id}", file_id=file_id), DeletedFile, body_optional=True)


def file_content(file_id: str) -> Call[Content]:
    """``GET /files/{file_id}/content``: the bytes."""
    path = path_with("/files/{file_id}/content", file_id=file_id)
    return Call("GET", path, Content, headers=CONTENT_HEADERS)


def create_upload(
    name: str, size: int, *, purpose: str = "user_data", expires_after: int | None = None
) -> Call[Upload]:
    """``POST /uploads``: begin to send a file in parts. Repeatable: one that is left over ends in an hour.

    :param name: the file's name.
    :param size: bytes of the whole file, up to 8 GiB.
    :param purpose: what the file is for; whether all purposes of :func:`create_file` are taken here is not
        documented, and left to the service.
    :param expires_after: seconds that the file stays, 3,600 to 2,592,000.
    """
    fields: dict[str, Any] = {
        "bytes": size,
        "filename": name,
        "mime_type": guess_content_type(name),
        "purpose": purpose,
        "expires_after": _expiry(expires_after),
    }
    return Call("POST", "/uploads", Upload, body=validate(CreateUploadRequest, fields))


def add_upload_part(upload_id: str, source: Source) -> Call[UploadPart]:
    """``POST /uploads/{upload_id}/parts``. Repeatable: a part that completing does not name is not used.

    :param source: up to 64 MiB.
    """
    if source.size > MAX_PART_BYTES:
        raise InvalidRequestError(
            f"{source.name}: the part has {source.size} bytes, expected at most {MAX_PART_BYTES}"
        )
    return Call(
        "POST",
        path_with("/uploads/{upload_id}/parts", upload_id=upload_id),
        UploadPart,
        body=MultipartBody(files=[("data", source, guess_content_type(source.name))]),
    )


def complete_upload(upload_id: str, part_ids: list[str], *, md5: str | None = None) -> Call[Upload]:
    """``POST /uploads/{upload_id}/complete``: make a file of the parts. Not repeatable.

    :param part_ids: ids of the parts, in the order of the file.
    :param md5: checksum of the whole file as hexadecimal digits, for the service to compare.
    """
    request = validate(CompleteUploadRequest, {"part_ids": part_ids, "md5": md5})
    path = path_with("/uploads/{upload_id}/complete", upload_id=upload_id)
    return Call("POST", path, Upload, body=request, repeatable=False, subject=upload_id)


def cancel_upload(upload_id: str) -> Call[Upload]:
    """``POST /uploads/{upload_id}/cancel``: no further parts, and no file."""
    return Call("POST", path_with("/uploads/{upload_id}/cancel", upload_id=upload_id), Upload)


def _checked_purpose(purpose: str) -> str:
    if purpose not in FILE_PURPOSES:
        raise InvalidRequestError(
            f"purpose: got {quoted(purpose)}, expected one of: {', '.join(FILE_PURPOSES)}"
        )
    return purpose


def _expiry(seconds: int | None) -> FileExpiry | None:
    if seconds is None:
        return None
    if type(seconds) is not int or not MIN_FILE_SECONDS <= seconds <= MAX_FILE_SECONDS:
        raise InvalidRequestError(
            f"expires_after: got {quoted(seconds)}, expected seconds as an integer from {MIN_FILE_SECONDS} "
            f"(an hour) to {MAX_FILE_SECONDS} (30 days)"
        )
    return FileExpiry(seconds=seconds)
