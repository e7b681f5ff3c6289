"""The state of a DAG run, asked of Airflow by the run's ids.

What a task may ask differs between the lines of Airflow:

- A task of Airflow 3 has no database. It asks the Execution API, which tells the state of a run whose ids are
  given (all 3.x), and lists no runs.
- A task of Airflow 2.11, and a command on a machine of either line that has the database, read it there. They
  can list the live runs as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_containers.identity import run_hash
from airflow_containers.sweeping import RunState

if TYPE_CHECKING:
    from airflow_containers.identity import Run
    from airflow_containers.sweeping import AskRun

_NOT_IN_A_PATH: Final = frozenset("/?#%\\")


def ask_airflow() -> AskRun:
    """Return how this process asks for a run: through the Execution API in a task of Airflow 3, else from the
    metadata database.
    """
    try:
        from airflow.sdk.execution_time import task_runner
    except ImportError:  # Airflow 2.11
        return ask_database
    return ask_database if getattr(task_runner, "SUPERVISOR_COMMS", None) is None else ask_execution_api


def ask_execution_api(run: Run) -> RunState:
    """Ask as a task of Airflow 3 does. Does not raise: without a clear answer the state is ``unknown``."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    # Airflow puts the ids into a path as they are, and could answer for another run.
    if any(not _NOT_IN_A_PATH.isdisjoint(text) or text in (".", "..") for text in (run.dag_id, run.run_id)):
        return RunState("unknown", "has ids that a task cannot ask Airflow for")
    try:
        state = RuntimeTaskInstance.get_dagrun_state(run.dag_id, run.run_id)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the run may be live
        return RunState.absent() if _says_not_found(error) else RunState.unanswered(_kind(error))
    return _of(state)


def ask_database(run: Run) -> RunState:
    """Ask the metadata database. Does not raise: without a clear answer the state is ``unknown``."""
    try:
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from sqlalchemy import select

        query = select(DagRun.state).where(DagRun.dag_id == run.dag_id, DagRun.run_id == run.run_id)
        with create_session() as session:
            found = session.execute(query).first()
    except Exception as error:  # noqa: BLE001 - as above
        return RunState.unanswered(_kind(error))
    return RunState.absent() if found is None else _of(found[0])


def live_runs(deployment_id: str) -> frozenset[str]:
    """Return the live runs of this Airflow, each as the part of the owner token that stands for it.

    Needs the metadata database, like :func:`ask_database`. Does not raise: it returns none if it cannot be
    read.
    """
    try:
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from sqlalchemy import select

        query = select(DagRun.dag_id, DagRun.run_id).where(DagRun.state.in_(("queued", "running")))
        with create_session() as session:
            return frozenset(run_hash(deployment_id, *ids) for ids in session.execute(query))
    except Exception:  # noqa: BLE001 - as above
        return frozenset()


def _of(state: Any) -> RunState:
    return RunState.of(str(getattr(state, "value", state)))


def _kind(error: Exception) -> str:
    # The text may hold the database's address with its password.
    return type(error).__name__


def _says_not_found(error: Exception) -> bool:
    """Whether Airflow itself says that there is no such run.

    A proxy in front of it, or a route that an Airflow does not have, answers 404 as well, without a reason.
    """
    # In a worker it comes as an AirflowRuntimeError from the supervisor; where the task runs in the
    # supervisor's process, as in `dag.test()`, it is the HTTP error itself.
    detail: Any = getattr(getattr(error, "error", None), "detail", None)
    if isinstance(detail, dict):
        status, detail = detail.get("status_code"), detail.get("detail")
    else:
        status, detail = getattr(getattr(error, "response", None), "status_code", None), _body(error)
    while isinstance(detail, dict) and "reason" not in detail:
        detail = detail.get("detail")
    return status == 404 and isinstance(detail, dict) and detail["reason"] == "not_found"


def _body(error: Exception) -> Any:
    response: Any = getattr(error, "response", None)
    try:
        return response.json()
    except (AttributeError, ValueError):
        return getattr(error, "detail", None)
