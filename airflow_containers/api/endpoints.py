"""The operations of the API, each written once.

A function takes typed arguments, checks them, and returns a :class:`Call`; the clients only send it.
Paths and parameters are those of the published OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar
from urllib.parse import quote

from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import (
    Container,
    ContainerPage,
    CreateContainerRequest,
    DeletedContainer,
    ResponseModel,
)

ResponseT = TypeVar("ResponseT", bound=ResponseModel)
Order = Literal["asc", "desc"]

MAX_PAGE_SIZE = 100
"""Containers on one page (``limit`` of the list call); the service's default is 20."""

MAX_ID_LENGTH = 512
"""Characters of an id. OpenAI's have 53; gateways wrap them into longer ones."""


@dataclass(frozen=True, slots=True)
class Call(Generic[ResponseT]):
    """One request, ready to be sent.

    :param method: HTTP method.
    :param path: path below the base URL, percent-encoded.
    :param response_model: what a 2xx answer is read as.
    :param query: query parameters.
    :param body: the request model that becomes the JSON body.
    :param repeatable: whether sending it twice has the effect of sending it once.
    :param about_container: whether a 404 means that the container is not there.
    :param body_optional: whether a 2xx answer without a readable body is complete.
    """

    method: str
    path: str
    response_model: type[ResponseT]
    query: Mapping[str, str] = field(default_factory=dict)
    body: CreateContainerRequest | None = field(default=None, repr=False)
    repeatable: bool = True
    about_container: bool = False
    body_optional: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def create_container(request: CreateContainerRequest) -> Call[Container]:
    """``POST /containers``. Not repeatable: the API has no idempotency key."""
    if not isinstance(request, CreateContainerRequest):
        raise InvalidRequestError(f"request: got {type(request).__name__}, expected a CreateContainerRequest")
    return Call("POST", "/containers", Container, body=request, repeatable=False)


def retrieve_container(container_id: str) -> Call[Container]:
    """``GET /containers/{container_id}``. Refreshes the container's idle clock."""
    return Call("GET", _container_path(container_id), Container, about_container=True)


def list_containers(
    *,
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
    name: str | None = None,
) -> Call[ContainerPage]:
    """``GET /containers``: one page.

    :param after: id of the last container of the page before.
    :param limit: containers on the page, 1 to 100; 20 if left out.
    :param order: by creation time, ``desc`` if left out.
    :param name: only containers of that name. Whether the service compares exactly is not documented.
    """
    query: dict[str, str] = {}
    if after is not None:
        query["after"] = _checked_id("after", after)
    if limit is not None:
        if type(limit) is not int or not 1 <= limit <= MAX_PAGE_SIZE:
            raise InvalidRequestError(f"limit: got {limit!r}, expected an integer from 1 to {MAX_PAGE_SIZE}")
        query["limit"] = str(limit)
    if order is not None:
        if str(order) not in ("asc", "desc"):
            raise InvalidRequestError(f"order: got {order!r}, expected 'asc' or 'desc'")
        query["order"] = order
    if name is not None:
        if type(name) is not str or not name:
            raise InvalidRequestError("name: expected a text of one character or more, or None for all")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise InvalidRequestError("name: it has half of a surrogate pair, which no URL can carry")
        query["name"] = name
    return Call("GET", "/containers", ContainerPage, query=query)


def delete_container(container_id: str) -> Call[DeletedContainer]:
    """``DELETE /containers/{container_id}``."""
    return Call(
        "DELETE",
        _container_path(container_id),
        DeletedContainer,
        about_container=True,
        body_optional=True,
    )


def _container_path(container_id: str) -> str:
    return f"/containers/{quote(_checked_id('container_id', container_id), safe='')}"


def _checked_id(field_name: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"{field_name}: got {type(value).__name__}, expected the id of a container, such as 'cntr_…'"
        )
    if not value or value in {".", "..", "None"} or len(value) > MAX_ID_LENGTH:
        raise InvalidRequestError(
            f"{field_name}: got a text of {len(value)} characters that is no id"
            f"{f' ({value!r})' if len(value) < 5 else ''}, expected the id of a container, such as 'cntr_…'"
        )
    if not value.isascii() or not value.isprintable() or any(character in value for character in " /\\?#%"):
        raise InvalidRequestError(
            f"{field_name}: {value[:60]!r} has characters that no id has "
            "(white space, a slash, or others with a meaning in a URL)"
        )
    return value
