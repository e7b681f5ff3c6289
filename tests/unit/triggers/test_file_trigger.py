"""The trigger that waits for files, in virtual time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_containers.api import APIConnectionError, AuthenticationError
from airflow_containers.triggers._base import FAILURE_PATIENCE
from airflow_containers.triggers._files import MAX_PATHS_LENGTH
from airflow_containers.triggers.container_file import ContainerFileTrigger
from tests.support.virtual_time import EPOCH, Run, Service, VirtualLoop, gone

HEX = "0123456789abcdef" * 2
DOWN = APIConnectionError("GET /containers/cntr_1/files: no connection to api.example.com: refused")


def trigger(**changed: Any) -> ContainerFileTrigger:
    """A trigger as the sensor makes it."""
    arguments: dict[str, Any] = {
        "container_id": "cntr_1",
        "conn_id": "mine",
        "path": "report.csv",
        "min_files": 1,
        "interval": 60.0,
        "ends_at": EPOCH + 3600,
    }
    return ContainerFileTrigger(**(arguments | changed))


async def outcome(wait: ContainerFileTrigger) -> dict[str, Any]:
    """The one event of a trigger."""
    (event,) = [event.payload async for event in wait.run()]
    return event


def test_met(run: Run, loop: VirtualLoop, service: Service) -> None:
    """It ends within an interval, with the path as it is in the container."""
    service.make("cntr_1")
    service.paths = [f"/mnt/data/{HEX}-report.csv", "/mnt/data/other.csv"]
    event = run(outcome(trigger()))
    assert ("met", [f"/mnt/data/{HEX}-report.csv"], 1) == (event["outcome"], event["paths"], event["count"])
    assert 60 >= loop.time()


def test_enough(run: Run, loop: VirtualLoop, service: Service) -> None:
    """A pattern waits for as many as are enough, and keeps the container alive meanwhile."""
    service.make("cntr_1", idle=300)
    for seconds in (500, 1000, 1500):
        loop.call_at(seconds, service.paths.append, f"/mnt/data/out/{seconds}.csv")
    event = run(outcome(trigger(path="out/*.csv", min_files=3)))
    assert ("met", 3) == (event["outcome"], event["count"])
    assert 1500 <= loop.time() <= 1560


@pytest.mark.parametrize("status", [400, 404])
def test_container_is_gone(status: int, run: Run, loop: VirtualLoop, service: Service) -> None:
    """There is nothing left to wait for, and the event says why."""
    service.make("cntr_1")
    service.failures = [None, gone(status)]
    event = run(outcome(trigger()))
    assert "gone" == event["outcome"]
    assert "Container cntr_1 is gone, and 'report.csv' cannot appear any more: HTTP" in event["message"]
    assert 2 == len(service.requests)


def test_timeout(run: Run, loop: VirtualLoop, service: Service) -> None:
    """The end is kept to the second."""
    service.make("cntr_1")
    event = run(outcome(trigger(ends_at=EPOCH + 100)))
    assert "timeout" == event["outcome"]
    assert "had no 1 file for 'report.csv'" in event["message"]
    assert 100 == pytest.approx(loop.time())


def test_errors_that_pass(run: Run, service: Service) -> None:
    """They are tolerated, for ten minutes on end."""
    service.make("cntr_1")
    service.paths = ["/mnt/data/report.csv"]
    service.failures = [DOWN] * 5
    assert "met" == run(outcome(trigger()))["outcome"]
    service.failures = [DOWN] * 50
    event = run(outcome(trigger(ends_at=EPOCH + 10 * FAILURE_PATIENCE)))
    assert ("error", True) == (event["outcome"], event["retryable"])


def test_error_that_stays(run: Run, service: Service) -> None:
    """A wrong key ends it at once."""
    service.make("cntr_1")
    service.failures = [AuthenticationError("HTTP 401: wrong key", status_code=401)]
    event = run(outcome(trigger()))
    assert ("error", False) == (event["outcome"], event["retryable"])
    assert 1 == len(service.requests)


def test_event_is_small(run: Run, service: Service) -> None:
    """Names from a container do not blow the event up: the first paths that fit are told, and the count."""
    service.make("cntr_1")
    service.paths = [f"/mnt/data/{number:05}{'x' * 4000}" for number in range(1000)]
    event = run(outcome(trigger(path="*")))
    assert 1000 == event["count"]
    assert service.paths[:8] == event["paths"]
    assert len(json.dumps(event)) < MAX_PATHS_LENGTH + 1000


def test_serialized() -> None:
    """The arguments survive Airflow's database."""
    path, arguments = trigger(path="*.csv", min_files=2).serialize()
    assert "airflow_containers.triggers.container_file.ContainerFileTrigger" == path
    again = ContainerFileTrigger(**json.loads(json.dumps(arguments)))
    assert (path, arguments) == again.serialize()
