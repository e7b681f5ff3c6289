"""From requests to :class:`FileBackend` and back: parsing and serialising, no rules."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.containers.models import Quirks
from airflow_containers.local.contents import Content, content_answer
from airflow_containers.local.files.models import File, FileBackend
from airflow_containers.local.files.schemas import ANCHOR, FIELDS, FORM, LIST, SECONDS
from airflow_containers.local.http import ApiRequest, as_integer, json_response
from airflow_containers.local.paging import envelope

_LIST_INTEGERS = frozenset({"limit"})


class FileResponses:
    """The handlers of ``/v1/files``."""

    def __init__(self, backend: FileBackend, blobs: Blobs, quirks: Quirks) -> None:
        self._backend = backend
        self._blobs = blobs
        self._quirks = quirks

    async def create(self, request: ApiRequest) -> Response:
        """``POST /v1/files``."""
        async with request.read_form(FORM, self._blobs) as form:
            file = form.file("file")
            fields = _fields(form.fields)
            created = self._backend.create(
                Content.of(file.content),
                file.filename.rsplit("/", 1)[-1] or "upload",
                fields["purpose"],
                fields.get("expires_after", {}).get("seconds"),
            )
            return json_response(show(created))

    async def list(self, request: ApiRequest) -> Response:
        """``GET /v1/files``."""
        page, has_more = self._backend.page(**request.query(LIST, _LIST_INTEGERS))
        return json_response(envelope([show(file) for file in page], has_more=has_more))

    async def retrieve(self, request: ApiRequest) -> Response:
        """``GET /v1/files/{file_id}``."""
        return json_response(show(self._backend.retrieve(**request.path_params)))

    async def delete(self, request: ApiRequest) -> Response:
        """``DELETE /v1/files/{file_id}``."""
        file_id = request.path_params["file_id"]
        self._backend.delete(file_id)
        return json_response({"id": file_id, "object": "file", "deleted": True})

    async def content(self, request: ApiRequest) -> Response:
        """``GET /v1/files/{file_id}/content``."""
        content = self._backend.content(**request.path_params)
        return content_answer(request, content, ranges=self._quirks.ranges)


def _fields(sent: dict[str, str]) -> dict[str, Any]:
    """The fields of a form as the JSON forms have them, checked."""
    fields: dict[str, Any] = {key: text for key, text in sent.items() if key == "purpose"}
    expires_after: dict[str, Any] = {}
    if ANCHOR in sent:
        expires_after["anchor"] = sent[ANCHOR]
    if SECONDS in sent:
        expires_after["seconds"] = as_integer(sent[SECONDS])
    if expires_after:
        fields["expires_after"] = expires_after
    FIELDS.check(fields, "")
    return fields


def show(file: File) -> dict[str, Any]:
    """A File as the API shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created),
        "expires_at": None if file.expires is None else int(file.expires),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
