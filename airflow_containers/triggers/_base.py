"""What all triggers have in common: one event, in time, and looks at intervals."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_containers.api.errors import ContainersError
from airflow_containers.triggers._shared import SharedService, shared_service

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

FIRST_PAUSE: Final = 5.0
"""Seconds before the second attempt after a failure; doubled for each further one, up to the interval."""

FAILURE_PATIENCE: Final = 10 * 60
"""Seconds of nothing but failures after which waiting for a status is given up."""


class ContainerTrigger(BaseTrigger):
    """Base of the triggers: one event, whatever happens, and none of its own after the deadline.

    Arguments are ids and numbers, for Airflow stores them in clear.

    :param container_id: the container.
    :param conn_id: id of the connection to use.
    :param ends_at: when to end, in seconds since 1970; kept here because Airflow looks at the time-outs of
        deferred tasks only every 15 seconds.
    """

    def __init__(self, *, container_id: str, conn_id: str, ends_at: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.container_id = container_id
        self.conn_id = conn_id
        self.ends_at = ends_at
        self._fired = False
        self._next_at = 0.0

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the arguments beside those of this class."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and all arguments."""
        kind = type(self)
        common = {"container_id": self.container_id, "conn_id": self.conn_id, "ends_at": self.ends_at}
        return f"{kind.__module__}.{kind.__qualname__}", {**common, **self.arguments()}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire one event and return."""
        try:
            event = await self._outcome()
        except asyncio.CancelledError:
            await self._cancelled()
            raise
        except Exception as error:  # noqa: BLE001 - an exception would resume the task without its own method
            event = self._error(error)
        self._fired = True
        yield TriggerEvent(event)  # type: ignore[no-untyped-call, unused-ignore]

    async def _outcome(self) -> dict[str, Any]:
        # A triggerer holds thousands of these, so little is kept while one sleeps: no timer but that of the
        # sleep itself, and few frames.
        use = shared_service(self.conn_id)
        service = await self._in_time(use.__aenter__())
        if service is None:
            return self._too_late()
        try:
            self._begin(time.time())
            while True:
                await asyncio.sleep(max(min(self._next_at, self.ends_at) - time.time(), 0))
                if time.time() >= self.ends_at:
                    return self._too_late()
                event = await self._in_time(self._step(service))
                if event is not None:
                    return event
                if time.time() >= self.ends_at:
                    return self._too_late()
        finally:
            await use.__aexit__(None, None, None)

    async def _in_time(self, work: Coroutine[Any, Any, ResultT]) -> ResultT | None:
        """Await something; ``None`` if it was not done at the deadline."""
        limit = asyncio.timeout(max(self.ends_at - time.time(), 0))
        try:
            async with limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            return None

    @abstractmethod
    def _begin(self, now: float) -> None:
        """Set when to take the first step."""

    @abstractmethod
    async def _step(self, service: SharedService) -> dict[str, Any] | None:
        """Return the event, or ``None`` after setting when to take the next step."""

    @abstractmethod
    def _too_late(self) -> dict[str, Any]:
        """Return the event for the deadline."""

    async def _cancelled(self) -> None:
        """Do what :meth:`on_kill` does, where Airflow never calls it."""

    def _event(self, outcome: str, message: str, **more: Any) -> dict[str, Any]:
        return {"outcome": outcome, "container_id": self.container_id, "message": message, **more}

    def _error(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, ContainersError):
            return self._event("error", str(error), retryable=error.retryable)
        logger.error("Trigger for container %s failed", self.container_id, exc_info=error)
        return self._event("error", f"{type(error).__name__}: {error}", retryable=True)


class PatientTrigger(ContainerTrigger):
    """Base of the triggers that look at intervals: errors that may pass are tolerated for ten minutes on end.

    :param container_id: the container.
    :param conn_id: id of the connection to use.
    :param interval: seconds between two looks.
    :param ends_at: when to end, in seconds since 1970.
    """

    def __init__(self, *, container_id: str, conn_id: str, interval: float, ends_at: float) -> None:
        super().__init__(container_id=container_id, conn_id=conn_id, ends_at=ends_at)
        self.interval = interval

    @abstractmethod
    async def _look(self, service: SharedService) -> dict[str, Any] | None:
        """Look once, and return the event, or ``None`` if there is more to wait for."""

    def _begin(self, now: float) -> None:
        self._failing_since: float | None = None
        self._failures = 0
        # The sensor has just looked; and many sensors that start together should not ask together.
        self._next_at = now + random.uniform(0, self.interval)  # noqa: S311 - spreads load

    async def _step(self, service: SharedService) -> dict[str, Any] | None:
        try:
            event = await self._look(service)
        except ContainersError as error:
            return self._failed(error, time.time())
        self._failing_since, self._failures = None, 0
        self._next_at = time.time() + self.interval * random.uniform(0.9, 1)  # noqa: S311 - spreads load
        return event

    def _failed(self, error: ContainersError, now: float) -> dict[str, Any] | None:
        if self._failing_since is None:
            self._failing_since = now
        if not error.retryable or now - self._failing_since >= FAILURE_PATIENCE:
            return self._error(error)
        self._failures += 1
        pause: float = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 8), max(self.interval, 1.0))
        logger.warning("%s; looking for %s again in %.1f s", error, self.container_id, pause)
        self._next_at = now + pause * random.uniform(0.75, 1)  # noqa: S311 - spreads load
        return None
