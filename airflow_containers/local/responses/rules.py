"""Further kinds of rules for JSON values, for requests of many kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.schema import Array, Schema, missing_parameter, wrong_type


@dataclass(frozen=True, slots=True)
class Nullable:
    """What ``schema`` takes, or null."""

    schema: Schema

    def check(self, value: object, path: str) -> None:
        """Check what is not null."""
        if value is not None:
            self.schema.check(value, path)


@dataclass(frozen=True, slots=True)
class AtMost:
    """An array with an upper limit."""

    array: Array
    max_items: int

    def check(self, value: object, path: str) -> None:
        """Check the array, then its length."""
        self.array.check(value, path)
        if isinstance(value, list) and len(value) > self.max_items:
            raise InvalidRequestError(
                f"Invalid '{path}': array too long. Expected an array with maximum length {self.max_items}, "
                f"but got an array with length {len(value)} instead.",
                param=path,
                code="array_above_max_length",
            )


@dataclass(frozen=True, slots=True)
class Refused:
    """A field of the service that this server has no use for: null, or an error that says why."""

    reason: str

    def check(self, value: object, path: str) -> None:
        """Refuse everything but null."""
        if value is not None:
            raise unsupported(path, self.reason)


@dataclass(frozen=True, slots=True)
class TextOr:
    """A string, or what ``other`` takes.

    :param expected: the kinds, for the error.
    """

    text: Schema
    other: Schema
    expected: str
    kind: type = dict

    def check(self, value: object, path: str) -> None:
        """Check by the type of the value."""
        if isinstance(value, str):
            self.text.check(value, path)
        elif isinstance(value, self.kind):
            self.other.check(value, path)
        else:
            raise wrong_type(path, self.expected, value)


@dataclass(frozen=True, slots=True)
class Kinds:
    """One of several objects, told apart by ``type``; others are refused with the reason."""

    variants: Mapping[str, Schema]
    reason: str

    def check(self, value: object, path: str) -> None:
        """Check the discriminator, then the variant that it names."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        kind = value.get("type")
        if "type" not in value:
            raise missing_parameter(f"{path}.type")
        if not isinstance(kind, str):
            raise wrong_type(f"{path}.type", "a string", kind)
        if kind not in self.variants:
            raise InvalidRequestError(
                f"Invalid value: '{kind[:64]}'. {self.reason}", param=f"{path}.type", code="invalid_value"
            )
        self.variants[kind].check(value, path)


def unsupported(path: str, reason: str) -> InvalidRequestError:
    """The error for a field that the service has and this server has not."""
    return InvalidRequestError(
        f"Unsupported parameter: '{path}' is not supported by the local server: {reason}",
        param=path,
        code="unsupported_parameter",
    )


class Anything:
    """Any value."""

    def check(self, value: object, path: str) -> None:
        """Everything is fine."""
