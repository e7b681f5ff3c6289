"""The arguments of the sensor that waits for files, and what it makes of its trigger's events."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)

from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.sensors.container_file import ContainerFileSensor
from tests.support.contexts import STARTED, task_context, templated

PATH = "expected a path in the container, such as 'report.csv', or a pattern such as 'out/*.csv'"
COUNT = "expected an integer from 1 to 1000000; it takes no template"
BAD = [
    ({"path": ""}, f"path: got an empty text, {PATH}"),
    ({"path": None}, f"path: got None, {PATH}"),
    ({"path": ["a.csv"]}, f"path: got a list of 1, {PATH}"),
    ({"min_files": 0}, f"min_files: got the number 0, {COUNT}"),
    ({"min_files": "2"}, f"min_files: got '2', {COUNT}"),
    ({"min_files": True}, f"min_files: got the truth value True, {COUNT}"),
    ({"min_files": 2}, "min_files: got the number 2, expected 1: path='report.csv' is no pattern"),
    ({"deferrable": "yes"}, "deferrable: got 'yes', expected True or False"),
    ({"container_id": ""}, "container_id: got an empty text, expected the id of a container"),
    ({"conn_id": ""}, "conn_id: got an empty text, expected the id of an Airflow connection"),
    (
        {"deferrable": True, "exponential_backoff": True},
        "exponential_backoff: got the truth value True, expected False with deferrable=True",
    ),
]


def sensor(**changed: Any) -> ContainerFileSensor:
    """A sensor with what it needs."""
    fields = {"task_id": "wait", "container_id": "cntr_1", "path": "report.csv"}
    return ContainerFileSensor(**(fields | changed))


@pytest.mark.parametrize(("fields", "message"), BAD, ids=str)
def test_bad_literals(fields: dict[str, Any], message: str) -> None:
    """A wrong literal is an import error of the DAG that names the task and the field."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        sensor(**fields)
    assert str(caught.value).startswith(f"Task 'wait': {message}")


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(("field", "value"), [("container_id", "None"), ("path", ""), ("conn_id", "")])
@pytest.mark.parametrize("deferrable", [False, True])
def test_bad_templates(field: str, value: str, native: bool, deferrable: bool) -> None:
    """A template that renders to nothing is found before anything is asked."""
    rest = {"container_id": "cntr_1", "path": "report.csv"}
    rest.pop(field, None)
    task = templated(ContainerFileSensor, {field: value}, native=native, deferrable=deferrable, **rest)
    with pytest.raises(InvalidTaskArgumentError, match=f"Task 'make': {field}: got"):
        task.execute(task_context(task))


def test_template_fields_are_arguments() -> None:
    """Airflow renders attributes named like the arguments; each must be set as it came."""
    parameters = inspect.signature(ContainerFileSensor.__init__).parameters
    assert set(ContainerFileSensor.template_fields) <= parameters.keys()
    values = {name: f"{{{{ {name} }}}}" for name in ContainerFileSensor.template_fields}
    task = ContainerFileSensor(task_id="wait", **values)
    assert values == {name: getattr(copy.deepcopy(task), name) for name in values}


def test_mapped() -> None:
    """Files of many containers are waited for by one mapped sensor."""
    with DAG("mapped", schedule=None, start_date=STARTED) as dag:
        ContainerFileSensor.partial(task_id="wait", path="report.csv").expand(
            container_id=["cntr_1", "cntr_2"]
        )
    assert "wait" in dag.task_dict


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"outcome": "timeout", "message": "too late"}, AirflowSensorTimeout),
        ({"outcome": "gone", "message": "it is deleted"}, AirflowFailException),
        ({"outcome": "error", "message": "HTTP 401", "retryable": False}, AirflowFailException),
        ({"outcome": "error", "message": "HTTP 503", "retryable": True}, AirflowException),
        ({"outcome": "of a later version", "message": "?"}, AirflowFailException),
        (None, AirflowException),
    ],
    ids=str,
)
def test_events(event: dict[str, Any] | None, expected: type[Exception]) -> None:
    """Each outcome is the error that Airflow treats as it should."""
    task = sensor()
    with pytest.raises(expected, match="Task 'wait': ") as caught:
        task.execute_complete(task_context(task), event)
    assert expected is type(caught.value)


def test_event_met() -> None:
    """The paths are the task's result."""
    task = sensor()
    event = {"outcome": "met", "message": "fine", "paths": ["/mnt/data/a"], "count": 1}
    assert ["/mnt/data/a"] == task.execute_complete(task_context(task), event, later="argument")


def test_deadline_of_airflow_is_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own time-out is only a backstop; the trigger keeps the exact one."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    task = sensor(deferrable=True, timeout=600)
    monkeypatch.setattr(task, "_first_look", lambda: None)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(task_context(task))
    assert timedelta(seconds=600) < deferred.value.timeout <= timedelta(seconds=1200)


def test_importing_costs_nothing_beyond_airflow() -> None:
    """DAG parsing pays for Airflow's own modules only: no client, no models, no trigger, no object store."""
    script = (
        "import sys; import airflow.providers.common.compat.sdk as compat; compat.BaseSensorOperator; "
        "compat.BaseOperator; compat.BaseOperatorLink; compat.PokeReturnValue; compat.conf; compat.BaseHook; "
        "compat.AirflowException; compat.AirflowNotFoundException; before = set(sys.modules); "
        "import airflow_containers.sensors.container_file; "
        "added = set(sys.modules) - before; "
        "ours = {name for name in added if name.startswith('airflow_containers')}; "
        "third_party = {name.partition('.')[0] for name in added - ours} - sys.stdlib_module_names; "
        "heavy = [name for name in ours if '.api' in name or '.triggers' in name]; "
        "print(sorted(third_party), sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "[] []" == result.stdout.splitlines()[-1]
