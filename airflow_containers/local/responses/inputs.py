"""What a request's ``input`` may hold, and how it is kept: as a list of items that all have ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.responses.rules import Kinds, Nullable, TextOr
from airflow_containers.local.schema import Array, Enum, Integer, Object, Schema, Text, wrong_type

MAX_TEXT = 10_485_760
"""Characters of one text or stream in the input; the published limit of outputs that are replayed."""

MAX_CALL_ID = 64
ID_DIGITS = 48

_STATUS = Nullable(Enum(("in_progress", "completed", "incomplete")))
_TEXT = Text(max_length=MAX_TEXT)
_REASON = (
    "The local server takes texts and Files: 'input_text', 'output_text', 'refusal', and 'input_file' with a "
    "'file_id'."
)


def _part(kind: str, field: str, **optional: Schema) -> Object:
    return Object({"type": Enum((kind,)), field: _TEXT, **optional}, required=("type", field))


class _Free:
    """What answers have there and requests repeat, with no meaning for the next one."""

    def check(self, value: object, path: str) -> None:
        """Take a list."""
        if value is not None and not isinstance(value, list):
            raise wrong_type(path, "an array", value)


_PARTS = Array(
    Kinds(
        {
            "input_text": _part("input_text", "text"),
            "output_text": _part("output_text", "text", annotations=_Free(), logprobs=_Free()),
            "refusal": _part("refusal", "refusal"),
            "input_file": Object(
                {"type": Enum(("input_file",)), "file_id": Text(min_length=1)}, required=("type", "file_id")
            ),
        },
        _REASON,
    )
)
_MESSAGE = Object(
    {
        "type": Enum(("message",)),
        "id": Nullable(Text(min_length=1)),
        "role": Enum(("user", "assistant", "system", "developer")),
        "content": TextOr(_TEXT, _PARTS, "one of a string or an array of parts", list),
        "status": _STATUS,
        "phase": Nullable(Enum(("commentary", "final_answer"))),
    },
    required=("role", "content"),
)
_CALL_ID = Text(min_length=1, max_length=MAX_CALL_ID)
_COMMON: dict[str, Schema] = {
    "id": Nullable(Text(min_length=1)),
    "status": _STATUS,
    "caller": Nullable(Object({"type": Enum(("direct",))}, required=("type",))),
    "created_by": Nullable(Text()),
}
_LIMIT = Nullable(Integer(minimum=0))
_SHELL_CALL = Object(
    {
        "type": Enum(("shell_call",)),
        **_COMMON,
        "call_id": _CALL_ID,
        "action": Object(
            {"commands": Array(_TEXT), "timeout_ms": _LIMIT, "max_output_length": _LIMIT},
            required=("commands",),
        ),
        "environment": Nullable(
            Kinds(
                {
                    "container_reference": Object(
                        {"type": Enum(("container_reference",)), "container_id": Text(min_length=1)},
                        required=("type", "container_id"),
                    ),
                    "local": Object({"type": Enum(("local",)), "skills": _Free()}, required=("type",)),
                },
                "Supported values are: 'container_reference' and 'local'.",
            )
        ),
    },
    required=("call_id", "action"),
)
_OUTCOME = Kinds(
    {
        "exit": Object({"type": Enum(("exit",)), "exit_code": Integer()}, required=("type", "exit_code")),
        "timeout": Object({"type": Enum(("timeout",))}, required=("type",)),
    },
    "Supported values are: 'exit' and 'timeout'.",
)
_SHELL_OUTPUT = Object(
    {
        "type": Enum(("shell_call_output",)),
        **_COMMON,
        "call_id": _CALL_ID,
        "output": Array(
            Object(
                {"stdout": _TEXT, "stderr": _TEXT, "outcome": _OUTCOME, "created_by": Nullable(Text())},
                required=("stdout", "stderr", "outcome"),
            )
        ),
        "max_output_length": _LIMIT,
    },
    required=("call_id", "output"),
)
_CODE_CALL = Object(
    {
        "type": Enum(("code_interpreter_call",)),
        "id": Text(min_length=1),
        "status": Nullable(Enum(("in_progress", "completed", "incomplete", "interpreting", "failed"))),
        "container_id": Text(min_length=1),
        "code": Nullable(_TEXT),
        "outputs": Nullable(
            Array(
                Kinds(
                    {
                        "logs": _part("logs", "logs"),
                        "image": _part("image", "url"),
                    },
                    "Supported values are: 'logs' and 'image'.",
                )
            )
        ),
    },
    required=("id", "container_id"),
)
_ITEM = Kinds(
    {
        "message": _MESSAGE,
        "shell_call": _SHELL_CALL,
        "shell_call_output": _SHELL_OUTPUT,
        "code_interpreter_call": _CODE_CALL,
    },
    "The local server takes items of the types 'message', 'shell_call', 'shell_call_output' and "
    "'code_interpreter_call'.",
)


class _Item:
    """An item; a message needs no type."""

    def check(self, value: object, path: str) -> None:
        """Check as what it is."""
        schema: Schema = _ITEM
        if isinstance(value, dict) and "role" in value and "type" not in value:
            schema = _MESSAGE
        schema.check(value, path)


INPUT = TextOr(_TEXT, Array(_Item(), min_items=1), "one of a string or an array of items", list)
"""The field ``input``."""

_PREFIXES = {
    "message": "msg_",
    "shell_call": "sh_",
    "shell_call_output": "sho_",
    "code_interpreter_call": "ci_",
}


def kept(value: str | list[dict[str, Any]] | None, new_id: Callable[[str, int], str]) -> list[dict[str, Any]]:
    """Checked input as items of the API: each with an id, texts of messages as parts.

    :param new_id: makes an id from a prefix and a number of digits.
    """
    if value is None:
        return []
    if isinstance(value, str):
        value = [{"type": "message", "role": "user", "content": value}]
    return [_kept_item(item, new_id) for item in value]


def _kept_item(item: dict[str, Any], new_id: Callable[[str, int], str]) -> dict[str, Any]:
    kind = item.get("type", "message")
    given = {key: value for key, value in item.items() if value is not None}
    made: dict[str, Any] = {"type": kind, "id": given.get("id") or new_id(_PREFIXES[kind], ID_DIGITS)}
    made["status"] = "completed"
    if kind == "message":
        if isinstance(item["content"], str):
            part = "output_text" if item["role"] == "assistant" else "input_text"
            given["content"] = [{"type": part, "text": item["content"]}]
        for content in given["content"]:
            if content["type"] == "output_text":
                content["annotations"] = content.get("annotations") or []
    elif kind == "shell_call":
        action = item["action"]
        given["action"] = {
            "commands": action["commands"],
            "timeout_ms": action.get("timeout_ms"),
            "max_output_length": action.get("max_output_length"),
        }
        made["environment"] = None
    elif kind == "shell_call_output":
        made["max_output_length"] = None
    else:
        made |= {"code": None, "outputs": None}
    return made | {key: value for key, value in given.items() if key != "id"}


def check_calls(history: Iterable[dict[str, Any]], items: list[dict[str, Any]]) -> None:
    """Refuse outputs of calls that nobody made, and calls of the input that have no output.

    :param history: items that come before.
    :raises InvalidRequestError: for the first of these.
    """
    known = {item["call_id"] for item in history if item["type"] == "shell_call"}
    waiting: dict[str, int] = {}
    for index, item in enumerate(items):
        call_id = item.get("call_id")
        if item["type"] == "shell_call":
            if call_id in known:
                raise InvalidRequestError(
                    f"Duplicate item found with call_id '{call_id}'.", param=f"input[{index}].call_id"
                )
            known.add(call_id)
            waiting[str(call_id)] = index
        elif item["type"] == "shell_call_output":
            if call_id not in known:
                raise InvalidRequestError(
                    f"No tool call found for shell call output with call_id '{call_id}'.", param="input"
                )
            waiting.pop(str(call_id), None)
    for call_id in waiting:
        raise InvalidRequestError(f"No tool output found for shell call '{call_id}'.", param="input")


def file_ids(items: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Files that messages bring along, each with its path in the request; each once."""
    found: dict[str, str] = {}
    for index, item in enumerate(items):
        for number, part in enumerate(item["content"] if item["type"] == "message" else ()):
            if part["type"] == "input_file":
                found.setdefault(part["file_id"], f"input[{index}].content[{number}].file_id")
    return list(found.items())


def container_of(item: dict[str, Any]) -> str | None:
    """The container that an item of the conversation names."""
    if item["type"] == "code_interpreter_call":
        return str(item["container_id"])
    environment = item.get("environment") if item["type"] == "shell_call" else None
    if environment is not None and environment["type"] == "container_reference":
        return str(environment["container_id"])
    return None
