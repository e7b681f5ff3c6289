"""HTTP: one attempt of a request, and what became of it. The only module that knows httpx."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from airflow_containers.api import _answers, _deadline, _threads, transfers
from airflow_containers.api._exchange import Attempt, Opened, Received, Result
from airflow_containers.api.errors import ConfigurationError
from airflow_containers.api.options import ClientOptions, reveal
from airflow_containers.api.retry import NoAnswer, Sent
from airflow_containers.api.transfers import Receiving, Sending, UnusableAnswerError

MAX_CONNECT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""A page of 100 containers has about 50 KB; more than this is no answer of this API."""

BROKEN: Final = (httpx.HTTPError, TimeoutError)
"""What reading from an opened answer may raise."""

_GRACE_SECONDS: Final = 0.5
_PIECES_AT_A_TIME: Final = 2
"""Pieces of a body that a thread reads for the event loop at a time: a change of threads is not free."""

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


class _BaseWire:
    """What both kinds of connections share."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._timeout = options.timeout
        try:
            self._host = httpx.URL(options.base_url).host
        except httpx.InvalidURL:
            raise ConfigurationError(
                f"base_url: {options.base_url!r} is not a URL with a valid host name"
            ) from None

    def _httpx_options(self, transport: object | None) -> dict[str, Any]:
        options = self._options
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

    def _request(self, step: Attempt, build_request: Any, pieces: type[_Pieces]) -> httpx.Request:
        # Apart, so that the body, which may hold secrets, is in no frame that an error's traceback shows.
        headers = dict(step.headers)
        content: Any = step.data
        if step.data is not None:
            headers["content-type"] = "application/json"
        elif step.sending is not None:
            body = step.sending.body
            headers |= {"content-type": body.content_type, "content-length": str(body.length)}
            content = pieces(step.sending)
        request: httpx.Request = build_request(
            step.call.method,
            self._options.base_url + step.call.path,
            params=dict(step.call.query) or None,
            content=content,
            headers=headers or None,
        )
        return request

    def failure(self, error: httpx.HTTPError | TimeoutError, *, transfer: bool = False) -> _answers.Failure:
        """Return what an attempt amounts to that ended with an error."""
        if isinstance(error, TimeoutError):
            return _too_slow(self._timeout, transfer=transfer)
        return _failure(error, self._timeout, self._host, transfer=transfer)


class Wire(_BaseWire):
    """Connections for plain code.

    :param transport: an httpx transport to use instead of the network.
    """

    def __init__(self, options: ClientOptions, transport: httpx.BaseTransport | None) -> None:
        super().__init__(options)
        self._http = _made(httpx.Client, self._httpx_options(transport))
        _deadline.bound([self._http._transport, *self._http._mounts.values()])  # noqa: SLF001 - see there

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def attempt(self, step: Attempt) -> Result:
        """Send a request once.

        :raises LocalFileError: if a file of ours cannot be read or written.
        """
        response = opened = None
        try:
            with _deadline.deadline(self._timeout) as deadline:
                if step.sending is not None:
                    step.sending.begin(deadline.put_off)
                response = self._http.send(
                    self._request(step, self._http.build_request, _SyncPieces), stream=True
                )
                if step.receiving is not None and step.receiving.begins(
                    response.status_code, response.headers
                ):
                    return _receive(response, step.receiving, deadline)
                if step.keep_open and response.is_success:
                    opened = _opened(response, step.expected_bytes)
                    return opened
                return _read(response, deadline)
        except UnusableAnswerError as problem:
            return _unusable(problem, response, step.receiving)
        except TimeoutError as error:
            return self.failure(error, transfer=step.is_transfer)
        except httpx.HTTPError as error:
            return self.failure(error, transfer=step.is_transfer)
        finally:
            if response is not None and opened is None:
                response.close()


class AsyncWire(_BaseWire):
    """Connections for one event loop.

    :param transport: an httpx transport to use instead of the network.
    """

    def __init__(self, options: ClientOptions, transport: httpx.AsyncBaseTransport | None) -> None:
        super().__init__(options)
        self._http = _made(httpx.AsyncClient, self._httpx_options(transport))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def attempt(self, step: Attempt) -> Result:
        """Send a request once.

        :raises LocalFileError: if a file of ours cannot be read or written.
        """
        response = opened = None
        # A little more than one read may take, so that a connection that fails is known as such.
        patience = self._timeout + _GRACE_SECONDS
        try:
            async with asyncio.timeout(patience) as timer:
                put_off = functools.partial(_put_off, timer, patience)
                if step.sending is not None:
                    step.sending.begin(put_off)
                response = await self._http.send(
                    self._request(step, self._http.build_request, _AsyncPieces), stream=True
                )
                if step.receiving is not None and step.receiving.begins(
                    response.status_code, response.headers
                ):
                    return await _areceive(response, step.receiving, put_off)
                if step.keep_open and response.is_success:
                    opened = await _aopened(response, step.expected_bytes)
                    return opened
                return await _aread(response)
        except UnusableAnswerError as problem:
            return _unusable(problem, response, step.receiving)
        except TimeoutError as error:
            return self.failure(error, transfer=step.is_transfer)
        except httpx.HTTPError as error:
            return self.failure(error, transfer=step.is_transfer)
        finally:
            if response is not None and opened is None:
                await response.aclose()


class _Pieces:
    """A body as httpx takes one; it can be iterated again."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending


class _SyncPieces(_Pieces):
    def __iter__(self) -> Iterator[bytes]:
        return self._sending.pieces()


