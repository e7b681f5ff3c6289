"""Each example DAG, run by real Airflow against the local server."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.dag_runs import FinishedRun, load_dag, run_dag
from tests.support.gateway import Gateway
from tests.support.isolation import EXAMPLE_DAGS

pytestmark = pytest.mark.usefixtures("example_connections")


def _run(dag_id: str, database: Path, conf: dict[str, Any] | None = None) -> FinishedRun:
    return run_dag(load_dag(EXAMPLE_DAGS / f"{dag_id}.py"), database, conf)


def _policies(gateway: Gateway) -> dict[str, Any]:
    """The network policy of each create request, by the first word of the container's name."""
    bodies = [request.body or {} for request in gateway.server.requests("POST", "/v1/containers")]
    return {body["name"].split()[0]: body.get("network_policy") for body in bodies}


def test_lifecycle(gateway: Gateway, airflow_database: Path) -> None:
    """A container is made, its id reaches the next task by XCom, and it is deleted; nothing is left."""
    run = _run("container_lifecycle", airflow_database)

    assert run.tasks == {("create", -1): "success", ("look", -1): "success", ("delete", -1): "success"}
    (container,) = gateway.server.containers()
    assert run.xcoms("create") == {-1: container["id"]}
    assert run.xcoms("look") == {-1: f"{container['name']} is running"}
    assert ["POST", "GET", "DELETE", "GET"] == [request.method for request in gateway.server.requests()]
    gateway.server.assert_nothing_left()


def test_lifecycle_keeps_the_whole_answer(gateway: Gateway, airflow_database: Path) -> None:
    """The service's answer is under the XCom key `container`."""
    run = _run("container_lifecycle", airflow_database)

    answer = run.xcoms("create", "container")[-1]
    (container,) = gateway.server.containers()
    assert (container["id"], container["name"], "1g") == (
        answer["id"],
        answer["name"],
        answer["memory_limit"],
    )
    assert answer["network_policy"]["allowed_domains"] == ["api.buildkite.com"]


def test_rendered_fields_hold_references(airflow_database: Path) -> None:
    """What the UI shows of the secrets is where they are, not what they are."""
    run = _run("container_lifecycle", airflow_database)

    shown = str(run.rendered("create")[-1]["domain_secrets"])
    assert "canary" not in shown


def test_templates(gateway: Gateway, airflow_database: Path) -> None:
    """Each field takes a template; a mapped task makes one container for each element; all are deleted."""
    run = _run("container_templates", airflow_database)

    assert run.tasks == {
        ("report", -1): "success",
        ("delete_report", -1): "success",
        ("teams", -1): "success",
        ("each_team", 0): "success",
        ("each_team", 1): "success",
        ("delete_each", 0): "success",
        ("delete_each", 1): "success",
    }
    assert _policies(gateway) == {
        "report": {
            "type": "allowlist",
            "allowed_domains": ["api.example.com", "data.example.org"],
            "domain_secrets": [
                {"domain": "api.example.com", "name": "EXAMPLE_TOKEN", "value": "***"},
                {"domain": "data.example.org", "name": "DATA_TOKEN", "value": "***"},
            ],
        },
        "team-red": {
            "type": "allowlist",
            "allowed_domains": ["api.buildkite.com"],
            "domain_secrets": [{"domain": "api.buildkite.com", "name": "BUILDKITE_TOKEN", "value": "***"}],
        },
        "team-blue": {"type": "disabled"},
    }
    assert 3 == len({*run.xcoms("report").values(), *run.xcoms("each_team").values()})
    gateway.server.assert_nothing_left()


def test_templates_take_the_parameters_of_the_run(gateway: Gateway, airflow_database: Path) -> None:
    """Parameters given for one run reach the request."""
    conf = {
        "memory_limit": "4g",
        "idle_minutes": 7,
        "domains": ["api.example.com", "data.example.org"],
        "skill_version": "2",
    }
    _run("container_templates", airflow_database, conf)

    (body,) = (
        request.body
        for request in gateway.server.requests("POST", "/v1/containers")
        if request.body and request.body["name"].startswith("report")
    )
    assert "4g" == body["memory_limit"]
    assert {"anchor": "last_active_at", "minutes": 7} == body["expires_after"]
    assert [{"type": "skill_reference", "skill_id": "openai-spreadsheets", "version": "2"}] == body["skills"]


def test_model_gets_the_container(gateway: Gateway, airflow_database: Path) -> None:
    """The official operator puts the id into its request, and the command runs in that container."""
    run = _run("container_with_responses", airflow_database)

    assert run.tasks == {("create", -1): "success", ("ask", -1): "success", ("delete", -1): "success"}
    (request,) = gateway.responses
    environment = {"type": "container_reference", "container_id": run.xcoms("create")[-1]}
    assert [{"type": "shell", "environment": environment}] == request["tools"]
    assert "Python 3." in run.xcoms("ask")[-1]
    gateway.server.assert_nothing_left()


