"""Keeping a container alive: the operator, its trigger and real Airflow, against the local server."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest
from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators.keep_alive import KeepContainerAliveOperator
from airflow_containers.testing import LocalServer
from airflow_containers.triggers import _shared
from airflow_containers.triggers.container import KeepContainerAliveTrigger
from tests.support.canary import new_canary
from tests.support.contexts import task_context
from tests.support.dag_runs import load_dag, run_dag

AIRFLOW_VERSION = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
SOON = 0.2
CONNECTION = "AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT"


def connect(monkeypatch: pytest.MonkeyPatch, server: LocalServer, rate: int = 60_000) -> None:
    """Point the default connection at a server."""
    fields = {
        "conn_type": "openai_containers",
        "host": server.base_url,
        "password": server.api_key,
        "extra": {"max_retries": 0, "requests_per_minute": rate},
    }
    monkeypatch.setenv(CONNECTION, json.dumps(fields))


@pytest.fixture
def server(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    """A local server, and the default connection to it."""
    connect(monkeypatch, containers_server)
    return containers_server


def client(server: LocalServer) -> ContainersClient:
    """A client of the server, as other tasks have one."""
    return ContainersClient(ClientOptions(api_key=server.api_key, base_url=server.base_url))


def create(server: LocalServer, minutes: int = 20) -> str:
    """Make a container with this idle time."""
    request = CreateContainerRequest.model_validate({"name": "kept", "expires_after": {"minutes": minutes}})
    with client(server) as made:
        return made.create(request).id


def delete(server: LocalServer, container_id: str) -> None:
    """Delete it, as the task after the work does."""
    with client(server) as made:
        made.delete(container_id)


def keep(container_id: str, **changed: Any) -> KeepContainerAliveOperator:
    """A keep-alive task that looks often."""
    return KeepContainerAliveOperator(
        **({"task_id": "keep", "container_id": container_id, "interval": SOON} | changed)
    )


def deferred(task: KeepContainerAliveOperator) -> KeepContainerAliveTrigger:
    """Run the task as a worker does, and return its trigger, made anew as a triggerer does."""
    with pytest.raises(TaskDeferred) as caught:
        task.execute(task_context(task))
    assert "execute_complete" == caught.value.method_name
    path, arguments = caught.value.trigger.serialize()
    assert path.endswith(".KeepContainerAliveTrigger")
    return KeepContainerAliveTrigger(**json.loads(json.dumps(arguments)))


async def event_of(trigger: KeepContainerAliveTrigger) -> dict[str, Any]:
    """The one event of a trigger."""
    (event,) = [event.payload async for event in trigger.run()]
    return event


@asynccontextmanager
async def running(trigger: KeepContainerAliveTrigger) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
    """A trigger at work; cancelled at the end, as by a triggerer that stops."""
    task = asyncio.create_task(event_of(trigger))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], patience: float = 15) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(patience):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)


def touches(server: LocalServer) -> int:
    """How often containers were asked for by id."""
    return len(server.requests("GET", "/v1/containers/*"))


class TestLife:
    """A container from its first touch to its end."""

    async def test_kept_until_deleted(self, server: LocalServer) -> None:
        """It outlives its idle time many times over, and the task succeeds when it is deleted."""
        container_id = create(server, minutes=1)
        task = keep(container_id)
        async with running(deferred(task)) as event:
            for _ in range(5):
                seen = touches(server)
                await until(lambda seen=seen: touches(server) > seen)
                server.advance_clock(50)
            assert 1 == len(server.alive())
            delete(server, container_id)
            done = await asyncio.wait_for(event, 5)
        assert ("gone", container_id) == (done["outcome"], done["container_id"])
        assert task.execute_complete(task_context(task), done) is None

    async def test_max_lifetime(self, server: LocalServer) -> None:
        """The task ends with success, and the container is left alone."""
        task = keep(create(server), max_lifetime=1)
        done = await event_of(deferred(task))
        assert "max_lifetime" == done["outcome"]
        assert 1 == len(server.alive())
        assert task.execute_complete(task_context(task), done) is None

    async def test_expires(self, server: LocalServer) -> None:
        """A container that dies all the same fails the task for good, with the reason."""
        task = keep(create(server))
        async with running(deferred(task)) as event:
            await until(lambda: touches(server) > 2)
            server.advance_clock(1201)
            done = await asyncio.wait_for(event, 5)
        assert "expired" == done["outcome"]
        with pytest.raises(AirflowFailException, match="its idle time is 20 minutes"):
            task.execute_complete(task_context(task), done)

    def test_deleted_before(self, server: LocalServer) -> None:
        """Work that was faster than this task leaves nothing to keep."""
        container_id = create(server)
        delete(server, container_id)
        task = keep(container_id)
        assert task.execute(task_context(task)) is None

    def test_expired_before(self, server: LocalServer) -> None:
        """What cannot be kept any more fails the task at once."""
        container_id = create(server)
        server.advance_clock(1201)
        task = keep(container_id)
        with pytest.raises(AirflowFailException, match="had expired before this task could keep it alive"):
            task.execute(task_context(task))

    def test_interval_too_long(self, server: LocalServer) -> None:
        """An interval is compared with the idle time of this very container."""
        task = keep(create(server, minutes=1), interval=60)
        with pytest.raises(InvalidTaskArgumentError, match="interval: got 60 s, expected less than"):
            task.execute(task_context(task))


class TestTrouble:
    """What happens between us and the service."""

    async def test_outage(self, server: LocalServer) -> None:
        """A server that was away for a while finds its container kept."""
        container_id = create(server)
        async with running(deferred(keep(container_id))) as event:
            await until(lambda: touches(server) > 2)
            server.kill()
            await asyncio.sleep(1)
            assert not event.done()
            await asyncio.to_thread(server.restart)
            await until(lambda: touches(server) > 2)
            delete(server, container_id)
            assert "gone" == (await asyncio.wait_for(event, 10))["outcome"]

    async def test_away_from_the_start(self, server: LocalServer) -> None:
        """The triggerer has the patience that a task has not."""
        container_id = create(server)
        server.kill()
        trigger = deferred(keep(container_id))
        assert trigger.idle_seconds is None
        async with running(trigger) as event:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.restart)
            await until(lambda: touches(server) > 0)
            assert not event.done()

    async def test_slow_down(self, server: LocalServer) -> None:
        """A 429 holds the whole connection for the time that it names."""
        container_id = create(server)
        async with running(deferred(keep(container_id))):
            await until(lambda: touches(server) > 2)
            server.order_fault(
                method="GET", path="/v1/containers/*", status=429, headers={"retry-after": "2"}
            )
            await until(lambda: server.requests("GET", status=429) != [])
            seen = touches(server)
            await asyncio.sleep(1.5)
            assert seen == touches(server)
            await until(lambda: touches(server) > seen)

    async def test_rotated_key(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A key that was replaced in the connection is used from its first refusal on; neither is shown."""
        old, new = new_canary(), new_canary()
        with LocalServer(api_key=old, state_dir=tmp_path) as first:
            connect(monkeypatch, first)
            container_id = create(first)
            port = int(first.base_url.split(":")[2].partition("/")[0])
            trigger = deferred(keep(container_id))
            task = asyncio.create_task(event_of(trigger))
            await until(lambda: touches(first) > 2)
        with LocalServer(api_key=new, state_dir=tmp_path, port=port) as second:
            connect(monkeypatch, second)
            await until(lambda: len(second.requests("GET", "/v1/containers/*", status=200)) > 2)
            delete(second, container_id)
            assert "gone" == (await asyncio.wait_for(task, 10))["outcome"]
        assert old not in caplog.text
        assert new not in caplog.text

    async def test_no_secret_leaves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the arguments nor the event of a refused trigger have the key."""
        key = new_canary()
        with LocalServer(api_key=key) as server:
            connect(monkeypatch, server)
            trigger = deferred(keep(create(server)))
            assert key not in repr(trigger)
            server.order_fault(method="GET", path="/v1/containers/*", status=401, times=10)
            done = await event_of(trigger)
        assert ("error", False) == (done["outcome"], done["retryable"])
        assert key not in str(done)

    async def test_missing_connection(self) -> None:
        """What the triggerer cannot find is said by the task."""
        trigger = KeepContainerAliveTrigger(
            container_id="cntr_1", conn_id="absent", interval=1, ends_at=2_000_000_000
        )
        done = await event_of(trigger)
        assert ("error", False) == (done["outcome"], done["retryable"])
        assert "airflow connections add absent" in done["message"]


async def test_many_share_a_client_and_a_budget(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred triggers of one connection have one client, and keep to its requests a minute."""
    connect(monkeypatch, server, rate=600)
    made = []
    real = _shared._new_client
    monkeypatch.setattr(_shared, "_new_client", lambda *each: made.append(real(*each)) or made[-1])
    triggers = [deferred(keep(create(server))) for _ in range(100)]
    server.clear_requests()
    started = asyncio.get_running_loop().time()
    tasks = [asyncio.create_task(event_of(trigger)) for trigger in triggers]
    await asyncio.sleep(3)
    sent = touches(server)
    elapsed = asyncio.get_running_loop().time() - started
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert 1 == len(made)
    assert 20 <= sent <= elapsed * 10 + 1
    assert {} == _shared._registry().services


