"""From requests to :class:`ContainerFileBackend` and back: parsing and serialising, no rules."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.container_files.models import ContainerFile, ContainerFileBackend
from airflow_containers.local.container_files.schemas import COPY, FORM, LIST
from airflow_containers.local.containers.models import Quirks
from airflow_containers.local.contents import Content, content_answer
from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.http import MAX_JSON_BYTES, ApiRequest, json_response
from airflow_containers.local.paging import envelope

_LIST_INTEGERS = frozenset({"limit"})


class ContainerFileResponses:
    """The handlers of ``/v1/containers/{container_id}/files``."""

    def __init__(self, backend: ContainerFileBackend, blobs: Blobs, quirks: Quirks) -> None:
        self._backend = backend
        self._blobs = blobs
        self._quirks = quirks

    async def create(self, request: ApiRequest) -> Response:
        """``POST …/files``, as a form or as JSON."""
        container_id = request.path_params["container_id"]
        self._backend.check(container_id)
        if not request.is_form:
            await request.load(MAX_JSON_BYTES)
            file_id = request.json_object(COPY)["file_id"]
            return json_response(show(await self._backend.copy(container_id, file_id)))
        async with request.read_form(FORM, self._blobs) as form:
            if "file_id" in form.fields:
                raise InvalidRequestError(
                    "Invalid 'file_id': give either a form with 'file' or a JSON body with 'file_id'.",
                    param="file_id",
                    code="invalid_value",
                )
            file = form.file("file")
            content = Content.of(file.content)
            return json_response(show(self._backend.upload(container_id, file.filename, content)))

    async def list(self, request: ApiRequest) -> Response:
        """``GET …/files``."""
        container_id = request.path_params["container_id"]
        query = request.query(LIST, _LIST_INTEGERS)
        await self._backend.catch_up(container_id)
        page, has_more = self._backend.page(container_id, **query)
        return json_response(envelope([show(file) for file in page], has_more=has_more))

    async def retrieve(self, request: ApiRequest) -> Response:
        """``GET …/files/{file_id}``."""
        await self._backend.catch_up(request.path_params["container_id"])
        return json_response(show(self._backend.retrieve(**request.path_params)))

    async def delete(self, request: ApiRequest) -> Response:
        """``DELETE …/files/{file_id}``."""
        await self._backend.catch_up(request.path_params["container_id"])
        self._backend.delete(**request.path_params)
        file_id = request.path_params["file_id"]
        return json_response({"id": file_id, "object": "container.file.deleted", "deleted": True})

    async def content(self, request: ApiRequest) -> Response:
        """``GET …/files/{file_id}/content``."""
        await self._backend.catch_up(request.path_params["container_id"])
        content = self._backend.content(**request.path_params)
        return content_answer(request, content, ranges=self._quirks.ranges)


def show(file: ContainerFile) -> dict[str, Any]:
    """A file as the API shows it."""
    return {
        "id": file.id,
        "object": "container.file",
        "created_at": int(file.created),
        "bytes": file.bytes,
        "container_id": file.container_id,
        "path": file.path,
        "source": file.source,
    }
