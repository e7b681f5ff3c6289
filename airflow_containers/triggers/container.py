"""Triggers that keep a container alive, and that wait for its status."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseTrigger

from airflow_containers.api.errors import ContainerGoneError, ContainersError, NotFoundError
from airflow_containers.triggers import _states, _status
from airflow_containers.triggers._base import FIRST_PAUSE, ContainerTrigger, PatientTrigger
from airflow_containers.triggers._shared import SharedService, shared_service

if TYPE_CHECKING:
    from airflow_containers.api import Container

logger = logging.getLogger(__name__)

LONGEST_IDLE_SECONDS: Final = 20 * 60
"""What the API allows for ``expires_after``, and its default."""

DELETE_WITHIN: Final = 20.0
"""Seconds for deleting a container after its run. Airflow gives ``on_kill`` 30."""

_HAS_ON_KILL: Final = hasattr(BaseTrigger, "on_kill")
"""Airflow 3.3 and later tell a trigger that its task was killed; before, it is only cancelled."""


class KeepContainerAliveTrigger(ContainerTrigger):
    """Touch a container at intervals, until it is gone, its DAG run is over or the time is up.

    All triggers of a connection in one event loop share a client, and a budget of requests a minute in which
    the container that would expire first comes first.

    The event has ``outcome``, ``container_id`` and ``message``; with ``error`` also ``retryable``. Outcomes:
    ``gone`` (deleted), ``max_lifetime``, ``run_over``, ``expired`` (it died although it was to be kept),
    ``inline`` (in ``dag.test``, where nothing else would run meanwhile) and ``error``.

    What ends it otherwise does nothing to the container, which belongs to other tasks: a killed or cleared
    task, a triggerer that stops, a trigger that moves to another one. Only with ``delete_when_run_ends`` a
    killed task deletes the container, if Airflow says that neither the task nor its DAG run goes on.

    :param container_id: the container.
    :param conn_id: id of the connection to use.
    :param interval: seconds between two touches, shorter than the container's idle time.
    :param ends_at: when to end with ``max_lifetime``, in seconds since 1970.
    :param idle_seconds: the container's idle time; read from the first answer if ``None``.
    :param touched_at: when the container was touched before, in seconds since 1970.
    :param delete_when_run_ends: delete the container when its DAG run is over and it is still there.
    """

    def __init__(
        self,
        *,
        container_id: str,
        conn_id: str,
        interval: float,
        ends_at: float,
        idle_seconds: float | None = None,
        touched_at: float | None = None,
        delete_when_run_ends: bool = False,
    ) -> None:
        super().__init__(container_id=container_id, conn_id=conn_id, ends_at=ends_at)
        self.interval = interval
        self.idle_seconds = idle_seconds
        self.touched_at = touched_at
        self.delete_when_run_ends = delete_when_run_ends

    def arguments(self) -> dict[str, Any]:
        """Return the arguments beside those of the base class."""
        return {
            "interval": self.interval,
            "idle_seconds": self.idle_seconds,
            "touched_at": self.touched_at,
            "delete_when_run_ends": self.delete_when_run_ends,
        }

    async def _outcome(self) -> dict[str, Any]:
        if _states.is_inline():
            return self._event(
                "inline",
                f"Container {self.container_id} is not kept alive: dag.test runs one task at a time, so the "
                "tasks that use and delete it would wait for this one",
            )
        return await super()._outcome()

    async def on_kill(self) -> None:
        """Delete the container if ``delete_when_run_ends`` is set and its DAG run is over; else do nothing.

        Airflow also calls this for a trigger that moves to another triggerer, after an event was fired, and
        for a cleared task when its next try waits already. In all of these the container is still needed,
        so it is deleted only if the task instance and the DAG run are both known to be over.
        """
        if self._fired or not self.delete_when_run_ends:
            return
        if not await _states.task_is_over(self.task_instance):
            return
        if not await _states.run_is_over(self.task_instance):
            return
        async with shared_service(self.conn_id) as service:
            await self._delete(service)

    async def _cancelled(self) -> None:
        # A triggerer that stops cancels as well; then the task is still deferred, and nothing is deleted.
        if not _HAS_ON_KILL:
            try:
                await self.on_kill()
            except Exception as error:  # noqa: BLE001 - being cancelled is what Airflow has to hear of
                logger.warning("Container %s was not deleted: %s", self.container_id, error)

    def _begin(self, now: float) -> None:
        if self.touched_at is not None:
            # The worker's clock may be ahead of this one.
            self.touched_at = min(self.touched_at, now)
        self._life = _Life.begin(now, self.idle_seconds, self.touched_at)
        self._next_at = self._first(now)

    async def _step(self, service: SharedService) -> dict[str, Any] | None:
        if await _states.run_is_over(self.task_instance):
            return await self._end_with_run(service)
        event = await self._touch(service, self._life)
        self._next_at = time.time() + self._pause(self._life)
        return event

    async def _touch(self, service: SharedService, life: _Life) -> dict[str, Any] | None:
        """Touch once; return the event if that was the last time."""
        life.asked_at = time.time()
        within = LONGEST_IDLE_SECONDS if life.idle is None else life.alive_until - life.asked_at
        try:
            container = await service.retrieve(self.container_id, within=within)
        except ContainerGoneError as error:
            if _status.status_of(error) == _status.DELETED:
                return self._gone()
            return self._expired(None, life, str(error))
        except ContainersError as error:
            if not error.retryable:
                return self._error(error)
            life.failures, life.failure = life.failures + 1, error
            if time.time() >= life.alive_until:
                return self._given_up(life, error)
            logger.warning("%s; container %s will be touched again", error, self.container_id)
            return None
        status = (container.status or "").lower()
        if status == _status.DELETED:
            return self._gone()
        if status == _status.EXPIRED:
            return self._expired(container, life, f"its status is {status!r}")
        idle = life.touched(time.time(), container)
        if self.interval >= idle:
            return self._event("error", interval_message(self.interval, idle), retryable=False)
        return None

    def _first(self, now: float) -> float:
        """Return when to touch first: spread, so that many triggers that start together do not ask together.

        A trigger that starts again after a move does not know when it touched last.
        """
        if self.touched_at is not None and now < self.touched_at + self.interval:
            return random.uniform(now, self.touched_at + self.interval)  # noqa: S311 - spreads load
        idle = self.idle_seconds
        spare = self.interval if idle is None else min(self.interval, idle - self.interval)
        return now + random.uniform(0, max(spare, 0) / 4)  # noqa: S311 - spreads load

    def _pause(self, life: _Life) -> float:
        """Return the seconds to the next touch: never more than the interval, and never the same for all."""
        if not life.failures:
            return self.interval * random.uniform(0.9, 1)  # noqa: S311 - spreads load
        left = life.alive_until - time.time()
        pause: float = min(FIRST_PAUSE * 2 ** min(life.failures - 1, 8), self.interval, max(left / 4, 0.5))
        return pause * random.uniform(0.75, 1)  # noqa: S311 - spreads load

    async def _end_with_run(self, service: SharedService) -> dict[str, Any]:
        if not self.delete_when_run_ends:
            return self._event(
                "run_over", f"The DAG run is over; container {self.container_id} is no longer kept alive"
            )
        try:
            done = await self._delete(service)
        except ContainersError as error:
            return self._event(
                "run_over",
                f"The DAG run is over and container {self.container_id} could not be deleted ({error}); "
                "it ends after its idle time",
            )
        return self._event("run_over", f"The DAG run is over: {done}")

    async def _delete(self, service: SharedService) -> str:
        """Delete the container and say so; tried again while there is time."""
        deadline = time.monotonic() + DELETE_WITHIN
        pause = 1.0
        while True:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.1)):
                    await service.delete(self.container_id, within=0)
            except NotFoundError:
                done = f"container {self.container_id} is gone already"
            except (ContainersError, TimeoutError) as error:
                retryable = isinstance(error, ContainersError) and error.retryable
                if not retryable or time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
                continue
            else:
                done = f"container {self.container_id} is deleted"
            logger.info("The DAG run is over: %s", done)
            return done

    def _too_late(self) -> dict[str, Any]:
        return self._event(
            "max_lifetime",
            f"Container {self.container_id} was kept alive for max_lifetime and is not any more: it expires "
            "after its idle time unless somebody uses it. Raise max_lifetime if the work takes longer",
        )

    def _gone(self) -> dict[str, Any]:
        return self._event("gone", f"Container {self.container_id} is deleted")

    def _expired(self, container: Container | None, life: _Life, what: str) -> dict[str, Any]:
        """Say of what a container has died, as far as that is known."""
        known = [f"Container {self.container_id} has expired although it was to be kept alive: {what}"]
        if container is not None and container.last_active_at is not None:
            known.append(f"it was last active at {_clock(container.last_active_at)}")
        if container is not None and container.expires_after and container.expires_after.minutes:
            known.append(f"its idle time is {container.expires_after.minutes} minutes")
        known.append(_last_touch(life.touched_at))
        if life.failure is not None:
            known.append(f"later ones failed, the last with: {life.failure}")
        waited = time.time() - life.asked_at
        if waited > self.interval:
            known.append(
                f"this one waited {waited:.0f} s for the connection's requests_per_minute, which is too low "
                "for so many containers"
            )
        return self._event("expired", "; ".join(known))

    def _given_up(self, life: _Life, error: ContainersError) -> dict[str, Any]:
        return self._event(
            "error",
            f"Container {self.container_id} could not be touched for its whole idle time and must have "
            f"expired; {_last_touch(life.touched_at)}; the last error was: {error}",
            retryable=True,
        )


@dataclass(slots=True)
class _Life:
    """What is known of a container that is kept alive. Times are seconds since 1970.

    :param idle: its idle time in seconds, once it is known.
    :param touched_at: when it was touched last.
    :param alive_until: when it must have expired, unless somebody else has used it.
    :param asked_at: when the last touch was wanted.
    :param failures: touches that failed since the last that did not.
    :param failure: the last of them.
    """

    idle: float | None
    touched_at: float | None
    alive_until: float
    asked_at: float = 0.0
    failures: int = 0
    failure: ContainersError | None = None

    @classmethod
    def begin(cls, now: float, idle: float | None, touched_at: float | None) -> _Life:
        """Return what a trigger knows when it starts, for the first time or again."""
        recent = idle is not None and touched_at is not None and touched_at + idle > now
        # One that was touched by another triggerer, we do not know when, may have its whole time before it.
        return cls(
            idle, touched_at, (touched_at if recent and touched_at else now) + (idle or LONGEST_IDLE_SECONDS)
        )

    def touched(self, now: float, container: Container) -> float:
        """Note a touch that succeeded, and return the idle time."""
        minutes = container.expires_after.minutes if container.expires_after else None
        self.idle = minutes * 60 if minutes else self.idle or LONGEST_IDLE_SECONDS
        self.touched_at, self.alive_until = now, now + self.idle
        self.failures, self.failure = 0, None
        return self.idle


class ContainerStatusTrigger(PatientTrigger):
    """Wait until a container has one of some statuses.

    The event has ``outcome``, ``container_id`` and ``message``; with ``met`` also ``status``, with ``error``
    also ``retryable``. Outcomes: ``met``, ``hopeless`` (it is over, and another status was awaited),
    ``timeout`` and ``error``. Errors that may pass are tolerated for ten minutes on end.

    :param container_id: the container.
    :param conn_id: id of the connection to use.
    :param statuses: the statuses awaited.
    :param how: ``observe`` reads lists, ``touch`` asks by id, which keeps the container alive.
    :param interval: seconds between two looks.
    :param started_at: when the first look was, in seconds since 1970.
    :param ends_at: when to end with ``timeout``, in seconds since 1970.
    :param name: with ``observe``: look only among containers of this name.
    :param seen: whether the container was seen in a list before.
    """

    def __init__(
        self,
        *,
        container_id: str,
        conn_id: str,
        statuses: Sequence[str],
        how: str,
        interval: float,
        started_at: float,
        ends_at: float,
        name: str | None = None,
        seen: bool = False,
    ) -> None:
        super().__init__(container_id=container_id, conn_id=conn_id, interval=interval, ends_at=ends_at)
        self.statuses = list(statuses)
        self.how = how
        self.started_at = started_at
        self.name = name
        self.seen = seen

    def arguments(self) -> dict[str, Any]:
        """Return the arguments beside those of the base class."""
        return {
            "statuses": self.statuses,
            "how": self.how,
            "interval": self.interval,
            "started_at": self.started_at,
            "name": self.name,
            "seen": self.seen,
        }

    async def _look(self, service: SharedService) -> dict[str, Any] | None:
        status = await self._status(service)
        verdict = _status.judge(status, self.statuses)
        if verdict is _status.Verdict.MET:
            return self._event("met", f"Container {self.container_id} is {status}", status=status)
        if verdict is _status.Verdict.HOPELESS:
            message = _status.hopeless_message(self.container_id, status, self.statuses)
            return self._event("hopeless", message)
        return None

    async def _status(self, service: SharedService) -> str | None:
        if self.how == "touch":
            try:
                return (await service.retrieve(self.container_id, within=self.interval)).status
            except ContainerGoneError as error:
                return _status.status_of(error)
        found = await service.find(self.container_id, name=self.name, within=self.interval)
        if found is not None:
            self.seen = True
        listed = (found.status or "unknown") if found is not None else None
        return _status.status_in_lists(listed, seen=self.seen, waited=time.time() - self.started_at)

    def _too_late(self) -> dict[str, Any]:
        return self._event(
            "timeout",
            f"Container {self.container_id} was not {' or '.join(self.statuses)} before the sensor's timeout",
        )


def interval_message(interval: float, idle: float) -> str:
    """Say that an interval is too long for a container.

    :param interval: seconds between two touches.
    :param idle: seconds after which the container expires.
    """
    return (
        f"interval: got {interval:g} s, expected less than the container's idle time of {idle / 60:g} "
        "minutes, better less than half of it; give a shorter interval, or create the container with a "
        "longer expires_after"
    )


def _last_touch(touched_at: float | None) -> str:
    if touched_at is None:
        return "no touch of it has succeeded"
    ago = time.time() - touched_at
    return f"the last touch of it that succeeded was {ago:.0f} s ago, at {_clock(touched_at)}"


def _clock(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g} s after 1970"
