"""The example DAGs in a whole Airflow with LocalExecutor, seen through the REST API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.provider_info import CONN_FIELDS
from tests.support import canary
from tests.support.connections import Secrets
from tests.support.gateway import Gateway
from tests.support.standalone import ApiRun, Standalone

pytestmark = [pytest.mark.e2e, pytest.mark.airflow("3.3")]


@dataclass(frozen=True)
class Outcome:
    """One run, and the containers that the server had made when it was over."""

    run: ApiRun
    containers: dict[str, dict[str, Any]]
    alive: list[dict[str, Any]]


def _run(
    standalone: Standalone, gateway: Gateway, dag_id: str, conf: dict[str, Any] | None = None
) -> Outcome:
    gateway.reset()
    run = standalone.run(dag_id, conf)
    containers = {container["id"]: container for container in gateway.server.containers()}
    return Outcome(run, containers, gateway.server.alive())


@pytest.fixture(scope="module")
def lifecycle(standalone: Standalone, gateway_process: Gateway) -> Outcome:
    """One run of the example `container_lifecycle`."""
    return _run(standalone, gateway_process, "container_lifecycle")


@pytest.fixture(scope="module")
def templates(standalone: Standalone, gateway_process: Gateway) -> Outcome:
    """One run of the example `container_templates`, with a parameter of its own."""
    return _run(standalone, gateway_process, "container_templates", {"memory_limit": "4g"})


def test_no_example_has_an_import_error(standalone: Standalone, lifecycle: Outcome) -> None:
    """The DAG processor takes every example file."""
    assert [] == standalone.get("/importErrors")["import_errors"]


def test_lifecycle(lifecycle: Outcome) -> None:
    """The id goes from task to task by XCom, and nothing is left on the server."""
    run = lifecycle.run

    assert {("create", -1): "success", ("look", -1): "success", ("delete", -1): "success"} == run.tasks
    (container,) = lifecycle.containers.values()
    assert container["id"] == run.xcom("create")
    assert container["id"] == run.xcom("create", "container")["id"]
    assert f"{container['name']} is running" == run.xcom("look")
    assert [] == lifecycle.alive


def test_rendered_fields(templates: Outcome) -> None:
    """The UI shows what the templates rendered to, and of secrets only asterisks."""
    instances = templates.run.task_instances
    rendered = instances["report", -1]["rendered_fields"]

    assert f"report {templates.run.run_id}" == rendered["name"]
    assert "4g" == rendered["memory_limit"]
    assert '["api.example.com", "data.example.org"]' == rendered["domains"]
    assert ["openai-spreadsheets@latest"] == rendered["skills"]
    assert {"***"} == {shown for secret in rendered["domain_secrets"] for shown in secret.values()}
    assert templates.run.xcom("report") == instances["delete_report", -1]["rendered_fields"]["container_id"]


def test_mapped_tasks(templates: Outcome) -> None:
    """One container for each element of a list that another task returned; each is deleted."""
    run = templates.run

    assert {"success"} == set(run.tasks.values())
    names = [
        templates.containers[run.xcom("each_team", map_index=index)]["name"].split()[0] for index in (0, 1)
    ]
    assert ["team-red", "team-blue"] == names
    assert [] == templates.alive


def test_model_gets_the_container(standalone: Standalone, gateway: Gateway) -> None:
    """The official operator for the Responses API gets the id by XCom, and a command runs there."""
    run = standalone.run("container_with_responses")

    assert {"success"} == set(run.tasks.values())
    (request,) = gateway.responses
    assert run.xcom("create") == request["tools"][0]["environment"]["container_id"]
    assert "Python 3." in run.xcom("ask")
    gateway.server.assert_nothing_left()


def test_files_go_through_a_container_to_a_store(
    standalone: Standalone, gateway: Gateway, tmp_path: Path
) -> None:
    """Paths go from worker to worker by XCom, and the result is where the run says."""
    run = standalone.run("container_file_system", {"results": f"file://{tmp_path}/results"})

    assert {"success"} == set(run.tasks.values())
    assert {"Oslo": 8, "Rome": 4} == json.loads((tmp_path / "results" / "totals.json").read_text())
    assert {"orders.csv": 33, "totals.json": 22} == run.xcom("keep")
    gateway.server.assert_nothing_left()


def test_files(standalone: Standalone, gateway: Gateway, tmp_path: Path) -> None:
    """Files go in, are waited for in the triggerer, and come out, in processes of their own."""
    run = standalone.run("container_files", {"results": f"file://{tmp_path}/results"})

    assert {"success"} == set(run.tasks.values())
    (path, *_) = run.xcom("put").values()
    assert [path] == run.xcom("results_are_there")
    (written,) = run.xcom("get")
    assert [path, written["sha256"]] == [
        written["path"],
        hashlib.sha256(Path(written["target"]).read_bytes()).hexdigest(),
    ]
    gateway.server.assert_nothing_left()


def test_teardown_deletes_after_a_failure(standalone: Standalone, gateway: Gateway) -> None:
    """When the task between has failed, the container is deleted all the same."""
    gateway.server.order_fault(method="GET", status=400)

    run = standalone.run("container_lifecycle")

    assert {("create", -1): "success", ("look", -1): "failed", ("delete", -1): "success"} == run.tasks
    gateway.server.assert_nothing_left()


def test_link_has_no_target_on_another_service(lifecycle: Outcome) -> None:
    """A container that is not OpenAI's is in no dashboard, and no log complains that there is no link."""
    for task_id in ("create", "delete"):
        assert [None] == list(lifecycle.run.links(task_id).values())
        assert '"level":"error"' not in lifecycle.run.log(task_id)


