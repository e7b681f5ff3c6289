"""From a mapping to a request model, with errors that a person can act on.

Pydantic's own errors quote their input; these name the field by its path, tell the value's shape, say what
was expected, and never quote anything of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from airflow_containers.api import models
from airflow_containers.api.errors import InvalidRequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

_TAGS: Mapping[str, type[BaseModel]] = {
    "disabled": models.NetworkPolicyDisabled,
    "allowlist": models.NetworkPolicyAllowlist,
    "skill_reference": models.SkillReference,
    "inline": models.InlineSkill,
}
_MODELS: Mapping[str, type[BaseModel]] = {
    **_TAGS,
    "expires_after": models.ExpiresAfter,
    "domain_secrets": models.DomainSecret,
    "source": models.InlineSkillSource,
}
_MAX_LINES = 10
"""Errors told in one message; a list of the wrong kind has one for each entry."""

_MAX_SHOWN = 40
"""Characters of a text, or of an unknown field's name, that a message shows."""

_FIELD_NAME = re.compile(r"[A-Za-z_]{1,24}")
_NEVER_QUOTED = ("domain_secrets", "source", "headers", "proxy", "api_key")


def validate(model: type[ModelT], data: Any, *, rename: Callable[[str], str] = lambda path: path) -> ModelT:
    """Return ``data`` as ``model``.

    :param model: a request model.
    :param data: the model's fields.
    :param rename: turns a path such as ``network_policy.allowed_domains[0]`` into the reader's own words.
    :raises InvalidRequestError: with one line for each thing that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_line(model, detail, rename) for detail in error.errors(include_url=False)]
    lines = list(dict.fromkeys(lines))
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES:] = [f"and {len(lines) - _MAX_LINES} more"]
    raise InvalidRequestError("; ".join(lines))


def shape(value: Any) -> str:
    """Describe a value without quoting it, e.g. ``a text of 12 characters``."""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return f"the truth value {value}"
    if isinstance(value, str):
        return f"a text of {_characters(len(value))}" if value else "an empty text"
    if isinstance(value, SecretStr):
        return f"a secret of {_characters(len(value))}" if len(value) else "an empty secret"
    if isinstance(value, float):
        return f"the number {value!r}"
    if isinstance(value, int):
        return f"the number {value}" if abs(value) < 10**15 else "a large number"
    if isinstance(value, list | tuple | set | frozenset):
        kind = type(value).__name__
        return f"a {kind} of {len(value)}" if value else f"an empty {kind}"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    return f"an object of type {type(value).__name__}"


def _characters(count: int) -> str:
    return f"{count} character{'s'[: count != 1]}"


def quoted(value: Any) -> str:
    """Describe a value that is no secret: short texts are quoted, the rest is described by its shape."""
    return repr(value) if isinstance(value, str) and 0 < len(value) <= _MAX_SHOWN else shape(value)


def _line(root: type[BaseModel], detail: ErrorDetails, rename: Callable[[str], str]) -> str:
    location = detail["loc"]
    path = rename(_path(location))
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        message = str(context["error"])
        # A rule about several fields names the one it means; its own path goes in front of that.
        if message.startswith("domain_secrets["):
            prefix = _path(location)
            return rename(f"{prefix}.{message.partition(':')[0]}") + ":" + message.partition(":")[2]
        return f"{path}: {message}"
    if kind == "extra_forbidden":
        accepted = ", ".join(_model_at(root, location[:-1]).model_fields)
        name = str(location[-1])
        if not _FIELD_NAME.fullmatch(name):
            # Somebody may have swapped a key and its value, so a name that looks like none is not quoted.
            return (
                f"{rename(_path(location[:-1]))}: unknown field ({shape(name)}), expected one of: {accepted}"
            )
        return f"{path}: unknown field, expected one of: {accepted}"
    if kind in ("too_short", "too_long") and isinstance(detail["input"], SecretStr):
        # Pydantic counts a secret's characters as it counts a list's entries.
        kind = f"string_{kind}"
    secret = any(part in _NEVER_QUOTED for part in location)
    got = shape(detail["input"]) if secret else quoted(detail["input"])
    if kind == "missing":
        return f"{path}: it is missing, expected a value"
    return f"{path}: got {got}, expected {_expected(kind, context, detail['msg'])}"


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for index, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not _is_tag(location, index):
            name = part if len(part) <= _MAX_SHOWN else f"{part[:_MAX_SHOWN]}…"
            path += f".{name}" if path else name
    return path or "request"


def _is_tag(location: tuple[int | str, ...], index: int) -> bool:
    """Whether a part of a path is the kind that pydantic took an entry for, and no field."""
    if location[index] not in _TAGS:
        return False
    before = location[:index]
    return before[-1:] == ("network_policy",) or before[-2:-1] == ("skills",)


def _model_at(root: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    return next((_MODELS[part] for part in reversed(location) if part in _MODELS), root)  # type: ignore[index]


def _expected(kind: str, context: Mapping[str, Any], message: str) -> str:
    templates = {
        "literal_error": "{expected}",
        "string_type": "a text",
        "string_sub_type": "a text",
        "string_unicode": "a text that can be encoded as UTF-8",
        "string_too_short": "{min_length} or more characters",
        "string_too_long": "at most {max_length} characters",
        "int_type": "an integer",
        "list_type": "a list",
        "too_short": "{min_length} or more entries",
        "too_long": "at most {max_length} entries",
        "greater_than_equal": "{ge} or more",
        "less_than_equal": "{le} or less",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
        "dict_type": "a mapping",
        "invalid_key": "a text as the name of a field",
        "union_tag_invalid": "a 'type' that is one of {expected_tags}",
        "union_tag_not_found": "a mapping with a 'type' (see the API's schema)",
    }
    if kind in templates:
        return templates[kind].format_map(context)
    return message[:1].lower() + message[1:]
