"""What a create task knows of its earlier tries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_containers.api import CreateContainerRequest
from airflow_containers.creation import Plan, Record
from airflow_containers.operators._task_state import STATE_KEY, make_plan, rememberer
from airflow_containers.operators.container import CreateContainerOperator
from tests.support.contexts import STARTED, task_context

REQUEST = CreateContainerRequest(name="report")
RECORD = Record("intent", "report", 1.5, "f", 2)
MINUTE = timedelta(minutes=1)


class Store(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self[key] = value

    def delete(self, key: str) -> None:
        """Forget a value."""
        self.pop(key, None)


def plan(task: dict[str, Any] | None = None, **context: Any) -> Plan:
    """The plan of a task with these arguments, in this context."""
    operator = CreateContainerOperator(task_id="make", **(task or {}))
    return make_plan(
        task_context(operator, **context), REQUEST, unique=True, on_retry="recreate", patience=0.75
    )


def test_first_try() -> None:
    """A first try without a store knows nothing and remembers nothing."""
    expected = Plan(REQUEST, on_retry="recreate", pauses=(0.5, 0.25), begun_at=STARTED.timestamp())
    assert expected == plan()


def test_record_of_an_earlier_try() -> None:
    """What the store keeps is what the try before has left; another value counts as nothing."""
    kept = plan(try_number=2, max_tries=3, task_state_store=Store({STATE_KEY: RECORD.to_json()}))
    assert (True, True, RECORD, 3) == (kept.later_try, kept.remembers, kept.record, kept.max_tries)
    foreign = plan(try_number=2, task_state_store=Store({STATE_KEY: "foreign"}))
    assert (True, None) == (foreign.remembers, foreign.record)


def test_remembering() -> None:
    """A record is kept under one key, and forgotten; without a store there is nothing to keep it in."""
    store = Store()
    remember = rememberer({"task_state_store": store})
    assert remember is not None
    remember(RECORD)
    assert {STATE_KEY: RECORD.to_json()} == store
    remember(None)
    remember(None)
    assert {} == store
    assert rememberer({}) is None


@pytest.mark.parametrize(
    ("task", "ti", "expected"),
    [
        ({"retries": 2}, {"try_number": 1, "max_tries": 2}, 0.0),
        ({"retries": 2}, {"try_number": 2, "max_tries": 2}, 60.0),
        ({"retries": 2}, {"try_number": 3, "max_tries": 2}, 60.0),
        # Cleared after the first try, after the third, and a retry after that.
        ({"retries": 2}, {"try_number": 2, "max_tries": 3}, 0.0),
        ({"retries": 2}, {"try_number": 4, "max_tries": 5}, 0.0),
        ({"retries": 2}, {"try_number": 5, "max_tries": 5}, 60.0),
        ({"retries": 0}, {"try_number": 2, "max_tries": 1}, 0.0),
        (
            {"retries": 2, "max_retry_delay": timedelta(seconds=5), "retry_exponential_backoff": True},
            {"try_number": 2, "max_tries": 2},
            5.0,
        ),
        ({"retries": 2, "max_retry_delay": 2 * MINUTE}, {"try_number": 2, "max_tries": 2}, 60.0),
    ],
    ids=str,
)
def test_quiet_seconds(task: dict[str, Any], ti: dict[str, int], expected: float) -> None:
    """A retry comes after the shortest delay it may have, the try after a clear at once."""
    assert expected == plan({"retry_delay": MINUTE, **task}, **ti).quiet_seconds


@pytest.mark.airflow("3.3")
def test_retry_policy() -> None:
    """A policy may ask for any delay, so nothing is known of it."""
    from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy

    task = {"retries": 2, "retry_delay": MINUTE, "retry_policy": ExceptionRetryPolicy(rules=[])}
    assert 0.0 == plan(task, try_number=2, max_tries=2).quiet_seconds
