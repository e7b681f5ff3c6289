"""The fault table: whatever goes wrong with a create request, one container comes out of it, or none.

Each row orders faults from the local server, runs the create task try after try, and tells what was sent (P:
create, L: list, G: get, D: delete) and what was alive at the end. The faults hit the first try, or the one
after a first try that was killed when the service had acted and its answer was on the way; each of them with
Airflow's task state store and without it, as before 3.3.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_containers.api import AmbiguousCreateError, ContainersError, RateLimitError
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._task_state import STATE_KEY
from airflow_containers.operators.container import CreateContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context

TIMEOUT = 0.6
"""Seconds of the connection for one attempt."""

PATIENCE = 0.75
"""Seconds that the task looks for a container after a lost answer: 0.5 and 0.75 s after the first look."""

pytestmark = pytest.mark.airflow("3.3")

NO_SUCH_PAGE = {"status": 200, "body": "<html><title>Sign in</title></html>", "content_type": "text/html"}


class Memory(dict[str, Any]):
    """A task state store that lives as long as the test."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value, which has to be JSON."""
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        """Forget a value."""
        self.pop(key, None)


class Forgetful:
    """No task state store: Airflow before 3.3."""


@pytest.fixture(params=[Memory, Forgetful], ids=["remembers", "forgets"])
def memory(request: pytest.FixtureRequest) -> Any:
    """What outlives a try."""
    return request.param()


