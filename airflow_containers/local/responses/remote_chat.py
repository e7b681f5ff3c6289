"""Chat Completions: a turn as a request, and the answer to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from airflow_containers.local.responses.remote_history import (
    AnsweredCall,
    Calls,
    Message,
    conversation,
    text_of,
)
from airflow_containers.local.responses.remote_prompt import system_prompt

PATH = "/chat/completions"
NAME = "Chat Completions"


def request(turn: Turn, model: str, extra: Sequence[Calls] = ()) -> dict[str, Any]:
    """Return the body of a request.

    :param extra: calls that only the model knows of, after the conversation.
    :raises ModelError: for what a model cannot be told.
    """
    messages: list[dict[str, Any]] = []
    prompt = system_prompt(turn)
    if prompt:
        messages.append({"role": "system", "content": prompt})
    for entry in [*conversation(turn.items, has_container=bool(turn.tools)), *extra]:
        messages += _calls(entry) if isinstance(entry, Calls) else [_message(entry)]
    body: dict[str, Any] = {"model": model, "messages": messages}
    offered = functions(turn.tools)
    if offered:
        body["tools"] = [{"type": "function", "function": function} for function in offered]
        body["tool_choice"] = _tool_choice(turn.tool_choice)
    if turn.max_output_tokens is not None:
        body["max_completion_tokens"] = turn.max_output_tokens
    return {**body, **_settings(turn.settings, has_tools=bool(offered))}


def read(payload: dict[str, Any]) -> Reply:
    """Return what an answer says.

    :raises ModelError: when it is none.
    """
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ModelError("the model's server sent no Chat Completion: it has no message")
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise ModelError("the model's server sent no Chat Completion: 'tool_calls' is no list")
    reason = choice.get("finish_reason")
    return Reply(
        text=_content(message),
        calls=tuple(_call(call) for call in calls),
        usage=_usage(payload.get("usage")),
        incomplete={"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
        if isinstance(reason, str)
        else None,
    )


def _settings(given: Mapping[str, Any], *, has_tools: bool) -> dict[str, Any]:
    # A summary of the reasoning has no place in this API: its answers have no reasoning.
    names = ["temperature", "top_p", "verbosity", *(["parallel_tool_calls"] if has_tools else [])]
    settings = {name: given[name] for name in names if name in given}
    effort = given.get("reasoning", {}).get("effort")
    return settings if effort is None else {**settings, "reasoning_effort": effort}


def _tool_choice(choice: str) -> Any:
    if choice in ("none", "auto", "required"):
        return choice
    return {"type": "function", "function": {"name": function_name(choice)}}


def _message(message: Message) -> dict[str, Any]:
    # Not every server knows developers.
    role = "system" if message.role == "developer" else message.role
    text = text_of(message.parts)
    return {"role": role, "content": [_part(part) for part in message.parts] if text is None else text}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if kind == "input_image" and part.get("image_url"):
        image = {"url": part["image_url"]}
        if part.get("detail"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and part.get("file_data"):
        file = {"file_data": part["file_data"]}
        if part.get("filename"):
            file["filename"] = part["filename"]
        return {"type": "file", "file": file}
    raise ModelError(
        f"content of type {kind!r} cannot be handed to the model's server; texts, images by URL and files as "
        "data can"
    )


def _calls(calls: Calls) -> list[dict[str, Any]]:
    return [
        {
            "role": "assistant",
            "content": calls.text or None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls.calls
            ],
        },
        *(_output(call) for call in calls.calls),
    ]


def _output(call: AnsweredCall) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.id, "content": call.output}


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = text_of(part for part in content if isinstance(part, dict) and part.get("type") == "text")
    if not content:
        content = message.get("refusal")
    return printable(content) if isinstance(content, str) else ""


def _call(call: Any) -> FunctionCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return FunctionCall(None, None, json.dumps(call))
    return FunctionCall(call.get("id"), function.get("name"), function.get("arguments"))


def _usage(usage: Any) -> Usage:
    usage = usage if isinstance(usage, dict) else {}
    return Usage(tokens(usage.get("prompt_tokens")), tokens(usage.get("completion_tokens")))
