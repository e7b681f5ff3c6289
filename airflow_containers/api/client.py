"""Two clients for the API.

What happens between the attempts of one call is written once, in :mod:`airflow_containers.api._exchange`, and
what happens in one attempt in :mod:`airflow_containers.api._http`. :class:`ContainersClient` and
:class:`AsyncContainersClient` only carry the steps out, so the two cannot drift apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow_containers.api import _http, _threads, endpoints
from airflow_containers.api._exchange import Exchange, Opened, Pause, Result, Step
from airflow_containers.api.endpoints import Call, Order, ResponseT
from airflow_containers.api.errors import InvalidRequestError, InvalidResponseError
from airflow_containers.api.models import (
    Container,
    ContainerPage,
    Content,
    CreateContainerRequest,
    DeletedContainer,
    Page,
)
from airflow_containers.api.options import ClientOptions
from airflow_containers.api.transfers import Downloaded, Receiving, Streamed

if TYPE_CHECKING:
    import httpx

PageT = TypeVar("PageT", bound=Page)


class _BaseClient:
    """What both clients share: how they look, and reading one page after the other."""

    def __init__(self, options: ClientOptions) -> None:
        self.options = options
        self._exchange = Exchange(options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.options.base_url}>"


def _readable(call: Call[ResponseT]) -> Call[ResponseT]:
    if issubclass(call.response_model, Content):
        raise InvalidRequestError(f"{call}: it is answered by bytes, use download or stream")
    return call


def _next_page(call: Call[PageT], page: PageT, seen: set[str]) -> Call[PageT] | None:
    """Return the call for the page after ``page``, or ``None`` after the last one.

    ``last_id`` is not used: the official client goes by the last entry, and servers are tested with it.

    :param seen: the last ids of the pages before; this page's is added.
    """
    ids = page.entry_ids
    if page.has_more is False or not ids:
        return None
    last = ids[-1]
    if last in seen:
        raise InvalidResponseError(
            f"{call}: two pages end with {last}; the server does not page as this API does"
        )
    seen.add(last)
    return replace(call, query={**call.query, "after": last})


class ContainersClient(_BaseClient):
    """A client for plain code. Safe to share between threads, not between processes.

    :param options: where and how to reach the API.
    :param transport: an httpx transport to use instead of the network, for tests.
    :raises ConfigurationError: if the options cannot work.
    """

    def __init__(self, options: ClientOptions, *, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(options)
        self._wire = _http.Wire(options, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    def send(self, call: Call[ResponseT]) -> ResponseT:
        """Send ``call``, again where that is safe, and return its answer.

        A body that is a file is read while it is sent; then ``options.timeout`` is how long nothing may move.

        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`.
        """
        answer: ResponseT = self._carry_out(self._exchange.steps(_readable(call)))
        return answer

    def _carry_out(self, steps: Generator[Step, Result, Any]) -> Any:
        result: Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as stop:
                return stop.value
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                result = None
            else:
                result = self._wire.attempt(step)

    def pages(self, call: Call[PageT]) -> Iterator[PageT]:
        """Yield the answers to a list call, page after page, holding one page at a time.

        A page that came before is refused before it is given out: a server that ignores the cursor would
        never come to an end.

        :param call: the first page; :mod:`airflow_containers.api.endpoints` makes it.
        """
        following: Call[PageT] | None = call
        seen: set[str] = set()
        while following is not None:
            page = self.send(following)
            following = _next_page(following, page, seen)
            yield page

    def download(
        self,
        call: Call[Content],
        target: Path,
        *,
        expected_bytes: int | None = None,
        progress: Callable[[int], None] | None = None,
        on_size: Callable[[int], None] | None = None,
    ) -> Downloaded:
        """Save the content of a file.

        The status is checked before the first byte is written, what arrives has a temporary name beside
        ``target``, and only a complete file takes its place. A download that breaks off goes on where it
        was, if the server offers that, or begins again. ``options.timeout`` is how long nothing may move.

        :param call: a call for a file's content.
        :param target: path of the file to be; its folder must be there.
        :param expected_bytes: size that the file must have, if known.
        :param progress: called with the bytes received so far, perhaps in another thread; what it raises
            ends the download.
        :param on_size: called with the size that the server announces, if it does, before a byte is written;
            what it raises ends the download.
        :raises LocalFileError: if it cannot be written, such as when the disk is full.
        :raises InvalidResponseError: if what came is not the file.
        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`.
        """
        receiving = Receiving(target, expected_bytes, progress, on_size)
        try:
            receiving.open()
            self._carry_out(self._exchange.steps(call, receiving=receiving))
            return receiving.commit()
        finally:
            receiving.discard()

    def stream(
        self, call: Call[Content], *, expected_bytes: int | None = None
    ) -> AbstractContextManager[Streamed[Iterator[bytes]]]:
        """Receive the content of a file piece by piece, once its status was checked.

        What breaks off on the way is an error and is not resumed. The connection is closed at the end of
        the block.

        :param call: a call for a file's content.
        :param expected_bytes: size of the file, if known: a content of that size is no error of a gateway,
            whatever it looks like.
        :raises InvalidResponseError: if what begins to come is not the file.
        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`, also from the
            pieces.
        """
        return self._streamed(call, expected_bytes)

    @contextmanager
    def _streamed(
        self, call: Call[Content], expected_bytes: int | None
    ) -> Iterator[Streamed[Iterator[bytes]]]:
        steps = self._exchange.steps(call, keep_open=True, expected_bytes=expected_bytes)
        opened = self._carry_out(steps)
        try:
            yield Streamed(opened.size, self._pieces(call, opened))
        finally:
            opened.connection.close()

    def _pieces(self, call: Call[Content], opened: Opened[Any]) -> Iterator[bytes]:
        try:
            if opened.begun:
                yield opened.begun
            yield from opened.pieces
        except _http.BROKEN as error:
            failure = self._wire.failure(error, transfer=True)
        else:
            return
        raise self._exchange.broken(call, failure)

    def create(self, request: CreateContainerRequest) -> Container:
        """Create a container.

        :raises AmbiguousCreateError: if it may have been made and no usable answer came.
        :raises ContainersError: if it was not made.
        """
        return self.send(endpoints.create_container(request))

    def retrieve(self, container_id: str) -> Container:
        """Return a container's state. This touches it: the idle time starts again.

        :raises ContainerGoneError: if it was deleted, or expired long ago.
        """
        return self.send(endpoints.retrieve_container(container_id))

    def list(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        name: str | None = None,
    ) -> ContainerPage:
        """Return one page of containers, expired ones among them. Taken not to touch any of them.

        :param limit: containers on the page, 1 to 100; 20 if left out.
        """
        return self.send(endpoints.list_containers(after=after, limit=limit, order=order, name=name))

    def iterate(
        self,
        *,
        order: Order | None = None,
        name: str | None = None,
        limit: int = endpoints.MAX_PAGE_SIZE,
    ) -> Iterator[Container]:
        """Yield every container, page after page, holding one page at a time.

        :param limit: containers on a page, 1 to 100.
        """
        for page in self.pages(endpoints.list_containers(limit=limit, order=order, name=name)):
            yield from page.data

    def delete(self, container_id: str) -> DeletedContainer:
        """Delete a container and everything in it.

        :raises ContainerGoneError: if it was gone already; whether that matters is the caller's choice.
        """
        return self.send(endpoints.delete_container(container_id))


class AsyncContainersClient(_BaseClient):
    """A client for one event loop, with the operations of :class:`ContainersClient`.

    :param options: where and how to reach the API.
    :param transport: an httpx transport to use instead of the network, for tests.
    :raises ConfigurationError: if the options cannot work.
    """

    def __init__(self, options: ClientOptions, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(options)
        self._wire = _http.AsyncWire(options, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    async def send(self, call: Call[ResponseT]) -> ResponseT:
        """Send ``call``, again where that is safe, and return its answer.

        A body that is a file is read while it is sent; then ``options.timeout`` is how long nothing may move.

        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`.
        """
        answer: ResponseT = await self._carry_out(self._exchange.steps(_readable(call)))
        return answer

    async def _carry_out(self, steps: Generator[Step, Result, Any]) -> Any:
        result: Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as stop:
                return stop.value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                result = None
            else:
                result = await self._wire.attempt(step)

    async def pages(self, call: Call[PageT]) -> AsyncIterator[PageT]:
        """Yield the answers to a list call, page after page, holding one page at a time.

        A page that came before is refused before it is given out: a server that ignores the cursor would
        never come to an end.

        :param call: the first page; :mod:`airflow_containers.api.endpoints` makes it.
        """
        following: Call[PageT] | None = call
        seen: set[str] = set()
        while following is not None:
            page = await self.send(following)
            following = _next_page(following, page, seen)
            yield page

    async def download(
        self,
        call: Call[Content],
        target: Path,
        *,
        expected_bytes: int | None = None,
        progress: Callable[[int], None] | None = None,
        on_size: Callable[[int], None] | None = None,
    ) -> Downloaded:
        """Save the content of a file.

        The status is checked before the first byte is written, what arrives has a temporary name beside
        ``target``, and only a complete file takes its place. A download that breaks off goes on where it
        was, if the server offers that, or begins again. ``options.timeout`` is how long nothing may move.

        :param call: a call for a file's content.
        :param target: path of the file to be; its folder must be there.
        :param expected_bytes: size that the file must have, if known.
        :param progress: called with the bytes received so far, perhaps in another thread; what it raises
            ends the download.
        :param on_size: called with the size that the server announces, if it does, before a byte is written;
            what it raises ends the download.
        :raises LocalFileError: if it cannot be written, such as when the disk is full.
        :raises InvalidResponseError: if what came is not the file.
        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`.
        """
        receiving = Receiving(target, expected_bytes, progress, on_size)
        try:
            await _threads.run(receiving.open)
            await self._carry_out(self._exchange.steps(call, receiving=receiving))
            return await _threads.run(receiving.commit)
        finally:
            await _threads.run(receiving.discard)

    def stream(
        self, call: Call[Content], *, expected_bytes: int | None = None
    ) -> AbstractAsyncContextManager[Streamed[AsyncIterator[bytes]]]:
        """Receive the content of a file piece by piece, once its status was checked.

        What breaks off on the way is an error and is not resumed. The connection is closed at the end of
        the block.

        :param call: a call for a file's content.
        :param expected_bytes: size of the file, if known: a content of that size is no error of a gateway,
            whatever it looks like.
        :raises InvalidResponseError: if what begins to come is not the file.
        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`, also from the
            pieces.
        """
        return self._streamed(call, expected_bytes)

    @asynccontextmanager
    async def _streamed(
        self, call: Call[Content], expected_bytes: int | None
    ) -> AsyncIterator[Streamed[AsyncIterator[bytes]]]:
        steps = self._exchange.steps(call, keep_open=True, expected_bytes=expected_bytes)
        opened = await self._carry_out(steps)
        try:
            yield Streamed(opened.size, self._pieces(call, opened))
        finally:
            await opened.connection.aclose()

    async def _pieces(self, call: Call[Content], opened: Opened[Any]) -> AsyncIterator[bytes]:
        try:
            if opened.begun:
                yield opened.begun
            async for piece in opened.pieces:
                yield piece
        except _http.BROKEN as error:
            failure = self._wire.failure(error, transfer=True)
        else:
            return
        raise self._exchange.broken(call, failure)

    async def create(self, request: CreateContainerRequest) -> Container:
        """Create a container.

        :raises AmbiguousCreateError: if it may have been made and no usable answer came.
        :raises ContainersError: if it was not made.
        """
        return await self.send(endpoints.create_container(request))

    async def retrieve(self, container_id: str) -> Container:
        """Return a container's state. This touches it: the idle time starts again.

        :raises ContainerGoneError: if it was deleted, or expired long ago.
        """
        return await self.send(endpoints.retrieve_container(container_id))

    async def list(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        name: str | None = None,
    ) -> ContainerPage:
        """Return one page of containers, expired ones among them. Taken not to touch any of them.

        :param limit: containers on the page, 1 to 100; 20 if left out.
        """
        return await self.send(endpoints.list_containers(after=after, limit=limit, order=order, name=name))

    async def iterate(
        self,
        *,
        order: Order | None = None,
        name: str | None = None,
        limit: int = endpoints.MAX_PAGE_SIZE,
    ) -> AsyncIterator[Container]:
        """Yield every container, page after page, holding one page at a time.

        :param limit: containers on a page, 1 to 100.
        """
        call = endpoints.list_containers(limit=limit, order=order, name=name)
        async for page in self.pages(call):
            for container in page.data:
                yield container

    async def delete(self, container_id: str) -> DeletedContainer:
        """Delete a container and everything in it.

        :raises ContainerGoneError: if it was gone already; whether that matters is the caller's choice.
        """
        return await self.send(endpoints.delete_container(container_id))