class _AsyncPieces(_Pieces):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body; while some of it is sent, a thread reads what comes next."""
        chunks = self._sending.body.chunks()

        def read() -> list[bytes]:
            return list(islice(chunks, _PIECES_AT_A_TIME))

        reading = _threads.begin(read)
        try:
            while pieces := await _threads.end(reading):
                reading = _threads.begin(read)
                for piece in pieces:
                    yield self._sending.leaving(piece)
            self._sending.end()
        finally:
            # What was read for nothing, or could not be, does not matter any more.
            with contextlib.suppress(Exception):
                await _threads.end(reading)
            close = getattr(chunks, "close", None)
            if close is not None:
                close()


def _read(response: httpx.Response, deadline: _deadline.Deadline) -> Result:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return _too_long(response)
        if deadline.left < 0:
            raise TimeoutError
    return _answers.RawAnswer(response.status_code, response.headers, bytes(body))


async def _aread(response: httpx.Response) -> Result:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return _too_long(response)
    return _answers.RawAnswer(response.status_code, response.headers, bytes(body))


def _receive(response: httpx.Response, receiving: Receiving, deadline: _deadline.Deadline) -> Result:
    try:
        for piece in response.iter_bytes():
            if batch := receiving.take(piece):
                receiving.write(batch)
            deadline.put_off()
    finally:
        # What has arrived before the connection broke is there for the next attempt.
        receiving.write(receiving.rest())
    return _complete(receiving)


async def _areceive(response: httpx.Response, receiving: Receiving, put_off: Callable[[], None]) -> Result:
    writing: asyncio.Future[None] | None = None
    due: list[bytes] = []
    try:
        async for piece in response.aiter_bytes():
            due = receiving.take(piece) or []
            if due:
                if writing is not None:
                    await _threads.end(writing)
                # While a thread writes it, the next pieces arrive.
                writing, due = _threads.begin(receiving.write, due), []
            put_off()
    finally:
        if writing is not None:
            await _threads.end(writing)
        await _threads.run(receiving.write, [*due, *receiving.rest()])
    return await _threads.run(_complete, receiving)


def _complete(receiving: Receiving) -> Received:
    receiving.check()
    return Received()


def _put_off(timer: asyncio.Timeout, seconds: float) -> None:
    # Past its time it cannot be put off any more, and ends the attempt at the next await.
    if not timer.expired():
        timer.reschedule(asyncio.get_running_loop().time() + seconds)


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


def _opened(response: httpx.Response, expected: int | None) -> Opened[httpx.Response]:
    size, pieces, begun = _content_size(response), response.iter_bytes(), bytearray()
    if transfers.may_be_error(response.headers):
        for piece in pieces:
            begun += piece
            if len(begun) > transfers.MAX_ERROR_BYTES:
                break
        else:
            _check_content(begun, expected)
    return Opened(response, size, bytes(begun), pieces)


async def _aopened(response: httpx.Response, expected: int | None) -> Opened[httpx.Response]:
    size, pieces, begun = _content_size(response), response.aiter_bytes(), bytearray()
    if transfers.may_be_error(response.headers):
        async for piece in pieces:
            begun += piece
            if len(begun) > transfers.MAX_ERROR_BYTES:
                break
        else:
            _check_content(begun, expected)
    return Opened(response, size, bytes(begun), pieces)


def _content_size(response: httpx.Response) -> int | None:
    """Return the size of an answer's content, if it has a length; nothing but a whole file is a success."""
    if response.status_code != 200:
        raise UnusableAnswerError("a status that is none of a whole file")
    length = response.headers.get("content-length", "")
    plain = length.isdecimal() and "content-encoding" not in response.headers
    return int(length) if plain else None


def _check_content(content: bytes | bytearray, expected: int | None) -> None:
    if len(content) != expected:
        transfers.check_no_error(bytes(content))


def _unusable(
    problem: UnusableAnswerError, response: httpx.Response | None, receiving: Receiving | None
) -> _answers.Failure:
    if receiving is not None:
        receiving.start_over()
    status = response.status_code if response is not None else "?"
    return _answers.Failure(
        NoAnswer(Sent.PERHAPS),
        f"HTTP {status} with {problem}; nothing of it was kept",
        unusable=True,
        detail=problem.detail,
    )


def _too_long(response: httpx.Response) -> _answers.Failure:
    return _answers.Failure(
        NoAnswer(Sent.PERHAPS, hopeless=True),
        f"its answer (HTTP {response.status_code}) has more than {MAX_ANSWER_BYTES} bytes",
    )


def _too_slow(seconds: float, *, transfer: bool = False) -> _answers.Failure:
    what = "nothing has moved for" if transfer else "no complete answer within"
    return _answers.Failure(NoAnswer(Sent.PERHAPS), f"{what} {seconds:g} s", timeout=True)


def _failure(
    error: httpx.HTTPError, timeout: float, host: str, *, transfer: bool = False
) -> _answers.Failure:
    """Describe a failed attempt. The text never quotes the error where that may carry a URL or a header."""
    sent = Sent.NO if isinstance(error, _NOT_SENT) else Sent.PERHAPS
    if isinstance(error, httpx.ConnectTimeout):
        seconds = min(timeout, MAX_CONNECT_SECONDS)
        return _answers.Failure(NoAnswer(sent), f"no connection to {host} within {seconds:g} s", timeout=True)
    if isinstance(error, httpx.TimeoutException):
        return replace(_too_slow(timeout, transfer=transfer), outcome=NoAnswer(sent))
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
