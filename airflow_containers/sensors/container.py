"""The sensor that waits for a container's status."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, cast

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._errors import InvalidTaskArgumentError, fail_if_final
from airflow_containers.operators._literals import check_container_id, check_id, is_dynamic
from airflow_containers.sensors._skips import reasons_told

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_containers.triggers._status import Verdict

How = Literal["observe", "touch"]

ALIVE = ("running", "active")
"""The words that services use, or document, for a container that can be worked in."""

_BACKSTOP = timedelta(minutes=10)
_EXPECTED_CONNECTION = "the id of an Airflow connection"
_EXPECTED_STATUSES = "a status such as 'running', or a list of some"


class ContainerStatusSensor(BaseSensorOperator):
    """Wait until a container has one of some statuses, and return that status.

    A container that is on no list, or that is answered with 404, has the status ``deleted``. One that is new
    may be missing from lists at first: one that was never seen there counts as deleted after 60 seconds. A
    container that is over while another status is awaited fails the task at once: waiting cannot help.

    :param container_id: the container's id, usually ``create.output``. (templated)
    :param statuses: the status to wait for, or several, in any capitals. Services know ``running`` (or
        ``active``), ``expired`` and ``deleted``. Default: ``running`` or ``active``. (templated)
    :param how: ``observe`` (default) reads lists, page by page from the newest container on, and leaves
        the idle clock alone; ``touch`` asks by id, which is one request and keeps the container alive.
    :param name: with ``observe``: the container's name, if it is known; only those of that name are
        looked through. (templated)
    :param deferrable: wait in the triggerer, without holding a worker. Default: Airflow's
        ``[operators] default_deferrable``.
    :param conn_id: the connection to use. (templated)
    :param kwargs: those of Airflow's sensors: ``poke_interval`` (seconds, default 60), ``timeout``
        (seconds), ``mode``, ``soft_fail``. ``exponential_backoff`` does not go with ``deferrable``.
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = ("container_id", "statuses", "name", "conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"statuses": "json"}
    ui_color = "#eaf0f8"

    def __init__(
        self,
        *,
        container_id: str,
        statuses: str | Sequence[str] = ALIVE,
        how: How = "observe",
        name: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.container_id = container_id
        self.statuses = statuses
        self.how = how
        self.name = name
        self.deferrable = deferrable
        self.conn_id = conn_id
        self._first_look: float | None = None
        self._seen = False
        if how not in ("observe", "touch"):
            self._refuse("how", how, "'observe' (lists, no effect) or 'touch' (by id, keeps it alive)")
        if not isinstance(deferrable, bool):
            self._refuse("deferrable", deferrable, "True or False")
        if name is not None and how == "touch":
            self._refuse("name", name, "None: how='touch' asks by id")
        if deferrable and self.exponential_backoff:
            self._refuse("exponential_backoff", True, "False with deferrable=True, which looks at even pace")
        self._check(literal=True)

    def _refuse(self, field: str, value: Any, expected: str) -> NoReturn:
        from airflow_containers.api.validation import quoted

        raise InvalidTaskArgumentError(
            f"Task {self.task_id!r}: {field}: got {quoted(value)}, expected {expected}"
        )

    def _check(self, *, literal: bool = False) -> None:
        """Check the templated fields; as they were written, or as they were rendered."""
        if not literal or not is_dynamic(self.container_id):
            check_container_id(self.task_id, self.container_id)
        if not literal or not is_dynamic(self.conn_id):
            check_id(self.task_id, "conn_id", self.conn_id, _EXPECTED_CONNECTION)
        if self.name is not None and not (literal and is_dynamic(self.name)):
            check_id(self.task_id, "name", self.name, "the container's name, or None")
        if not literal or not is_dynamic(self.statuses):
            self._wanted()

    def _wanted(self) -> tuple[str, ...]:
        """Return the statuses awaited, in lower case."""
        given: Any = self.statuses
        entries = [given] if isinstance(given, str) else given
        if not isinstance(entries, list | tuple | set | frozenset) or not entries:
            self._refuse("statuses", given, _EXPECTED_STATUSES)
        for entry in entries:
            if not isinstance(entry, str) or not entry.strip():
                self._refuse("statuses", entry, _EXPECTED_STATUSES)
        return tuple(dict.fromkeys(entry.strip().lower() for entry in cast("Sequence[str]", entries)))

    def execute(self, context: Context) -> Any:
        """Look until the status is there, or leave that to the triggerer.

        :returns: the status that was awaited.
        :raises AirflowFailException: if it cannot come any more, or for what a retry cannot mend.
        :raises AirflowSensorTimeout: if it does not come in time.
        """
        if not self.deferrable:
            return super().execute(context)
        started_at = time.time()
        try:
            found = self._poke(started_at)
        except AirflowFailException as error:
            if self.soft_fail or getattr(self, "never_fail", False):
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise
        if found is None:
            self._defer(started_at)
        return found

    def _defer(self, started_at: float) -> NoReturn:
        from airflow_containers.triggers.container import ContainerStatusTrigger

        self.defer(
            trigger=ContainerStatusTrigger(
                container_id=self.container_id,
                conn_id=self.conn_id,
                statuses=self._wanted(),
                how=self.how,
                interval=self.poke_interval,
                started_at=started_at,
                ends_at=started_at + self.timeout,
                name=self.name,
                seen=self._seen,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + _BACKSTOP,
        )

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once.

        :raises AirflowFailException: if the status cannot come any more.
        """
        with reasons_told(self):
            self._check()
            status, verdict = self._look(self._waited(context))
            met = self._is_met(status, verdict)
        return PokeReturnValue(is_done=True, xcom_value=status) if met else False

    def execute_complete(
        self,
        context: Context,  # noqa: ARG002 - Airflow's signature
        event: Mapping[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002 - what a later version may hand over
    ) -> Any:
        """End as the trigger's event says.

        :returns: the status that was awaited.
        :raises AirflowSensorTimeout: if it did not come in time.
        :raises AirflowFailException: if it cannot come any more, or for an error that would come again.
        :raises AirflowException: for an error that a retry may mend.
        """
        event = event or {"outcome": "error", "message": "the trigger fired no event", "retryable": True}
        outcome, message = event.get("outcome"), f"Task {self.task_id!r}: {event.get('message')}"
        if outcome == "met":
            self.log.info("%s", event.get("message"))
            return event.get("status")
        with reasons_told(self):
            if outcome == "timeout":
                raise AirflowSensorTimeout(message)
            if outcome == "error" and event.get("retryable", True):
                raise AirflowException(message)
            raise AirflowFailException(message)

    def _poke(self, started_at: float) -> str | None:
        """Look once before deferring; an error that may pass is left to the trigger."""
        from airflow_containers.api.errors import ContainersError

        self._check()
        try:
            status, verdict = self._look(time.time() - started_at)
        except ContainersError as error:
            self.log.warning("%s; the triggerer looks again", error)
            return None
        return status if self._is_met(status, verdict) else None

    def _is_met(self, status: str | None, verdict: Verdict) -> bool:
        from airflow_containers.triggers import _status

        if verdict is _status.Verdict.HOPELESS:
            message = _status.hopeless_message(self.container_id, status, self._wanted())
            raise AirflowFailException(f"Task {self.task_id!r}: {message}")
        self.log.info("Container %s: %s", self.container_id, status or "not in the lists (yet)")
        return verdict is _status.Verdict.MET

    def _look(self, waited: float) -> tuple[str | None, Verdict]:
        from airflow_containers.api.errors import ContainerGoneError
        from airflow_containers.triggers import _status

        with fail_if_final(self.task_id), ContainerHook(self.conn_id) as hook:
            if self.how == "touch":
                try:
                    status = hook.retrieve_container(self.container_id).status
                except ContainerGoneError as error:
                    status = _status.status_of(error)
            else:
                each = hook.iterate_containers(name=self.name, order="desc")
                found = next((one for one in each if one.id == self.container_id), None)
                self._seen = self._seen or found is not None
                listed = (found.status or "unknown") if found is not None else None
                status = _status.status_in_lists(listed, seen=self._seen, waited=waited)
        return status, _status.judge(status, self._wanted())

    def _waited(self, context: Context) -> float:
        """Return the seconds since the first look of this try."""
        if self.reschedule:
            # Each look is a process of its own, so only Airflow knows of the first one.
            first = _first_reschedule(context)
            return time.time() - first if first is not None else 0.0
        now = time.monotonic()
        if self._first_look is None:
            self._first_look = now
        return now - self._first_look


def _first_reschedule(context: Context) -> float | None:
    """Return when a rescheduled task started first, in seconds since 1970; ``None`` if it has just begun."""
    ti: Any = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):
        date = ti.get_first_reschedule_date(context)
    else:  # Airflow 2
        from airflow.sensors.base import (  # type: ignore[import-not-found, unused-ignore]
            _orig_start_date,
        )

        first_try = (ti.max_tries or 0) - (ti.task.retries or 0) + 1
        date = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return date.timestamp() if date is not None else None
