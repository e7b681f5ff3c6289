"""One deadline for all reads and writes of an attempt.

httpx bounds each read by itself, so an answer of which a byte arrives now and then never times out. The
async client has a timer of its event loop for that; a thread has none, so here each read gets no more than
what is left of the time for the whole attempt.

httpx has no public place for this: what is wrapped is the network backend of the connection pools inside its
transports. Where they have none, reads are bounded one by one, as httpx does it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_ENDS_AT: ContextVar[float | None] = ContextVar("airflow_containers_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let the reads and writes of this thread end ``seconds`` from now.

    :raises TimeoutError: from the read or write that comes too late.
    """
    token = _ENDS_AT.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ENDS_AT.reset(token)


def bound(transports: Iterable[Any]) -> None:
    """Make the connections of httpx transports keep to :func:`deadline`."""
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if backend is not None:
            pool._network_backend = _Backend(backend)  # type: ignore[union-attr]  # noqa: SLF001


def _left(timeout: float | None) -> float | None:
    ends_at = _ENDS_AT.get()
    if ends_at is None:
        return timeout
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left if timeout is None else min(timeout, left)


class _Wrapper:
    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class _Backend(_Wrapper):
    def connect_tcp(self, *arguments: Any, **options: Any) -> _Stream:
        return _Stream(self._wrapped.connect_tcp(*arguments, **options))


class _Stream(_Wrapper):
    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self._wrapped.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wrapped.write(buffer, _left(timeout))

    def start_tls(self, *arguments: Any, **options: Any) -> _Stream:
        return _Stream(self._wrapped.start_tls(*arguments, **options))
