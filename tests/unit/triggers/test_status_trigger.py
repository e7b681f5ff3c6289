"""The trigger that waits for a container's status, in virtual time, and the rules behind it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from airflow_containers.api import APIConnectionError, AuthenticationError
from airflow_containers.triggers import _status
from airflow_containers.triggers._base import FAILURE_PATIENCE
from airflow_containers.triggers._status import VISIBLE_AFTER, Verdict
from airflow_containers.triggers.container import ContainerStatusTrigger
from tests.support.virtual_time import EPOCH, Run, Service, VirtualLoop, gone

DOWN = APIConnectionError("GET /containers: no connection to api.example.com: refused")
HOWS = pytest.mark.parametrize("how", ["observe", "touch"])


def trigger(**changed: Any) -> ContainerStatusTrigger:
    """A trigger as the sensor makes it."""
    arguments: dict[str, Any] = {
        "container_id": "cntr_1",
        "conn_id": "mine",
        "statuses": ["running"],
        "how": "observe",
        "interval": 60.0,
        "started_at": EPOCH,
        "ends_at": EPOCH + 3600,
    }
    return ContainerStatusTrigger(**(arguments | changed))


async def outcome(wait: ContainerStatusTrigger) -> dict[str, Any]:
    """The one event of a trigger."""
    (event,) = [event.payload async for event in wait.run()]
    return event


@HOWS
def test_met(how: str, run: Run, loop: VirtualLoop, service: Service) -> None:
    """It ends within an interval, with the status."""
    service.make("cntr_1")
    event = run(outcome(trigger(how=how)))
    assert ("met", "running", "cntr_1") == (event["outcome"], event["status"], event["container_id"])
    assert 60 >= loop.time()


@HOWS
def test_waits(how: str, run: Run, loop: VirtualLoop, service: Service) -> None:
    """It looks again and again until the status is there."""
    service.make("cntr_1")
    service.failures = ["starting"] * 5
    assert "met" == run(outcome(trigger(how=how)))["outcome"]
    assert 6 == len(service.requests)
    assert 5 * 54 <= loop.time() <= 6 * 60


def test_observing_touches_nothing(run: Run, service: Service) -> None:
    """A container that is only observed expires."""
    service.make("cntr_1", idle=300)
    event = run(outcome(trigger(statuses=["expired"])))
    assert ("met", "expired") == (event["outcome"], event["status"])
    assert {"LIST"} == {verb for _, verb, _ in service.requests}


def test_touching_keeps_alive(run: Run, service: Service) -> None:
    """One that is touched does not."""
    service.make("cntr_1", idle=300)
    event = run(outcome(trigger(how="touch", statuses=["expired"])))
    assert "timeout" == event["outcome"]
    assert service.lives("cntr_1")


@HOWS
def test_deleted(how: str, run: Run, loop: VirtualLoop, service: Service) -> None:
    """Absence is a status too."""
    service.make("cntr_1")
    loop.call_at(200, service.deleted.update, {"cntr_1": 200.0})
    event = run(outcome(trigger(how=how, statuses=["deleted"])))
    assert ("met", "deleted") == (event["outcome"], event["status"])
    assert 200 <= loop.time() <= 260


@HOWS
def test_over_while_another_status_is_awaited(
    how: str, run: Run, loop: VirtualLoop, service: Service
) -> None:
    """There is nothing left to wait for."""
    service.make("cntr_1")
    service.deleted["cntr_1"] = 0
    event = run(outcome(trigger(how=how, seen=True)))
    assert "hopeless" == event["outcome"]
    assert "Container cntr_1 is deleted, and cannot become running any more" in event["message"]
    assert 60 >= loop.time()


def test_expired_by_error(run: Run, service: Service) -> None:
    """The other shape of an expired container."""
    service.make("cntr_1")
    service.failures = [gone(400)]
    assert "hopeless" == run(outcome(trigger(how="touch")))["outcome"]


def test_new_container_appears_late(run: Run, loop: VirtualLoop, service: Service) -> None:
    """One that was never seen is not taken for deleted too soon."""
    loop.call_at(50, service.make, "cntr_1")
    assert "met" == run(outcome(trigger(interval=5.0)))["outcome"]


def test_never_seen(run: Run, loop: VirtualLoop, service: Service) -> None:
    """After a minute, absence is absence."""
    assert "hopeless" == run(outcome(trigger(interval=5.0)))["outcome"]
    assert VISIBLE_AFTER <= loop.time() <= VISIBLE_AFTER + 5


def test_timeout(run: Run, loop: VirtualLoop, service: Service) -> None:
    """The end is kept to the second."""
    service.make("cntr_1", idle=10_000)
    event = run(outcome(trigger(statuses=["expired", "deleted"], ends_at=EPOCH + 100)))
    assert "timeout" == event["outcome"]
    assert "was not expired or deleted before the sensor's timeout" in event["message"]
    assert 100 == pytest.approx(loop.time())


def test_passing_errors(run: Run, service: Service) -> None:
    """They are tried again."""
    service.make("cntr_1")
    service.failures = [DOWN, DOWN]
    assert "met" == run(outcome(trigger()))["outcome"]


def test_nothing_but_errors(run: Run, loop: VirtualLoop, service: Service) -> None:
    """After ten minutes of them a retry of the task decides."""
    service.failures = list(itertools.repeat(DOWN, 1000))
    event = run(outcome(trigger()))
    assert ("error", True, str(DOWN)) == (event["outcome"], event["retryable"], event["message"])
    assert FAILURE_PATIENCE <= loop.time() <= FAILURE_PATIENCE + 120


def test_final_error(run: Run, service: Service) -> None:
    """What would come again ends it at once."""
    service.failures = [AuthenticationError("HTTP 401", status_code=401)]
    event = run(outcome(trigger()))
    assert ("error", False) == (event["outcome"], event["retryable"])


def test_on_kill_does_nothing(run: Run, service: Service) -> None:
    """Looking has no effect that could be undone."""
    service.make("cntr_1")
    wait = trigger()
    if hasattr(wait, "on_kill"):
        run(wait.on_kill())
    assert service.lives("cntr_1")


def test_arguments() -> None:
    """A trigger is made again from what it tells Airflow."""
    wait = trigger(name="report", seen=True, statuses=("running", "active"))
    path, arguments = wait.serialize()
    assert "airflow_containers.triggers.container.ContainerStatusTrigger" == path
    assert (path, arguments) == ContainerStatusTrigger(**arguments).serialize()
    assert ["running", "active"] == arguments["statuses"]


@pytest.mark.parametrize(
    ("status", "wanted", "expected"),
    [
        ("running", ["running"], Verdict.MET),
        ("Running", ["running"], Verdict.MET),
        ("running", ["RUNNING", "active"], Verdict.MET),
        ("expired", ["expired"], Verdict.MET),
        ("starting", ["running"], Verdict.WAITING),
        (None, ["running"], Verdict.WAITING),
        (None, ["deleted"], Verdict.WAITING),
        ("expired", ["running"], Verdict.HOPELESS),
        # An expired container can be deleted; a deleted one cannot expire.
        ("expired", ["running", "deleted"], Verdict.WAITING),
        ("deleted", ["running", "expired"], Verdict.HOPELESS),
        ("deleted", ["deleted"], Verdict.MET),
    ],
    ids=str,
)
def test_judge(status: str | None, wanted: list[str], expected: Verdict) -> None:
    """What follows from a status."""
    assert expected is _status.judge(status, wanted)


@pytest.mark.parametrize(
    ("status", "seen", "waited", "expected"),
    [
        ("running", False, 0, "running"),
        (None, False, 0, None),
        (None, False, VISIBLE_AFTER - 1, None),
        (None, False, VISIBLE_AFTER, "deleted"),
        (None, True, 0, "deleted"),
    ],
)
def test_status_in_lists(status: str | None, seen: bool, waited: float, expected: str | None) -> None:
    """When absence means something."""
    assert expected == _status.status_in_lists(status, seen=seen, waited=waited)


@pytest.mark.parametrize(("status", "expected"), [(400, "expired"), (404, "deleted")])
def test_status_of_an_error(status: int, expected: str) -> None:
    """Both shapes of a container that is gone."""
    assert expected == _status.status_of(gone(status))