def test_sweep(gateway: Gateway, airflow_database: Path) -> None:
    """What a run has left is shown by the first task and deleted by the second."""
    gateway.server.order_fault(method="DELETE", status=400)
    left = _run("container_lifecycle", airflow_database)
    assert "failed" == left.tasks["delete", -1]
    (container,) = gateway.server.alive()

    run = _run("container_sweep", airflow_database)

    assert run.tasks == {("look", -1): "success", ("sweep", -1): "success"}
    (looked,), (swept,) = run.xcoms("look").values(), run.xcoms("sweep").values()
    assert [container["id"]] == looked["container_ids"] == swept["container_ids"]
    assert (0, 1) == (looked["deleted"], swept["deleted"])
    gateway.server.assert_nothing_left()


def test_file_system(gateway: Gateway, file_systems: None, airflow_database: Path, tmp_path: Path) -> None:
    """A table is written into a container, read from there, and the result is kept where the run says."""
    run = _run("container_file_system", airflow_database, {"results": f"file://{tmp_path}/results"})

    tasks = ("create_for_orders", "put_orders", "add_up", "keep", "delete_for_orders")
    assert {(name, -1): "success" for name in tasks} == run.tasks
    assert {-1: {"orders.csv": 33, "totals.json": 22}} == run.xcoms("keep")
    assert {"Oslo": 8, "Rome": 4} == json.loads((tmp_path / "results" / "totals.json").read_text())
    gateway.server.assert_nothing_left()


@pytest.fixture
def sensors_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 2.11 looks at the executor for a waiting sensor, and this one is not to be used with SQLite."""
    monkeypatch.setenv("_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK", "1")


def test_files(gateway: Gateway, sensors_run: None, airflow_database: Path, tmp_path: Path) -> None:
    """CSVs and a skill go into the container, and what was left there comes out, whole."""
    results = tmp_path / "results"

    run = _run("container_files", airflow_database, {"results": f"file://{results}"})

    tasks = ("create_for_report", "put", "results_are_there", "get", "delete_for_report")
    assert {(name, -1): "success" for name in tasks} == run.tasks
    ((source, path), _) = run.xcoms("put")[-1].items()
    assert f"file://{EXAMPLE_DAGS}/data/orders.csv" == source
    (written,) = run.xcoms("get")[-1]
    orders = (EXAMPLE_DAGS / "data" / "orders.csv").read_bytes()
    assert (path, len(orders)) == (written["path"], written["bytes"])
    assert hashlib.sha256(orders).hexdigest() == written["sha256"]
    assert orders == (results / run.run_id / "orders.csv").read_bytes()
    (create,) = gateway.server.requests("POST", "/v1/containers")
    assert ["report"] == [skill["name"] for skill in create.body["skills"]]
    gateway.server.assert_nothing_left()


def test_files_wait_for_the_work(
    gateway: Gateway, sensors_run: None, airflow_database: Path, tmp_path: Path
) -> None:
    """What a command writes later is waited for, and only that comes out."""
    written = threading.Event()

    def work() -> None:
        while not written.wait(0.1):
            for container in gateway.server.alive():
                gateway.server.add_container_file(container["id"], "/mnt/data/report.md", b"# Report")
                written.set()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        conf = {"results": f"file://{tmp_path}", "wait_for": "report.*"}
        run = _run("container_files", airflow_database, conf)
    finally:
        written.set()
        worker.join()

    assert "success" == run.state
    assert ["/mnt/data/report.md"] == run.xcoms("results_are_there")[-1]
    assert "# Report" == (tmp_path / run.run_id / "report.md").read_text()
    gateway.server.assert_nothing_left()


@pytest.mark.airflow("3.1")
def test_keep_alive(gateway: Gateway, airflow_database: Path) -> None:
    """Where one task runs at a time, keeping alive waits for nobody; the work is done, nothing is left."""
    run = _run("container_keep_alive", airflow_database)

    tasks = ("create", "keep", "ready", "work", "delete")
    assert {(name, -1): "success" for name in tasks} == run.tasks
    assert {-1: "running"} == run.xcoms("ready")
    gateway.server.assert_nothing_left()


def test_container_is_deleted_when_the_work_fails(gateway: Gateway, airflow_database: Path) -> None:
    """A teardown deletes the container although the task before it has failed."""
    gateway.server.order_fault(method="GET", path="/v1/containers/*", status=400)

    run = _run("container_lifecycle", airflow_database)

    assert run.tasks == {("create", -1): "success", ("look", -1): "failed", ("delete", -1): "success"}
    assert "failed" == run.state
    gateway.server.assert_nothing_left()


@pytest.mark.parametrize("dag_file", sorted(EXAMPLE_DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_examples_avoid_what_not_every_run_has(dag_file: Path) -> None:
    """No example uses the logical date: a run triggered by hand or by an asset has none."""
    source = dag_file.read_text()

    assert not {name for name in ("{{ ds", "{{ ts", "logical_date", "data_interval") if name in source}
