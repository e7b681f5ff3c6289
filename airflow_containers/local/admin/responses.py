"""From requests under ``/_local/`` to :class:`AdminBackend` and back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from airflow_containers import __version__
from airflow_containers.local.admin.models import AdminBackend
from airflow_containers.local.blobs import Blobs, Incoming
from airflow_containers.local.clock import MAX_ADVANCE
from airflow_containers.local.commands import MAX_TIMEOUT, ContainerCommands
from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.container_files.responses import show as show_container_file
from airflow_containers.local.container_files.schemas import MAX_FILE_BYTES
from airflow_containers.local.containers.models import ContainerBackend
from airflow_containers.local.containers.responses import show
from airflow_containers.local.contents import Content
from airflow_containers.local.egress.gateway import EgressGateway
from airflow_containers.local.faults import ORDER
from airflow_containers.local.files.models import FileBackend
from airflow_containers.local.files.responses import show as show_file
from airflow_containers.local.files.schemas import PURPOSES
from airflow_containers.local.http import ApiRequest, json_response
from airflow_containers.local.schema import Boolean, Enum, Integer, Number, Object, Text
from airflow_containers.local.skills.exceptions import BadSkillError, InvalidSkillError, SkillNotFoundError
from airflow_containers.local.skills.intake import check_zip
from airflow_containers.local.skills.models import PackedSkill, SkillBackend
from airflow_containers.local.skills.responses import show as show_skill

_SEED = Object({"seed": Integer()}, required=("seed",))
_CLOCK = Object({"advance": Number(0, MAX_ADVANCE)}, required=("advance",))
_QUIRKS = Object(
    {
        "ghost_seconds": Number(0, MAX_ADVANCE),
        "visibility_delay_seconds": Number(0, MAX_ADVANCE),
        "ranges": Boolean(),
    }
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
_COMMAND = Object(
    {
        "command": Text(min_length=1),
        "timeout": Number(0, MAX_TIMEOUT),
        "max_output": Integer(minimum=0),
    },
    required=("command",),
)
_EGRESS = Object({"container_id": Text(), "since": Integer(minimum=0)})
_ID = Text(max_length=64, pattern=re.compile("[A-Za-z0-9_-]+"))
_YES = Enum(("true",))
_CONTAINER_FILE = Object(
    {"path": Text(), "source": Text(), "null_bytes": _YES, "no_content": _YES}, required=("path",)
)
_FILE = Object({"filename": Text(min_length=1), "purpose": Enum(PURPOSES)})
_EGRESS_INTEGERS = frozenset({"since"})
_JOURNAL_INTEGERS = frozenset({"status", "since"})


class AdminResponses:
    """The handlers of ``/_local/``."""

    def __init__(
        self,
        backend: AdminBackend,
        blobs: Blobs,
        containers: ContainerBackend,
        container_files: ContainerFileBackend,
        files: FileBackend,
        skills: SkillBackend,
        commands: ContainerCommands,
        gateway: EgressGateway,
    ) -> None:
        self._commands = commands
        self._gateway = gateway
        self._backend = backend
        self._blobs = blobs
        self._containers = containers
        self._container_files = container_files
        self._files = files
        self._skills = skills

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
                "ranges": quirks.ranges,
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
            row["skills"] = self._containers.skills_of(container.id)
            rows.append(row)
        return _list(rows)

    async def add_container_file(self, request: ApiRequest) -> Response:
        """``POST /_local/containers/{container_id}/files``: an entry as a command would have made it."""
        container_id = request.path_params["container_id"]
        query = request.query(_CONTAINER_FILE)
        self._containers.check(container_id)
        source = query.get("source", "assistant")
        if "no_content" in query:
            file = self._container_files.insert(container_id, query["path"], source, None)
            return json_response(show_container_file(file))
        async with self._incoming(request) as content:
            self._containers.check(container_id)
            file = self._container_files.insert(
                container_id, query["path"], source, content, null_bytes="null_bytes" in query
            )
        return json_response(show_container_file(file))

    async def run_command(self, request: ApiRequest) -> Response:
        """``POST /_local/containers/{container_id}/commands``: run a command, without a model in between."""
        body = request.json_object(_COMMAND)
        outcome = await self._commands.shell(
            request.path_params["container_id"],
            body["command"],
            timeout=body.get("timeout"),
            max_output=body.get("max_output"),
        )
        return json_response(
            {
                "stdout": outcome.stdout.decode(errors="replace"),
                "stderr": outcome.stderr.decode(errors="replace"),
                "stdout_truncated": outcome.stdout_truncated,
                "stderr_truncated": outcome.stderr_truncated,
                "exit_code": outcome.exit_code,
                "ended": outcome.ended,
                "reason": outcome.reason,
                "seconds": outcome.seconds,
            }
        )

    async def egress(self, request: ApiRequest) -> Response:
        """``GET /_local/egress``: what containers sent, or tried to, to domains."""
        entries = self._gateway.log.entries(**request.query(_EGRESS, _EGRESS_INTEGERS))
        return _list([entry.as_json() for entry in entries])

    async def clear_egress(self, _request: ApiRequest) -> Response:
        """``DELETE /_local/egress``."""
        self._gateway.log.clear()
        return json_response({"deleted": True})

    async def isolation(self, _request: ApiRequest) -> Response:
        """``GET /_local/isolation``: how commands are isolated on this machine, or why none can run."""
        return json_response(await self._commands.isolation())

    async def add_file(self, request: ApiRequest) -> Response:
        """``POST /_local/files/{file_id}``: a File with an id of the test's choice."""
        _ID.check(request.path_params["file_id"], "file_id")
        query = request.query(_FILE)
        async with self._incoming(request) as content:
            file = self._files.create(
                content,
                query.get("filename", "file"),
                query.get("purpose", "user_data"),
                file_id=request.path_params["file_id"],
            )
        return json_response(show_file(file))

    async def add_skill(self, request: ApiRequest) -> Response:
        """``POST /_local/skills/{skill_id}``: a skill with this id, or its next version."""
        skill_id = request.path_params["skill_id"]
        _ID.check(skill_id, "skill_id")
        async with self._incoming(request) as content:
            try:
                front_matter = await asyncio.to_thread(check_zip, content.path, self._blobs)
            except BadSkillError as error:
                raise InvalidSkillError("body", error) from None
            packed = PackedSkill(content, front_matter)
            try:
                self._skills.create_version(skill_id, packed, default=False)
            except SkillNotFoundError:
                self._skills.create(packed, skill_id)
        return json_response(show_skill(self._skills.retrieve(skill_id)))

    @contextlib.asynccontextmanager
    async def _incoming(self, request: ApiRequest) -> AsyncIterator[Content]:
        """Read the body as it is to a temporary file, which goes unless it is moved."""
        incoming = Incoming(self._blobs.temporary())
        try:
            async for piece in request.reader.pieces(MAX_FILE_BYTES):
                incoming.feed(piece)
                if incoming.is_full:
                    await incoming.flush()
            await incoming.finish()
            yield Content.of(incoming)
        finally:
            await incoming.discard()


def _list(data: list[dict[str, Any]], **more: object) -> Response:
    return json_response({"object": "list", "data": data, **more})
