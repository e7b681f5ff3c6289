"""What Airflow knows about the task and the run that a trigger works for.

Asked in the triggerer, where the answer comes from the supervisor (Airflow 3) or from the database
(Airflow 2). Where there is nobody to ask, as in ``dag.test``, the answer is ``None``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger(__name__)

PATIENCE: Final = 10.0
"""Seconds to wait for an answer."""

RUN_OVER: Final = frozenset({"success", "failed"})
TASK_OVER: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States that no try follows by itself. Everything else may be, or become, a try that needs its container."""


def is_inline() -> bool:
    """Whether this process is ``dag.test`` of Airflow 3, which runs a trigger instead of the other tasks.

    Airflow 2 gives no sign of it.
    """
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return type(comms).__name__ == "InProcessSupervisorComms"


async def run_is_over(task_instance: Any) -> bool:
    """Whether the DAG run is known to be over."""
    return await _ask(_run_state, task_instance) in RUN_OVER


async def task_is_over(task_instance: Any) -> bool:
    """Whether the task instance is known to be over: no try is running, waiting or to come."""
    return await _ask(_task_state, task_instance) in TASK_OVER


async def _ask(question: Callable[[Any], str | None], task_instance: Any) -> str | None:
    if task_instance is None:
        return None
    from asgiref.sync import sync_to_async

    try:
        async with asyncio.timeout(PATIENCE):
            # Shielded: in there a cancellation loses its message, by which Airflow tells a kill from a move.
            state = await asyncio.shield(sync_to_async(question)(task_instance))
    except Exception as error:  # noqa: BLE001 - an unknown state changes nothing, whatever the reason
        logger.debug("Airflow did not tell a state: %r", error)
        return None
    return None if state is None else str(getattr(state, "value", state))


def _run_state(ti: Any) -> Any:
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:  # Airflow 2
        from airflow.models.dagrun import DagRun

        return _from_database(DagRun.state, DagRun.dag_id == ti.dag_id, DagRun.run_id == ti.run_id)
    return RuntimeTaskInstance.get_dagrun_state(ti.dag_id, ti.run_id)


def _task_state(ti: Any) -> Any:
    index = -1 if ti.map_index is None else ti.map_index
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:  # Airflow 2
        from airflow.models.taskinstance import TaskInstance

        return _from_database(
            TaskInstance.state,
            TaskInstance.dag_id == ti.dag_id,
            TaskInstance.run_id == ti.run_id,
            TaskInstance.task_id == ti.task_id,
            TaskInstance.map_index == index,
        )
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=index
    )
    return states[ti.run_id][ti.task_id if index < 0 else f"{ti.task_id}_{index}"]


def _from_database(column: Any, *conditions: Any) -> Any:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return session.scalar(select(column).where(*conditions))
