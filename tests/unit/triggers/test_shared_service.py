"""One client for all triggers of a connection and loop: who makes it, who closes it, what a refusal does."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest

from airflow_containers.api import (
    AuthenticationError,
    ClientOptions,
    ConfigurationError,
    Container,
    ContainerPage,
    QuotaExceededError,
    RateLimitError,
)
from airflow_containers.api.endpoints import Call
from airflow_containers.api.errors import InvalidResponseError
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.triggers import _shared
from airflow_containers.triggers._shared import shared_service


class Client:
    """A client that accepts some keys."""

    def __init__(self, options: ClientOptions, world: World) -> None:
        self.options = options
        self.world = world
        self.closed = False
        self.sent = 0

    async def send(self, call: Call[Any]) -> Any:
        """Answer one call."""
        assert not self.closed
        self.sent += 1
        await asyncio.sleep(0)
        assert not self.closed
        if self.world.answers:
            answer = self.world.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self.options.api_key.get_secret_value() != self.world.valid_key:
            raise AuthenticationError("HTTP 401: Incorrect API key", status_code=401)
        return Container(id="cntr_1", status="running")

    async def close(self) -> None:
        """Close it."""
        self.closed = True


class World:
    """Connections and clients, counted."""

    def __init__(self) -> None:
        self.key = self.valid_key = "sk-1"
        self.rate = 60_000
        self.reads = 0
        self.error: Exception | None = None
        self.clients: list[Client] = []
        self.answers: list[Any] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """What the connection says, and every client that was made from it."""
    world = World()

    async def aget_options(hook: ContainerHook) -> ClientOptions:
        world.reads += 1
        await asyncio.sleep(0.01)
        if world.error is not None:
            raise world.error
        return ClientOptions(api_key=world.key, requests_per_minute=world.rate, max_retries=2)

    def new_client(conn_id: str, options: ClientOptions) -> Client:
        world.clients.append(Client(options, world))
        return world.clients[-1]

    monkeypatch.setattr(ContainerHook, "aget_options", aget_options)
    monkeypatch.setattr(_shared, "_new_client", new_client)
    return world


async def touch(conn_id: str = "mine") -> Container:
    """Use the service once."""
    async with shared_service(conn_id) as service:
        return await service.retrieve("cntr_1", within=5)


async def test_one_client_for_all(world: World) -> None:
    """A hundred that come together read the connection once and share a client, closed after the last."""
    await asyncio.gather(*(touch() for _ in range(100)))
    assert 1 == world.reads
    (client,) = world.clients
    assert 100 == client.sent
    assert client.closed
    assert {} == _shared._registry().services


async def test_attempts_are_counted(world: World) -> None:
    """The client repeats nothing by itself: each attempt has to wait for the budget."""
    await touch()
    assert 0 == world.clients[0].options.max_retries


async def test_the_next_one_reads_anew(world: World) -> None:
    """After the last user has left, a changed connection is seen."""
    await touch()
    world.key = world.valid_key = "sk-2"
    await touch()
    assert 2 == world.reads
    assert ["sk-1", "sk-2"] == [client.options.api_key.get_secret_value() for client in world.clients]


async def test_connections_are_apart(world: World) -> None:
    """Each connection has its own client and budget."""
    await asyncio.gather(touch("mine"), touch("other"))
    assert 2 == len(world.clients)


async def test_loops_are_apart(world: World) -> None:
    """A client belongs to one loop; a process may have several."""

    async def hold() -> None:
        async with shared_service("mine"):
            await asyncio.to_thread(other.start)
            await asyncio.to_thread(other.join)

    other = threading.Thread(target=lambda: asyncio.run(touch()))
    await hold()
    assert 2 == len(world.clients)


def test_closed_loops_are_forgotten(world: World) -> None:
    """What belonged to a loop goes with it."""
    asyncio.run(touch())
    gc.collect()
    before = len(_shared._registries)
    asyncio.run(touch())
    gc.collect()
    assert before == len(_shared._registries)


async def test_the_first_may_be_cancelled(world: World) -> None:
    """Whoever makes the client may be cancelled meanwhile; the others are served."""
    tasks = [asyncio.ensure_future(touch()) for _ in range(3)]
    await asyncio.sleep(0.001)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert ["cntr_1", "cntr_1"] == [result.id for result in results[1:]]
    assert all(client.closed for client in world.clients)
    assert {} == _shared._registry().services


async def test_an_error_is_for_all_who_wait(world: World) -> None:
    """A missing connection is looked up once for those who wait, and again for those who come later."""
    world.error = ConfigurationError("Connection 'mine' does not exist")
    results = await asyncio.gather(*(touch() for _ in range(50)), return_exceptions=True)
    assert {ConfigurationError} == {type(result) for result in results}
    assert 1 == world.reads

    world.error = None
    assert "cntr_1" == (await touch()).id
    assert 2 == world.reads


async def test_budget_outlives_the_client(world: World) -> None:
    """Coming and going does not get around the budget."""
    world.rate = 600
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(4):
        await touch()
    assert 0.3 <= loop.time() - started


class TestRotatedKey:
    """A 401 in the middle of work."""

    async def test_new_key_is_used(self, world: World) -> None:
        """The connection is read again once for all, and nobody sees an error."""
        async with shared_service("mine") as service:
            await service.retrieve("cntr_1", within=5)
            world.key = world.valid_key = "sk-2"
            await asyncio.gather(*(service.retrieve("cntr_1", within=5) for _ in range(20)))
        assert 2 == world.reads
        assert 2 == len(world.clients)
        assert [True, True] == [client.closed for client in world.clients]

    async def test_same_key_is_not_tried_again(self, world: World) -> None:
        """A connection that has not changed means that the key is wrong."""
        world.valid_key = "sk-2"
        async with shared_service("mine") as service:
            with pytest.raises(AuthenticationError):
                await service.retrieve("cntr_1", within=5)
        assert 1 == world.clients[0].sent

    async def test_another_wrong_key(self, world: World) -> None:
        """The second refusal counts."""
        async with shared_service("mine") as service:
            world.key, world.valid_key = "sk-2", "sk-3"
            with pytest.raises(AuthenticationError):
                await service.retrieve("cntr_1", within=5)
        assert [1, 1] == [client.sent for client in world.clients]

    async def test_unreadable_connection(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """What is raised is the refusal; that the connection cannot be read is in the log."""
        caplog.set_level(logging.WARNING)
        async with shared_service("mine") as service:
            world.valid_key, world.error = "sk-2", RuntimeError("the secrets backend is away")
            with pytest.raises(AuthenticationError):
                await service.retrieve("cntr_1", within=5)
        assert "could not be read again: the secrets backend is away" in caplog.text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimitError("slow down", status_code=429, retry_after=7.0), 7.0),
        (RateLimitError("slow down", status_code=429), _shared.PAUSE_AFTER_429),
        (RateLimitError("slow down", status_code=429, retry_after=9999.0), _shared.MAX_PAUSE),
        (QuotaExceededError("spent", status_code=429, retry_after=7.0), 0),
    ],
    ids=["named", "not named", "very long", "quota"],
)
async def test_429_pauses_everybody(error: Exception, expected: float, world: World) -> None:
    """What the service asks of one request holds for all; a spent quota asks for nothing."""
    loop = asyncio.get_running_loop()
    async with shared_service("mine") as service:
        world.answers = [error]
        with pytest.raises(RateLimitError):
            await service.retrieve("cntr_1", within=5)
        assert expected == pytest.approx(_shared._registry().budget("mine")._free_at - loop.time(), abs=0.5)


class TestFind:
    """Looking through lists."""

    async def test_all_pages(self, world: World) -> None:
        """Every page is looked through until the container is there, and each waits for the budget."""
        pages = [
            ContainerPage(data=[Container(id=f"cntr_{page}{number}") for number in range(2)], has_more=True)
            for page in range(3)
        ]
        async with shared_service("mine") as service:
            world.answers = list(pages)
            found = await service.find("cntr_11", name=None, within=5)
            assert found is not None
            assert "cntr_11" == found.id
            assert 1 == len(world.answers)

    async def test_absent(self, world: World) -> None:
        """The last page without it is the end."""
        async with shared_service("mine") as service:
            world.answers = [ContainerPage(data=[Container(id="cntr_2")], has_more=False)]
            assert await service.find("cntr_1", name=None, within=5) is None

    async def test_endless(self, world: World) -> None:
        """A server that gives the same page for ever is found out."""
        page = ContainerPage(data=[Container(id="cntr_2")], has_more=True)
        async with shared_service("mine") as service:
            world.answers = [page, page]
            with pytest.raises(InvalidResponseError, match="two pages end with cntr_2"):
                await service.find("cntr_1", name=None, within=5)
