"""Work with files in a container as with any other store, and keep the result when the container is gone.

The paths are Airflow's ``ObjectStoragePath``: tasks hand them to each other by XCom, and they reach any store
that Airflow knows. ``results`` says where the result is kept, such as ``s3://my_aws@bucket/results``.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, task

from airflow_containers.operators.container import container

with DAG(
    "container_file_system",
    description="Files in a container as a file system",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"results": "file:///tmp/container-results"},
    tags=["example", "containers"],
):

    @task
    def put_orders(container_id: str) -> ObjectStoragePath:
        """Write a table into the container."""
        data = ObjectStoragePath(f"openai-container://openai_containers_default@{container_id}/mnt/data")
        orders = data / "orders.csv"
        orders.write_text("city,amount\nOslo,3\nRome,4\nOslo,5\n")
        return orders

    @task
    def add_up(orders: ObjectStoragePath) -> ObjectStoragePath:
        """Stand in for a command in the container: read the table, and write the totals beside it."""
        totals: dict[str, int] = {}
        for row in csv.DictReader(io.StringIO(orders.read_text())):
            totals[row["city"]] = totals.get(row["city"], 0) + int(row["amount"])
        result = orders.parent / "totals.json"
        with result.open("w") as file:
            json.dump(totals, file)
        return result

    @task
    def keep(result: ObjectStoragePath, params: dict[str, Any] | None = None) -> dict[str, int]:
        """Tell what is in the container, and copy the result to where it stays."""
        sizes = {path.stat()["plain_name"]: path.stat()["size"] for path in result.parent.iterdir()}
        result.copy(ObjectStoragePath((params or {})["results"]) / "totals.json")
        return sizes

    with container("for_orders") as container_id:
        keep(add_up(put_orders(container_id)))
