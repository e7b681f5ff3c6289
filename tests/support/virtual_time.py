"""Hours in milliseconds: an event loop whose clock jumps to whatever comes next, and a service in it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_containers.api import Container, ContainerFile, ContainerGoneError
from airflow_containers.triggers._shared import RequestBudget

EPOCH = 1_700_000_000.0
"""What the wall clock shows when the loop's shows 0."""

Run = Callable[[Awaitable[Any]], Any]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps take no time."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()


class Service:
    """Containers that expire by the loop's clock, behind the interface of the shared service."""

    def __init__(self, loop: VirtualLoop, requests_per_minute: int = 6000) -> None:
        self.loop = loop
        self.budget = RequestBudget("mine", requests_per_minute)
        self.idle: dict[str, float] = {}
        self.active: dict[str, float] = {}
        self.deleted: dict[str, float] = {}
        self.requests: list[tuple[float, str, str]] = []
        self.paths: list[str] = []
        """What is in every container."""
        self.failures: list[Any] = []
        """What the next calls do: an exception, a status, a coroutine function, ``None`` for their work."""

    def make(self, container_id: str, idle: float = 1200) -> str:
        """Make a container with an idle time in seconds."""
        self.idle[container_id], self.active[container_id] = idle, self.loop.time()
        return container_id

    def touches(self, container_id: str) -> list[float]:
        """When a container was asked for."""
        return [at for at, verb, about in self.requests if (verb, about) == ("GET", container_id)]

    def lives(self, container_id: str) -> bool:
        """Whether a container is neither deleted nor expired."""
        fresh = self.loop.time() - self.active[container_id] < self.idle[container_id]
        return fresh and container_id not in self.deleted

    async def retrieve(self, container_id: str, *, within: float) -> Container:
        """Touch a container."""
        planned = await self._request("GET", container_id, within)
        if container_id in self.deleted:
            raise gone(404)
        status = "running" if self.lives(container_id) else "expired"
        if status == "running":
            self.active[container_id] = self.loop.time()
        return Container.model_validate(
            {
                "id": container_id,
                "status": planned or status,
                "expires_after": {"minutes": self.idle[container_id] / 60},
                "last_active_at": int(EPOCH + self.active[container_id]),
            }
        )

    async def find(self, container_id: str, *, name: str | None, within: float) -> Container | None:
        """Look for a container without touching it."""
        planned = await self._request("LIST", name or "", within)
        if container_id in self.deleted or container_id not in self.idle:
            return None
        status = "running" if self.lives(container_id) else "expired"
        return Container.model_validate({"id": container_id, "status": planned or status})

    async def files(self, container_id: str, *, within: float) -> list[ContainerFile]:
        """List the files of a container, newest first, which touches it."""
        await self._request("FILES", container_id, within)
        if container_id in self.deleted:
            raise gone(404)
        if not self.lives(container_id):
            raise gone(400)
        self.active[container_id] = self.loop.time()
        return [ContainerFile.model_validate({"id": path, "path": path}) for path in self.paths]

    async def delete(self, container_id: str, *, within: float) -> None:
        """Delete a container."""
        await self._request("DELETE", container_id, within)
        if container_id in self.deleted:
            raise gone(404)
        self.deleted[container_id] = self.loop.time()

    async def _request(self, verb: str, about: str, within: float) -> str | None:
        await self.budget.slot(within)
        self.requests.append((self.loop.time(), verb, about))
        planned = self.failures.pop(0) if self.failures else None
        if isinstance(planned, Exception):
            raise planned
        if callable(planned):
            return await planned()
        return planned


def gone(status: int) -> ContainerGoneError:
    """The answer for a container that is not there any more: expired (400) or deleted (404)."""
    detail = "Container is expired." if status == 400 else "Container with id 'cntr_1' not found."
    return ContainerGoneError(f"HTTP {status}: {detail}", status_code=status, detail=detail)
