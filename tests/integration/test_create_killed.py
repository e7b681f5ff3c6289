"""A create task that is asked to end: nothing that it has not handed over stays alive."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_containers.api import ContainerNotDeletedError, ServerError
from airflow_containers.creation import Plan
from airflow_containers.hooks._creation import AbandonedError
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators.container import CreateContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context


@pytest.fixture(autouse=True)
def connection(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default connection, without repeated attempts."""
    fields = {
        "conn_type": "openai_containers",
        "host": containers_server.base_url,
        "password": containers_server.api_key,
        "extra": {"max_retries": 0},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))


class Terminated(BaseException):
    """What Airflow 2 raises out of its signal handler."""


@pytest.fixture
def when_killed() -> Iterator[Callable[[Any], None]]:
    """Set what a SIGTERM does in this thread, as Airflow's task runner does."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, lambda *_: handler())
    signal.signal(signal.SIGTERM, before)


def term_while_it_creates(task: CreateContainerOperator, seconds: float) -> None:
    """Send this process a SIGTERM that long after the create request was sent."""
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        while task._creation is None or not task._creation._request_is_open:
            time.sleep(0.01)
        time.sleep(seconds)
        signal.pthread_kill(main, signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("raises", [False, True], ids=["as Airflow 3", "as Airflow 2"])
def test_killed_while_the_service_answers(
    containers_server: LocalServer, when_killed: Callable[[Any], None], when: str, raises: bool
) -> None:
    """A kill in the middle of the create request ends the container that comes out of it, in 5 seconds."""
    task = CreateContainerOperator(task_id="make")
    took = []

    def handler() -> None:
        started = time.monotonic()
        task.on_kill()
        took.append(time.monotonic() - started)
        if raises:
            raise Terminated

    when_killed(handler)
    containers_server.order_fault(method="POST", delay=1, when=when)
    term_while_it_creates(task, 0.3)

    with pytest.raises(Terminated if raises else AbandonedError):
        task.execute(task_context(task))

    assert 1 == len(took)
    assert took[0] < 4
    assert 1 == len(containers_server.containers())
    containers_server.assert_nothing_left()


def test_killed_while_it_looks(containers_server: LocalServer, when_killed: Callable[[Any], None]) -> None:
    """A kill while the task looks for a lost container ends the search and the container."""
    task = CreateContainerOperator(task_id="make")
    when_killed(task.on_kill)
    containers_server.quirks(visibility_delay_seconds=1)
    containers_server.order_fault(method="POST", reset=True, when="after")
    term_while_it_creates(task, 0.3)

    with pytest.raises(AbandonedError):
        task.execute(task_context(task))

    assert 1 == len(containers_server.containers())
    containers_server.assert_nothing_left()


def test_killed_after_hand_over(containers_server: LocalServer) -> None:
    """What is handed over is not the create task's to end any more."""
    task = CreateContainerOperator(task_id="make")
    container_id = task.execute(task_context(task))

    task.on_kill()

    assert [container_id] == [container["id"] for container in containers_server.alive()]


def test_killed_before_anything(containers_server: LocalServer) -> None:
    """A task that is asked to end before it has sent anything sends nothing any more."""
    task = CreateContainerOperator(task_id="make")
    task.on_kill()

    with pytest.raises(AbandonedError):
        task.execute(task_context(task))

    assert [] == containers_server.requests()


def test_failure_after_creation(containers_server: LocalServer) -> None:
    """An error between the creation and the hand-over leaves nothing, and stays the error."""
    task = CreateContainerOperator(task_id="make")
    context = task_context(task)

    def fail(**_: Any) -> None:
        raise ConnectionError("no XCom today")

    context["ti"].xcom_push = fail

    with pytest.raises(ConnectionError, match="no XCom today"):
        task.execute(context)

    assert 1 == len(containers_server.containers())
    containers_server.assert_nothing_left()


