"""The rules for requests to ``/v1/responses``.

Fields and limits are the published ones. What this server cannot honour is refused with the reason. Tools
are the two that run in a container.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from airflow_containers.local.containers.schemas import CREATE as CREATE_CONTAINER
from airflow_containers.local.containers.schemas import MAX_PAGE, MEMORY_LIMITS
from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.responses.inputs import INPUT
from airflow_containers.local.responses.rules import (
    Anything,
    AtMost,
    Kinds,
    Nullable,
    Refused,
    TextOr,
    unsupported,
)
from airflow_containers.local.schema import (
    Array,
    Boolean,
    Enum,
    Integer,
    Mappings,
    Number,
    Object,
    Schema,
    Text,
    Union,
    missing_parameter,
    wrong_type,
)

TOOLS = ("shell", "code_interpreter")
INCLUDABLE = (
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
)
MAX_AUTO_FILES = 50
MAX_AUTO_SKILLS = 200
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512


def _metadata_rule(metadata: dict[str, Any], path: str) -> None:
    if len(metadata) > _MAX_PAIRS:
        raise InvalidRequestError(
            f"Invalid '{path}': too many properties. Expected an object with at most {_MAX_PAIRS} "
            f"properties, but got an object with {len(metadata)} properties instead.",
            param=path,
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        Text(max_length=_MAX_KEY).check(key, f"{path}.{key[:_MAX_KEY]}")
        Text(max_length=_MAX_VALUE).check(value, f"{path}.{key}")


@dataclass(frozen=True, slots=True)
class _Metadata:
    def check(self, value: object, path: str) -> None:
        Mappings().check(value, path)
        if isinstance(value, dict):
            _metadata_rule(value, path)


def _callers_rule(tool: dict[str, Any], path: str) -> None:
    callers = tool.get("allowed_callers")
    if callers is not None and "direct" not in callers:
        raise unsupported(f"{path}.allowed_callers", "programs do not call tools here, so name 'direct'.")


def _choice_rule(value: dict[str, Any], path: str) -> None:
    for index, tool in enumerate(value["tools"]):
        where = f"{path}.tools[{index}]"
        if not isinstance(tool, dict):
            raise wrong_type(where, "an object", tool)
        Enum(TOOLS).check(tool.get("type"), f"{where}.type")


def _kind(*names: str) -> Enum:
    return Enum(names)


_CALLERS = Nullable(Array(Enum(("direct", "programmatic")), min_items=1))
_AUTO_FIELDS: dict[str, Schema] = {
    "file_ids": Nullable(AtMost(Array(Text(min_length=1)), MAX_AUTO_FILES)),
    "memory_limit": Nullable(Enum(MEMORY_LIMITS)),
    "network_policy": Nullable(CREATE_CONTAINER.fields["network_policy"]),
}
_SKILLS = CREATE_CONTAINER.fields["skills"]
_ENVIRONMENT = Kinds(
    {
        "container_auto": Object(
            {
                "type": _kind("container_auto"),
                **_AUTO_FIELDS,
                "skills": Nullable(
                    AtMost(_SKILLS, MAX_AUTO_SKILLS) if isinstance(_SKILLS, Array) else _SKILLS
                ),
            },
            required=("type",),
        ),
        "container_reference": Object(
            {"type": _kind("container_reference"), "container_id": Text(min_length=1)},
            required=("type", "container_id"),
        ),
    },
    "The local server runs commands in its containers only, so it supports 'container_auto' and "
    "'container_reference'.",
)
_TOOL = Kinds(
    {
        "shell": Object(
            {"type": _kind("shell"), "environment": _ENVIRONMENT, "allowed_callers": _CALLERS},
            required=("type", "environment"),
            rule=_callers_rule,
        ),
        "code_interpreter": Object(
            {
                "type": _kind("code_interpreter"),
                "container": TextOr(
                    Text(min_length=1),
                    Union({"auto": Object({"type": _kind("auto"), **_AUTO_FIELDS}, required=("type",))}),
                    "one of a container id or an object",
                ),
                "allowed_callers": _CALLERS,
            },
            required=("type", "container"),
            rule=_callers_rule,
        ),
    },
    "The local server has the tools that run in a container: 'shell' and 'code_interpreter'.",
)
_TOOL_CHOICE = TextOr(
    Enum(("none", "auto", "required")),
    Kinds(
        {
            **{name: Object({"type": _kind(name)}, required=("type",)) for name in TOOLS},
            "allowed_tools": Object(
                {
                    "type": _kind("allowed_tools"),
                    "mode": Enum(("auto", "required")),
                    "tools": Array(Anything(), min_items=1),
                },
                required=("type", "mode", "tools"),
                rule=_choice_rule,
            ),
        },
        "The local server supports 'shell', 'code_interpreter' and 'allowed_tools'.",
    ),
    "one of 'none', 'auto', 'required' or an object",
)
_FORMAT = Kinds(
    {"text": Object({"type": _kind("text")}, required=("type",))},
    "The local server writes plain text only: 'text'.",
)
_TEXT = Object({"format": Nullable(_FORMAT), "verbosity": Nullable(Enum(("low", "medium", "high")))})
_REASONING = Object(
    {
        "effort": Nullable(Text(min_length=1)),
        "summary": Nullable(Enum(("auto", "concise", "detailed"))),
        "generate_summary": Nullable(Enum(("auto", "concise", "detailed"))),
    }
)


def _whole_rule(body: dict[str, Any], _path: str) -> None:
    if body.get("input") is None and body.get("previous_response_id") is None:
        raise missing_parameter("input")
    tools = body.get("tools") or []
    kinds = [tool["type"] for tool in tools]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            raise InvalidRequestError(
                f"Invalid 'tools[{index}]': there is one '{kind}' tool already.",
                param=f"tools[{index}]",
                code="invalid_value",
            )
    _choice_fits(body.get("tool_choice"), kinds)
    _background_fits(body)


def _choice_fits(choice: object, kinds: list[str]) -> None:
    if choice == "required" and not kinds:
        raise InvalidRequestError(
            "Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice"
        )
    if not isinstance(choice, dict):
        return
    named = [choice] if choice["type"] != "allowed_tools" else choice["tools"]
    for tool in named:
        if tool["type"] not in kinds:
            raise InvalidRequestError(
                f"Tool choice '{tool['type']}' not found in 'tools' parameter.", param="tool_choice"
            )


def _background_fits(body: dict[str, Any]) -> None:
    if body.get("stream_options") is not None and not body.get("stream"):
        raise InvalidRequestError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if body.get("max_tool_calls") is not None and not body.get("tools"):
        raise InvalidRequestError(
            "The 'max_tool_calls' parameter is only allowed when there are 'tools'.", param="max_tool_calls"
        )


CREATE = Object(
    {
        "access_programs": Refused("there is no such programme here."),
        "background": Nullable(Boolean()),
        "background_options": Nullable(Object({"completion_window": Enum(("soonest",))})),
        "context_management": Refused("nothing is compacted here."),
        "conversation": Refused("it keeps no conversations; send 'previous_response_id'."),
        "image": Refused("nobody looks at images here."),
        "include": Nullable(Array(Enum(INCLUDABLE))),
        "input": Nullable(INPUT),
        "instructions": Nullable(Text()),
        "max_output_tokens": Nullable(Integer(minimum=16)),
        "max_tool_calls": Nullable(Integer(minimum=1)),
        "metadata": Nullable(_Metadata()),
        "model": Text(min_length=1),
        "moderation": Refused("nothing is moderated here."),
        "parallel_tool_calls": Nullable(Boolean()),
        "previous_response_id": Nullable(Text(min_length=1)),
        "prompt": Refused("it keeps no prompt templates; send 'input'."),
        "prompt_cache_key": Nullable(Text()),
        "prompt_cache_options": Refused("there is no prompt cache here."),
        "prompt_cache_retention": Nullable(Enum(("in_memory", "24h"))),
        "reasoning": Nullable(_REASONING),
        "safety_identifier": Nullable(Text(max_length=128)),
        "service_tier": Nullable(Enum(("auto", "default", "flex", "fast", "priority"))),
        "store": Nullable(Boolean()),
        "stream": Nullable(Boolean()),
        "stream_options": Nullable(Object({"include_obfuscation": Boolean()})),
        "temperature": Nullable(Number(0, 2)),
        "text": Nullable(_TEXT),
        "tool_choice": Nullable(_TOOL_CHOICE),
        "tools": Nullable(Array(_TOOL)),
        "top_logprobs": Nullable(Integer(minimum=0, maximum=0)),
        "top_p": Nullable(Number(0, 1)),
        "truncation": Nullable(Enum(("auto", "disabled"))),
        "user": Nullable(Text()),
    },
    required=("model",),
    rule=_whole_rule,
)
"""The body of ``POST /v1/responses``."""

RETRIEVE = Object(
    {
        "include_obfuscation": Enum(("true", "false")),
        "starting_after": Integer(minimum=0),
        "stream": Enum(("true", "false")),
    }
)
"""The query of ``GET /v1/responses/{response_id}``."""

INPUT_ITEMS = Object(
    {
        "after": Text(min_length=1),
        "limit": Integer(minimum=1, maximum=MAX_PAGE),
        "order": Enum(("asc", "desc")),
    }
)
"""The query of ``GET /v1/responses/{response_id}/input_items``."""


def tools_as_shown(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tools as answers repeat them: without values of domain secrets and without the data of skills."""
    shown = copy.deepcopy(tools)
    for tool in shown:
        place = tool.get("environment") or tool.get("container")
        if not isinstance(place, dict):
            continue
        policy = place.get("network_policy")
        if isinstance(policy, dict):
            policy.pop("domain_secrets", None)
        for skill in place.get("skills") or ():
            if "source" in skill:
                skill["source"]["data"] = f"<{len(skill['source']['data'])} characters>"
    return shown
