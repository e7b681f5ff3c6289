"""The deployment's id: made once, by the first task that needs it, and the same for all tasks after that."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import Variable

from airflow_containers.api import ConfigurationError
from airflow_containers.hooks.deployment import DEPLOYMENT_VARIABLE, deployment_id, known_deployment_id
from tests.support.dag_runs import load_dag, run_dag

ENVIRONMENT = f"AIRFLOW_VAR_{DEPLOYMENT_VARIABLE.upper()}"

SOURCE = """
from airflow.providers.common.compat.sdk import DAG, task

with DAG("deployment"):
    @task
    def ask(*before):
        from airflow_containers.hooks.deployment import deployment_id
        return deployment_id()

    ask.override(task_id="second")(ask())
"""


@pytest.fixture
def not_set(monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> Iterator[None]:
    """A deployment that has no id yet."""
    monkeypatch.delenv(ENVIRONMENT)
    yield
    from airflow.models.variable import Variable as Row
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(Row).filter(Row.key == DEPLOYMENT_VARIABLE).delete()


@pytest.mark.usefixtures("not_set")
def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> None:
    """The first task makes it, a Variable that people can see; the second one, and another run, find it."""
    bundle = {
        "name": "deployment",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    file = tmp_path / "deployment.py"
    file.write_text(SOURCE)

    runs = [run_dag(load_dag(file), airflow_database) for _ in range(2)]

    found = {run.xcoms(task_id)[-1] for run in runs for task_id in ("ask", "second")}
    assert 1 == len(found)
    assert re.fullmatch("[0-9a-f]{32}", found.pop())


def test_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers have in their environment counts, without the white space around it."""
    monkeypatch.setenv(ENVIRONMENT, " production ")
    assert "production" == deployment_id() == known_deployment_id()


@pytest.mark.airflow("3.0")
def test_outside_of_tasks() -> None:
    """In a plain process of Airflow 3 there is nobody to ask, and nothing is made."""
    code = "from airflow_containers.hooks.deployment import deployment_id; print(repr(deployment_id()))"
    done = subprocess.run(
        ["env", "-u", ENVIRONMENT, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "''" == done.stdout.splitlines()[-1]


def test_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tasks may not write Variables, the error says what to set, and not what the database said."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("postgresql://airflow:secret@db/airflow is read-only")

    monkeypatch.delenv(ENVIRONMENT)
    monkeypatch.setattr(Variable, "get", lambda *_, default=None, **__: default)
    monkeypatch.setattr(Variable, "set", refuse)

    with pytest.raises(ConfigurationError) as caught:
        deployment_id()

    assert (
        "There is no Variable 'openai_containers_deployment_id', and it could not be made (RuntimeError). "
        "Set it to a text that no other deployment with the same account has, or set "
        "AIRFLOW_VAR_OPENAI_CONTAINERS_DEPLOYMENT_ID on every worker"
    ) == str(caught.value)


@pytest.mark.usefixtures("not_set")
def test_cannot_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that is not kept would be another one in each task."""
    monkeypatch.setattr(Variable, "set", lambda *_, **__: None)
    monkeypatch.setattr("airflow_containers.hooks.deployment._SETTLE_SECONDS", 0.0)
    with pytest.raises(ConfigurationError, match="was made and cannot be read"):
        deployment_id()


@pytest.mark.usefixtures("not_set")
def test_two_first_tasks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """When another task writes its own id meanwhile, what was written last counts for both."""
    monkeypatch.setattr("airflow_containers.hooks.deployment._SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(Variable, "set", lambda *_, **__: monkeypatch.setenv(ENVIRONMENT, "of-another"))
    assert "of-another" == deployment_id()


def test_failed_look_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow takes a failed look for a missing Variable, so it looks twice before it makes one."""
    found = iter(["", "production"])
    monkeypatch.setattr("airflow_containers.hooks.deployment.known_deployment_id", lambda: next(found))
    monkeypatch.setattr(Variable, "set", pytest.fail)
    assert "production" == deployment_id()
