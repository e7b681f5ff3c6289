"""One request, ready to be sent, and what all kinds of requests share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar
from urllib.parse import quote

from airflow_containers.api.bodies import Body, JsonBody
from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import CreateContainerRequest, RequestModel, ResponseModel

ResponseT = TypeVar("ResponseT", bound=ResponseModel)
Order = Literal["asc", "desc"]

MAX_PAGE_SIZE: Final = 100
"""Entries on one page (``limit`` of the list calls); the service's default is 20."""

MAX_ID_LENGTH: Final = 512
"""Characters of an id. OpenAI's have 53; gateways wrap them into longer ones."""


@dataclass(frozen=True, slots=True)
class Call(Generic[ResponseT]):
    """One request, ready to be sent.

    :param method: HTTP method.
    :param path: path below the base URL, percent-encoded.
    :param response_model: what a 2xx answer is read as.
    :param query: query parameters.
    :param body: the request model that becomes the JSON body, or a body that is read while it is sent.
    :param headers: more headers of this request.
    :param repeatable: whether sending it twice has the effect of sending it once.
    :param about_container: whether a 404 that speaks of a container means that this one is not there.
    :param about_file: whether a 404 that speaks of a file means that the container has no such file.
    :param body_optional: whether a 2xx answer without a readable body is complete.
    :param subject: name of what is made by it, for the error that asks to look for that.
    """

    method: str
    path: str
    response_model: type[ResponseT]
    query: Mapping[str, str] = field(default_factory=dict)
    body: RequestModel | Body | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    about_container: bool = False
    about_file: bool = False
    body_optional: bool = False
    subject: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def creates_container(self) -> bool:
        """Whether it makes a container, for which other rules hold than for a file."""
        return isinstance(self.body, CreateContainerRequest)

    def sent_body(self) -> Body | None:
        """Return the body as it is sent: a request model as JSON, encoded while it is sent if it can be."""
        body = self.body
        if isinstance(body, RequestModel):
            to_body = getattr(body, "to_body", None)
            return to_body() if to_body is not None else JsonBody(body.to_wire())
        return body


def page_query(
    after: str | None, limit: int | None, order: str | None, *, most: int = MAX_PAGE_SIZE
) -> dict[str, str]:
    """Return the query of a list call.

    :param after: id of the last entry of the page before.
    :param limit: entries on the page, 1 to ``most``.
    :param order: ``asc`` or ``desc``, by time of creation.
    """
    query: dict[str, str] = {}
    if after is not None:
        query["after"] = checked_id("after", after)
    if limit is not None:
        if type(limit) is not int or not 1 <= limit <= most:
            raise InvalidRequestError(f"limit: got {limit!r}, expected an integer from 1 to {most}")
        query["limit"] = str(limit)
    if order is not None:
        if str(order) not in ("asc", "desc"):
            raise InvalidRequestError(f"order: got {order!r}, expected 'asc' or 'desc'")
        query["order"] = order
    return query


def path_with(template: str, **ids: str) -> str:
    """Return a path with checked, percent-encoded ids in it."""
    known = {name: quote(checked_id(name, value), safe="") for name, value in ids.items()}
    return template.format_map(known)


_ID_OF = {
    "file_id": ("a file", "cfile_… or file-…"),
    "skill_id": ("a skill", "skill_…"),
    "upload_id": ("an upload", "upload_…"),
}


def checked_id(field_name: str, value: str) -> str:
    """Return an id that can stand in a URL.

    :raises InvalidRequestError: if it is none.
    """
    what, example = _ID_OF.get(field_name, ("a container", "cntr_…"))
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"{field_name}: got {type(value).__name__}, expected the id of {what}, such as '{example}'"
        )
    if not value or value in {".", "..", "None"} or len(value) > MAX_ID_LENGTH:
        raise InvalidRequestError(
            f"{field_name}: got a text of {len(value)} characters that is no id"
            f"{f' ({value!r})' if len(value) < 5 else ''}, expected the id of {what}, such as '{example}'"
        )
    if not value.isascii() or not value.isprintable() or any(character in value for character in " /\\?#%"):
        raise InvalidRequestError(
            f"{field_name}: {value[:60]!r} has characters that no id has "
            "(white space, a slash, or others with a meaning in a URL)"
        )
    return value
