"""Two clients for the API, and the only place that knows httpx.

What happens between the attempts of one call is written once, in :meth:`_BaseClient._exchange`: a
generator that asks for attempts and pauses. :class:`ContainersClient` and :class:`AsyncContainersClient`
only carry them out, so the two cannot drift apart.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from airflow_containers.api import _answers, _deadline, endpoints
from airflow_containers.api.endpoints import Call, Order, ResponseT
from airflow_containers.api.errors import ConfigurationError, InvalidResponseError
from airflow_containers.api.models import Container, ContainerPage, CreateContainerRequest, DeletedContainer
from airflow_containers.api.options import ClientOptions, reveal
from airflow_containers.api.redaction import Redactor
from airflow_containers.api.retry import NoAnswer, RetryPolicy, Sent, delay_before_next

logger = logging.getLogger(__name__)

MAX_CONNECT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""A page of 100 containers has about 50 KB; more than this is no answer of this API."""

_GRACE_SECONDS: Final = 0.5
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.LocalProtocolError,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@functools.lru_cache(maxsize=16)
def _tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context for ``verify``, made once per process: one costs tens of milliseconds."""
    if isinstance(verify, str):
        path = Path(verify).expanduser()
        try:
            if path.is_dir():
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"verify: {verify!r} cannot be read as a CA bundle ({type(error).__name__}); "
                "give the path of a PEM file or of a folder made by c_rehash"
            ) from None
    try:
        return httpx.create_ssl_context(verify=verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"verify: no CA bundle can be read ({type(error).__name__}); "
            "check the environment variables SSL_CERT_FILE and SSL_CERT_DIR, or set verify to a bundle"
        ) from None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Asks a driver to send the request once."""

    request: httpx.Request


@dataclass(frozen=True, slots=True)
class _Pause:
    """Asks a driver to wait."""

    seconds: float


_Step = _Attempt | _Pause
_Result = _answers.RawAnswer | _answers.Failure | None


class _BaseClient:
    """What both clients share: headers, the attempts of a call, and reading what came back."""

    def __init__(self, options: ClientOptions) -> None:
        self.options = options
        try:
            self._host = httpx.URL(options.base_url).host
        except httpx.InvalidURL:
            raise ConfigurationError(
                f"base_url: {options.base_url!r} is not a URL with a valid host name"
            ) from None
        self._policy = RetryPolicy(options.max_retries, options.max_elapsed)
        self._redactor = Redactor(options.secret_values())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.options.base_url}>"

    def _httpx_options(self, transport: object | None) -> dict[str, Any]:
        options = self.options
        try:
            proxy = httpx.Proxy(reveal(options.proxy)) if options.proxy is not None else None
        except (ValueError, httpx.InvalidURL):
            raise ConfigurationError(
                "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'"
            ) from None
        return {
            "headers": options.request_headers(),
            "timeout": httpx.Timeout(options.timeout, connect=min(options.timeout, MAX_CONNECT_SECONDS)),
            "verify": _tls_context(options.verify),
            # A proxy would take the requests away from a transport that is to be used instead of the network.
            "proxy": proxy if transport is None else None,
            "transport": transport,
            "follow_redirects": False,
        }

    def _exchange(self, call: Call[ResponseT], build_request: Any) -> Generator[_Step, _Result, ResponseT]:
        """Ask for attempts and pauses until ``call`` has an answer, or raise why it has none."""
        redactor = self._redactor
        if call.body is not None:
            redactor = redactor.extended(call.body.secret_values(), known=(call.body.name,))
        request = self._request(call, build_request)
        started = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            raw = yield _Attempt(request)
            if raw is None:
                raise TypeError("an attempt was answered by nothing")
            result = _answers.read(call, raw, redactor, self.options.base_url)
            if not isinstance(result, _answers.Refused):
                return result
            delay = delay_before_next(
                result.outcome,
                attempt=attempt,
                elapsed=time.monotonic() - started,
                repeatable=call.repeatable,
                policy=self._policy,
            )
            if delay is None:
                raise result.error from None
            logger.warning(
                "%s; trying again in %.1f s (attempt %d of %d)",
                result.error,
                delay,
                attempt + 1,
                self._policy.max_retries + 1,
            )
            yield _Pause(delay)

    def _request(self, call: Call[Any], build_request: Any) -> httpx.Request:
        # Apart, so that the body, which holds secrets, is in no frame that an error's traceback shows.
        body = call.body
        request: httpx.Request = build_request(
            call.method,
            self.options.base_url + call.path,
            params=dict(call.query) or None,
            content=body.to_wire() if body is not None else None,
            headers={"content-type": "application/json"} if body is not None else None,
        )
        return request

    def _next_page(
        self, page: ContainerPage, order: Order | None, limit: int, name: str | None, seen: set[str]
    ) -> Call[ContainerPage] | None:
        """Return the call for the page after ``page``, or ``None`` after the last one.

        ``last_id`` is not used: the official client goes by the last entry, and servers are tested with it.

        :param seen: the last ids of the pages before; this page's is added.
        """
        if page.has_more is False or not page.data:
            return None
        last = page.data[-1].id
        if last in seen:
            raise InvalidResponseError(
                f"GET /containers: two pages end with {last}; the server does not page as this API does"
            )
        seen.add(last)
        return endpoints.list_containers(after=last, limit=limit, order=order, name=name)


