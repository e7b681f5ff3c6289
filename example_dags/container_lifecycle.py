"""Create a container, use its id in the next task, and delete the container whatever happened in between.

Needs the connection ``openai_containers_default``, and a connection ``buildkite`` whose password is a
token. The token goes to the service for ``api.buildkite.com`` alone: neither the DAG, nor Airflow's
database and logs, nor the container itself gets to see it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator

with DAG(
    "container_lifecycle",
    description="Create a container, use it, delete it",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["example", "containers"],
):

    @task
    def look(container_id: str) -> str:
        """Ask the service for the container by the id that the task before has returned."""
        from airflow_containers.hooks.container import ContainerHook

        with ContainerHook() as hook:
            container = hook.retrieve_container(container_id)
        return f"{container.name} is {container.status}"

    create = CreateContainerOperator(
        task_id="create",
        memory_limit="1g",
        expires_after=10,
        domains=["api.buildkite.com"],
        domain_secrets=[{"domain": "api.buildkite.com", "name": "BUILDKITE_TOKEN", "conn_id": "buildkite"}],
    )
    delete = DeleteContainerOperator(task_id="delete", container_id=create.output)

    with delete.as_teardown(setups=create):
        look(create.output)
