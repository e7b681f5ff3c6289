"""Containers: create, retrieve, list, delete."""

from __future__ import annotations

from typing import Final

from airflow_containers.api.endpoints._call import Call, Order, page_query, path_with
from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import (
    Container,
    ContainerPage,
    CreateContainerRequest,
    DeletedContainer,
)

_CONTAINER: Final = "/containers/{container_id}"


def create_container(request: CreateContainerRequest) -> Call[Container]:
    """``POST /containers``. Not repeatable: the API has no idempotency key."""
    if not isinstance(request, CreateContainerRequest):
        raise InvalidRequestError(f"request: got {type(request).__name__}, expected a CreateContainerRequest")
    return Call("POST", "/containers", Container, body=request, repeatable=False, subject=request.name)


def retrieve_container(container_id: str) -> Call[Container]:
    """``GET /containers/{container_id}``. Refreshes the container's idle clock."""
    return Call(
        "GET",
        path_with(_CONTAINER, container_id=container_id),
        Container,
        about_container=True,
    )


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
    query = page_query(after, limit, order)
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
        path_with(_CONTAINER, container_id=container_id),
        DeletedContainer,
        about_container=True,
        body_optional=True,
    )