def test_connection_form_is_described(standalone: Standalone) -> None:
    """What the UI builds the form from has our fields, labels and hidden fields."""
    described = standalone.client.get("/ui/connections/hook_meta").raise_for_status().json()
    (ours,) = (entry for entry in described if entry["connection_type"] == "openai_containers")

    assert "OpenAI Containers" == ours["hook_name"]
    standard = ours["standard_fields"]
    assert {"port", "login", "url_schema"} == {
        name for name, field in standard.items() if (field or {}).get("hidden")
    }
    assert ("API key", "Base URL") == (standard["password"]["title"], standard["host"]["title"])
    labels = {name: field["schema"]["title"] for name, field in ours["extra_fields"].items()}
    assert {name: field["label"] for name, field in CONN_FIELDS.items()} == labels


def test_connection_can_be_tested(standalone: Standalone, gateway: Gateway, example_secrets: Secrets) -> None:
    """The Test button tells a right key from a wrong one, with requests that only read."""
    connection = example_secrets.connections(gateway.base_url)["openai_containers_default"] | {"extra": "{}"}
    right = standalone.post("/connections/test", connection | {"connection_id": "some"})
    wrong = standalone.post(
        "/connections/test", connection | {"connection_id": "some", "password": "sk-wrong-key"}
    )

    assert (True, False) == (right["status"], wrong["status"])
    assert "sk-wrong-key" not in wrong["message"]
    assert {"GET"} == {request.method for request in gateway.server.requests()}


TROUBLE: dict[str, tuple[str, Callable[[Gateway], Any]]] = {
    "400": ("container_lifecycle", lambda gateway: gateway.server.order_fault(status=400, times=50)),
    "500": (
        "container_lifecycle",
        lambda gateway: gateway.server.order_fault(status=500, body="<html>?", times=50),
    ),
    "echo": ("container_templates", lambda gateway: gateway.echo(50)),
}


def test_secrets_stay_nowhere(standalone: Standalone, gateway: Gateway, example_secrets: Secrets) -> None:
    """After good runs and bad ones, no secret is in database, logs, API answers, or on the local server."""
    runs: list[ApiRun] = [
        standalone.run(dag_id)
        for dag_id in ("container_lifecycle", "container_templates", "container_with_responses")
    ]
    assert all(secret in "\n".join(gateway.received) for secret in example_secrets.all())
    journals = [str(gateway.server.requests())]
    for dag_id, order in TROUBLE.values():
        gateway.reset()
        order(gateway)
        runs.append(standalone.run(dag_id))
        journals.append(str(gateway.server.requests()))
    told = "\n".join((*journals, gateway.server.stderr, *(run.everything() for run in runs)))

    assert ["success"] * 3 + ["failed"] * len(TROUBLE) == [run.state for run in runs]
    for secret in example_secrets.all():
        assert [] == canary.in_lines(told, secret), "in the API's answers or the journal"
        assert [] == canary.in_database(standalone.database, secret)
        assert [] == canary.in_files(standalone.home, secret), "in a log or another file"
        assert [] == canary.in_files(gateway.server.state_dir, secret)
