"""Keeping alive with a real triggerer: the work outlives the idle time, and kills do what the guide says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_containers.testing import LocalServer
from tests.support.standalone import Standalone, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.airflow("3.3")]

DAGS = """
import time
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG, task
from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.operators.keep_alive import KeepContainerAliveOperator

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

with DAG("works", schedule=None, start_date=START):

    @task
    def work():
        time.sleep(15)

    create = CreateContainerOperator(task_id="create", expires_after=1)
    keep = KeepContainerAliveOperator(task_id="keep", container_id=create.output, interval=2)
    delete = DeleteContainerOperator(task_id="delete", container_id=create.output)
    with delete.as_teardown(setups=create):
        work()
    create >> keep

for dag_id, deletes in (("leaves", False), ("deletes", True)):
    with DAG(dag_id, schedule=None, start_date=START):
        create = CreateContainerOperator(task_id="create")
        keep = KeepContainerAliveOperator(
            task_id="keep", container_id=create.output, interval=2, delete_when_run_ends=deletes
        )
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """A local server."""
    with LocalServer() as server:
        yield server


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, server: LocalServer) -> Iterator[Standalone]:
    """A whole Airflow with the DAGs above."""
    dags = tmp_path_factory.mktemp("dags")
    (dags / "kept.py").write_text(DAGS)
    connection = {
        "conn_type": "openai_containers",
        "host": server.base_url,
        "password": server.api_key,
        "extra": {"requests_per_minute": 600},
    }
    airflow = Standalone(
        tmp_path_factory.mktemp("keep-alive"),
        dags,
        {"AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT": json.dumps(connection)},
    )
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()


class Kept:
    """A run whose container is being kept alive."""

    def __init__(self, airflow: Standalone, server: LocalServer, dag_id: str) -> None:
        self.airflow, self.server = airflow, server
        wait_for(dag_id, lambda: airflow.client.get(f"/api/v2/dags/{dag_id}").is_success or None, 90)
        self.run_id = airflow.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]
        self.path = f"/dags/{dag_id}/dagRuns/{self.run_id}"
        wait_for("the task to be deferred", lambda: self.state == "deferred" or None, 90)
        self.container_id = airflow.get(f"{self.path}/taskInstances/create/xcomEntries/return_value")["value"]
        self.container_id = self.container_id.strip('"')
        wait_for("touches by the triggerer", lambda: self.touches > 2 or None, 60)

    @property
    def state(self) -> str | None:
        """The state of the keep-alive task."""
        state: str | None = self.airflow.get(f"{self.path}/taskInstances/keep")["state"]
        return state

    @property
    def touches(self) -> int:
        """How often its container was asked for."""
        return len(self.server.requests("GET", f"/v1/containers/{self.container_id}"))

    @property
    def lives(self) -> bool:
        """Whether its container is there."""
        return self.container_id in [each["id"] for each in self.server.alive()]

    def change(self, path: str, body: dict[str, Any]) -> None:
        """Change the run or its task, as the UI does."""
        answer = self.airflow.client.patch(f"/api/v2{self.path}{path}", json=body)
        assert answer.is_success, answer.text

    def is_left_alone(self) -> None:
        """Nobody touches the container any more, and it is still there."""
        seen = -1
        deadline = time.monotonic() + 60
        while seen != self.touches and time.monotonic() < deadline:
            seen = self.touches
            time.sleep(6)
        assert seen == self.touches
        assert self.lives


def test_work_outlives_the_idle_time(airflow: Standalone, server: LocalServer) -> None:
    """The container is there when the work ends, and keeping it ends with its deletion."""
    run = airflow.run("works")

    tasks = ("create", "keep", "work", "delete")
    assert {(name, -1): "success" for name in tasks} == run.tasks
    assert 3 <= len(server.requests("GET", f"/v1/containers/{run.xcom('create')}"))
    server.assert_nothing_left()
    assert "is deleted" in run.log("keep")
    assert '"level":"error"' not in run.log("keep")


def test_run_is_marked_failed(airflow: Standalone, server: LocalServer) -> None:
    """Only where it was asked for the container goes with its run."""
    leaves, deletes = (Kept(airflow, server, dag_id) for dag_id in ("leaves", "deletes"))
    for kept in (leaves, deletes):
        kept.change("", {"state": "failed"})

    wait_for("the container to be deleted", lambda: not deletes.lives or None, 60)
    leaves.is_left_alone()


def test_task_is_cleared(airflow: Standalone, server: LocalServer) -> None:
    """The next try goes on with the same container, though deleting was asked for."""
    kept = Kept(airflow, server, "deletes")
    before = kept.touches
    body = {"dry_run": False, "dag_run_id": kept.run_id, "task_ids": ["keep"], "only_failed": False}
    airflow.post("/dags/deletes/clearTaskInstances", body | {"reset_dag_runs": True})

    wait_for("touches after that", lambda: kept.touches > before + 5 or None, 90)
    assert kept.lives
    assert "deferred" == kept.state
