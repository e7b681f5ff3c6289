"""A small declarative schema: says what is wrong with a JSON value in the platform's words.

Independent of :mod:`airflow_containers.api` on purpose, so that the server is a second opinion on what
the client sends. The texts and codes are the platform's own, as its users report them
(``unknown_parameter``, ``integer_above_max_value``, ``empty_array``, …).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_containers.local.errors import InvalidRequestError

Check = Callable[[str], str | None]
"""Takes a string, returns what is wrong with it (a sentence without the value), or ``None``."""

_ECHO_LIMIT = 64


class Schema(Protocol):
    """Anything that can check a JSON value."""

    def check(self, value: object, path: str) -> None:
        """Raise :class:`InvalidRequestError` when ``value``, found at ``path``, breaks a rule."""


def describe(value: object) -> str:
    """Name the JSON type of ``value`` with its article, as the platform does."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def wrong_type(path: str, expected: str, value: object) -> InvalidRequestError:
    """The error for a value of another type than ``expected``."""
    where = f" for '{path}'" if path else ""
    return InvalidRequestError(
        f"Invalid type{where}: expected {expected}, but got {describe(value)} instead.",
        param=path or None,
        code="invalid_type",
    )


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    :param min_length: characters, at least.
    :param max_length: characters, at most; ``None`` for no limit.
    :param pattern: a regular expression for the whole string.
    :param rule: a further rule; returns what is wrong, or ``None``.
    """

    min_length: int = 0
    max_length: int | None = None
    pattern: re.Pattern[str] | None = None
    rule: Check | None = None

    def check(self, value: object, path: str) -> None:
        """Check type, length, pattern and rule, in this order."""
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        length = len(value)
        if length < self.min_length:
            kind, code = (
                ("empty string", "empty_string")
                if not value
                else ("string too short", "string_below_min_length")
            )
            got = "an empty string" if not value else f"a string with length {length}"
            raise InvalidRequestError(
                f"Invalid '{path}': {kind}. Expected a string with minimum length {self.min_length}, "
                f"but got {got} instead.",
                param=path,
                code=code,
            )
        if self.max_length is not None and length > self.max_length:
            raise InvalidRequestError(
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{self.max_length}, but got a string with length {length} instead.",
                param=path,
                code="string_above_max_length",
            )
        if self.pattern is not None and not self.pattern.fullmatch(value):
            raise InvalidRequestError(
                f"Invalid '{path}': string does not match pattern. Expected a string that matches the "
                f"pattern '^{self.pattern.pattern}$'.",
                param=path,
                code="invalid_value",
            )
        problem = self.rule(value) if self.rule is not None else None
        if problem is not None:
            raise InvalidRequestError(f"Invalid '{path}': {problem}", param=path, code="invalid_value")


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer; neither a boolean nor a number with a decimal point."""

    minimum: int | None = None
    maximum: int | None = None

    def check(self, value: object, path: str) -> None:
        """Check type and range."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer", value)
        if self.minimum is not None and value < self.minimum:
            raise InvalidRequestError(
                f"Invalid '{path}': integer below minimum value. Expected a value >= {self.minimum}, "
                f"but got {_short(value)} instead.",
                param=path,
                code="integer_below_min_value",
            )
        if self.maximum is not None and value > self.maximum:
            raise InvalidRequestError(
                f"Invalid '{path}': integer above maximum value. Expected a value <= {self.maximum}, "
                f"but got {_short(value)} instead.",
                param=path,
                code="integer_above_max_value",
            )


@dataclass(frozen=True, slots=True)
class Number:
    """An integer or decimal number in a closed range."""

    minimum: float
    maximum: float

    def check(self, value: object, path: str) -> None:
        """Check type and range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(path, "a number", value)
        below = value < self.minimum
        if below or value > self.maximum:
            kind, sign, limit = (
                ("below minimum", ">=", self.minimum) if below else ("above maximum", "<=", self.maximum)
            )
            raise InvalidRequestError(
                f"Invalid '{path}': decimal {kind} value. Expected a value {sign} {limit:g}, "
                f"but got {_short(value)} instead.",
                param=path,
                code="decimal_below_min_value" if below else "decimal_above_max_value",
            )


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``."""

    def check(self, value: object, path: str) -> None:
        """Check the type."""
        if not isinstance(value, bool):
            raise wrong_type(path, "a boolean", value)


@dataclass(frozen=True, slots=True)
class Enum:
    """One of a few strings."""

    values: tuple[str, ...]

    def check(self, value: object, path: str) -> None:
        """Check type and membership."""
        if not isinstance(value, str):
            expected = f"one of {join(self.values, 'or')}" if len(self.values) > 1 else f"'{self.values[0]}'"
            raise wrong_type(path, expected, value)
        if value not in self.values:
            raise not_supported(path, value, self.values)


def not_supported(path: str, value: str, values: tuple[str, ...]) -> InvalidRequestError:
    """The error for a string that is none of ``values``; echoes at most 64 characters of it."""
    shown = value if len(value) <= _ECHO_LIMIT else f"{value[:_ECHO_LIMIT]}…"
    allowed = (
        f"Supported values are: {join(values, 'and')}."
        if len(values) > 1
        else f"Value must be '{values[0]}'."
    )
    return InvalidRequestError(f"Invalid value: '{shown}'. {allowed}", param=path, code="invalid_value")


@dataclass(frozen=True, slots=True)
class Array:
    """A list whose items all have one schema."""

    items: Schema
    min_items: int = 0

    def check(self, value: object, path: str) -> None:
        """Check type, length and each item."""
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        if len(value) < self.min_items:
            raise InvalidRequestError(
                f"Invalid '{path}': empty array. Expected an array with minimum length {self.min_items}, "
                "but got an empty array instead.",
                param=path,
                code="empty_array",
            )
        for index, item in enumerate(value):
            self.items.check(item, f"{path}[{index}]")


@dataclass(frozen=True, slots=True)
class Object:
    """A mapping with known keys; unknown ones are refused.

    :param fields: schema of each key.
    :param required: keys that must be there.
    :param rule: a rule across fields, called last with the mapping and its path.
    """

    fields: Mapping[str, Schema]
    required: tuple[str, ...] = ()
    rule: Callable[[dict[str, Any], str], None] | None = None

    def check(self, value: object, path: str) -> None:
        """Check type, unknown keys, missing keys, then each field in the order of the declaration."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        for key in value:
            if key not in self.fields:
                raise unknown_parameter(_join_path(path, key))
        for key in self.required:
            if key not in value:
                raise missing_parameter(_join_path(path, key))
        for key, schema in self.fields.items():
            if key in value:
                schema.check(value[key], _join_path(path, key))
        if self.rule is not None:
            self.rule(value, path)


