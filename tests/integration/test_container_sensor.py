"""The sensor against the local server, in each of its modes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest
from airflow_containers.sensors.container import ContainerStatusSensor
from airflow_containers.testing import LocalServer
from airflow_containers.triggers.container import ContainerStatusTrigger
from tests.support.contexts import task_context
from tests.support.dag_runs import load_dag, run_dag

HOWS = pytest.mark.parametrize("how", ["observe", "touch"])
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])


@pytest.fixture(autouse=True)
def server(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    """A local server, and the default connection to it."""
    fields = {
        "conn_type": "openai_containers",
        "host": containers_server.base_url,
        "password": containers_server.api_key,
        "extra": {"max_retries": 0, "requests_per_minute": 60_000},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
    return containers_server


def client(server: LocalServer) -> ContainersClient:
    """A client of the server."""
    return ContainersClient(ClientOptions(api_key=server.api_key, base_url=server.base_url))


def create(server: LocalServer, name: str = "awaited") -> str:
    """Make a container."""
    with client(server) as made:
        return made.create(CreateContainerRequest(name=name)).id


def delete(server: LocalServer, container_id: str) -> None:
    """Delete a container."""
    with client(server) as made:
        made.delete(container_id)


def sensor(container_id: str, **changed: Any) -> ContainerStatusSensor:
    """A sensor that looks often and is not patient."""
    fields = {"task_id": "wait", "container_id": container_id, "poke_interval": 0.1, "timeout": 1}
    return ContainerStatusSensor(**(fields | changed))


async def result(task: ContainerStatusSensor) -> Any:
    """Run a sensor to its end: the worker's part, the trigger made anew, and the worker's part again."""
    try:
        return task.execute(task_context(task))
    except TaskDeferred as deferred:
        path, arguments = deferred.trigger.serialize()
        assert path.endswith(".ContainerStatusTrigger")
        trigger = ContainerStatusTrigger(**json.loads(json.dumps(arguments)))
        (event,) = [event.payload async for event in trigger.run()]
        return task.resume_execution(deferred.method_name, {"event": event}, task_context(task))


@HOWS
@MODES
class TestEachWay:
    """Every way of looking, held by a worker and in the triggerer."""

    async def test_there_already(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """One look is enough, and the status is the result."""
        assert "running" == await result(sensor(create(server), how=how, deferrable=deferrable))
        assert 1 == len(server.requests("GET"))

    async def test_expired(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """A container that has expired is awaited as such."""
        container_id = create(server)
        server.advance_clock(1200)
        task = sensor(container_id, statuses=["Expired", "deleted"], how=how, deferrable=deferrable)
        assert "expired" == await result(task)

    async def test_deleted(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """Its absence is a status, once it is known not to be a new one."""
        container_id = create(server)
        delete(server, container_id)
        task = sensor(container_id, statuses="deleted", how=how, deferrable=deferrable)
        if how == "touch":
            assert "deleted" == await result(task)
        else:
            with pytest.raises(AirflowSensorTimeout):
                await result(task)

    async def test_time_out(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """What does not come in time is a sensor's time-out, which is not retried."""
        started = time.monotonic()
        with pytest.raises(AirflowSensorTimeout):
            await result(sensor(create(server), statuses="deleted", how=how, deferrable=deferrable))
        assert 0.9 <= time.monotonic() - started <= 3
        assert 3 <= len(server.requests("GET"))

    async def test_hopeless(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """A container that is over never gets there: no waiting."""
        container_id = create(server)
        server.advance_clock(1200)
        with pytest.raises(AirflowFailException, match="is expired, and cannot become running or active"):
            await result(sensor(container_id, how=how, deferrable=deferrable, timeout=60))
        assert 1 == len(server.requests("GET"))

    async def test_soft_fail(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """Both ends are a skip for who asked for that."""
        container_id = create(server)
        with pytest.raises(AirflowSkipException):
            await result(
                sensor(container_id, statuses="deleted", how=how, deferrable=deferrable, soft_fail=True)
            )
        server.advance_clock(1200)
        with pytest.raises(AirflowSkipException):
            await result(sensor(container_id, how=how, deferrable=deferrable, soft_fail=True))

    async def test_wrong_key(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """What would come again is final."""
        server.order_fault(method="GET", path="/v1/containers*", status=401, times=5)
        with pytest.raises(AirflowFailException, match="HTTP 401"):
            await result(sensor(create(server), how=how, deferrable=deferrable))

    async def test_idle_clock(self, server: LocalServer, how: Any, deferrable: bool) -> None:
        """Observing leaves the idle clock alone, touching starts it anew."""
        container_id = create(server)
        server.advance_clock(700)
        await result(sensor(container_id, how=how, deferrable=deferrable))
        server.advance_clock(700)
        assert (how == "touch") is bool(server.alive())


async def test_error_that_passes(server: LocalServer) -> None:
    """In the triggerer an error that may pass is tried again."""
    container_id = create(server)
    server.order_fault(method="GET", path="/v1/containers", status=503, times=2)
    assert "running" == await result(sensor(container_id, deferrable=True, timeout=10))


def test_error_that_passes_in_a_worker(server: LocalServer) -> None:
    """A worker leaves it to the client's and to Airflow's retries."""
    container_id = create(server)
    server.order_fault(method="GET", path="/v1/containers", status=503)
    task = sensor(container_id)
    with pytest.raises(Exception, match="HTTP 503") as caught:
        task.execute(task_context(task))
    assert not isinstance(caught.value, AirflowFailException)


@MODES
async def test_all_pages(server: LocalServer, deferrable: bool) -> None:
    """The oldest of many containers is found on the last page; its name leads there at once."""
    container_id = create(server, "the oldest")
    for _ in range(100):
        create(server)
    if deferrable:
        # Otherwise the worker's own look would find it.
        server.order_fault(method="GET", path="/v1/containers", status=503)
    await result(sensor(container_id, deferrable=deferrable, timeout=20))
    looks = server.requests("GET", "/v1/containers", status=200)
    assert ["100", "100"] == [look.query["limit"] for look in looks]

    server.clear_requests()
    await result(sensor(container_id, name="the oldest"))
    (look,) = server.requests("GET", "/v1/containers")
    assert "the oldest" == look.query["name"]


async def test_new_container_appears_late(server: LocalServer) -> None:
    """A container that lists do not show yet is not taken for deleted."""
    server.quirks(visibility_delay_seconds=0.5)
    assert "running" == await result(sensor(create(server), timeout=10))
    assert 1 < len(server.requests("GET"))


async def test_seen_before(server: LocalServer) -> None:
    """One that was in a list and is not any more is deleted, at once."""
    container_id = create(server)
    task = sensor(container_id, statuses="deleted", timeout=20)
    assert task.poke(task_context(task)) is False
    delete(server, container_id)
    assert task.poke(task_context(task)).xcom_value == "deleted"


DAG_SOURCE = """
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG
from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.sensors.container import ContainerStatusSensor

with DAG("awaited", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    create = CreateContainerOperator(task_id="create")
    many = CreateContainerOperator.partial(task_id="many").expand(name=["one", "two"])
    common = {"poke_interval": 1, "timeout": 5}
    waits = [
        ContainerStatusSensor(task_id="poke", container_id=create.output, **common),
        ContainerStatusSensor(task_id="reschedule", container_id=create.output, mode="reschedule", **common),
        ContainerStatusSensor(task_id="defer", container_id=create.output, deferrable=True, **common),
        ContainerStatusSensor.partial(task_id="each", how="touch", **common).expand(
            container_id=many.output
        ),
        ContainerStatusSensor(
            task_id="never",
            container_id=create.output,
            statuses="gone away",
            deferrable=True,
            poke_interval=1,
            timeout=2,
            soft_fail=True,
        ),
    ]
"""


def test_real_airflow(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path
) -> None:
    """Each mode runs in Airflow; the status is in XCom; a time-out with `soft_fail` skips."""
    bundle = {
        "name": "awaited",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    # Airflow 2.11 looks at the executor for a rescheduled task, and this one is not to be used with SQLite.
    monkeypatch.setenv("_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK", "1")
    file = tmp_path / "awaited.py"
    file.write_text(DAG_SOURCE)
    run = run_dag(load_dag(file), airflow_database)

    assert {
        ("create", -1): "success",
        ("poke", -1): "success",
        ("reschedule", -1): "success",
        ("defer", -1): "success",
        ("many", 0): "success",
        ("many", 1): "success",
        ("each", 0): "success",
        ("each", 1): "success",
        ("never", -1): "skipped",
    } == run.tasks
    assert {-1: "running"} == run.xcoms("defer") == run.xcoms("poke") == run.xcoms("reschedule")
