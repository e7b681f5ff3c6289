"""``with container(...) as box``: a create and a delete task around the tasks of the block."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_containers.operators.container import (
    CreateContainerOperator,
    DeleteContainerOperator,
    container,
)
from airflow_containers.testing import LocalServer
from tests.support.dag_runs import FinishedRun, load_dag, run_dag
from tests.support.isolation import REPOSITORY

HEADER = """
from airflow.providers.common.compat.sdk import DAG, task
from airflow_containers.operators.container import container
"""
RunSource = Callable[[str], FinishedRun]


@pytest.fixture
def run_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path, containers_connection: str
) -> RunSource:
    """Run a DAG from its source with real Airflow, in a bundle of its own."""
    bundle = {
        "name": "scope",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))

    def run(source: str) -> FinishedRun:
        file = tmp_path / "scoped_dag.py"
        file.write_text(source)
        return run_dag(load_dag(file), airflow_database)

    return run


def test_work_is_between(run_source: RunSource, containers_server: LocalServer) -> None:
    """The guide's block: the task in it gets the id of a live container, which is gone afterwards."""
    text = (REPOSITORY / "docs" / "create-once.md").read_text()
    source = text.split("```python\n")[1].split("```")[0]

    run = run_source(source)

    assert "success" == run.state
    assert ["create_container", "delete_container", "work"] == sorted(task_id for task_id, _ in run.tasks)
    assert [run.xcoms("create_container")[-1]] == [made["id"] for made in containers_server.containers()]
    containers_server.assert_nothing_left()


def test_failed_work(run_source: RunSource, containers_server: LocalServer) -> None:
    """A task of the block that fails does not keep the container alive, and fails the run."""
    run = run_source(
        HEADER
        + """
with DAG("scope_failed"):
    @task
    def work(container_id):
        raise ValueError("as the test wants it")

    with container("box", memory_limit="4g") as box:
        work(box)
"""
    )

    assert {("create_box", -1): "success", ("work", -1): "failed", ("delete_box", -1): "success"} == run.tasks
    assert "failed" == run.state
    containers_server.assert_nothing_left()


@pytest.mark.parametrize(("choice", "state"), [(False, "success"), (True, "failed")])
def test_failed_delete(
    run_source: RunSource, containers_server: LocalServer, choice: bool, state: str
) -> None:
    """A container that could not be deleted fails the run only if the author wants that."""
    containers_server.order_fault(method="DELETE", status=403, times=1000)

    run = run_source(
        HEADER
        + f"""
with DAG("scope_left"):
    @task
    def work(container_id):
        pass

    with container(on_failure_fail_dagrun={choice}) as box:
        work(box)
"""
    )

    assert state == run.state
    assert "failed" == run.tasks["delete_container", -1]


def test_arguments() -> None:
    """What says where a task runs counts for both tasks; the delete task is retried, and takes its own."""
    with DAG("scope"):
        scope = container("box", memory_limit="4g", conn_id="other", pool="box", delete_args={"retries": 5})

    assert isinstance(scope.create, CreateContainerOperator)
    assert isinstance(scope.delete, DeleteContainerOperator)
    assert ("4g", "other", "box", 0) == (
        scope.create.memory_limit,
        scope.create.conn_id,
        scope.create.pool,
        scope.create.retries,
    )
    assert ("other", "box", 5) == (scope.delete.conn_id, scope.delete.pool, scope.delete.retries)
    assert (True, True) == (scope.create.is_setup, scope.delete.is_teardown)


def test_several_blocks(run_source: RunSource, containers_server: LocalServer) -> None:
    """Blocks may stand beside and in one another; each has a container of its own."""
    run = run_source(
        HEADER
        + """
with DAG("scopes"):
    @task
    def work(*container_ids):
        assert len(set(container_ids)) == len(container_ids), container_ids

    with container("outer") as outer:
        with container("inner") as inner:
            work(outer, inner)
        work.override(task_id="after")(outer)
    with container("other") as other:
        work.override(task_id="beside")(other)
"""
    )

    assert {"success"} == set(run.tasks.values())
    assert 3 == len(containers_server.containers())
    containers_server.assert_nothing_left()


def test_wrong_literal() -> None:
    """A wrong literal is an error where it stands."""
    with pytest.raises(ValueError, match="memory_limit"):
        container(memory_limit="3g")
