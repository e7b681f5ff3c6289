"""The events of a streamed response, and how they are sent.

All events of a response follow from what it is at its end. So those of one that is done are made anew when
they are asked for, and nothing of them is kept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from airflow_containers.local.errors import ApiError
from airflow_containers.local.responses.models import StoredResponse, show, show_item

_STEP = 64
_STEPS = 256
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_LINE_ENDS = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"})

Event = dict[str, Any]
"""An event without its number, and as data of the stream with it."""


def start_events(response: StoredResponse) -> Iterator[Event]:
    """What comes before anything is done."""
    if response.in_background:
        queued = show(response.at_start("queued"))
        yield {"type": "response.created", "response": queued}
        yield {"type": "response.queued", "response": queued}
        yield {"type": "response.in_progress", "response": queued | {"status": "in_progress"}}
    else:
        started = show(response.at_start("in_progress"))
        yield {"type": "response.created", "response": started}
        yield {"type": "response.in_progress", "response": started}


def end_events(response: StoredResponse) -> Iterator[Event]:
    """What comes last; nothing for what was cancelled, as the service has no event for it."""
    if response.status != "cancelled":
        yield {"type": f"response.{response.status}", "response": show(response)}


def error_event(error: ApiError) -> Event:
    """What comes last where the response cannot go on, while somebody waits for it.

    It has what is published, and the envelope that the service has been seen to send, which clients raise.
    """
    return {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": error.param,
        **error.body(),
    }


def message_events(index: int, item: dict[str, Any]) -> Iterator[Event]:
    """All events of a message."""
    text, annotations = item["content"][0]["text"], item["content"][0]["annotations"]
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield _added(index, item | {"status": "in_progress", "content": []})
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield {"type": "response.content_part.added", **at, "part": part}
    for delta in _slices(text):
        yield {"type": "response.output_text.delta", **at, "delta": delta, "logprobs": []}
    for number, annotation in enumerate(annotations):
        yield {
            "type": "response.output_text.annotation.added",
            **at,
            "annotation_index": number,
            "annotation": annotation,
        }
    yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": item["content"][0]}
    yield done(index, item)


def shell_call_events(index: int, item: dict[str, Any]) -> Iterator[Event]:
    """All events of commands that the model wants run."""
    yield _added(index, item | {"status": "in_progress", "action": item["action"] | {"commands": []}})
    for number, command in enumerate(item["action"]["commands"]):
        at = {"output_index": index, "command_index": number}
        yield {"type": "response.shell_call_command.added", **at, "command": ""}
        for delta in _slices(command):
            yield {"type": "response.shell_call_command.delta", **at, "delta": delta}
        yield {"type": "response.shell_call_command.done", **at, "command": command}
    yield done(index, item)


def shell_output_added(index: int, item: dict[str, Any]) -> Event:
    """The event of a call's output before its commands have run."""
    return _added(index, item | {"status": "in_progress", "output": []})


def shell_content_events(index: int, item: dict[str, Any], number: int) -> Iterator[Event]:
    """The events of what one command put out."""
    content = item["output"][number]
    at = {"item_id": item["id"], "output_index": index, "command_index": number}
    for stream in ("stdout", "stderr"):
        for delta in _slices(content[stream]):
            yield {"type": "response.shell_call_output_content.delta", **at, "delta": {stream: delta}}
    yield {"type": "response.shell_call_output_content.done", **at, "output": [content]}


def code_call_events(index: int, item: dict[str, Any]) -> Iterator[Event]:
    """The events of code up to when it runs."""
    at = {"item_id": item["id"], "output_index": index}
    yield _added(index, item | {"status": "in_progress", "code": "", "outputs": None})
    yield {"type": "response.code_interpreter_call.in_progress", **at}
    for delta in _slices(item["code"]):
        yield {"type": "response.code_interpreter_call_code.delta", **at, "delta": delta}
    yield {"type": "response.code_interpreter_call_code.done", **at, "code": item["code"]}
    yield {"type": "response.code_interpreter_call.interpreting", **at}


def code_done_events(index: int, item: dict[str, Any]) -> Iterator[Event]:
    """The events of code that has run.

    :param item: as answers show it.
    """
    if item["status"] == "completed":
        yield {
            "type": "response.code_interpreter_call.completed",
            "item_id": item["id"],
            "output_index": index,
        }
    yield done(index, item)


def done(index: int, item: dict[str, Any]) -> Event:
    """The event of an item that is complete, or never will be."""
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def all_events(response: StoredResponse) -> Iterator[Event]:
    """All events of a response that is done, as they were sent."""
    yield from start_events(response)
    for index, item in enumerate(response.output):
        kind = item["type"]
        if kind == "message":
            yield from message_events(index, item)
        elif kind == "shell_call":
            yield from shell_call_events(index, item)
        elif kind == "shell_call_output":
            yield shell_output_added(index, item)
            for number in range(len(item["output"])):
                yield from shell_content_events(index, item, number)
            yield done(index, item)
        else:
            yield from code_call_events(index, item)
            yield from code_done_events(index, show_item(item, response.request["include"]))
    yield from end_events(response)


def encode(event: Event) -> bytes:
    """An event as it is sent."""
    # Some clients take for the end of a line what JSON takes for a character.
    data = _ENCODER.encode(event).translate(_LINE_ENDS)
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


async def numbered(events: Iterator[Event], starting_after: int = -1) -> AsyncIterator[Event]:
    """Events with their numbers, from the one after ``starting_after`` on."""
    for number, event in enumerate(events):
        if number > starting_after:
            yield {**event, "sequence_number": number}


class EventStream(Response):
    """An answer of events, sent as they come.

    :param events: with their numbers.
    :param on_close: called once at the end, whether all of them were sent or nobody is left to read them;
        ``None`` if what they tell of goes on without readers.
    """

    def __init__(self, events: AsyncIterator[Event], on_close: Callable[[], None] | None) -> None:
        super().__init__(
            None, 200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        )
        del self.headers["content-length"]
        self._events = events
        self._on_close = on_close

    async def withhold(self, receive: Receive) -> None:
        """Send nothing, but wait for the end of what the events tell of, unless it goes on by itself."""
        if self._on_close is not None:
            await self({}, receive, _nowhere)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or as much as somebody is there to read."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(until_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(sending, leaving)
            if self._on_close is not None:
                self._on_close()
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": encode(event), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _nowhere(_message: Message) -> None:
    pass


async def until_gone(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _added(index: int, item: dict[str, Any]) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _slices(text: str) -> Iterator[str]:
    step = max(_STEP, -(-len(text) // _STEPS))
    for start in range(0, len(text), step):
        yield text[start : start + step]
