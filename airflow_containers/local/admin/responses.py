"""From requests under ``/_local/`` to :class:`AdminBackend` and back."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from airflow_containers import __version__
from airflow_containers.local.admin.models import AdminBackend
from airflow_containers.local.clock import MAX_ADVANCE
from airflow_containers.local.containers.models import ContainerBackend
from airflow_containers.local.containers.responses import show
from airflow_containers.local.faults import ORDER
from airflow_containers.local.http import ApiRequest, json_response
from airflow_containers.local.schema import Integer, Number, Object, Text

_SEED = Object({"seed": Integer()}, required=("seed",))
_CLOCK = Object({"advance": Number(0, MAX_ADVANCE)}, required=("advance",))
_QUIRKS = Object(
    {"ghost_seconds": Number(0, MAX_ADVANCE), "visibility_delay_seconds": Number(0, MAX_ADVANCE)}
)
_JOURNAL = Object(
    {
        "method": Text(),
        "path": Text(),
        "status": Integer(),
        "name": Text(),
        "since": Integer(minimum=0),
    }
)
_JOURNAL_INTEGERS = frozenset({"status", "since"})


class AdminResponses:
    """The handlers of ``/_local/``."""

    def __init__(self, backend: AdminBackend, containers: ContainerBackend) -> None:
        self._backend = backend
        self._containers = containers

    async def health(self, _request: ApiRequest) -> Response:
        """``GET /_local/health``."""
        return json_response({"status": "ok", "version": __version__, "now": self._backend.clock.now()})

    async def reset(self, _request: ApiRequest) -> Response:
        """``POST /_local/reset``."""
        self._backend.reset()
        return json_response({"reset": True})

    async def seed(self, request: ApiRequest) -> Response:
        """``POST /_local/seed``."""
        seed = request.json_object(_SEED)["seed"]
        self._backend.ids.reseed(seed)
        return json_response({"seed": seed})

    async def clock(self, _request: ApiRequest) -> Response:
        """``GET /_local/clock``."""
        clock = self._backend.clock
        return json_response({"now": clock.now(), "offset": clock.offset})

    async def advance(self, request: ApiRequest) -> Response:
        """``POST /_local/clock``."""
        self._backend.advance(request.json_object(_CLOCK)["advance"])
        return await self.clock(request)

    async def order_fault(self, request: ApiRequest) -> Response:
        """``POST /_local/faults``."""
        return json_response(self._backend.faults.add(request.json_object(ORDER)).as_json())

    async def faults(self, _request: ApiRequest) -> Response:
        """``GET /_local/faults``."""
        return _list([fault.as_json() for fault in self._backend.faults.all()])

    async def clear_faults(self, _request: ApiRequest) -> Response:
        """``DELETE /_local/faults``."""
        return json_response({"deleted": True, "unused": self._backend.faults.clear()})

    async def journal(self, request: ApiRequest) -> Response:
        """``GET /_local/journal``."""
        entries = self._backend.journal.find(**request.query(_JOURNAL, _JOURNAL_INTEGERS))
        return _list([entry.as_json() for entry in entries], dropped=self._backend.journal.dropped)

    async def clear_journal(self, _request: ApiRequest) -> Response:
        """``DELETE /_local/journal``."""
        return json_response({"deleted": True, "entries": self._backend.journal.clear()})

    async def quirks(self, _request: ApiRequest) -> Response:
        """``GET /_local/quirks``."""
        quirks = self._backend.quirks
        return json_response(
            {
                "ghost_seconds": quirks.ghost_seconds,
                "visibility_delay_seconds": quirks.visibility_delay_seconds,
            }
        )

    async def set_quirks(self, request: ApiRequest) -> Response:
        """``POST /_local/quirks``."""
        self._backend.set_quirks(request.json_object(_QUIRKS))
        return await self.quirks(request)

    async def containers(self, _request: ApiRequest) -> Response:
        """``GET /_local/containers``."""
        now = self._backend.clock.now()
        rows: list[dict[str, Any]] = []
        for container in self._containers.all():
            row = show(container, now)
            if container.deleted is not None:
                row["status"] = "deleted"
            row["deleted_at"] = container.deleted
            row["requested"] = container.requested
            rows.append(row)
        return _list(rows)


def _list(data: list[dict[str, Any]], **more: object) -> Response:
    return json_response({"object": "list", "data": data, **more})
