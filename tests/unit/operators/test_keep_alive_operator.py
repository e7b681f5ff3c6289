"""The keep-alive operator's arguments, and what it makes of its trigger's events."""

from __future__ import annotations

import copy
import logging
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException

from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators.keep_alive import KeepContainerAliveOperator
from tests.support.contexts import STARTED, task_context, templated

SPAN = "expected seconds above 0 or a timedelta"
BAD = [
    ({"interval": 0}, f"interval: got the number 0, {SPAN}"),
    ({"interval": -1.5}, f"interval: got the number -1.5, {SPAN}"),
    ({"interval": timedelta(0)}, f"interval: got 0:00:00, {SPAN}"),
    ({"interval": "120"}, f"interval: got '120', {SPAN}"),
    ({"interval": None}, f"interval: got None, {SPAN}"),
    ({"interval": True}, f"interval: got the truth value True, {SPAN}"),
    ({"interval": float("nan")}, f"interval: got the number nan, {SPAN}"),
    ({"interval": float("inf")}, f"interval: got the number inf, {SPAN}"),
    ({"interval": 10**400}, f"interval: got a large number, {SPAN}"),
    ({"interval": "{{ 120 }}"}, f"interval: got '{{{{ 120 }}}}', {SPAN}"),
    ({"interval": 1200}, "interval: got 1200 s, expected less than 1200 s: a container ends after at most"),
    ({"interval": timedelta(hours=1)}, "interval: got 3600 s, expected less than 1200 s"),
    ({"max_lifetime": 0}, f"max_lifetime: got the number 0, {SPAN}"),
    ({"max_lifetime": "1h"}, f"max_lifetime: got '1h', {SPAN}"),
    ({"max_lifetime": 1e300}, f"max_lifetime: got the number 1e+300, {SPAN}"),
    ({"delete_when_run_ends": 1}, "delete_when_run_ends: got the number 1, expected True or False"),
    ({"container_id": None}, "container_id: got None, expected the id of a container"),
    ({"container_id": "a/b"}, "container_id: 'a/b' has characters that no id has"),
    ({"conn_id": None}, "conn_id: got None, expected the id of an Airflow connection"),
]


def keep(**changed: Any) -> KeepContainerAliveOperator:
    """A task with what it needs."""
    return KeepContainerAliveOperator(**({"task_id": "keep", "container_id": "cntr_1"} | changed))


@pytest.mark.parametrize(("fields", "message"), BAD, ids=str)
def test_bad_literals(fields: dict[str, Any], message: str) -> None:
    """A wrong literal is an import error of the DAG that names the task and the field."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        keep(**fields)
    assert str(caught.value).startswith(f"Task 'keep': {message}")


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("field", ["container_id", "conn_id"])
def test_bad_templates(field: str, native: bool) -> None:
    """A template that renders to nothing is found before anything is asked."""
    rest = {"container_id": "cntr_1"} if field != "container_id" else {}
    task = templated(KeepContainerAliveOperator, {field: "None"}, native=native, **rest)
    with pytest.raises(InvalidTaskArgumentError, match=f"Task 'make': {field}: got"):
        task.execute(task_context(task))


def test_template_fields_are_arguments() -> None:
    """Airflow renders attributes named like the arguments; each must be set as it came."""
    values = {name: f"{{{{ {name} }}}}" for name in KeepContainerAliveOperator.template_fields}
    task = KeepContainerAliveOperator(task_id="keep", **values)
    assert values == {name: getattr(copy.deepcopy(task), name) for name in values}


def test_defaults() -> None:
    """Two minutes, one hour, and nothing is deleted."""
    task = keep()
    assert (timedelta(minutes=2), timedelta(hours=1), False) == (
        task.interval,
        task.max_lifetime,
        task.delete_when_run_ends,
    )


def test_mapped() -> None:
    """Many containers are kept by one mapped task."""
    with DAG("mapped", schedule=None, start_date=STARTED) as dag:
        KeepContainerAliveOperator.partial(task_id="keep", interval=60).expand(
            container_id=["cntr_1", "cntr_2"]
        )
    assert "keep" in dag.task_dict


class TestEvents:
    """`execute_complete` goes by the event alone: `dag.test` hands over nothing else."""

    @pytest.mark.parametrize(
        ("outcome", "level"),
        [
            ("gone", logging.INFO),
            ("run_over", logging.INFO),
            ("max_lifetime", logging.WARNING),
            ("inline", logging.WARNING),
        ],
    )
    def test_success(self, outcome: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A container that needs no keeping any more is a success; one that loses it, with a warning."""
        task = keep()
        logged = []
        for name in ("info", "warning"):
            monkeypatch.setattr(
                task.log, name, lambda text, *args, name=name: logged.append((name, text % args))
            )
        event = {"outcome": outcome, "container_id": "cntr_1", "message": "that is why"}
        assert task.execute_complete(task_context(task), event) is None
        assert [(logging.getLevelName(level).lower(), "that is why")] == logged

    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            ({"outcome": "expired", "message": "idle"}, AirflowFailException),
            ({"outcome": "error", "message": "HTTP 401", "retryable": False}, AirflowFailException),
            ({"outcome": "error", "message": "HTTP 503", "retryable": True}, AirflowException),
            ({"outcome": "of a later version", "message": "?"}, AirflowFailException),
            (None, AirflowException),
        ],
        ids=str,
    )
    def test_failures(self, event: dict[str, Any] | None, expected: type[Exception]) -> None:
        """A death is final, an error that may pass is left to Airflow's retries."""
        task = keep()
        with pytest.raises(expected, match="Task 'keep': ") as caught:
            task.execute_complete(task_context(task), event)
        assert expected is type(caught.value)

    def test_link(self) -> None:
        """The link that the first half has found is that of the whole task."""
        task = keep()
        context = task_context(task)
        event = {"outcome": "gone", "container_id": "cntr_1", "message": "deleted"}
        task.execute_complete(context, event, link="https://api.example.com/cntr_1")
        assert {"container_link": "https://api.example.com/cntr_1"} == context["ti"].pushed
