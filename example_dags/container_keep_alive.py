"""Keep a container alive while tasks queue, pause and work, and delete it at the end.

A container ends after 20 idle minutes or less, and Airflow promises no task that it starts so soon. ``keep``
waits in the triggerer, without holding a worker, and touches the container until ``delete`` has deleted it.

``keep`` is no part of what ``delete`` waits for: each would wait for the other. If the run as a whole is
ended, by its time-out or by hand, Airflow may skip ``delete``; then ``keep`` deletes the container.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.operators.keep_alive import KeepContainerAliveOperator
from airflow_containers.sensors.container import ContainerStatusSensor

with DAG(
    "container_keep_alive",
    description="Keep a container alive between tasks",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    dagrun_timeout=timedelta(hours=2),
    tags=["example", "containers"],
):

    @task
    def work(container_id: str) -> str:
        """Stand in for tasks that use the container, with long pauses between them."""
        from airflow_containers.hooks.container import ContainerHook

        with ContainerHook() as hook:
            container = hook.retrieve_container(container_id)
        return f"{container.name} is {container.status}"

    create = CreateContainerOperator(task_id="create", expires_after=10)
    keep = KeepContainerAliveOperator(
        task_id="keep",
        container_id=create.output,
        interval=timedelta(minutes=2),
        max_lifetime=timedelta(hours=2),
        delete_when_run_ends=True,
    )
    ready = ContainerStatusSensor(
        task_id="ready",
        container_id=create.output,
        how="touch",
        deferrable=True,
        poke_interval=5,
        timeout=300,
    )
    delete = DeleteContainerOperator(task_id="delete", container_id=create.output)

    with delete.as_teardown(setups=create):
        ready >> work(create.output)
    create >> keep
