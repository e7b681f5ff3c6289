"""Runs one operator as a worker does, without Airflow's database: templates rendered, then execute."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import DAG

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def task_context(task: Any, **changed: Any) -> dict[str, Any]:
    """The part of a task's context that our operators use.

    :param changed: members of ``ti`` (``dag_id``, ``run_id``, ``map_index``), ``started``, or values for
        templates.
    """
    started = changed.pop("started", STARTED)
    identity = {
        "dag_id": "reports",
        "task_id": task.task_id,
        "run_id": "manual__1",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 0,
    }
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        **{name: changed.pop(name, value) for name, value in identity.items()},
        task=task,
        pushed=pushed,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    return {"ti": ti, "task_instance": ti, "dag_run": SimpleNamespace(start_date=started), **changed}


def templated(operator: type[Any], fields: dict[str, Any], *, native: bool, **literals: Any) -> Any:
    """A task whose fields come from templates that render to the given values, already rendered."""
    dag = DAG("reports", schedule=None, start_date=STARTED, render_template_as_native_obj=native)
    templates = {name: f"{{{{ rendered_{name} }}}}" for name in fields}
    task = operator(task_id="make", dag=dag, **templates, **literals)
    task.render_template_fields(
        task_context(task, **{f"rendered_{name}": value for name, value in fields.items()})
    )
    return task
