"""Does to an Airflow 2 what its users do; reads orders from its input, a JSON list a line, and answers each.

A process of its own, because Airflow 2 changes states through its database, and the tests' own process has
another one.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any


def _dag(dag_id: str) -> Any:
    from airflow.models.dagbag import DagBag

    return DagBag(read_dags_from_db=True).get_dag(dag_id)


def _trigger(dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
    from airflow.api.common.trigger_dag import trigger_dag

    trigger_dag(dag_id, run_id=run_id, conf=conf, replace_microseconds=False)


def _mark_task(dag_id: str, run_id: str, task_id: str, state: str) -> None:
    from airflow.utils.state import TaskInstanceState

    _dag(dag_id).set_task_instance_state(
        task_id=task_id, run_id=run_id, state=TaskInstanceState(state), commit=True
    )


def _clear_task(dag_id: str, run_id: str, task_id: str) -> None:
    from airflow.models.dagrun import DagRun

    (run,) = DagRun.find(dag_id=dag_id, run_id=run_id)
    part = _dag(dag_id).partial_subset([task_id], include_downstream=True, include_upstream=False)
    part.clear(start_date=run.execution_date, end_date=run.execution_date)


def _fail_run(dag_id: str, run_id: str) -> None:
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed

    set_dag_run_state_to_failed(dag=_dag(dag_id), run_id=run_id, commit=True)


ORDERS = {"trigger": _trigger, "mark_task": _mark_task, "clear_task": _clear_task, "fail_run": _fail_run}


def _carry_out(order: str, arguments: list[Any]) -> str | None:
    """Carry an order out, again if the database was locked; returns what went wrong."""
    for attempt in range(10):
        try:
            ORDERS[order](*arguments)
        except Exception as error:  # noqa: BLE001 - the test tells
            if "database is locked" not in str(error) or attempt == 9:
                return traceback.format_exc()
            time.sleep(0.5)
        else:
            return None
    return "unreachable"


def main() -> None:
    """Answer until there are no more orders."""
    answers = sys.stdout
    # Airflow's own output must not come between.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        order, *arguments = json.loads(line)
        answers.write(json.dumps(_carry_out(order, arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
