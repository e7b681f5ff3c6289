"""From requests to :class:`ContainerBackend` and back: parsing and serialising, no rules."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from airflow_containers.local.clock import Clock
from airflow_containers.local.containers.models import Container, ContainerBackend
from airflow_containers.local.containers.schemas import CREATE, LIST
from airflow_containers.local.containers.staging import Stager
from airflow_containers.local.http import ApiRequest, json_response

_LIST_INTEGERS = frozenset({"limit"})


class ContainerResponses:
    """The handlers of ``/v1/containers``."""

    def __init__(self, backend: ContainerBackend, clock: Clock, stager: Stager) -> None:
        self._backend = backend
        self._clock = clock
        self._stager = stager

    async def create(self, request: ApiRequest) -> Response:
        """``POST /v1/containers``."""
        body = request.json_object(CREATE)
        if not self._stager.has_work(body):
            return json_response(self._show(self._backend.create(body)))
        async with self._stager.staged(body) as staged:
            return json_response(self._show(self._backend.create(body, staged.install)))

    async def retrieve(self, request: ApiRequest) -> Response:
        """``GET /v1/containers/{container_id}``."""
        return json_response(self._show(self._backend.retrieve(request.path_params["container_id"])))

    async def delete(self, request: ApiRequest) -> Response:
        """``DELETE /v1/containers/{container_id}``."""
        container_id = request.path_params["container_id"]
        self._backend.delete(container_id)
        return json_response({"id": container_id, "object": "container.deleted", "deleted": True})

    async def list(self, request: ApiRequest) -> Response:
        """``GET /v1/containers``."""
        page, has_more = self._backend.page(**request.query(LIST, _LIST_INTEGERS))
        return json_response(
            {
                "object": "list",
                "data": [self._show(container) for container in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": has_more,
            }
        )

    def _show(self, container: Container) -> dict[str, Any]:
        return show(container, self._clock.now())


def show(container: Container, now: float) -> dict[str, Any]:
    """A container as the API shows it."""
    return {
        "id": container.id,
        "object": "container",
        "created_at": int(container.created),
        "status": container.status(now),
        "expires_after": {"anchor": "last_active_at", "minutes": container.minutes},
        "last_active_at": int(container.last_active),
        "memory_limit": container.memory_limit,
        "name": container.name,
        "network_policy": container.network_policy,
    }
