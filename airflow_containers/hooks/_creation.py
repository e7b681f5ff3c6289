"""Carries the create protocol out: its steps become calls of the API, log lines and notes for later tries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from airflow_containers.api import errors
from airflow_containers.api.endpoints import MAX_PAGE_SIZE
from airflow_containers.creation import (
    CLOCK_SKEW,
    Alive,
    Delete,
    Deleted,
    Found,
    Gone,
    LookUp,
    Made,
    NotMade,
    Pause,
    Plan,
    Post,
    Record,
    Remember,
    Result,
    Step,
    Touch,
    Unavailable,
    Unclear,
    create_once,
)

if TYPE_CHECKING:
    from airflow_containers.api import Container, ContainersClient

KILL_PATIENCE: Final = 2.5
"""Seconds to look for the container of an open request: a worker is killed 5 seconds after it was asked to
end, and a look and a delete take a part of that."""

OVERLAP_SECONDS: Final = 10
"""A container that was active so long after this try had it is another try's. No try begins sooner while one
before it lives: Airflow misses its heartbeat for longer."""

_CALL_SECONDS: Final = 1.5
_PAUSE_SECONDS: Final = 0.5


class AbandonedError(errors.ContainersError):
    """The create task was ended while it worked; what it had made is deleted."""

    retryable = True


class ContainerCreation:
    """One try to create a container once: :meth:`run`, then :meth:`hand_over`, or :meth:`abandon`.

    :param client: makes the calls.
    :param spare_client: makes another client whose calls take that many seconds at most; used to clean up
        from a signal handler, when the first one may be in the middle of a request.
    :param plan: what to do.
    :param remember: keeps a record for later tries, or forgets it (``None``); ``None`` where nothing can.
    :param log: a logger, for what a person wants to know afterwards.
    """

    def __init__(
        self,
        client: ContainersClient,
        spare_client: Callable[[float], ContainersClient],
        plan: Plan,
        remember: Callable[[Record | None], None] | None,
        log: Any,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._spare_client = spare_client
        self._plan = plan
        self._remember = remember
        self._log = log
        self._sleep = sleep
        self._now = now
        self._record: Record | None = plan.record
        self._held: dict[str, int] = {}
        # What an earlier try has asked for may be there as well.
        self._request_is_open = plan.unique and (
            plan.later_try if plan.record is None else plan.record.phase == "intent"
        )
        self._was_unclear = False
        self._begun_at = now()
        self._abandoned = False
        self._handed_over = False

    def run(self) -> Container:
        """Return the one container of this task instance.

        :raises ContainersError: if there is none.
        """
        steps = create_once(self._plan, self._now)
        result: Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as stop:
                settled = stop.value
                self._hold(settled.container)
                if settled.adopted:
                    self._log.info("Taking over container %s: %s", settled.container.id, settled.adopted)
                container: Container = settled.container
                return container
            self._stop_if_abandoned()
            result = self._perform(step)
            self._stop_if_abandoned()

    def hand_over(self) -> None:
        """Say that other tasks may know the container from now on; it is not deleted after that."""
        self._stop_if_abandoned()
        if self._record is not None and self._record.container_id in self._held:
            self._keep(self._record.handed_over())
        # One step, in which no signal handler can come between.
        self._handed_over = True
        if self._abandoned:
            # It came while that was remembered, and has deleted what would be handed over.
            self._handed_over = False
            self._stop_if_abandoned()

    def abandon(self, *, patience: float = 0.0) -> None:
        """Delete what this try has made and not handed over. Safe in a signal handler.

        Errors are logged and not raised. Calling it again deletes what came in since.

        :param patience: seconds to look for the container of a request that has no answer yet.
        """
        if self._handed_over:
            return
        self._abandoned = True
        if not self._held and not self._request_is_open:
            return
        ends_at = time.monotonic() + patience
        with self._spare_client(_CALL_SECONDS) as client:
            while self._held:
                self._end(client, *self._held.popitem())
            if self._request_is_open and not self._plan.unique:
                self._log.error(
                    "A container named %r may have been made. It is not looked for, because its name has no "
                    "owner token; it ends after its idle time",
                    self._plan.request.name,
                )
                return
            while self._request_is_open:
                self._end_by_name(client)
                if time.monotonic() >= ends_at:
                    return
                if self._request_is_open:
                    self._sleep(_PAUSE_SECONDS)

    def _stop_if_abandoned(self) -> None:
        if self._abandoned:
            self.abandon()
            raise AbandonedError("The task was ended while its container was being created")

    def _perform(self, step: Step) -> Result:
        match step:
            case Remember():
                self._keep(step.record)
                return None
            case Pause():
                self._log.info("Looking again in %.1f s", step.seconds)
                self._sleep(step.seconds)
                return None
            case Post():
                return self._post()
            case LookUp():
                return self._look_up(step)
            case Touch():
                return self._touch(step.container_id)
            case Delete():
                return self._delete(step)

    def _keep(self, record: Record | None) -> None:
        self._record = record
        if self._remember is None:
            return
        try:
            self._remember(record)
        except Exception:
            if record is not None:
                raise
            # The error of the request is what matters; a later try only looks once more for nothing.
            self._log.warning("Could not forget the create request in Airflow's task state", exc_info=True)

    def _post(self) -> Result:
        request = self._plan.request
        self._request_is_open = True
        try:
            container = self._client.create(request)
        except errors.AmbiguousCreateError as error:
            self._log.warning("%s", error)
            self._was_unclear = True
            if self._plan.unique:
                self._log.info("Looking for a container named %r, which it may have made", request.name)
            return Unclear(error)
        except errors.ContainersError as error:
            # An earlier request of this try may still have made one.
            self._request_is_open = self._was_unclear
            return NotMade(error)
        self._hold(container)
        return Made(container)

    def _hold(self, container: Container) -> None:
        # In this order: a signal handler between the two finds the container in one way or the other.
        self._keep_in_mind(container)
        self._request_is_open = False

    def _keep_in_mind(self, container: Container) -> None:
        """Delete this container if the try ends without a container to hand over."""
        self._held[container.id] = container.last_active_at or container.created_at or 0

    def _look_up(self, step: LookUp) -> Result:
        try:
            found = [
                container
                for container in self._listed(self._client, step)
                if container.name == step.name and container.is_alive
            ]
        except errors.ContainersError as error:
            self._log.warning("The list of containers cannot be read: %s", error)
            return Unavailable(error)
        if self._plan.unique:
            for container in found:
                self._keep_in_mind(container)
        if found:
            self._log.info("Found %s with that name", ", ".join(container.id for container in found))
        return Found(found)

    def _listed(self, client: ContainersClient, step: LookUp) -> Iterator[Container]:
        if step.created_since is None:
            # Oldest first, so that containers of the same second come in the order of their age.
            try:
                yield from client.iterate(name=step.name, order="asc")
            except errors.BadRequestError as error:
                self._log.info("The service filters no list by name, so all of it is read: %s", error)
                yield from client.iterate(order="asc")
            return
        older = 0
        for container in client.iterate(order="desc"):
            is_older = container.created_at is not None and container.created_at < step.created_since
            older = older + 1 if is_older else 0
            if older >= MAX_PAGE_SIZE:
                # A whole page of them: also where the server does not keep to the order, this is enough.
                return
            yield container

    def _touch(self, container_id: str) -> Result:
        try:
            container = self._client.retrieve(container_id)
        except errors.ContainerGoneError:
            self._held.pop(container_id, None)
            return Gone()
        except errors.ContainersError as error:
            return Unavailable(error)
        if not container.is_alive:
            self._held.pop(container_id, None)
            return Gone()
        self._keep_in_mind(container)
        return Alive(container)

    def _delete(self, step: Delete) -> Result:
        self._log.info("Deleting container %s: %s", step.container_id, step.reason)
        result: Result = Gone()
        try:
            self._client.delete(step.container_id)
            result = Deleted()
            # A list keeps ghosts, and a delete may be answered without being done.
            container = self._client.retrieve(step.container_id)
        except errors.ContainerGoneError:
            self._held.pop(step.container_id, None)
            return result
        except errors.ContainersError as error:
            return Unavailable(error)
        if container.is_alive:
            return Unavailable(
                errors.ContainerNotDeletedError(
                    f"Container {container.id} was deleted, and the service still shows it as "
                    f"{container.status!r}"
                )
            )
        self._held.pop(step.container_id, None)
        return result

    def _end(self, client: ContainersClient, container_id: str, active_at: int) -> None:
        try:
            if self._is_used_by_others(client, container_id, active_at):
                self._log.warning(
                    "Container %s is left alone: it was used after this try had it, so a later try may have "
                    "taken it over",
                    container_id,
                )
                return
            client.delete(container_id)
        except errors.ContainerGoneError:
            self._log.info("Container %s is gone already", container_id)
        except errors.ContainersError as error:
            self._log.error(
                "Container %s is not handed over and could not be deleted; it ends after its idle time: %s",
                container_id,
                error,
            )
        else:
            self._log.info("Deleted container %s, which was not handed over", container_id)

    def _is_used_by_others(self, client: ContainersClient, container_id: str, active_at: int) -> bool:
        """Whether a container was used after this try had it: by a later try, which thought this one dead.

        It is looked for in the list, which does not touch it; one that is in no list yet is new.
        """
        if not self._plan.unique or self._now() - self._begun_at < OVERLAP_SECONDS:
            return False
        for container in self._listed(client, LookUp(self._plan.request.name)):
            if container.id == container_id:
                return (container.last_active_at or 0) > active_at + OVERLAP_SECONDS
        return False

    def _end_by_name(self, client: ContainersClient) -> None:
        name = self._plan.request.name
        looks = (LookUp(name), LookUp(name, self._begun_at - CLOCK_SKEW))
        try:
            for step in looks:
                found = [
                    container
                    for container in self._listed(client, step)
                    if container.name == name and container.is_alive
                ]
                for container in found:
                    self._request_is_open = False
                    self._end(client, container.id, container.created_at or 0)
                if found:
                    return
        except errors.ContainersError as error:
            self._log.warning("The list of containers cannot be read: %s", error)
