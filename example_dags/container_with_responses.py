"""Let a model work in a container: the id goes into the shell tool of the Responses API.

On the local server no model is asked: it runs the fenced blocks of the input, and answers with what came out.
Needs ``apache-airflow-providers-openai`` and one connection of type ``openai``, ``openai_default``: both
the official operator and the operators here read it as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.openai.operators.openai import OpenAIResponseOperator

from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator

with DAG(
    "container_with_responses",
    description="A model runs commands in a container",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["example", "containers"],
):
    create = CreateContainerOperator(task_id="create", conn_id="openai_default")
    ask = OpenAIResponseOperator(
        task_id="ask",
        conn_id="openai_default",
        model="gpt-5.2",
        input_text="Say which version of Python there is. Use the shell tool, and run exactly this:\n"
        "```sh\npython3 --version\n```",
        response_kwargs={
            "tools": [
                {
                    "type": "shell",
                    "environment": {"type": "container_reference", "container_id": create.output},
                }
            ]
        },
    )
    delete = DeleteContainerOperator(task_id="delete", container_id=create.output, conn_id="openai_default")

    create >> ask >> delete.as_teardown(setups=create)
