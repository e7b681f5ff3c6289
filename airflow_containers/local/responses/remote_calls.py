"""The functions that a remote model may call, and what its calls mean."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from airflow_containers.local.responses.model import CodeCall, ShellCall, Usage

SHELL = "shell"
PYTHON = "python"

MAX_CALLS = 64
"""Calls that one answer may have."""

MAX_COMMANDS = 64
"""Commands that one call may have: each is a process of its own, and they run at the same time."""

_MAX_CALL_ID = 64
_MAX_NUMBER = 1 << 53
_QUOTED = 200


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call as the model's server tells it.

    :param arguments: JSON text, or what some servers send instead: the object itself.
    """

    id: object
    name: object
    arguments: object


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a model's server.

    :param incomplete: ``max_output_tokens`` or ``content_filter`` when the answer was cut short.
    """

    text: str
    calls: tuple[FunctionCall, ...]
    usage: Usage
    incomplete: str | None = None


class CallError(ValueError):
    """A call that makes no sense; the message is for the model."""


def functions(tools: Container[str]) -> list[dict[str, Any]]:
    """Describe the functions for the tools of a turn: name, description, JSON schema of the parameters."""
    found = []
    if "shell" in tools:
        found.append(_SHELL_FUNCTION)
    if "code_interpreter" in tools:
        found.append(_PYTHON_FUNCTION)
    return found


def function_name(tool: str) -> str:
    """Return the name of the function that stands for a tool."""
    return PYTHON if tool == "code_interpreter" else SHELL


def read_call(call: FunctionCall, tools: Container[str], known_ids: set[str]) -> ShellCall | CodeCall:
    """What a call asks for.

    :param tools: of the turn.
    :param known_ids: ids of the conversation's calls; the id of this one is added.
    :raises CallError: when it makes no sense.
    """
    offered = [function["name"] for function in functions(tools)]
    if call.name not in offered:
        names = " and ".join(repr(name) for name in offered) or "none"
        raise CallError(f"There is no function {_quoted(call.name)}. The functions are: {names}.")
    arguments = _arguments(call.arguments)
    call_id = _call_id(call.id, known_ids)
    if call.name == PYTHON:
        return CodeCall(_text(arguments.get("code"), "code"), call_id)
    return ShellCall(
        _commands(arguments),
        _number(arguments, "timeout_ms", 1),
        _number(arguments, "max_output_length", 0),
        call_id,
    )


def _call_id(value: object, known_ids: set[str]) -> str | None:
    """Return the id of a call, ``None`` for one that would not do for a conversation."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_CALL_ID or value in known_ids:
        return None
    if not value.isascii() or not value.isprintable():
        return None
    known_ids.add(value)
    return value


def _arguments(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise CallError(
                f"The arguments are not valid JSON: {error}. They were {_quoted(value)}."
            ) from None
    if not isinstance(value, dict):
        raise CallError(f"The arguments have to be a JSON object, but were {_quoted(value)}.")
    return value


def _commands(arguments: dict[str, Any]) -> tuple[str, ...]:
    # Small models often take the singular, or a text instead of a list: what they mean is plain all the same.
    commands = arguments.get("commands", arguments.get("command"))
    if isinstance(commands, str):
        commands = [commands]
    if not isinstance(commands, list) or not commands:
        raise CallError("'commands' has to be a list with at least one command.")
    if len(commands) > MAX_COMMANDS:
        raise CallError(f"'commands' may have at most {MAX_COMMANDS} commands, but has {len(commands)}.")
    return tuple(_text(command, f"commands[{index}]") for index, command in enumerate(commands))


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise CallError(f"'{name}' has to be a text that is not empty.")
    if "\0" in value:
        raise CallError(f"'{name}' has a NUL character.")
    if printable(value) != value:
        raise CallError(f"'{name}' has half a surrogate pair, which is no character.")
    return value


def _number(arguments: dict[str, Any], name: str, least: int) -> int | None:
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _MAX_NUMBER:
        raise CallError(f"'{name}' has to be a whole number of at least {least}, or left out.")
    return value


def printable(text: str) -> str:
    """Return a text that can be written as UTF-8: a lone surrogate in it becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def tokens(value: object) -> int:
    """Return a number of tokens, 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _quoted(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


_SHELL_FUNCTION = {
    "name": SHELL,
    "description": "Run commands in the container with bash, and get what they write and their exit codes.",
    "parameters": {
        "type": "object",
        "properties": {
            "commands": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Commands, each for a bash of its own. They run at the same time: join what "
                "has to run in order with && in one command.",
            },
            "timeout_ms": {
                "type": "integer",
                "description": "Milliseconds after which a command is ended. Leave it out for the default.",
            },
            "max_output_length": {
                "type": "integer",
                "description": "Characters of output to get of each command. Leave it out for the default.",
            },
        },
        "required": ["commands"],
        "additionalProperties": False,
    },
}

_PYTHON_FUNCTION = {
    "name": PYTHON,
    "description": "Run Python code in the container, in a new interpreter, and get what it prints.",
    "parameters": {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "Python code; print what you want to see."}},
        "required": ["code"],
        "additionalProperties": False,
    },
}