@pytest.fixture(autouse=True)
def connection(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default connection: short time-outs, one more attempt for what may be repeated."""
    fields = {
        "conn_type": "openai_containers",
        "host": containers_server.base_url,
        "password": containers_server.api_key,
        "extra": {"max_retries": 1, "timeout": TIMEOUT},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))


@dataclass
class TaskInstance:
    """A create task that is run try after try, as a scheduler does it."""

    server: LocalServer
    memory: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    try_number: int = 0
    max_tries: int = 3

    def operator(self) -> CreateContainerOperator:
        """The task, as each try makes it anew."""
        return CreateContainerOperator(
            task_id="make",
            **{"visibility_timeout": PATIENCE, "retries": 3, "retry_delay": 0} | self.arguments,
        )

    def context(self, task: CreateContainerOperator) -> dict[str, Any]:
        """The context of the try that is on."""
        context = task_context(task, try_number=self.try_number, max_tries=self.max_tries)
        if isinstance(self.memory, Memory):
            context["task_state_store"] = self.memory
        return context

    def next_try(self) -> str:
        """Run one try; returns the container's id."""
        self.try_number += 1
        task = self.operator()
        return task.execute(self.context(task))

    def killed_try(self) -> str:
        """A try that is killed when the service has acted: its answer is read by nobody."""
        self.try_number += 1
        task = self.operator()
        context = self.context(task)
        hook = ContainerHook()
        request = task.build_request(context)
        if isinstance(self.memory, Memory):
            from airflow_containers.creation import Record, fingerprint

            record = Record("intent", request.name, time.time(), fingerprint(request), self.max_tries)
            self.memory.set(STATE_KEY, record.to_json())
        with hook:
            return hook.create_container(request).id

    def clear(self) -> None:
        """What Airflow does to a task instance that is cleared."""
        self.max_tries = self.try_number + 3


@pytest.fixture
def instance(containers_server: LocalServer, memory: Any) -> TaskInstance:
    """A task instance that has not run yet."""
    return TaskInstance(containers_server, memory)


def sent(server: LocalServer, at_least: int = 0) -> str:
    """What the server was asked, a letter for each request, in the order in which it was asked.

    :param at_least: requests to wait for: one that was given up gets into the journal when it is done anyway.
    """
    letters = {"POST": "P", "DELETE": "D"}
    ends_at = time.monotonic() + 5
    while len(requests := server.requests()) < at_least and time.monotonic() < ends_at:
        time.sleep(0.1)
    requests.sort(key=lambda request: request.time - request.seconds)
    return "".join(
        letters.get(request.method) or ("L" if request.path == "/v1/containers" else "G")
        for request in requests
    )


def alive(server: LocalServer) -> list[str]:
    """The ids of the containers that are alive."""
    return [container["id"] for container in server.alive()]


FIRST_TRY: list[tuple[str, dict[str, Any], str]] = [
    ("reset before", {"reset": True}, "PLLLLPL"),
    ("reset after", {"reset": True, "when": "after"}, "PLG"),
    ("time-out before", {"delay": 1, "status": 503}, "PLLLLPL"),
    ("time-out after", {"delay": 1, "when": "after"}, "PLG"),
    ("time-out, acted later", {"delay": 0.9, "when": "before"}, "PLLG"),
    *((f"{status} before", {"status": status}, "PLLLLPL") for status in (408, 409, 500, 502, 503, 504)),
    *(
        (f"{status} after", {"status": status, "when": "after"}, "PLG")
        for status in (408, 409, 500, 502, 503, 504)
    ),
    ("503 with Retry-After", {"status": 503, "when": "after", "headers": {"retry-after": "1"}}, "PLG"),
    ("429 with Retry-After", {"status": 429, "headers": {"retry-after": "1"}}, "PP"),
    ("429 without", {"status": 429}, "PP"),
    ("truncated", {"truncate": True, "when": "after"}, "PLG"),
    ("malformed", {"malformed": True, "when": "after"}, "PLG"),
    ("HTML", {**NO_SUCH_PAGE, "when": "after"}, "PLG"),
    ("HTML before", NO_SUCH_PAGE, "PLLLLPL"),
    ("wrong content type", {"when": "after", "headers": {"content-type": "text/plain"}}, "P"),
    ("slow drip in time", {"when": "after", "drip": {"bytes": 100, "seconds": 0.02}}, "P"),
    ("slow drip", {"when": "after", "drip": {"bytes": 2, "seconds": 0.2}}, "PLG"),
]


@pytest.mark.parametrize(
    ("fault", "requests"), [row[1:] for row in FIRST_TRY], ids=[row[0] for row in FIRST_TRY]
)
def test_first_try(instance: TaskInstance, fault: dict[str, Any], requests: str) -> None:
    """One fault of the create request costs no second try, and leaves one container, which is the task's."""
    instance.server.order_fault(method="POST", **fault)

    container_id = instance.next_try()

    assert requests == sent(instance.server, len(requests))
    assert [container_id] == alive(instance.server)


def test_first_try_without_trouble(instance: TaskInstance) -> None:
    """Without trouble there is one request, the create request."""
    container_id = instance.next_try()

    assert "P" == sent(instance.server)
    assert [container_id] == alive(instance.server)
    if isinstance(instance.memory, Memory):
        assert ("handed_over", container_id) == (
            instance.memory[STATE_KEY]["phase"],
            instance.memory[STATE_KEY]["container_id"],
        )


RETRY: list[tuple[str, dict[str, Any]]] = [
    ("none", {}),
    ("reset", {"reset": True}),
    ("time-out", {"delay": 1, "status": 503}),
    *((str(status), {"status": status}) for status in (408, 409, 500, 502, 503, 504)),
    ("429 with Retry-After", {"status": 429, "headers": {"retry-after": "1"}}),
    ("429 without", {"status": 429}),
    ("truncated", {"truncate": True}),
    ("malformed", {"malformed": True}),
    ("HTML", NO_SUCH_PAGE),
    ("wrong content type", {"headers": {"content-type": "text/plain"}}),
    ("slow drip", {"drip": {"bytes": 2, "seconds": 0.2}}),
]


@pytest.mark.parametrize("fault", [row[1] for row in RETRY], ids=[row[0] for row in RETRY])
def test_retry(instance: TaskInstance, fault: dict[str, Any]) -> None:
    """After a kill the next try takes the container over, also if what it asks first fails once."""
    made = instance.killed_try()
    instance.server.clear_requests()
    if fault:
        instance.server.order_fault(**fault)

    container_id = instance.next_try()

    assert made == container_id
    assert [made] == alive(instance.server)
    assert "P" not in sent(instance.server)


@pytest.mark.parametrize(
    "fault", [{"reset": True}, {"status": 503}, NO_SUCH_PAGE], ids=["reset", "503", "HTML"]
)
def test_lists_fail(instance: TaskInstance, fault: dict[str, Any]) -> None:
    """As long as no list can be read, nothing is created; when it can, the container is taken over."""
    made = instance.killed_try()
    instance.server.clear_requests()
    instance.server.order_fault(method="GET", path="/v1/containers", times=1000, **fault)

    with pytest.raises(ContainersError) as caught:
        instance.next_try()
    assert caught.value.retryable
    assert {"L"} == {*sent(instance.server)}

    instance.server.clear_faults()
    assert made == instance.next_try()
    assert [made] == alive(instance.server)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
def test_create_never_answers(instance: TaskInstance, status: int) -> None:
    """A service that answers each create request with an error gets two a try; the next run makes one."""
    instance.server.order_fault(method="POST", status=status, times=1000)

    with pytest.raises(AmbiguousCreateError) as caught:
        instance.next_try()

    assert "sent 2 times in this try" in str(caught.value)
    assert "PLLLLPLLLL" == sent(instance.server)[:10]
    instance.server.assert_nothing_left()
    instance.server.clear_faults()
    assert [instance.next_try()] == alive(instance.server)


def test_refused_connection(instance: TaskInstance) -> None:
    """A server that is down gets nothing, and one container when it is back."""
    instance.server.kill()
    with pytest.raises(ContainersError):
        instance.next_try()
    instance.server.restart()

    assert [instance.next_try()] == alive(instance.server)
    assert 1 == sent(instance.server).count("P")


def test_server_ends_after_it_acted(instance: TaskInstance) -> None:
    """The service acts and goes down before it answers; a later try takes the container over."""
    instance.server.order_fault(method="POST", reset=True, when="after")
    instance.server.order_fault(method="GET", reset=True, times=1000)
    with pytest.raises(AmbiguousCreateError):
        instance.next_try()
    (made,) = alive(instance.server)

    instance.server.restart()

    assert made == instance.next_try()
    assert [made] == alive(instance.server)


def test_spent_quota(instance: TaskInstance) -> None:
    """A spent quota fails the task at once, and nothing is left."""
    instance.server.order_fault(method="POST", status=429, error={"code": "insufficient_quota"}, times=1000)

    with pytest.raises(AirflowFailException):
        instance.next_try()

    assert "P" == sent(instance.server)
    instance.server.assert_nothing_left()


def test_rate_limit(instance: TaskInstance) -> None:
    """Too many requests leave nothing behind; the next try has one."""
    instance.server.order_fault(method="POST", status=429, times=2)
    with pytest.raises(RateLimitError):
        instance.next_try()
    assert "PP" == sent(instance.server)

    assert [instance.next_try()] == alive(instance.server)


@pytest.mark.parametrize("delay", [0.3, 1.2])
def test_late_in_lists(instance: TaskInstance, delay: float) -> None:
    """A lost container that turns up late in lists is waited for, by the try that lost it and by the next."""
    instance.arguments["visibility_timeout"] = 1.5
    instance.server.quirks(visibility_delay_seconds=delay)
    instance.server.order_fault(method="POST", reset=True, when="after")
    first = instance.next_try()
    assert [first] == alive(instance.server)

    other = TaskInstance(instance.server, type(instance.memory)(), instance.arguments | {"name": "other"})
    made = other.killed_try()
    assert made == other.next_try()
    assert [first, made] == alive(instance.server)
    assert 2 == sent(instance.server).count("P")


def test_two_turn_up(instance: TaskInstance) -> None:
    """If the first request was carried out so late that a second one was sent, the older container stays."""
    instance.arguments["visibility_timeout"] = 1.5
    instance.server.quirks(visibility_delay_seconds=2)
    instance.server.order_fault(method="POST", when="before", delay=1.5)

    container_id = instance.next_try()

    containers = instance.server.containers()
    assert ["running", "deleted"] == [container["status"] for container in containers]
    assert [container_id] == alive(instance.server) == [containers[0]["id"]]


def test_duplicates_of_an_earlier_try(instance: TaskInstance) -> None:
    """Of several containers of its own a later try keeps the oldest, and deletes the others."""
    made = [instance.killed_try() for _ in range(3)]

    assert made[0] == instance.next_try()
    assert made[:1] == alive(instance.server)


def test_ghost(instance: TaskInstance) -> None:
    """A container that only a list still shows is not taken over."""
    instance.server.quirks(ghost_seconds=60)
    made = instance.killed_try()
    with ContainerHook() as hook:
        hook.delete_container(made)

    container_id = instance.next_try()

    assert made != container_id
    assert [container_id] == alive(instance.server)


def test_expired(instance: TaskInstance) -> None:
    """A container that has expired is replaced."""
    instance.killed_try()
    instance.server.advance_clock(1201)

    assert [instance.next_try()] == alive(instance.server)


@pytest.mark.parametrize(
    "change",
    [{"memory_limit": "4g"}, {"domains": ["api.example.com"]}, {"expires_after": 5}],
    ids=lambda change: next(iter(change)),
)
def test_other_request(instance: TaskInstance, change: dict[str, Any]) -> None:
    """A container that was asked for differently is deleted, and another one is made."""
    made = instance.killed_try()
    instance.arguments.update(change)

    container_id = instance.next_try()

    assert made != container_id
    assert [container_id] == alive(instance.server)


def test_recreate(instance: TaskInstance) -> None:
    """With `recreate` each try has a container of its own, and the one before is deleted."""
    instance.arguments["on_retry"] = "recreate"
    made = instance.killed_try()

    container_id = instance.next_try()

    assert made != container_id
    assert [container_id] == alive(instance.server)


def test_clear_after_success(instance: TaskInstance) -> None:
    """A container that other tasks may have used is never taken over: it is deleted, and a fresh one made."""
    used = instance.next_try()
    instance.server.advance_clock(60)
    with ContainerHook() as hook:
        hook.retrieve_container(used)
    instance.clear()

    container_id = instance.next_try()

    assert used != container_id
    assert [container_id] == alive(instance.server)


def test_clear_after_success_of_a_container_nobody_touched(instance: TaskInstance) -> None:
    """What was handed over counts as used where that is known; elsewhere only activity tells."""
    handed_over = instance.next_try()
    instance.clear()

    container_id = instance.next_try()

    assert (handed_over == container_id) == isinstance(instance.memory, Forgetful)
    assert [container_id] == alive(instance.server)


def test_name_without_token(instance: TaskInstance) -> None:
    """A name that others may have as well is never looked for: a lost answer fails the try."""
    instance.arguments.update(name="shared", unique_name=False)
    instance.server.order_fault(method="POST", reset=True, when="after")

    with pytest.raises(AmbiguousCreateError):
        instance.next_try()
    assert "P" == sent(instance.server)

    instance.next_try()
    assert 2 == len(alive(instance.server))


def test_no_filter(instance: TaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server filters nothing, all pages are read, and only the very name counts."""
    from airflow_containers.api import ContainersClient, CreateContainerRequest

    original = ContainersClient.iterate
    monkeypatch.setattr(
        ContainersClient,
        "iterate",
        lambda self, *, name=None, order=None: original(self, order=order, limit=2),
    )
    task = instance.operator()
    name = task.build_request(instance.context(task)).name
    with ContainerHook() as hook:
        others = [
            hook.create_container(CreateContainerRequest(name=other)).id
            for other in (f"x{name}", f"{name}x", name.upper(), name[:-1], "other")
        ]
    made = instance.killed_try()

    assert made == instance.next_try()
    assert {*others, made} == {*alive(instance.server)}


def test_filter_hides(instance: TaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose filter hides what its list has makes a retry no second container."""
    from airflow_containers.api import ContainersClient

    original = ContainersClient.iterate
    monkeypatch.setattr(
        ContainersClient,
        "iterate",
        lambda self, *, name=None, order=None: iter(()) if name else original(self, order=order),
    )
    made = instance.killed_try()

    assert made == instance.next_try()
    assert [made] == alive(instance.server)


def test_clear_with_fewer_retries(instance: TaskInstance) -> None:
    """A clear is noticed also where fewer retries of the task hide it in the number of tries."""
    instance.arguments["retries"] = 1
    instance.max_tries = 1
    used = instance.next_try()
    instance.server.advance_clock(60)
    with ContainerHook() as hook:
        hook.retrieve_container(used)
    instance.arguments["retries"] = 0

    container_id = instance.next_try()

    assert used != container_id
    assert [container_id] == alive(instance.server)
