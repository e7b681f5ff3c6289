"""Everything about a container from templates: one for each team, with its own domains and secrets.

Needs the connection ``openai_containers_default`` and three places to take secrets from: a connection
``buildkite`` (its password), a Variable ``data_token``, and an environment variable ``EXAMPLE_API_TOKEN``
of the worker. A template never holds a secret itself.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator

with DAG(
    "container_templates",
    description="Templates, mapping, secrets by reference and skills",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "memory_limit": Param("1g", enum=["1g", "4g", "16g", "64g"], description="Memory of each container"),
        "idle_minutes": Param(
            5, type="integer", minimum=1, maximum=20, description="Idle time before a container ends"
        ),
        "domains": Param(
            ["api.example.com", "data.example.org"], type="array", description="Domains it may reach"
        ),
        "skill_version": Param("latest", type="string", description="Version of the spreadsheet skill"),
    },
    tags=["example", "containers"],
):
    # One container from the parameters of the run. One template may give a whole list: it renders to JSON.
    report = CreateContainerOperator(
        task_id="report",
        name="report {{ run_id }}",
        memory_limit="{{ params.memory_limit }}",
        expires_after="{{ params.idle_minutes }}",
        domains="{{ params.domains | tojson }}",
        domain_secrets=[
            {"domain": "api.example.com", "name": "EXAMPLE_TOKEN", "env": "EXAMPLE_API_TOKEN"},
            {"domain": "data.example.org", "name": "DATA_TOKEN", "variable": "data_token"},
        ],
        skills=["openai-spreadsheets@{{ params.skill_version }}"],
    )
    delete_report = DeleteContainerOperator(task_id="delete_report", container_id=report.output)
    delete_report.as_teardown(setups=report)

    # One container for each element of a list that is known only when the DAG runs.
    @task
    def teams() -> list[dict[str, object]]:
        """Which teams get a container, and what each may reach."""
        token = {"domain": "api.buildkite.com", "name": "BUILDKITE_TOKEN", "conn_id": "buildkite"}
        return [
            {"name": "team-red {{ run_id }}", "domains": ["api.buildkite.com"], "domain_secrets": [token]},
            {"name": "team-blue {{ run_id }}", "domains": []},
        ]

    each_team = CreateContainerOperator.partial(
        task_id="each_team", memory_limit="{{ params.memory_limit }}"
    ).expand_kwargs(teams())
    delete_each = DeleteContainerOperator.partial(task_id="delete_each").expand(container_id=each_team.output)
    delete_each.as_teardown(setups=each_team)
