"""Carries responses out: asks the model, runs what it wants run, asks again, until it has its answer."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from airflow_containers.local.commands import ContainerCommands
from airflow_containers.local.errors import ApiError
from airflow_containers.local.responses import events, items
from airflow_containers.local.responses.calls import Caller
from airflow_containers.local.responses.environments import Environments
from airflow_containers.local.responses.events import Event
from airflow_containers.local.responses.model import Model, ModelError, Say, SkillNote, Turn, Use
from airflow_containers.local.responses.models import ResponseBackend, StoredResponse, show_item

MAX_CALLS = 256
"""Tool calls of one response when the request has no smaller limit; more are ignored."""

MAX_TURNS = 2 * MAX_CALLS
"""How often a model is asked for one response; one that has no answer by then has failed."""

MAX_TEXT = 1 << 20
"""Characters of one message of the model; the rest is cut off."""

MAX_CITATIONS = 100

MAX_SAVED = 256 << 10
"""Characters of output up to which a response that runs is saved after each turn."""

_STOPPED = "The server was stopped while this response ran."
_BROKEN = "The server had an error while processing your request. Sorry about that!"


class Run:
    """A response that is being carried out.

    :ivar refusal: what the container refused while the response ran, for whoever waits.
    :ivar events: so far, with their numbers; none unless the response is streamed.
    :ivar ending: status and error that it was cancelled with.
    :ivar is_forgotten: whether nothing of it is kept any more.
    """

    def __init__(
        self, response: StoredResponse, history: list[dict[str, Any]], places: Mapping[str, str]
    ) -> None:
        self.response = response
        self.history = history
        self.places = places
        self.files: dict[str, tuple[str, str]] = {}
        self.refusal: ApiError | None = None
        self.events: list[Event] = []
        self.task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.ending: tuple[str, str | None] | None = None
        self.is_forgotten = False

    def cancel(self, status: str = "cancelled", error: str | None = None) -> None:
        """Have it end soon, with its commands, and with this status; what ends already is left alone."""
        if self.ending is None and self.task is not None and not self.task.done():
            self.ending = (status, error)
            self.task.cancel()

    @property
    def running(self) -> asyncio.Task[None]:
        """What carries it out."""
        if self.task is None:
            raise RuntimeError("not started")
        return self.task

    def emit(self, new: Iterable[Event]) -> None:
        """Number events and hand them to whoever reads them."""
        if self.response.is_streamed:
            for event in new:
                self.events.append({**event, "sequence_number": len(self.events)})
            self.wake()

    def wake(self) -> None:
        """Let readers look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, starting_after: int = -1) -> AsyncIterator[Event]:
        """The events, as they come."""
        position = starting_after + 1
        while True:
            changed = self._changed
            while position < len(self.events):
                yield self.events[position]
                position += 1
            if self.running.done():
                return
            await changed.wait()

    def add(self, item: dict[str, Any]) -> int:
        """Add an item to the output; returns its index."""
        self.response.output.append(item)
        return len(self.response.output) - 1


