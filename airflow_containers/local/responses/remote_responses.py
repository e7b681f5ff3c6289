"""The Responses API of another server: a turn as a request, and the answer to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_containers.local.responses.model import ModelError, Turn, Usage
from airflow_containers.local.responses.remote_calls import (
    FunctionCall,
    Reply,
    function_name,
    functions,
    printable,
    tokens,
)
from airflow_containers.local.responses.remote_history import Calls, Message, conversation, text_of
from airflow_containers.local.responses.remote_prompt import system_prompt

PATH = "/responses"
NAME = "Responses"


def request(turn: Turn, model: str, extra: Sequence[Calls] = ()) -> dict[str, Any]:
    """Return the body of a request.

    :param extra: calls that only the model knows of, after the conversation.
    :raises ModelError: for what a model cannot be told.
    """
    items: list[dict[str, Any]] = []
    for entry in [*conversation(turn.items, has_container=bool(turn.tools)), *extra]:
        items += _calls(entry) if isinstance(entry, Calls) else [_message(entry)]
    # The conversation is kept here, so nothing need be kept there.
    body: dict[str, Any] = {"model": model, "input": items, "store": False}
    prompt = system_prompt(turn)
    if prompt:
        body["instructions"] = prompt
    offered = functions(turn.tools)
    if offered:
        body["tools"] = [{"type": "function", "strict": False, **function} for function in offered]
        body["tool_choice"] = _tool_choice(turn.tool_choice)
    if turn.max_output_tokens is not None:
        body["max_output_tokens"] = turn.max_output_tokens
    names = ("temperature", "top_p", "parallel_tool_calls", "reasoning")
    body |= {name: turn.settings[name] for name in names if name in turn.settings}
    if "verbosity" in turn.settings:
        body["text"] = {"verbosity": turn.settings["verbosity"]}
    return body


def read(payload: dict[str, Any]) -> Reply:
    """Return what an answer says.

    :raises ModelError: when it is none, or says that the model failed.
    """
    items = payload.get("output")
    if not isinstance(items, list):
        raise ModelError("the model's server sent no response: it has no output")
    status = payload.get("status")
    if status not in (None, "completed", "incomplete"):
        raise ModelError(f"the model's server sent a response with the status {str(status)[:40]!r}")
    texts, calls = [], []
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "message":
            texts.append(_text(item.get("content")))
        elif kind == "function_call":
            calls.append(FunctionCall(item.get("call_id"), item.get("name"), item.get("arguments")))
    return Reply(
        text="\n\n".join(text for text in texts if text),
        calls=tuple(calls),
        usage=_usage(payload.get("usage")),
        incomplete=_incomplete(payload) if status == "incomplete" else None,
    )


def _tool_choice(choice: str) -> Any:
    if choice in ("none", "auto", "required"):
        return choice
    return {"type": "function", "name": function_name(choice)}


def _message(message: Message) -> dict[str, Any]:
    text = text_of(message.parts)
    if message.role == "assistant" and text is None:
        raise ModelError("an answer of the assistant has content that is no text")
    content = [_part(part) for part in message.parts] if text is None else text
    return {"type": "message", "role": message.role, "content": content}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "output_text":
        return {"type": "input_text", "text": part["text"]}
    if kind == "input_text":
        return {"type": kind, "text": part["text"]}
    # Ids of files are those of this server, not of the other one.
    if kind == "input_image" and part.get("image_url"):
        return {"type": kind, "image_url": part["image_url"], "detail": part.get("detail") or "auto"}
    if kind == "input_file" and (part.get("file_data") or part.get("file_url")):
        names = ("file_data", "file_url", "filename")
        return {"type": kind, **{name: part[name] for name in names if part.get(name)}}
    raise ModelError(
        f"content of type {kind!r} cannot be handed to the model's server; texts, images by URL and files as "
        "data or by URL can"
    )


def _calls(calls: Calls) -> list[dict[str, Any]]:
    text = [{"type": "message", "role": "assistant", "content": calls.text}] if calls.text else []
    return [
        *text,
        *(
            {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
            for call in calls.calls
        ),
        *(
            {"type": "function_call_output", "call_id": call.id, "output": call.output}
            for call in calls.calls
        ),
    ]


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") or part.get("refusal") for part in parts if isinstance(part, dict)]
    return printable("".join(text for text in texts if isinstance(text, str)))


def _usage(usage: Any) -> Usage:
    usage = usage if isinstance(usage, dict) else {}
    return Usage(tokens(usage.get("input_tokens")), tokens(usage.get("output_tokens")))


def _incomplete(payload: dict[str, Any]) -> str:
    details = payload.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return "content_filter" if reason == "content_filter" else "max_output_tokens"
