"""Runs a DAG file with real Airflow inside the test process, and reads its metadata database afterwards."""

from __future__ import annotations

import functools
import json
import logging
import sqlite3
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

try:
    import structlog
except ImportError:  # Airflow 2.11 has none
    structlog = None

TaskKey = tuple[str, int]
"""A task id, and the map index (-1 for a task that is not mapped)."""


@dataclass(frozen=True)
class FinishedRun:
    """What one run of a DAG has left in the metadata database."""

    run_id: str
    state: str
    database: Path

    @property
    def tasks(self) -> dict[TaskKey, str]:
        """The state of each task instance."""
        query = "SELECT task_id, map_index, state FROM task_instance WHERE run_id = ?"
        return {(task_id, index): state for task_id, index, state in self._rows(query)}

    def xcoms(self, task_id: str, key: str = "return_value") -> dict[int, Any]:
        """The values one task has pushed under one key, by map index."""
        query = "SELECT map_index, value FROM xcom WHERE run_id = ? AND task_id = ? AND key = ?"
        return {index: json.loads(value) for index, value in self._rows(query, task_id, key)}

    def rendered(self, task_id: str) -> dict[int, dict[str, Any]]:
        """The rendered template fields of one task, by map index."""
        table = "rendered_task_instance_fields"
        query = f"SELECT map_index, rendered_fields FROM {table} WHERE run_id = ? AND task_id = ?"
        return {index: json.loads(fields) for index, fields in self._rows(query, task_id)}

    def _rows(self, query: str, *arguments: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute(query, (self.run_id, *arguments)).fetchall()
        finally:
            connection.close()


def load_dag(dag_file: Path) -> Any:
    """The only DAG of a file, imported as Airflow does it; an import error is raised with Airflow's text."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag

    bag = DagBag(str(dag_file))
    if bag.import_errors:
        raise AssertionError("\n".join(bag.import_errors.values()))
    (dag,) = bag.dags.values()
    return dag


def run_dag(dag: Any, database: Path, conf: dict[str, Any] | None = None) -> FinishedRun:
    """Run every task of a DAG in this process, through Airflow's own machinery."""
    _prepare_process()
    run = dag.test(run_conf=conf)
    return FinishedRun(
        run_id=run.run_id, state=str(getattr(run.state, "value", run.state)), database=database
    )


@functools.cache
def _prepare_process() -> None:
    """Make up for two things that older Airflow 3 leaves undone in a process that is no worker."""
    if structlog is None:
        return
    # A worker's log level is INFO. Here 3.0 leaves it open, and on DEBUG it tells each secret that it masks.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))

    from airflow.sdk.execution_time import supervisor

    # 3.1 and 3.2 build the whole Execution API anew for each task, more than a second of CPU time; 3.3 keeps
    # it. That of 3.0 cannot be kept: it remembers DAGs.
    takes_dag = signature(supervisor.InProcessTestSupervisor._api_client).parameters
    if takes_dag and not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
