"""The sensor's arguments, and what it makes of its trigger's events."""

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
from airflow_containers.sensors.container import ContainerStatusSensor
from tests.support.contexts import STARTED, task_context, templated

STATUSES = "expected a status such as 'running', or a list of some"
BAD = [
    ({"statuses": ""}, f"statuses: got an empty text, {STATUSES}"),
    ({"statuses": []}, f"statuses: got an empty list, {STATUSES}"),
    ({"statuses": None}, f"statuses: got None, {STATUSES}"),
    ({"statuses": 5}, f"statuses: got the number 5, {STATUSES}"),
    ({"statuses": ["running", 5]}, f"statuses: got the number 5, {STATUSES}"),
    ({"statuses": {"running": True}}, f"statuses: got a mapping, {STATUSES}"),
    ({"how": "look"}, "how: got 'look', expected 'observe'"),
    ({"how": None}, "how: got None, expected 'observe'"),
    ({"deferrable": "yes"}, "deferrable: got 'yes', expected True or False"),
    ({"container_id": ""}, "container_id: got an empty text, expected the id of a container"),
    ({"container_id": "a b"}, "container_id: 'a b' has characters that no id has"),
    ({"conn_id": ""}, "conn_id: got an empty text, expected the id of an Airflow connection"),
    ({"name": ""}, "name: got an empty text, expected the container's name, or None"),
    ({"name": "report", "how": "touch"}, "name: got 'report', expected None: how='touch' asks by id"),
    (
        {"deferrable": True, "exponential_backoff": True},
        "exponential_backoff: got the truth value True, expected False with deferrable=True",
    ),
]


def sensor(**changed: Any) -> ContainerStatusSensor:
    """A sensor with what it needs."""
    return ContainerStatusSensor(**({"task_id": "wait", "container_id": "cntr_1"} | changed))


@pytest.mark.parametrize(("fields", "message"), BAD, ids=str)
def test_bad_literals(fields: dict[str, Any], message: str) -> None:
    """A wrong literal is an import error of the DAG that names the task and the field."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        sensor(**fields)
    assert str(caught.value).startswith(f"Task 'wait': {message}")


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("field", "value"), [("container_id", "None"), ("statuses", ""), ("name", ""), ("conn_id", "")]
)
@pytest.mark.parametrize("deferrable", [False, True])
def test_bad_templates(field: str, value: str, native: bool, deferrable: bool) -> None:
    """A template that renders to nothing is found before anything is asked."""
    rest = {"container_id": "cntr_1"} if field != "container_id" else {}
    task = templated(ContainerStatusSensor, {field: value}, native=native, deferrable=deferrable, **rest)
    with pytest.raises(InvalidTaskArgumentError, match=f"Task 'make': {field}: got"):
        task.execute(task_context(task))


def test_defaults() -> None:
    """A container that can be worked in, observed; as Airflow is set up, it does not defer."""
    task = sensor()
    assert (("running", "active"), "observe", False) == (task.statuses, task.how, task.deferrable)
    assert ("running", "active") == task._wanted()


def test_statuses() -> None:
    """One or several, in any capitals, each once."""
    assert ("expired",) == sensor(statuses="Expired")._wanted()
    assert ("running", "deleted") == sensor(statuses=["running", " DELETED", "Running"])._wanted()


def test_template_fields_are_arguments() -> None:
    """Airflow renders attributes named like the arguments; each must be set as it came."""
    parameters = inspect.signature(ContainerStatusSensor.__init__).parameters
    assert set(ContainerStatusSensor.template_fields) <= parameters.keys()
    values = {name: f"{{{{ {name} }}}}" for name in ContainerStatusSensor.template_fields}
    task = ContainerStatusSensor(task_id="wait", **values)
    assert values == {name: getattr(copy.deepcopy(task), name) for name in values}


def test_mapped() -> None:
    """Many containers are waited for by one mapped sensor."""
    with DAG("mapped", schedule=None, start_date=STARTED) as dag:
        ContainerStatusSensor.partial(task_id="wait", poke_interval=5).expand(
            container_id=["cntr_1", "cntr_2"]
        )
    assert "wait" in dag.task_dict


class TestEvents:
    """`execute_complete` goes by the event alone."""

    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            ({"outcome": "timeout", "message": "too late"}, AirflowSensorTimeout),
            ({"outcome": "hopeless", "message": "it is deleted"}, AirflowFailException),
            ({"outcome": "error", "message": "HTTP 401", "retryable": False}, AirflowFailException),
            ({"outcome": "error", "message": "HTTP 503", "retryable": True}, AirflowException),
            ({"outcome": "of a later version", "message": "?"}, AirflowFailException),
            (None, AirflowException),
        ],
        ids=str,
    )
    def test_failures(self, event: dict[str, Any] | None, expected: type[Exception]) -> None:
        """Each outcome is the error that Airflow treats as it should."""
        task = sensor()
        with pytest.raises(expected, match="Task 'wait': ") as caught:
            task.execute_complete(task_context(task), event)
        assert expected is type(caught.value)

    def test_met(self) -> None:
        """The status is the task's result."""
        task = sensor()
        event = {"outcome": "met", "container_id": "cntr_1", "status": "active", "message": "fine"}
        assert "active" == task.execute_complete(task_context(task), event, later="argument")


def test_importing_costs_nothing_beyond_airflow() -> None:
    """DAG parsing pays for Airflow's own modules only: no client, no models, no trigger."""
    script = (
        "import sys; import airflow.providers.common.compat.sdk as compat; compat.BaseSensorOperator; "
        "compat.BaseOperator; compat.BaseOperatorLink; compat.PokeReturnValue; compat.conf; compat.BaseHook; "
        "compat.AirflowException; compat.AirflowNotFoundException; before = set(sys.modules); "
        "import airflow_containers.sensors.container, airflow_containers.operators.keep_alive; "
        "added = set(sys.modules) - before; "
        "ours = {name for name in added if name.startswith('airflow_containers')}; "
        "third_party = {name.partition('.')[0] for name in added - ours} - sys.stdlib_module_names; "
        "heavy = [name for name in ours if '.api' in name or '.triggers' in name]; "
        "print(sorted(third_party), sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "[] []" == result.stdout.splitlines()[-1]


def test_deadline_of_airflow_is_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own time-out is only a backstop; the trigger keeps the exact one."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    task = sensor(deferrable=True, timeout=600)
    monkeypatch.setattr(task, "_poke", lambda started_at: None)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(task_context(task))
    assert timedelta(seconds=600) < deferred.value.timeout <= timedelta(seconds=1200)
    arguments = deferred.value.trigger.serialize()[1]
    assert 600 == pytest.approx(arguments["ends_at"] - arguments["started_at"])
