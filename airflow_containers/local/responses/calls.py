"""Carries out the tool calls of one response."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from airflow_containers.local.commands import ContainerCommands
from airflow_containers.local.responses import events, items
from airflow_containers.local.responses.environments import Environments
from airflow_containers.local.responses.inputs import MAX_CALL_ID
from airflow_containers.local.responses.model import CodeCall, ModelError, ShellCall
from airflow_containers.local.responses.models import ResponseBackend, show_item
from airflow_containers.local.sandbox.commands import Outcome

if TYPE_CHECKING:
    from airflow_containers.local.responses.engine import Run

MAX_OUTPUT = 8 << 20
"""Characters of output of all calls of one response; less and less is kept as they come near it."""

MAX_COMMAND_OUTPUT = 1 << 20
"""Characters of output of one command, both streams together, unless the call says how many."""

LEAST_OUTPUT = 1024
"""Characters of output of one command that are kept in any case."""

MAX_COMMANDS = 64
"""Commands of one call; the service publishes no figure."""

_ID_DIGITS = 24


class Caller:
    """Makes the calls of one response, in the containers of its tools.

    :ivar made: how many so far.
    """

    def __init__(
        self,
        backend: ResponseBackend,
        environments: Environments,
        commands: ContainerCommands,
        run: Run,
    ) -> None:
        self.made = 0
        self._backend = backend
        self._environments = environments
        self._commands = commands
        self._run = run
        self._left = MAX_OUTPUT
        self._call_ids = {item.get("call_id") for item in (*run.history, *run.response.input)}

    @property
    def output(self) -> int:
        """Characters of output so far."""
        return MAX_OUTPUT - self._left

    async def make(self, call: ShellCall | CodeCall) -> None:
        """Carry out a call, with its items and events.

        :raises ModelError: when the response has no tool for it, or it has too many commands.
        :raises ApiError: when its container is gone.
        """
        self.made += 1
        tool = "shell" if isinstance(call, ShellCall) else "code_interpreter"
        container_id = self._run.places.get(tool)
        if container_id is None:
            raise ModelError(f"The model called the tool '{tool}', which this response has not.")
        with self._environments.watch(container_id) as watch:
            if isinstance(call, ShellCall):
                await self._shell(call, container_id)
            else:
                await self._code(call, container_id)
            for file in watch.files():
                self._run.files[file.id] = (container_id, file.path)

    async def _shell(self, call: ShellCall, container_id: str) -> None:
        if not 1 <= len(call.commands) <= MAX_COMMANDS:
            raise ModelError(
                f"The model made a call of {len(call.commands)} commands; 1 to {MAX_COMMANDS} are allowed."
            )
        run, call_id = self._run, self._call_id(call.call_id)
        item = items.shell_call(self._backend.new_id("sh_"), call_id, call, container_id)
        run.emit(events.shell_call_events(run.add(item), item))
        output = items.shell_output(self._backend.new_id("sho_"), call_id, call.max_output_length)
        index = run.add(output)
        run.emit([events.shell_output_added(index, output)])
        limit = self._limit(call.max_output_length, len(call.commands))
        timeout = None if call.timeout_ms is None else max(call.timeout_ms, 1) / 1000
        tasks = [
            asyncio.create_task(
                self._commands.shell(
                    container_id, command, timeout=timeout, max_output=items.limit_in_bytes(limit)
                )
            )
            for command in call.commands
        ]
        try:
            for number, task in enumerate(tasks):
                content = items.content(await task, limit)
                output["output"].append(content)
                self._left -= len(content["stdout"]) + len(content["stderr"])
                run.emit(events.shell_content_events(index, output, number))
        finally:
            await _end(tasks)
        output["status"] = "completed"
        run.emit([events.done(index, output)])

    async def _code(self, call: CodeCall, container_id: str) -> None:
        run = self._run
        item = items.code_call(self._backend.new_id("ci_"), call, container_id)
        index = run.add(item)
        run.emit(events.code_call_events(index, item))
        item["status"] = "interpreting"
        limit = self._limit(None, 1)
        running: Coroutine[Any, Any, Outcome] = self._commands.python(
            container_id, call.code, max_output=items.limit_in_bytes(limit)
        )
        outcome = await running
        item["outputs"] = items.logs(outcome, limit)
        item["status"] = "failed" if outcome.ended == "killed" else "completed"
        if outcome.ended == "timeout":
            item["status"] = "incomplete"
        self._left -= sum(len(output["logs"]) for output in item["outputs"])
        run.emit(events.code_done_events(index, show_item(item, run.response.request["include"])))

    def _limit(self, wanted: int | None, commands: int) -> int:
        """Characters that each of some commands may put out."""
        limit = MAX_COMMAND_OUTPUT if wanted is None else max(wanted, 0)
        return min(limit, max(self._left // commands, LEAST_OUTPUT))

    def _call_id(self, wanted: str | None) -> str:
        """The model's id of a call, if it can be one and is new, or another."""
        if not wanted or len(wanted) > MAX_CALL_ID or wanted in self._call_ids:
            wanted = self._backend.new_id("call_", _ID_DIGITS)
        self._call_ids.add(wanted)
        return wanted


async def _end(tasks: list[asyncio.Task[Outcome]]) -> None:
    """Cancel what has not ended, and take what it raises."""
    waiting = [task for task in tasks if not task.done()]
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
    for task in tasks:
        if not task.cancelled():
            task.exception()
