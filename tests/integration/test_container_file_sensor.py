"""The sensor for files against the local server, in a worker and in the triggerer."""

from __future__ import annotations

import json
import threading
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
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.sensors.container_file import ContainerFileSensor
from airflow_containers.testing import LocalServer
from airflow_containers.triggers.container_file import ContainerFileTrigger
from tests.support.contexts import task_context
from tests.support.dag_runs import load_dag, run_dag

MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
REPORT = "/mnt/data/report.csv"


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


@pytest.fixture
def container(server: LocalServer) -> str:
    """The id of a container."""
    with client(server) as made:
        return made.create(CreateContainerRequest(name="awaited")).id


def sensor(container_id: str, **changed: Any) -> ContainerFileSensor:
    """A sensor that looks often and is not patient."""
    fields: dict[str, Any] = {
        "task_id": "wait",
        "container_id": container_id,
        "path": "report.csv",
        "poke_interval": 0.1,
        "timeout": 1,
    }
    return ContainerFileSensor(**(fields | changed))


async def result(task: ContainerFileSensor) -> Any:
    """Run a sensor to its end: the worker's part, the trigger made anew, and the worker's part again."""
    try:
        return task.execute(task_context(task))
    except TaskDeferred as deferred:
        path, arguments = deferred.trigger.serialize()
        assert path.endswith(".ContainerFileTrigger")
        trigger = ContainerFileTrigger(**json.loads(json.dumps(arguments)))
        (event,) = [event.payload async for event in trigger.run()]
        return task.resume_execution(deferred.method_name, {"event": event}, task_context(task))


@MODES
class TestEachMode:
    """Held by a worker, and in the triggerer."""

    async def test_there_already(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """One look is enough, and the path is the result."""
        server.add_container_file(container, REPORT, b"x")
        assert [REPORT] == await result(sensor(container, deferrable=deferrable))
        assert 1 == len(server.requests("GET"))

    async def test_comes_later(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """It looks until the file is there; an upload is found by the name it was sent as."""
        with ContainerHook() as hook:
            source = Path(__file__)

            def send() -> None:
                hook.upload_container_file(container, source)

            threading.Timer(0.6, send).start()
            task = sensor(container, path=source.name, deferrable=deferrable, timeout=20)
            (path,) = await result(task)
        assert path.endswith(f"-{source.name}")
        assert 3 <= len(server.requests("GET"))

    async def test_pattern(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """Enough files that match; those in other folders do not count."""
        paths = [f"/mnt/data/out/{number}.csv" for number in range(3)]
        for path in (*paths, "/mnt/data/0.csv"):
            server.add_container_file(container, path, b"x")
        task = sensor(container, path="out/*.csv", min_files=3, deferrable=deferrable)
        assert set(paths) == {*await result(task)}
        with pytest.raises(AirflowSensorTimeout):
            await result(sensor(container, path="out/*.csv", min_files=4, deferrable=deferrable))

    async def test_many_pages(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """The oldest of many files is found on the last page."""
        server.add_container_file(container, REPORT, b"x")
        for number in range(100):
            server.add_container_file(container, f"/mnt/data/{number}", b"x")
        if deferrable:
            # Otherwise the worker's own look would find it.
            server.order_fault(method="GET", path="/v1/containers/*/files", status=503)
        assert [REPORT] == await result(sensor(container, deferrable=deferrable, timeout=20))

    async def test_gone(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """A container that is over never gets a file: the task fails at once, and says why."""
        server.advance_clock(1300)
        with pytest.raises(
            AirflowFailException, match=r"Task 'wait': Container cntr_\w+ is gone, and 'report"
        ):
            await result(sensor(container, deferrable=deferrable, timeout=60))
        assert 1 == len(server.requests("GET"))
        with pytest.raises(AirflowSkipException):
            await result(sensor(container, deferrable=deferrable, timeout=60, soft_fail=True))

    async def test_reason_of_a_skip(
        self,
        server: LocalServer,
        container: str,
        deferrable: bool,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """With `soft_fail` the log says why the task is skipped, which Airflow 3 does not."""
        task = sensor(container, deferrable=deferrable, timeout=60, soft_fail=True)
        threading.Timer(0.3, server.advance_clock, [1300]).start()
        with pytest.raises(AirflowSkipException) as caught:
            await result(task)
        told = caplog.text + capsys.readouterr().out + str(caught.value)
        assert f"Container {container} is gone, and 'report.csv' cannot appear any more" in told

    async def test_deleted_meanwhile(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """Also when that happens while it waits."""

        def delete() -> None:
            with client(server) as made:
                made.delete(container)

        threading.Timer(0.5, delete).start()
        with pytest.raises(
            AirflowFailException, match=r"is gone, and 'report.csv' cannot appear any more: .*404"
        ):
            await result(sensor(container, deferrable=deferrable, timeout=60))

    async def test_keeps_alive(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """A look at the files is an operation on the container, as the documentation says."""
        server.add_container_file(container, REPORT, b"x")
        server.advance_clock(700)
        await result(sensor(container, deferrable=deferrable))
        server.advance_clock(700)
        assert 1 == len(server.alive())

    async def test_wrong_key(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """What would come again is final."""
        server.order_fault(method="GET", path="/v1/containers*", status=401, times=5)
        with pytest.raises(AirflowFailException, match="HTTP 401"):
            await result(sensor(container, deferrable=deferrable))

    async def test_odd_entries(self, server: LocalServer, container: str, deferrable: bool) -> None:
        """Two paths in one, and entries without content, are passed by."""
        server.add_container_file(container, "/mnt/data/a.csv, /mnt/data/report.csv", None)
        server.add_container_file(container, "/mnt/data/x\ny", b"x", null_bytes=True)
        with pytest.raises(AirflowSensorTimeout):
            await result(sensor(container, deferrable=deferrable))


DAG_SOURCE = """
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG
from airflow_containers.operators.container import container
from airflow_containers.operators.files import UploadToContainerOperator
from airflow_containers.sensors.container_file import ContainerFileSensor

with DAG("awaited_files", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    with container() as box:
        put = UploadToContainerOperator(task_id="put", container_id=box, texts={"a.txt": "x", "b.txt": "y"})
        common = {"container_id": box, "poke_interval": 1, "timeout": 5}
        put >> [
            ContainerFileSensor(task_id="poke", path="a.txt", **common),
            ContainerFileSensor(task_id="reschedule", path="*.txt", min_files=2, mode="reschedule", **common),
            ContainerFileSensor(task_id="defer", path="a.txt", deferrable=True, **common),
            ContainerFileSensor(
                task_id="never",
                path="c.txt",
                container_id=box,
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
    """Each mode runs in Airflow; the paths are in XCom; a time-out with `soft_fail` skips."""
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

    states = dict.fromkeys(["poke", "reschedule", "defer"], "success") | {"never": "skipped"}
    assert states == {name: run.tasks[name, -1] for name in states}
    there = run.xcoms("put")[-1]
    assert {-1: [there["a.txt"]]} == run.xcoms("poke") == run.xcoms("defer")
    assert {*there.values()} == {*run.xcoms("reschedule")[-1]}
    server.assert_nothing_left()