class ContainersClient(_BaseClient):
    """A client for plain code. Safe to share between threads, not between processes.

    :param options: where and how to reach the API.
    :param transport: an httpx transport to use instead of the network, for tests.
    :raises ConfigurationError: if the options cannot work.
    """

    def __init__(self, options: ClientOptions, *, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(options)
        self._http = _made(httpx.Client, self._httpx_options(transport))
        _deadline.bound([self._http._transport, *self._http._mounts.values()])  # noqa: SLF001 - see there

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def send(self, call: Call[ResponseT]) -> ResponseT:
        """Send ``call``, again where that is safe, and return its answer.

        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`.
        """
        steps = self._exchange(call, self._http.build_request)
        result: _Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as stop:
                answer: ResponseT = stop.value
                return answer
            if isinstance(step, _Pause):
                time.sleep(step.seconds)
                result = None
            else:
                result = self._attempt(step.request)

    def _attempt(self, request: httpx.Request) -> _answers.RawAnswer | _answers.Failure:
        ends_at = time.monotonic() + self.options.timeout
        response = None
        try:
            with _deadline.deadline(self.options.timeout):
                response = self._http.send(request, stream=True)
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        return _too_long(response)
                    if time.monotonic() > ends_at:
                        return _too_slow(self.options.timeout)
                return _raw(response, bytes(body))
        except TimeoutError:
            return _too_slow(self.options.timeout)
        except httpx.HTTPError as error:
            return _failure(error, self.options.timeout, self._host)
        finally:
            if response is not None:
                response.close()

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
        call: Call[ContainerPage] | None = endpoints.list_containers(limit=limit, order=order, name=name)
        seen: set[str] = set()
        while call is not None:
            page = self.send(call)
            # First of all, so that a page that came before is refused and not given out twice.
            call = self._next_page(page, order, limit, name, seen)
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
        self._http = _made(httpx.AsyncClient, self._httpx_options(transport))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, call: Call[ResponseT]) -> ResponseT:
        """Send ``call``, again where that is safe, and return its answer.

        :raises ContainersError: one of the errors of :mod:`airflow_containers.api.errors`.
        """
        steps = self._exchange(call, self._http.build_request)
        result: _Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as stop:
                answer: ResponseT = stop.value
                return answer
            if isinstance(step, _Pause):
                await asyncio.sleep(step.seconds)
                result = None
            else:
                result = await self._attempt(step.request)

    async def _attempt(self, request: httpx.Request) -> _answers.RawAnswer | _answers.Failure:
        response = None
        try:
            # A little more than one read may take, so that a connection that fails is known as such.
            async with asyncio.timeout(self.options.timeout + _GRACE_SECONDS):
                response = await self._http.send(request, stream=True)
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        return _too_long(response)
                return _raw(response, bytes(body))
        except TimeoutError:
            return _too_slow(self.options.timeout)
        except httpx.HTTPError as error:
            return _failure(error, self.options.timeout, self._host)
        finally:
            if response is not None:
                await response.aclose()

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
        call: Call[ContainerPage] | None = endpoints.list_containers(limit=limit, order=order, name=name)
        seen: set[str] = set()
        while call is not None:
            page = await self.send(call)
            call = self._next_page(page, order, limit, name, seen)
            for container in page.data:
                yield container

    async def delete(self, container_id: str) -> DeletedContainer:
        """Delete a container and everything in it.

        :raises ContainerGoneError: if it was gone already; whether that matters is the caller's choice.
        """
        return await self.send(endpoints.delete_container(container_id))