@pytest.mark.parametrize("asked_for", [True, False])
async def test_triggerer_stops(asked_for: bool, server: LocalServer) -> None:
    """A trigger that is cancelled deletes nothing, whatever was asked for: its task goes on elsewhere."""
    trigger = deferred(keep(create(server), delete_when_run_ends=asked_for))
    async with running(trigger):
        await until(lambda: touches(server) > 2)
    assert 1 == len(server.alive())
    assert [] == server.requests("DELETE")


DAG_SOURCE = """
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG
from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.operators.keep_alive import KeepContainerAliveOperator

with DAG("kept", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    create = CreateContainerOperator(task_id="create")
    each = CreateContainerOperator.partial(task_id="each").expand(name=["one", "two"])
    keep = KeepContainerAliveOperator(
        task_id="keep", container_id=create.output, interval=1, max_lifetime=2, delete_when_run_ends=True
    )
    keep_each = KeepContainerAliveOperator.partial(task_id="keep_each", interval=1, max_lifetime=2).expand(
        container_id=each.output
    )
    delete = DeleteContainerOperator(task_id="delete", container_id=create.output)
    [keep, keep_each] >> delete
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> Any:
    """A DAG with plain and mapped keep-alive tasks, in a bundle of its own."""
    bundle = {
        "name": "kept",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    file = tmp_path / "kept.py"
    file.write_text(textwrap.dedent(DAG_SOURCE))
    return load_dag(file)


def test_event_of_another_container(server: LocalServer) -> None:
    """After a clear the event of the try before may come to the next one, which goes on with its own."""
    container_id = create(server)
    task = keep(container_id)
    event = {"outcome": "gone", "container_id": "cntr_before", "message": "Container cntr_before is deleted"}

    with pytest.raises(TaskDeferred) as caught:
        task.execute_complete(task_context(task), event)

    assert container_id == caught.value.trigger.container_id


def test_real_airflow(kept: Any, server: LocalServer, airflow_database: Path) -> None:
    """Airflow defers the tasks, runs their triggers and resumes them, mapped ones as well."""
    run = run_dag(kept, airflow_database)
    assert {"success"} == set(run.tasks.values())
    assert {("keep", -1), ("keep_each", 0), ("keep_each", 1)} <= run.tasks.keys()


if AIRFLOW_VERSION < (3, 0):

    async def test_states_of_airflow_2(kept: Any, server: LocalServer, airflow_database: Path) -> None:
        """In Airflow 2 the database tells that run and task are over, and only then anything is deleted."""
        run = await asyncio.to_thread(run_dag, kept, airflow_database)
        for run_id, lives in ((run.run_id, False), ("another", True)):
            container_id = create(server)
            trigger = deferred(keep(container_id, delete_when_run_ends=True))
            trigger.task_instance = SimpleNamespace(
                dag_id="kept", run_id=run_id, task_id="keep", map_index=-1, trigger_timeout=None
            )
            await trigger.on_kill()
            assert lives is (container_id in [each["id"] for each in server.alive()])
