"""One deadline for all reads and writes of an attempt.

httpx bounds each read by itself, so an answer of which a byte arrives now and then never times out. The
async client has a timer of its event loop for that; a thread has none, so here each read gets no more than
what is left of the time for the whole attempt. A transfer puts its deadline off whenever something moved.

httpx has no public place for this: what is wrapped is the network backend of the connection pools inside its
transports. Where they have none, reads are bounded one by one, as httpx does it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class Deadline:
    """When the reads and writes of a thread have to be over.

    :param seconds: how long from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.put_off()

    def put_off(self) -> None:
        """Let the time begin anew."""
        self._ends_at = time.monotonic() + self._seconds

    @property
    def left(self) -> float:
        """Seconds that are left; none or less when it is over."""
        return self._ends_at - time.monotonic()


_DEADLINE: ContextVar[Deadline | None] = ContextVar("airflow_containers_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Let the reads and writes of this thread end ``seconds`` from now, or from when it is put off.

    :raises TimeoutError: from the read or write that comes too late.
    """
    made = Deadline(seconds)
    token = _DEADLINE.set(made)
    try:
        yield made
    finally:
        _DEADLINE.reset(token)


def bound(transports: Iterable[Any]) -> None:
    """Make the connections of httpx transports keep to :func:`deadline`."""
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if backend is not None:
            pool._network_backend = _Backend(backend)  # type: ignore[union-attr]  # noqa: SLF001


def _left(timeout: float | None) -> float | None:
    found = _DEADLINE.get()
    if found is None:
        return timeout
    left = found.left
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