HttpT = TypeVar("HttpT")


def _made(kind: Callable[..., HttpT], options: Mapping[str, Any]) -> HttpT:
    """Return an httpx client; what the environment's proxies make impossible is said in our words."""
    try:
        return kind(**options)
    except (ImportError, ValueError, httpx.InvalidURL):
        raise ConfigurationError(
            "proxy: none can be used as it is set; expected http or https URLs in the option and in the "
            "environment variables HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, and host names in NO_PROXY"
        ) from None


def _raw(response: httpx.Response, body: bytes) -> _answers.RawAnswer:
    return _answers.RawAnswer(response.status_code, response.headers, body)


def _too_long(response: httpx.Response) -> _answers.Failure:
    return _answers.Failure(
        NoAnswer(Sent.PERHAPS, hopeless=True),
        f"its answer (HTTP {response.status_code}) has more than {MAX_ANSWER_BYTES} bytes",
    )


def _too_slow(seconds: float) -> _answers.Failure:
    return _answers.Failure(NoAnswer(Sent.PERHAPS), f"no complete answer within {seconds:g} s", timeout=True)


def _failure(error: httpx.HTTPError, timeout: float, host: str) -> _answers.Failure:
    """Describe a failed attempt. The text never quotes the error where that may carry a URL or a header."""
    sent = Sent.NO if isinstance(error, _NOT_SENT) else Sent.PERHAPS
    if isinstance(error, httpx.ConnectTimeout):
        seconds = min(timeout, MAX_CONNECT_SECONDS)
        return _answers.Failure(NoAnswer(sent), f"no connection to {host} within {seconds:g} s", timeout=True)
    if isinstance(error, httpx.TimeoutException):
        return replace(_too_slow(timeout), outcome=NoAnswer(sent))
    if isinstance(error, httpx.ProxyError):
        return _answers.Failure(NoAnswer(sent), f"the proxy gave no connection to {host}: {error}")
    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLError):
        untrusted = isinstance(cause, ssl.SSLCertVerificationError)
        why = getattr(cause, "verify_message", None) or cause.reason or "no reason given"
        advice = "; set verify to the CA bundle that signed it" if untrusted else ""
        return _answers.Failure(
            NoAnswer(sent, hopeless=untrusted and sent is Sent.NO), f"TLS with {host} failed: {why}{advice}"
        )
    if isinstance(error, httpx.DecodingError):
        return _answers.Failure(NoAnswer(Sent.PERHAPS), "the answer's content encoding is broken")
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError):
        return _answers.Failure(NoAnswer(sent), f"no connection to {host}: {text}")
    return _answers.Failure(NoAnswer(sent), f"the connection broke: {text}")


def _root_cause(error: BaseException) -> BaseException:
    # A chain may lead back to itself: nothing keeps anybody from raising an error from itself.
    seen = {id(error)}
    while (cause := error.__cause__ or error.__context__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        error = cause
    return error