def test_delete_fails_while_killed(
    containers_server: LocalServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container that cannot be ended is named in the log, with what will end it."""
    task = CreateContainerOperator(task_id="make")
    context = task_context(task)

    def fail(**_: Any) -> None:
        raise ConnectionError("no XCom today")

    context["ti"].xcom_push = fail
    containers_server.order_fault(method="DELETE", status=403, times=10)

    with pytest.raises(ConnectionError, match="no XCom today"):
        task.execute(context)

    (container,) = containers_server.alive()
    output = capsys.readouterr()
    log = caplog.text + output.out + output.err
    assert f"Container {container['id']} is not handed over and could not be deleted" in log


def test_delete_makes_sure(containers_server: LocalServer) -> None:
    """A delete that was answered and not carried out is sent again."""
    task = CreateContainerOperator(task_id="make")
    container_id = task.execute(task_context(task))
    containers_server.clear_requests()
    body = json.dumps({"id": container_id, "object": "container.deleted", "deleted": True})
    containers_server.order_fault(method="DELETE", status=200, body=body, content_type="application/json")

    with ContainerHook() as hook:
        assert hook.end_container(container_id)
        assert not hook.end_container(container_id)

    methods = [request.method for request in containers_server.requests()]
    assert ["DELETE", "GET", "DELETE", "GET", "DELETE"] == methods
    containers_server.assert_nothing_left()


def test_failure_of_a_later_try(containers_server: LocalServer) -> None:
    """What a later try has found and cannot take over is ended with it, and not left behind."""
    task = CreateContainerOperator(task_id="make", visibility_timeout=0)
    with ContainerHook() as hook:
        hook.create_container(task.build_request(task_context(task)))
    containers_server.order_fault(method="GET", path="/v1/containers/*", status=503, times=1000)

    with pytest.raises(ServerError):
        task.execute(task_context(task, try_number=2))

    containers_server.assert_nothing_left()


def test_timeout_in_the_request(
    containers_server: LocalServer, when_killed: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out of the task in the middle of the request waits for what comes out of it."""
    task = CreateContainerOperator(task_id="make")

    def handler() -> None:
        raise Terminated

    when_killed(handler)
    containers_server.order_fault(method="POST", delay=1.5, when="before")
    term_while_it_creates(task, 0.3)

    with pytest.raises(Terminated):
        task.execute(task_context(task))

    assert 1 == len(containers_server.containers())
    containers_server.assert_nothing_left()


def test_lost_then_refused(containers_server: LocalServer) -> None:
    """A refused second request does not make the task forget that the first one was lost."""
    task = CreateContainerOperator(task_id="make", visibility_timeout=0.5)
    containers_server.quirks(visibility_delay_seconds=0.7)
    containers_server.order_fault(method="POST", reset=True, when="after")
    containers_server.order_fault(method="POST", delay=1, status=401)

    with pytest.raises(AirflowFailException):
        task.execute(task_context(task))

    assert 1 == len(containers_server.containers())
    containers_server.assert_nothing_left()


def test_another_try_uses_it(containers_server: LocalServer) -> None:
    """A try that wakes up after a newer one has taken its container over leaves it alone."""
    task = CreateContainerOperator(task_id="make")
    now = [time.time()]
    with ContainerHook() as hook:
        request = task.build_request(task_context(task))
        creation = hook.creation(Plan(request), log=task.log)
        creation._now = lambda: now[0]
        container = creation.run()
        containers_server.advance_clock(120)
        now[0] += 120
        assert container.id == task.execute(task_context(task, try_number=2))

        creation.abandon()

    assert [container.id] == [each["id"] for each in containers_server.alive()]


def test_delete_that_lies(containers_server: LocalServer) -> None:
    """No second container is made as long as the one that was deleted is still there."""
    task = CreateContainerOperator(task_id="make", on_retry="recreate", visibility_timeout=0)
    with ContainerHook() as hook:
        made = hook.create_container(task.build_request(task_context(task)))
    body = json.dumps({"id": made.id, "object": "container.deleted", "deleted": True})
    containers_server.order_fault(
        method="DELETE", status=200, body=body, content_type="application/json", times=1
    )

    with pytest.raises(ContainerNotDeletedError):
        task.execute(task_context(task, try_number=2))

    assert len(containers_server.alive()) <= 1
    assert 1 == len(containers_server.requests("POST"))
