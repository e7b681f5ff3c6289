"""Delete, once an hour, the containers that finished runs have left behind.

Needs the connection ``openai_containers_default``. The first task changes nothing: its log is the table of
what the second one is going to delete, with reasons, minutes and cost. Containers of live runs are never
touched. The DAG is paused until you turn it on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_containers.operators.sweep import SweepContainersOperator

with DAG(
    "container_sweep",
    description="Delete the containers of runs that are over",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # It deletes things: somebody should want it, and have looked at the connection.
    is_paused_upon_creation=True,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["example", "containers"],
):
    look = SweepContainersOperator(task_id="look", dry_run=True)
    sweep = SweepContainersOperator(task_id="sweep")

    look >> sweep
