"""A conversation in the order that function calls need: calls that were made together, then their outputs."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from airflow_containers.local.responses.model import ModelError
from airflow_containers.local.responses.remote_calls import PYTHON, SHELL
from airflow_containers.local.responses.remote_prompt import NO_OUTPUT, code_text, shell_text


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    :param parts: its content: the API's parts.
    """

    role: str
    parts: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call of a function, and what came of it.

    :param arguments: JSON text.
    """

    id: str
    name: str
    arguments: str
    output: str


@dataclass(slots=True)
class Calls:
    """Calls that follow each other.

    :param text: what the model said before them, in the same breath.
    """

    text: str = ""
    calls: list[AnsweredCall] = field(default_factory=list)
    closed: bool = False


def conversation(items: Iterable[dict[str, Any]], *, has_container: bool = True) -> list[Message | Calls]:
    """Return messages and calls, each call with its output, in the order of the items.

    :param has_container: whether there is one, which the Files of messages are in.
    :raises ModelError: for an item that a model cannot be told of.
    """
    items = list(items)
    outputs: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
    for item in items:
        if item.get("type") == "shell_call_output":
            outputs[item["call_id"]].append(item)
    found: list[Message | Calls] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            found.append(Message(item["role"], _parts(item["content"], has_container=has_container)))
        elif kind == "shell_call":
            _calls(found).calls.append(_shell(item, outputs[item["call_id"]]))
        elif kind == "code_interpreter_call":
            arguments = json.dumps({"code": item.get("code") or ""})
            call = AnsweredCall(item["id"], PYTHON, arguments, code_text(item))
            _calls(found).calls.append(call)
        elif kind == "shell_call_output":
            _take_output(found, item, outputs[item["call_id"]])
        elif kind != "reasoning":
            raise ModelError(f"the model on the other server cannot be told of an item of type {kind!r}")
    return found


def text_of(parts: Iterable[dict[str, Any]]) -> str | None:
    """Return the text of parts that are all text, ``None`` if some are not."""
    texts = []
    for part in parts:
        text = part.get("text", part.get("refusal"))
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "\n".join(texts)


def _parts(content: object, *, has_container: bool) -> tuple[dict[str, Any], ...]:
    if isinstance(content, str):
        return ({"type": "input_text", "text": content},)
    parts = content if isinstance(content, list) else ()
    return tuple(_attached(part) if has_container and _is_file(part) else part for part in parts)


def _is_file(part: dict[str, Any]) -> bool:
    """Whether a part is a File by its id, which means nothing to the model's server."""
    return part.get("type") == "input_file" and not (part.get("file_data") or part.get("file_url"))


def _attached(part: dict[str, Any]) -> dict[str, Any]:
    text = f"[The file {part.get('file_id')} is attached: it is in the container, in /mnt/data.]"
    return {"type": "input_text", "text": text}


def _calls(found: list[Message | Calls]) -> Calls:
    """Return the calls that one more call belongs to: until an output came, the model made them together."""
    last = found[-1] if found else None
    if isinstance(last, Calls) and not last.closed:
        return last
    calls = Calls()
    if isinstance(last, Message) and last.role == "assistant":
        text = text_of(last.parts)
        if text is not None:
            found.pop()
            calls.text = text
    found.append(calls)
    return calls


def _shell(item: dict[str, Any], outputs: deque[dict[str, Any]]) -> AnsweredCall:
    action = item["action"]
    arguments = {name: action[name] for name in _ARGUMENTS if action.get(name) is not None}
    output = shell_text(item, outputs.popleft()) if outputs else NO_OUTPUT
    return AnsweredCall(item["call_id"], SHELL, json.dumps(arguments), output)


def _take_output(found: list[Message | Calls], item: dict[str, Any], waiting: deque[dict[str, Any]]) -> None:
    if waiting and waiting[0] is item:
        # No call took it: a server would refuse an output of nothing, so it becomes something that was said.
        waiting.popleft()
        text = f"Output of an earlier command:\n{shell_text(None, item)}"
        found.append(Message("user", ({"type": "input_text", "text": text},)))
    elif found and isinstance(found[-1], Calls):
        found[-1].closed = True


_ARGUMENTS = ("commands", "timeout_ms", "max_output_length")
