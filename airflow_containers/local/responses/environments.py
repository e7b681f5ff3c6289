"""The containers that the tools of a response run in: found, or made as asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_containers.local.commands import ContainerCommands
from airflow_containers.local.container_files.models import ContainerFileBackend, Watch
from airflow_containers.local.containers.exceptions import ContainerExpiredError, ContainerNotFoundError
from airflow_containers.local.containers.models import ContainerBackend
from airflow_containers.local.containers.staging import Stager
from airflow_containers.local.errors import ApiError, InvalidRequestError
from airflow_containers.local.responses.exceptions import ReplayedContainerError
from airflow_containers.local.responses.inputs import container_of, file_ids
from airflow_containers.local.responses.model import SkillNote


class Environments:
    """Finds and makes the containers of responses."""

    def __init__(
        self,
        containers: ContainerBackend,
        container_files: ContainerFileBackend,
        commands: ContainerCommands,
        stager: Stager,
    ) -> None:
        self._containers = containers
        self._container_files = container_files
        self._commands = commands
        self._stager = stager

    def check_history(self, history: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> None:
        """Refuse a conversation that names a container which is gone: the service cannot go on with one.

        :param history: items of earlier responses.
        :param own: items of the request.
        :raises ContainerNotFoundError: when it was deleted.
        :raises ContainerExpiredError: when it has expired.
        :raises ReplayedContainerError: either, in a ``code_interpreter_call`` of the request.
        """
        for container_id in _named(history):
            self._containers.check(container_id)
        for item in own:
            container_id_or_none = container_of(item)
            if container_id_or_none is None:
                continue
            try:
                self._containers.check(container_id_or_none)
            except (ContainerNotFoundError, ContainerExpiredError):
                if item["type"] == "code_interpreter_call":
                    raise ReplayedContainerError(container_id_or_none) from None
                raise

    def watch(self, container_id: str) -> contextlib.AbstractContextManager[Watch]:
        """See which files change in a container."""
        return self._container_files.watch(container_id)

    async def skills(self, container_ids: Iterable[str]) -> tuple[SkillNote, ...]:
        """What the skills of containers say of themselves."""
        notes = [
            note
            for container_id in container_ids
            for note in await asyncio.to_thread(self._commands.skills, container_id)
        ]
        return tuple(SkillNote(note.name, note.description, note.path) for note in notes)

    async def resolve(
        self,
        tools: Sequence[dict[str, Any]],
        response_id: str,
        history: Sequence[dict[str, Any]],
        own: Sequence[dict[str, Any]],
    ) -> dict[str, str]:
        """The container of each tool, with the Files of the request's messages in it.

        Containers that are named are looked at first, so that a request that is refused makes none; if one
        of two cannot be made, the other is deleted.

        :raises ApiError: when commands cannot run here, a container is gone, or one cannot be made.
        """
        if not tools:
            return {}
        await self._commands.check()
        found: dict[str, str] = {}
        for tool in tools:
            container_id = self._named_by(tool, [*history, *own])
            if container_id is not None:
                self._containers.use(container_id)
                found[tool["type"]] = container_id
        files = file_ids(own)
        for container_id in set(found.values()):
            for file_id, path in files:
                with _at(path, "file_id"):
                    await self._container_files.copy(container_id, file_id)
        made: list[str] = []
        try:
            for index, tool in enumerate(tools):
                if tool["type"] not in found:
                    container_id = await self._make(tool, index, response_id, files)
                    made.append(container_id)
                    found[tool["type"]] = container_id
        except BaseException:
            for container_id in made:
                with contextlib.suppress(ApiError):
                    self._containers.delete(container_id)
            raise
        return found

    def _named_by(self, tool: dict[str, Any], items: Sequence[dict[str, Any]]) -> str | None:
        """The container that a tool names, or that the conversation has for it."""
        if tool["type"] == "shell":
            container_id = tool["environment"].get("container_id")
            return None if container_id is None else str(container_id)
        if isinstance(tool["container"], str):
            return tool["container"]
        # The service goes on in the container of the last call, where there is one.
        calls = [item["container_id"] for item in items if item["type"] == "code_interpreter_call"]
        return calls[-1] if calls else None

    async def _make(
        self, tool: dict[str, Any], index: int, response_id: str, files: Sequence[tuple[str, str]]
    ) -> str:
        place = "environment" if tool["type"] == "shell" else "container"
        wanted = {key: value for key, value in tool[place].items() if key != "type" and value is not None}
        own = wanted.pop("file_ids", [])
        request = {"name": f"auto-{response_id}", **wanted}
        both = [*own, *(file_id for file_id, _ in files if file_id not in own)]
        if both:
            request["file_ids"] = both
        with _at(f"tools[{index}].{place}"):
            if not self._stager.has_work(request):
                return self._containers.create(request).id
            async with self._stager.staged(request) as staged:
                return self._containers.create(request, staged.install).id


def _named(items: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(found for item in items if (found := container_of(item)) is not None))


class _at:  # noqa: N801 - reads as a statement
    """Names the field of this request in an error that names one of the request to make a container.

    :param path: of what was taken for it.
    :param instead_of: the field there that is ``path`` itself; all others are below it.
    """

    def __init__(self, path: str, instead_of: str | None = None) -> None:
        self._path = path
        self._instead_of = instead_of

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, InvalidRequestError) and error.param is not None:
            is_itself = error.param == self._instead_of
            param = self._path if is_itself else f"{self._path}.{error.param}"
            error.message = error.message.replace(f"'{error.param}", f"'{param}")
            error.args = (error.message,)
            error.param = param
