"""From requests to :class:`UploadBackend` and back: parsing and serialising, no rules."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.contents import Content
from airflow_containers.local.files.models import File
from airflow_containers.local.files.responses import show as show_file
from airflow_containers.local.http import ApiRequest, json_response
from airflow_containers.local.uploads.models import Part, Upload, UploadBackend
from airflow_containers.local.uploads.schemas import CANCEL, COMPLETE, CREATE, PART


class UploadResponses:
    """The handlers of ``/v1/uploads``."""

    def __init__(self, backend: UploadBackend, blobs: Blobs) -> None:
        self._backend = backend
        self._blobs = blobs

    async def create(self, request: ApiRequest) -> Response:
        """``POST /v1/uploads``."""
        return json_response(show(self._backend.create(request.json_object(CREATE))))

    async def add_part(self, request: ApiRequest) -> Response:
        """``POST /v1/uploads/{upload_id}/parts``."""
        upload_id = request.path_params["upload_id"]
        self._backend.pending(upload_id)
        async with request.read_form(PART, self._blobs) as form:
            part = self._backend.add_part(upload_id, Content.of(form.file("data").content))
            return json_response(_show_part(part))

    async def complete(self, request: ApiRequest) -> Response:
        """``POST /v1/uploads/{upload_id}/complete``."""
        body = request.json_object(COMPLETE)
        upload_id = request.path_params["upload_id"]
        upload, file = await self._backend.complete(upload_id, body["part_ids"], body.get("md5"))
        return json_response(show(upload, file))

    async def cancel(self, request: ApiRequest) -> Response:
        """``POST /v1/uploads/{upload_id}/cancel``."""
        if request.content:
            request.json_object(CANCEL)
        return json_response(show(self._backend.cancel(request.path_params["upload_id"])))


def show(upload: Upload, file: File | None = None) -> dict[str, Any]:
    """An Upload as the API shows it."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created),
        "expires_at": int(upload.expires),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": None if file is None else show_file(file),
    }


def _show_part(part: Part) -> dict[str, Any]:
    return {
        "id": part.id,
        "object": "upload.part",
        "created_at": int(part.created),
        "upload_id": part.upload_id,
    }
