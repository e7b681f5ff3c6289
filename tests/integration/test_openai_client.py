"""OpenAI's own package against the local server."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.support.skill_zip import inline_skill


@pytest.fixture(scope="module")
def process() -> Iterator[LocalServer]:
    """One server for this module."""
    with LocalServer(api_key="sk-right") as server:
        yield server


@pytest.fixture
def server(process: LocalServer) -> LocalServer:
    """That server, emptied."""
    process.reset()
    return process


@pytest.fixture
def client(server: LocalServer) -> Iterator[openai.OpenAI]:
    """The package's client, which never retries."""
    with openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


def test_the_life_of_a_container(server: LocalServer, client: openai.OpenAI) -> None:
    """Create with everything, retrieve, list, delete, gone."""
    server.add_file("file-1")
    server.add_skill("skill_1")
    created = client.containers.create(
        name="n",
        expires_after={"anchor": "last_active_at", "minutes": 5},
        file_ids=["file-1"],
        memory_limit="4g",
        network_policy={
            "type": "allowlist",
            "allowed_domains": ["api.example.com"],
            "domain_secrets": [{"domain": "api.example.com", "name": "API_KEY", "value": "v"}],
        },
        skills=[
            {"type": "skill_reference", "skill_id": "skill_1", "version": "latest"},
            inline_skill(),  # type: ignore[list-item]
        ],
    )
    retrieved = client.containers.retrieve(created.id)
    listed = client.containers.list()

    assert ("n", "running", "4g", 5) == (
        created.name,
        created.status,
        created.memory_limit,
        created.expires_after.minutes if created.expires_after else None,
    )
    assert created.network_policy is not None
    assert ("allowlist", ["api.example.com"]) == (
        created.network_policy.type,
        created.network_policy.allowed_domains,
    )
    assert created.id == retrieved.id == listed.data[0].id
    assert created.to_dict().keys() == retrieved.to_dict().keys()
    client.containers.delete(created.id)
    assert [] == client.containers.list().data
    with pytest.raises(openai.NotFoundError) as caught:
        client.containers.retrieve(created.id)
    assert (f"Container with id '{created.id}' not found.", None, None) == (
        caught.value.body["message"],  # type: ignore[index]
        caught.value.code,
        caught.value.param,
    )
    assert (caught.value.request_id or "").startswith("req_")
    server.assert_nothing_left()


def test_auto_paging_finds_everything_once(client: openai.OpenAI) -> None:
    """The package's iterator walks all pages, with and without the name filter."""
    ids = [client.containers.create(name=f"n{number % 2}").id for number in range(25)]

    assert ids[::-1] == [container.id for container in client.containers.list(limit=4)]
    assert ids == [container.id for container in client.containers.list(limit=7, order="asc")]
    assert ids[::2] == [container.id for container in client.containers.list(limit=3, order="asc", name="n0")]


async def test_the_asynchronous_client(server: LocalServer) -> None:
    """The same calls, asynchronously."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        ids = [(await client.containers.create(name="n")).id for _ in range(3)]
        assert ids[::-1] == [container.id async for container in client.containers.list(limit=2)]
        assert "running" == (await client.containers.retrieve(ids[0])).status
        for container_id in ids:
            await client.containers.delete(container_id)
        with pytest.raises(openai.NotFoundError):
            await client.containers.delete(ids[0])
    server.assert_nothing_left()


def test_a_bad_request_names_code_and_param(client: openai.OpenAI) -> None:
    """The package finds message, code, param and type in the envelope."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.containers.create(name="n", expires_after={"anchor": "last_active_at", "minutes": 21})

    assert ("integer_above_max_value", "expires_after.minutes", "invalid_request_error") == (
        caught.value.code,
        caught.value.param,
        caught.value.type,
    )
    with pytest.raises(openai.BadRequestError) as caught:
        client.containers.create(name="n", extra_body={"environment": {}})
    assert ("unknown_parameter", "environment") == (caught.value.code, caught.value.param)


def test_a_wrong_key(server: LocalServer) -> None:
    """The package reports authentication, and the key that was sent is not in the message."""
    with (
        openai.OpenAI(base_url=server.base_url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.containers.list()

    assert "invalid_api_key" == caught.value.code
    assert "sk-wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, openai.PermissionDeniedError),
        (409, openai.ConflictError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_ordered_errors(
    server: LocalServer, client: openai.OpenAI, status: int, error: type[openai.APIStatusError]
) -> None:
    """A status that was ordered becomes the package's exception."""
    server.order_fault(status=status)

    with pytest.raises(error):
        client.containers.create(name="n")


def test_ordered_connection_errors(server: LocalServer, client: openai.OpenAI) -> None:
    """A reset and a truncated answer are connection errors."""
    for fault in ({"reset": True}, {"truncate": True}):
        server.order_fault(**fault)
        with pytest.raises(openai.APIConnectionError):
            client.containers.create(name="n")


def test_the_retries_of_the_package(server: LocalServer) -> None:
    """Two failures are retried, as the header asks; the journal shows the count of each attempt."""
    server.order_fault(method="POST", status=503, times=2, headers={"retry-after-ms": "1"})
    with openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=2) as client:
        client.containers.create(name="n")

    entries = server.assert_requested("POST", "/v1/containers", times=3)
    assert [503, 503, 200] == [entry.status for entry in entries]
    assert ["0", "1", "2"] == [entry.headers["x-stainless-retry-count"] for entry in entries]
