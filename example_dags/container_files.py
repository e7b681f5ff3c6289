"""Files from an object store into a container that has a skill, and the results out to an object store.

Where the files come from and go to are parameters of the run: URLs of any store that Airflow knows, such as
``s3://my_aws@bucket/orders/*.csv``. By default they are folders of the worker, so this runs on a laptop.

What works in the container is not part of this example: a model does, as in ``container_with_responses``, led
by the skill, or a program. ``results_are_there`` waits for what it leaves. Nothing works in here, so by
default that is what was put in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_containers.operators.container import container
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator
from airflow_containers.sensors.container_file import ContainerFileSensor

with DAG(
    "container_files",
    description="Files in, a skill, results out",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "source": Param(
            f"file://{Path(__file__).parent}/data/*.csv", type="string", description="URL or pattern of CSVs"
        ),
        "results": Param(
            "file:///tmp/container-files", type="string", description="URL of the folder for the results"
        ),
        "wait_for": Param(
            "*.csv", type="string", description="What the work leaves in the container, such as report.*"
        ),
    },
    tags=["example", "containers"],
):
    for_report = container("for_report", skills=[{"path": "skills/report"}])
    with for_report as box:
        put = UploadToContainerOperator(
            task_id="put",
            container_id=box,
            sources="{{ params.source }}",
            texts={"job.json": {"run": "{{ run_id }}", "by": "city", "sum": "amount"}},
        )
        results_are_there = ContainerFileSensor(
            task_id="results_are_there",
            container_id=box,
            path="{{ params.wait_for }}",
            deferrable=True,
            poke_interval=5,
            timeout=900,
        )
        get = DownloadFromContainerOperator(
            task_id="get",
            container_id=box,
            paths="{{ ti.xcom_pull(task_ids='results_are_there') | tojson }}",
            target="{{ params.results }}/{{ run_id }}",
            max_files=100,
            max_bytes=100_000_000,
        )
        put >> results_are_there >> get
