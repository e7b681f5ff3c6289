"""What all models share: strict in requests, lenient in answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)


def shown(value: str) -> str:
    """Quote an entry for a message, without the user information that somebody may have put into it."""
    if "@" in value:
        value = f"***@{value.rpartition('@')[2]}"
    return repr(value if len(value) <= 60 else f"{value[:57]}...")


def _printable(value: str) -> str:
    if not value.strip():
        raise ValueError("it is blank")
    if not value.isprintable():
        raise ValueError("it has a line break or another character that cannot be printed")
    return value


PrintableText = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
ListInput = BeforeValidator(lambda value: list(value) if isinstance(value, tuple) else value)


class RequestModel(BaseModel):
    """Base of what is sent: unknown fields are refused, unset ones left out, inputs kept out of errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @model_serializer(mode="wrap")
    def _omit_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    def to_wire(self) -> bytes:
        """Return the JSON body."""
        return self.model_dump_json().encode()


def _lenient_int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _lenient_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def lenient_mapping(value: Any) -> Any:
    return value if isinstance(value, dict | BaseModel) else None


def lenient_texts(value: Any) -> list[str] | None:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None


LenientInt = Annotated[int | None, BeforeValidator(_lenient_int)]
LenientText = Annotated[str | None, BeforeValidator(_lenient_text)]


class ResponseModel(BaseModel):
    """Base of what is read: unknown fields are kept, nulls and wrong types do not fail.

    A create answer that could not be read would lose a container that exists.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    def to_json(self) -> dict[str, Any]:
        """Return what the service sent, as plain JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


def identified(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, BaseModel) or _has_id(item)]


def _has_id(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), str) and bool(item["id"])


class Page(ResponseModel):
    """One page of any list. Entries without an id are left out: nothing can be done with them.

    Each kind of page says what its ``data`` is.
    """

    object: LenientText = None
    first_id: LenientText = None
    last_id: LenientText = None
    has_more: bool | None = None

    @property
    def entry_ids(self) -> list[str]:
        """Ids of the entries, in their order."""
        return [entry.id for entry in getattr(self, "data", ())]

    @field_validator("has_more", mode="before")
    @classmethod
    def _lenient_flag(cls, value: Any) -> bool | None:
        return value if isinstance(value, bool) else None


class Deleted(ResponseModel):
    """The answer to a delete; all fields optional, because some servers answer with no body."""

    id: LenientText = None
    object: LenientText = None
    deleted: bool | None = None

    @field_validator("deleted", mode="before")
    @classmethod
    def _lenient_flag(cls, value: Any) -> bool | None:
        return value if isinstance(value, bool) else None