class Engine:
    """Carries out the responses of one server.

    :param model: decides what is run.
    :ivar backend: what is kept of them.
    """

    def __init__(
        self,
        backend: ResponseBackend,
        environments: Environments,
        commands: ContainerCommands,
        model: Model,
    ) -> None:
        self.backend = backend
        self._environments = environments
        self._commands = commands
        self._model = model
        self._runs: dict[str, Run] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def model_name(self) -> str:
        """What answers give as ``model``; empty for the name in the request."""
        return self._model.name

    def find(self, response_id: str) -> Run | None:
        """The run of a response that is not done."""
        return self._runs.get(response_id)

    def start(
        self, response: StoredResponse, history: list[dict[str, Any]], places: Mapping[str, str]
    ) -> Run:
        """Begin to carry out a new response.

        :param history: items before those of the request.
        :param places: the container of each tool.
        """
        self.backend.insert(response)
        run = Run(response, history, places)
        self._runs[response.id] = run
        run.emit(events.start_events(response))
        run.task = asyncio.create_task(self._carry_out(run))
        run.task.add_done_callback(lambda _task: self._forget(run))
        return run

    def _forget(self, run: Run) -> None:
        if not run.response.is_done:
            # It was cancelled before its first step.
            self._end(run, run.ending or ("failed", _STOPPED), None)
        if self._runs.get(run.response.id) is run:
            del self._runs[run.response.id]
        self._leaving.discard(run.running)
        run.wake()

    def end_all(self) -> None:
        """Have everything end soon that runs, and forget it at once: its state is about to be removed."""
        for run in self._runs.values():
            run.cancel()
            run.is_forgotten = True
            self._leaving.add(run.running)
        self._runs.clear()

    async def stop(self) -> None:
        """End everything that runs, which has failed by that, and let go of the model."""
        tasks = {run.running for run in self._runs.values()} | self._leaving
        for run in self._runs.values():
            run.cancel("failed", _STOPPED)
        if tasks:
            await asyncio.wait(tasks)
        close = getattr(self._model, "close", None)
        if close is not None:
            await close()

    async def _carry_out(self, run: Run) -> None:
        """Carry a response out to its end; raises nothing."""
        response = run.response
        incomplete: str | None = None
        end: tuple[str, str | None]
        try:
            response.status = "in_progress"
            self.backend.save(response)
            incomplete = await self._converse(run)
            end = ("incomplete" if incomplete else "completed"), None
        except asyncio.CancelledError:
            end = run.ending or ("failed", _STOPPED)
        except ModelError as problem:
            end = "failed", str(problem)
        except ApiError as problem:
            run.refusal = problem
            end = "failed", problem.message
        except Exception as problem:  # noqa: BLE001 - the last resort: the response has failed
            # The message of an exception may repeat what was sent, so only its type and place are shown.
            frames = "".join(traceback.format_tb(problem.__traceback__))
            sys.stderr.write(f"{type(problem).__name__} in the response {response.id}\n{frames}\n")
            end = "failed", _BROKEN
        self._end(run, end, incomplete)

    def _end(self, run: Run, end: tuple[str, str | None], incomplete: str | None) -> None:
        response = run.response
        unfinished = [
            (index, item)
            for index, item in enumerate(response.output)
            if item["status"] in {"in_progress", "interpreting"}
        ]
        if run.is_forgotten:
            # Another response may have its id by now, after the same seed.
            response.status = end[0]
        else:
            self.backend.end(response, end[0], error=end[1], incomplete=incomplete)
        for index, item in unfinished:
            run.emit([events.done(index, show_item(item, response.request["include"]))])
        if run.refusal is not None and not response.in_background:
            run.emit([events.error_event(run.refusal)])
        else:
            run.emit(events.end_events(response))

    async def _converse(self, run: Run) -> str | None:
        """Ask and run in turns; returns why the answer is incomplete, if it is."""
        response = run.response
        caller = Caller(self.backend, self._environments, self._commands, run)
        skills = await self._environments.skills(dict.fromkeys(run.places.values()))
        limit = min(response.request["max_tool_calls"] or MAX_CALLS, MAX_CALLS)
        response.usage = (0, 0)
        for _ in range(MAX_TURNS):
            tokens_left = _tokens_left(response)
            if tokens_left is not None and tokens_left <= 0:
                return "max_output_tokens"
            step = await self._model.next(self._turn(run, skills, tokens_left, may_call=caller.made < limit))
            tokens_in, tokens_out = response.usage
            response.usage = (tokens_in + step.usage.input_tokens, tokens_out + step.usage.output_tokens)
            if isinstance(step, Say):
                self._say(run, step.text)
                return step.cut
            await self._use(run, caller, step, limit)
            if caller.output <= MAX_SAVED:
                # For what is left after a crash; writing much again and again would hold up everybody.
                self.backend.save(response)
        raise ModelError(f"The model has no answer after {MAX_TURNS} turns.")

    async def _use(self, run: Run, caller: Caller, step: Use, limit: int) -> None:
        if step.text:
            self._say(run, step.text, "commentary")
        for call in step.calls:
            # Further ones are ignored, as the service does it.
            if caller.made < limit:
                await caller.make(call)

    def _turn(
        self, run: Run, skills: tuple[SkillNote, ...], tokens_left: int | None, *, may_call: bool
    ) -> Turn:
        request = run.response.request
        tools, choice = allowed(request, frozenset(run.places))
        has_called = any(item["type"] != "message" for item in run.response.output)
        if not may_call or choice == "none":
            tools, choice = frozenset(), "none"
        elif has_called:
            choice = "auto"
        return Turn(
            instructions=request["instructions"],
            items=(*run.history, *run.response.input, *run.response.output),
            tools=tools,
            tool_choice=choice,
            skills=skills,
            model=run.response.model,
            max_output_tokens=tokens_left,
            own=len(run.history),
            settings=request["settings"],
            files=tuple(path for _, path in run.files.values()),
        )

    def _say(self, run: Run, text: str, phase: str | None = None) -> None:
        text = text[:MAX_TEXT]
        item = items.message(self.backend.new_id("msg_"), text, phase)
        if phase is None:
            item["content"][0]["annotations"] = [
                items.citation(container_id, file_id, path, text)
                for file_id, (container_id, path) in list(run.files.items())[:MAX_CITATIONS]
            ]
        index = run.add(item)
        run.emit(events.message_events(index, item))


def allowed(request: Mapping[str, Any], tools: frozenset[str]) -> tuple[frozenset[str], str]:
    """Which of the tools may be used, and whether one must: ``none``, ``auto``, ``required`` or its name."""
    choice = request["tool_choice"]
    if isinstance(choice, str):
        return tools, choice
    if choice["type"] != "allowed_tools":
        return tools, str(choice["type"])
    return tools & {tool["type"] for tool in choice["tools"]}, str(choice["mode"])


def _tokens_left(response: StoredResponse) -> int | None:
    limit = response.request["max_output_tokens"]
    return None if limit is None else int(limit) - (response.usage or (0, 0))[1]
