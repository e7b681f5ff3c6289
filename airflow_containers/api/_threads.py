"""Work that a thread does for an event loop, and that is over when it is said to be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def begin(work: Callable[..., ResultT], *arguments: Any) -> asyncio.Future[ResultT]:
    """Let a thread do ``work``; who begins it waits with :func:`end`."""
    return asyncio.get_running_loop().run_in_executor(None, work, *arguments)


async def end(working: asyncio.Future[ResultT]) -> ResultT:
    """Wait for a thread, and return its result.

    Who is cancelled meanwhile waits all the same: a thread cannot be stopped, and what it works on (a file, a
    generator) must not be touched by anybody else before it is done.
    """
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            # Cancelled once more; the first time is what counts.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([working])
        if not working.cancelled():
            # Taken note of, so that the event loop does not complain that nobody has looked.
            working.exception()
        raise


async def run(work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Let a thread do ``work``, and wait for it as :func:`end` does."""
    return await end(begin(work, *arguments))