@dataclass(frozen=True, slots=True)
class Mappings:
    """A mapping with free keys, whose values are strings or null."""

    def check(self, value: object, path: str) -> None:
        """Check the type of the mapping and of each value."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        for key, item in value.items():
            if item is not None and not isinstance(item, str):
                raise wrong_type(_join_path(path, key), "a string or null", item)


@dataclass(frozen=True, slots=True)
class Union:
    """One of several objects, told apart by the field ``type``."""

    variants: Mapping[str, Object]

    def check(self, value: object, path: str) -> None:
        """Check the discriminator, then the variant that it names."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        where = _join_path(path, "type")
        if "type" not in value:
            raise missing_parameter(where)
        names = tuple(self.variants)
        Enum(names).check(value["type"], where)
        self.variants[value["type"]].check(value, path)


def unknown_parameter(path: str) -> InvalidRequestError:
    """The error for a field that the API does not know."""
    shown = path if len(path) <= 4 * _ECHO_LIMIT else f"{path[: 4 * _ECHO_LIMIT]}…"
    return InvalidRequestError(f"Unknown parameter: '{shown}'.", param=shown, code="unknown_parameter")


def missing_parameter(path: str) -> InvalidRequestError:
    """The error for a field that is not there."""
    return InvalidRequestError(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )


def join(values: tuple[str, ...], word: str) -> str:
    """Quote and join: ``'a' and 'b'``, ``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return f" {word} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {word} {quoted[-1]}"


def _join_path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _short(value: float) -> str:
    # An integer of any size can come; str() of a huge one is refused by the interpreter.
    return str(value) if abs(value) < 10**18 else "a number outside that range"
