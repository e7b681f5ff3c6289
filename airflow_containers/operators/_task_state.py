"""What a create task knows of its earlier tries, on each line of Airflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from airflow_containers.api import CreateContainerRequest
    from airflow_containers.creation import OnRetry, Plan, Record

STATE_KEY: Final = "openai_container"
"""Key of the create task's record in Airflow's task state store (3.3 and later)."""


def make_plan(
    context: Any, request: CreateContainerRequest, *, unique: bool, on_retry: OnRetry, patience: float
) -> Plan:
    """Return what this try sets out with.

    :param context: the task's context.
    :param patience: seconds after which a container that is in no list is taken not to exist.
    """
    from airflow_containers.creation import Plan, Record, growing_pauses

    ti = context["ti"]
    store = _store(context)
    return Plan(
        request=request,
        unique=unique,
        later_try=ti.try_number > 1,
        remembers=store is not None,
        record=None if store is None else Record.from_json(store.get(STATE_KEY)),
        max_tries=_max_tries(ti),
        on_retry=on_retry,
        pauses=growing_pauses(patience),
        quiet_seconds=_quiet_seconds(ti),
        cleared=ti.try_number > 1 and not _is_retry(ti),
        begun_at=_begun_at(context),
    )


def rememberer(context: Any) -> Callable[[Record | None], None] | None:
    """Return what keeps a record from one try to the next; ``None`` before Airflow 3.3, which cannot."""
    store = _store(context)
    if store is None:
        return None

    def remember(record: Record | None) -> None:
        if record is None:
            store.delete(STATE_KEY)
        else:
            store.set(STATE_KEY, record.to_json())

    return remember


def _store(context: Any) -> Any:
    return context.get("task_state_store")


def _max_tries(ti: Any) -> int:
    return int(getattr(ti, "max_tries", None) or 0)


def _begun_at(context: Any) -> float | None:
    start_date = getattr(context.get("dag_run"), "start_date", None)
    return None if start_date is None else float(start_date.timestamp())


def _is_retry(ti: Any) -> bool:
    """Whether the try before this one has failed, for certain.

    A clear sets ``max_tries`` to the tries made so far and the task's retries.
    """
    tries_before_clear = _max_tries(ti) - ti.task.retries
    return bool(ti.try_number - 1 > tries_before_clear)


def _quiet_seconds(ti: Any) -> float:
    """Return for how long, at least, no earlier try has run: a retry waits, one after a clear does not."""
    task = ti.task
    # A policy of Airflow 3.3 may ask for any other delay.
    if not _is_retry(ti) or getattr(task, "retry_policy", None) is not None:
        return 0.0
    factor = task.retry_exponential_backoff
    if not isinstance(factor, bool) and 0 < factor < 1:
        # Each delay is shorter than the one before.
        return 0.0
    delays = (task.retry_delay, task.max_retry_delay)
    return float(min(delay.total_seconds() for delay in delays if delay is not None))
