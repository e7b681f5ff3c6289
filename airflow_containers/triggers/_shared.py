"""What all triggers of one connection share in an event loop: a client, and a budget of requests.

A triggerer runs thousands of triggers in one loop. A client for each would cost a TLS context and a
connection pool each, and nobody would count their requests together.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import logging
import math
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

from airflow_containers.api.errors import AuthenticationError, InvalidResponseError, RateLimitError
from airflow_containers.hooks.container import ContainerHook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType
    from typing import Any

    from airflow_containers.api import (
        AsyncContainersClient,
        ClientOptions,
        Container,
        ContainerFile,
        ContainerFilePage,
        ContainerPage,
        DeletedContainer,
    )
    from airflow_containers.api.endpoints import Call
    from airflow_containers.api.models import ResponseModel

    ResponseT = TypeVar("ResponseT", bound=ResponseModel)

logger = logging.getLogger(__name__)

PAUSE_AFTER_429: Final = 2.0
"""Seconds without requests after an answer 429 that names no time."""

MAX_PAUSE: Final = 120.0
"""Seconds; a service that asks for a longer pause is asked again after this one."""

SECONDS_BETWEEN_WARNINGS: Final = 300.0


class RequestBudget:
    """Paces requests: at most so many in any minute, one at a time, and those that cannot wait go first.

    It belongs to one event loop and is used from that loop only. It has no task of its own: a heap, and one
    timer while somebody waits.

    :param conn_id: the connection, for messages.
    :param requests_per_minute: 1 or more.
    """

    def __init__(self, conn_id: str, requests_per_minute: int) -> None:
        self._conn_id = conn_id
        self._interval = 60 / requests_per_minute
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._alive = 0
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._free_at = -math.inf
        self._granted: tuple[asyncio.Future[None], float] | None = None
        self._warned_at = -math.inf

    def __repr__(self) -> str:
        return f"<RequestBudget {self._conn_id!r} {60 / self._interval:g}/min, {self._alive} waiting>"

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._alive

    def set_rate(self, requests_per_minute: int) -> None:
        """Change the rate for what comes after the next request."""
        self._interval = 60 / requests_per_minute

    def pause(self, seconds: float) -> None:
        """Let nothing through for ``seconds`` from now."""
        self._free_at = max(self._free_at, asyncio.get_running_loop().time() + seconds)

    async def slot(self, within: float) -> None:
        """Wait until one request may be sent. Whoever is cancelled while waiting takes no slot.

        :param within: seconds from now after which the request is late. The order of those who wait is that
            of their ends; nobody is refused for being late.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._alive and now >= self._free_at:
            self._free_at = now + self._interval
            return
        self._warn_if_late(now, within)
        waiter: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (now + within, next(self._numbers), waiter))
        self._alive += 1
        self._arm(loop)
        try:
            await waiter
        except asyncio.CancelledError:
            self._leave(waiter, loop)
            raise

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._alive:
            self._timer = loop.call_at(self._free_at, self._grant, loop)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _grant(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while now >= self._free_at and self._waiting:
            _, _, waiter = heapq.heappop(self._waiting)
            if waiter.done():
                continue
            self._granted = waiter, now
            self._free_at = now + self._interval
            self._alive -= 1
            waiter.set_result(None)
        self._arm(loop)

    def _leave(self, waiter: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
        if waiter.cancelled():
            self._alive -= 1
            if not self._alive:
                # Without this the timer would keep a loop alive that nobody uses any more.
                self._waiting.clear()
                self._disarm()
        elif self._granted is not None and self._granted[0] is waiter:
            # Its turn had come in the moment in which it was cancelled: the next one has it.
            self._free_at = min(self._free_at, self._granted[1])
            self._disarm()
            self._arm(loop)

    def _warn_if_late(self, now: float, within: float) -> None:
        last = max(self._free_at - now, 0) + self._alive * self._interval
        if last <= within or now - self._warned_at < SECONDS_BETWEEN_WARNINGS:
            return
        self._warned_at = now
        logger.warning(
            "Connection %r: %d requests wait for their turn. At %g a minute one may be sent in %.0f s; "
            "%.0f s would be in time. So checks come late, and containers may expire. Raise "
            "requests_per_minute in the connection if the service allows it, or wait for fewer containers",
            self._conn_id,
            self._alive + 1,
            60 / self._interval,
            last,
            max(within, 0),
        )


@dataclasses.dataclass(slots=True, eq=False)
class _Lease:
    """A client that is closed once it is retired and nothing is under way."""

    client: AsyncContainersClient
    under_way: int = 0
    retired: bool = False

    async def close_if_done(self) -> None:
        if self.retired and not self.under_way:
            await self.client.close()


class SharedService:
    """The client and the budget of one connection in one event loop; see :func:`shared_service`.

    Every call waits for the budget, is one attempt, and raises the errors of
    :mod:`airflow_containers.api.errors`. After a 401 the connection is read again: if it has changed, the
    call is repeated once with what it says now. A 429 pauses all calls.

    :param conn_id: id of the connection.
    :param registry: where it is found by others.
    """

    def __init__(self, conn_id: str, registry: _Registry) -> None:
        self.conn_id = conn_id
        self.users = 0
        self._registry = registry
        self._lock = asyncio.Lock()
        self._lease: _Lease | None = None
        self._error: Exception | None = None

    async def retrieve(self, container_id: str, *, within: float) -> Container:
        """Return a container's state. This touches it.

        :param within: seconds from now after which it is late; see :meth:`RequestBudget.slot`.
        """
        from airflow_containers.api.endpoints import retrieve_container

        return await self._send(retrieve_container(container_id), within)

    async def find(self, container_id: str, *, name: str | None, within: float) -> Container | None:
        """Look for a container in the lists, newest first, which does not touch it.

        :param name: only among those of this name.
        :param within: seconds from now after which each page is late.
        :returns: ``None`` if it is on no page.
        """
        from airflow_containers.api.endpoints import MAX_PAGE_SIZE, list_containers

        def page(after: str | None) -> Call[ContainerPage]:
            return list_containers(after=after, limit=MAX_PAGE_SIZE, order="desc", name=name)

        async with aclosing(self._each(page, within)) as containers:
            async for container in containers:
                if container.id == container_id:
                    found: Container = container
                    return found
        return None

    async def files(self, container_id: str, *, within: float) -> list[ContainerFile]:
        """Return a container's files, newest first. This touches it.

        :param within: seconds from now after which each page is late.
        """
        from airflow_containers.api.endpoints import MAX_PAGE_SIZE, list_container_files

        def page(after: str | None) -> Call[ContainerFilePage]:
            return list_container_files(container_id, after=after, limit=MAX_PAGE_SIZE, order="desc")

        return [file async for file in self._each(page, within)]

    async def _each(
        self, make_call: Callable[[str | None], Call[Any]], within: float
    ) -> AsyncGenerator[Any, None]:
        """Yield what is on all pages of a list.

        :param make_call: makes the call for the page after an id.
        """
        after = None
        seen: set[str] = set()
        while True:
            call = make_call(after)
            page = await self._send(call, within)
            for entry in page.data:
                yield entry
            if page.has_more is False or not page.data:
                return
            after = page.data[-1].id
            if after in seen:
                raise InvalidResponseError(
                    f"GET {call.path}: two pages end with {after}; the server does not page as this API does"
                )
            seen.add(after)

    async def delete(self, container_id: str, *, within: float) -> DeletedContainer:
        """Delete a container.

        :param within: seconds from now after which it is late.
        """
        from airflow_containers.api.endpoints import delete_container

        return await self._send(delete_container(container_id), within)

    async def open(self) -> None:
        """Make the client unless there is one. All who come at the same time get the same, or its error."""
        async with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._lease is not None:
                return
            try:
                self._lease = _Lease(await self._make_client(await self._read_options()))
            except Exception as error:
                self._error = error
                # Those who come later may find the connection mended.
                self._registry.forget(self)
                raise

    async def close(self) -> None:
        """Close the client."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.retired = True
            await lease.close_if_done()

    async def _send(self, call: Call[ResponseT], within: float) -> ResponseT:
        renewed = False
        while True:
            await self._registry.budget(self.conn_id).slot(within)
            lease = self._lease
            if lease is None:
                raise RuntimeError(f"connection {self.conn_id!r}: the shared client was closed")
            lease.under_way += 1
            try:
                return await lease.client.send(call)
            except RateLimitError as error:
                if error.retryable:
                    seconds = max(error.retry_after or 0, PAUSE_AFTER_429)
                    self._registry.budget(self.conn_id).pause(min(seconds, MAX_PAUSE))
                raise
            except AuthenticationError:
                if renewed or not await self._renew(lease):
                    raise
                renewed = True
            finally:
                lease.under_way -= 1
                await lease.close_if_done()

    async def _renew(self, refused: _Lease) -> bool:
        """Replace the client that was refused if the connection has another key by now."""
        async with self._lock:
            if self._lease is not refused:
                return self._lease is not None
            try:
                options = await self._read_options()
                if options == refused.client.options:
                    return False
                self._lease = _Lease(await self._make_client(options))
            except Exception as error:  # noqa: BLE001 - the refusal is what the caller hears of
                logger.warning("Connection %r could not be read again: %s", self.conn_id, error)
                return False
            refused.retired = True
            logger.info("Connection %r has changed, its new fields are used from now on", self.conn_id)
            return True

    async def _read_options(self) -> ClientOptions:
        options = await ContainerHook(self.conn_id).aget_options()
        self._registry.budget(self.conn_id, options.requests_per_minute)
        # Each attempt is to be counted; when to try again is the trigger's business.
        return dataclasses.replace(options, max_retries=0)

    async def _make_client(self, options: ClientOptions) -> AsyncContainersClient:
        # In a thread: the first client of a process imports httpx and makes a TLS context.
        return await asyncio.to_thread(_new_client, self.conn_id, options)


def _new_client(conn_id: str, options: ClientOptions) -> AsyncContainersClient:
    from airflow_containers.api import AsyncContainersClient
    from airflow_containers.hooks import _connection

    try:
        return AsyncContainersClient(options)
    except ValueError as error:
        raise _connection.named(conn_id, error) from None


class _Registry:
    """The services and budgets of one event loop, by connection.

    Budgets stay when a service ends: what was sent a moment ago counts for whoever comes next.
    """

    def __init__(self) -> None:
        self.services: dict[str, SharedService] = {}
        self._budgets: dict[str, RequestBudget] = {}

    def service(self, conn_id: str) -> SharedService:
        if conn_id not in self.services:
            self.services[conn_id] = SharedService(conn_id, self)
        return self.services[conn_id]

    def budget(self, conn_id: str, requests_per_minute: int | None = None) -> RequestBudget:
        """Return a budget; with a rate it is made, or gets the new rate."""
        budget = self._budgets.get(conn_id)
        if budget is None:
            if requests_per_minute is None:
                raise RuntimeError(f"connection {conn_id!r}: it was not read yet")
            budget = self._budgets[conn_id] = RequestBudget(conn_id, requests_per_minute)
        elif requests_per_minute is not None:
            budget.set_rate(requests_per_minute)
        return budget

    def forget(self, service: SharedService) -> None:
        if self.services.get(service.conn_id) is service:
            del self.services[service.conn_id]


_registries: WeakKeyDictionary[asyncio.AbstractEventLoop, _Registry] = WeakKeyDictionary()
_registries_lock = threading.Lock()


def _registry() -> _Registry:
    """Return the registry of the running loop. A process may have several, each in its thread."""
    loop = asyncio.get_running_loop()
    with _registries_lock:
        if loop not in _registries:
            _registries[loop] = _Registry()
        return _registries[loop]


class shared_service:  # noqa: N801 - used as a function
    """Use the client and the budget that all users of a connection share in this event loop.

    The first user reads the connection, the last one closes the client::

        async with shared_service("openai_containers_default") as service:
            await service.retrieve(container_id, within=60)

    A class and no generator, since thousands of them are open at a time.

    :param conn_id: id of the connection.
    :raises ConfigurationError: on entering, if it is missing or wrong.
    """

    __slots__ = ("_conn_id", "_service")

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._service: SharedService | None = None

    async def __aenter__(self) -> SharedService:
        service = self._service = _registry().service(self._conn_id)
        service.users += 1
        try:
            await service.open()
        except BaseException:
            await self._leave()
            raise
        return service

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            service.users -= 1
            if not service.users:
                _registry().forget(service)
                await service.close()
