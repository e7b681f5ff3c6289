"""The operator that keeps a container alive while other tasks wait and work."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.links import ContainerLink
from airflow_containers.operators._errors import InvalidTaskArgumentError, fail_if_final
from airflow_containers.operators._literals import check_container_id, check_id, is_dynamic

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_containers.api import Container

DEFAULT_INTERVAL = timedelta(minutes=2)
DEFAULT_MAX_LIFETIME = timedelta(hours=1)
LONGEST_IDLE_SECONDS = 20 * 60
"""No container lives longer than this without being used, so no interval may be longer."""

_BACKSTOP = timedelta(minutes=10)
"""How much later than the trigger's own deadline Airflow may end the deferral."""

_EXPECTED_CONNECTION = "the id of an Airflow connection"


class KeepContainerAliveOperator(BaseOperator):
    """Keep a container alive until it is deleted, without holding a worker.

    A container ends after 20 idle minutes or less, and queues and pauses between tasks may be longer. This
    task looks at the container once, and then waits in the triggerer, which touches it at intervals::

        create >> [keep, work]
        work >> delete

    It succeeds when the container was deleted (up to one interval later), when ``max_lifetime`` is over
    (with a warning in its log) and when its DAG run is over. A container that expires all the same fails the
    task at once, without a retry, and the message says why. Errors that may pass are tried again until the
    container must have expired.

    Clearing, failing or killing this task does nothing to the container, which belongs to other tasks. It
    then ends after its idle time, unless they delete it. ``delete_when_run_ends`` is for what no teardown
    survives, such as ``dagrun_timeout``: when the DAG run is over and this task with it, the container is
    deleted. Nothing is deleted because a triggerer stops or hands its work to another one.

    :param container_id: the container's id, usually ``create.output``. (templated)
    :param interval: between two touches, in seconds or as :class:`~datetime.timedelta`; above 0, and shorter
        than the container's ``expires_after``. Less than half of it leaves room for a failure. Default: 2
        minutes.
    :param max_lifetime: how long to keep it, in seconds or as :class:`~datetime.timedelta`, above 0; counted
        anew for each try of the task. Default: 1 hour.
    :param delete_when_run_ends: delete the container if it still lives when the DAG run is over. Needs a
        triggerer that can ask for the run's state, and up to one interval. Default: ``False``.
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = ("container_id", "conn_id")
    operator_extra_links = (ContainerLink(),)
    ui_color = "#eaf0f8"

    def __init__(
        self,
        *,
        container_id: str,
        interval: float | timedelta = DEFAULT_INTERVAL,
        max_lifetime: float | timedelta = DEFAULT_MAX_LIFETIME,
        delete_when_run_ends: bool = False,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.container_id = container_id
        self.interval = interval
        self.max_lifetime = max_lifetime
        self.delete_when_run_ends = delete_when_run_ends
        self.conn_id = conn_id
        if _seconds(self.task_id, "interval", interval) >= LONGEST_IDLE_SECONDS:
            raise InvalidTaskArgumentError(
                f"Task {self.task_id!r}: interval: got {_seconds(self.task_id, 'interval', interval):g} s, "
                f"expected less than {LONGEST_IDLE_SECONDS} s: a container ends after at most 20 idle minutes"
            )
        _seconds(self.task_id, "max_lifetime", max_lifetime)
        if not isinstance(delete_when_run_ends, bool):
            raise InvalidTaskArgumentError(
                f"Task {self.task_id!r}: delete_when_run_ends: got {_shown(delete_when_run_ends)}, "
                "expected True or False"
            )
        if not is_dynamic(container_id):
            check_container_id(self.task_id, container_id)
        if not is_dynamic(conn_id):
            check_id(self.task_id, "conn_id", conn_id, _EXPECTED_CONNECTION)

    def execute(self, context: Context) -> None:
        """Touch the container once, and leave the rest to the triggerer.

        :raises AirflowFailException: for what a retry cannot mend: a wrong argument, key or connection, an
            interval that is too long for this container, one that has expired already.
        """
        ContainerLink.persist(context, None)
        check_container_id(self.task_id, self.container_id)
        check_id(self.task_id, "conn_id", self.conn_id, _EXPECTED_CONNECTION)
        ends_at = time.time() + _seconds(self.task_id, "max_lifetime", self.max_lifetime)
        interval = _seconds(self.task_id, "interval", self.interval)
        with fail_if_final(self.task_id), ContainerHook(self.conn_id) as hook:
            link = hook.dashboard_url(self.container_id)
            ContainerLink.persist(context, link)
            touched = self._first_touch(hook)
        if touched is None:
            return
        idle, touched_at = touched
        if idle is not None and interval >= idle:
            from airflow_containers.triggers.container import interval_message

            raise InvalidTaskArgumentError(f"Task {self.task_id!r}: {interval_message(interval, idle)}")
        self._defer(link, interval=interval, ends_at=ends_at, idle_seconds=idle, touched_at=touched_at)

    def _first_touch(self, hook: ContainerHook) -> tuple[float | None, float | None] | None:
        """Return the container's idle time and now, in seconds, or ``None`` if it is deleted already."""
        from airflow_containers.api.errors import ContainerGoneError, ContainersError
        from airflow_containers.triggers import _status

        try:
            container = hook.retrieve_container(self.container_id)
        except ContainerGoneError as error:
            if _status.status_of(error) == _status.EXPIRED:
                raise AirflowFailException(f"Container {self.container_id} has expired: {error}") from None
            self.log.info("Container %s is gone already, nothing to keep alive: %s", self.container_id, error)
            return None
        except ContainersError as error:
            if not error.retryable:
                raise
            # The container lives for a while yet, and the triggerer has the patience that a task has not.
            self.log.warning("%s; the triggerer tries again", error)
            return None, None
        status = (container.status or "").lower()
        if status == _status.EXPIRED:
            raise AirflowFailException(_expired_message(container))
        if status == _status.DELETED:
            self.log.info("Container %s is deleted, nothing to keep alive", self.container_id)
            return None
        minutes = container.expires_after.minutes if container.expires_after else None
        return (minutes * 60 if minutes else None), time.time()

    def _defer(self, link: str | None, **arguments: Any) -> None:
        from airflow_containers.triggers.container import KeepContainerAliveTrigger

        trigger = KeepContainerAliveTrigger(
            container_id=self.container_id,
            conn_id=self.conn_id,
            delete_when_run_ends=self.delete_when_run_ends,
            **arguments,
        )
        self.log.info("Keeping container %s alive with connection %r", self.container_id, self.conn_id)
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={"link": link},
            timeout=timedelta(seconds=_seconds(self.task_id, "max_lifetime", self.max_lifetime)) + _BACKSTOP,
        )

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any] | None = None,
        link: str | None = None,
        **kwargs: Any,  # noqa: ARG002 - what a later version may hand over
    ) -> None:
        """End as the trigger's event says.

        :raises AirflowFailException: if the container has expired, or for an error that would come again.
        :raises AirflowException: for an error that a retry may mend.
        """
        ContainerLink.persist(context, link)
        event = event or {"outcome": "error", "message": "the trigger fired no event", "retryable": True}
        if event.get("container_id", self.container_id) != self.container_id:
            # After a clear, the event of the try before may arrive at the one that waits now.
            self.log.warning("%s is no news of %s, which is kept alive on", event, self.container_id)
            self.execute(context)
            return
        outcome, message = event.get("outcome"), str(event.get("message"))
        if outcome in ("gone", "run_over"):
            self.log.info("%s", message)
        elif outcome in ("max_lifetime", "inline"):
            self.log.warning("%s", message)
        elif outcome == "error" and event.get("retryable", True):
            raise AirflowException(f"Task {self.task_id!r}: {message}")
        else:
            raise AirflowFailException(f"Task {self.task_id!r}: {message}")


def _expired_message(container: Container) -> str:
    idle = container.expires_after.minutes if container.expires_after else None
    return (
        f"Container {container.id} had expired before this task could keep it alive"
        f"{f' (its idle time is {idle} minutes)' if idle else ''}. Let this task start right after the one "
        "that creates the container, or create it with a longer expires_after"
    )


def _seconds(task_id: str, field: str, value: Any) -> float:
    """Return a span in seconds.

    :raises InvalidTaskArgumentError: if it is none, or not above 0.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        try:
            seconds = float(seconds)
            timedelta(seconds=seconds) + _BACKSTOP
        except (OverflowError, ValueError):
            seconds = math.nan
        if seconds > 0:
            return seconds
    raise InvalidTaskArgumentError(
        f"Task {task_id!r}: {field}: got {_shown(value)}, expected seconds above 0 or a timedelta"
    )


def _shown(value: Any) -> str:
    from airflow_containers.api.validation import quoted

    return str(value) if isinstance(value, timedelta) else quoted(value)
