"""Work that many may ask for at once, and that is done as often as it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Does one piece of work for a key at a time; whoever asks gets the result of one that began afterwards.

    :param work: is given the key.
    """

    def __init__(self, work: Callable[[str], Awaitable[T]]) -> None:
        self._work = work
        self._current: dict[str, asyncio.Task[T]] = {}
        self._next: dict[str, asyncio.Task[T]] = {}

    async def __call__(self, key: str) -> T:
        """Do the work, or wait for the one that others have asked for and that has not begun."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run(key, self._current.get(key)))
            self._next[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        # One who leaves does not take it away from the others.
        return await asyncio.shield(task)

    async def _run(self, key: str, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait((before,))
        self._current[key] = self._next.pop(key)
        return await self._work(key)

    def _forget(self, key: str, done: asyncio.Task[T]) -> None:
        for tasks in (self._current, self._next):
            if tasks.get(key) is done:
                del tasks[key]
        if not done.cancelled():
            # Whoever still waits is told; if nobody does, nothing has to be said.
            done.exception()
