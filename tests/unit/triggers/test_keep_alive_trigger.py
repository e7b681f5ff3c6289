"""The trigger that keeps a container alive, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import TriggerEvent

from airflow_containers.api import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    QuotaExceededError,
    ServerError,
)
from airflow_containers.triggers import _states, container
from airflow_containers.triggers._shared import RequestBudget
from airflow_containers.triggers.container import DELETE_WITHIN, KeepContainerAliveTrigger
from tests.support.virtual_time import EPOCH, Run, Service, VirtualLoop, gone

HOUR = 3600.0
DOWN = APIConnectionError("GET /containers/cntr_1: no connection to api.example.com: refused")


def trigger(container_id: str = "cntr_1", **changed: Any) -> KeepContainerAliveTrigger:
    """A trigger as the operator makes it for a container with 20 idle minutes."""
    arguments: dict[str, Any] = {
        "container_id": container_id,
        "conn_id": "mine",
        "interval": 120.0,
        "ends_at": EPOCH + HOUR,
        "idle_seconds": 1200.0,
        "touched_at": EPOCH,
    }
    return KeepContainerAliveTrigger(**(arguments | changed))


async def events(keep: KeepContainerAliveTrigger) -> list[dict[str, Any]]:
    """Everything a trigger fires."""
    return [event.payload async for event in keep.run()]


async def outcome(keep: KeepContainerAliveTrigger) -> dict[str, Any]:
    """The one event of a trigger."""
    (event,) = await events(keep)
    return event


def gaps(times: list[float]) -> list[float]:
    """The seconds between one and the next, from the start on."""
    return [later - earlier for earlier, later in itertools.pairwise([0.0, *times])]


class TestLife:
    """From the first touch to the last."""

    def test_kept_until_deleted(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """It is touched at least once in each interval, and the task ends at most one after the delete."""
        service.make("cntr_1")
        loop.call_at(1500, service.deleted.update, {"cntr_1": 1500.0})

        event = run(outcome(trigger()))

        assert {"gone", "cntr_1"} == {event["outcome"], event["container_id"]}
        assert 1500 <= loop.time() <= 1500 + 120
        assert 120 >= max(gaps(service.touches("cntr_1")))
        assert 20 >= len(service.touches("cntr_1"))

    def test_max_lifetime(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """The end comes at the second, is no failure, and the container lives at that time."""
        service.make("cntr_1", idle=60)

        event = run(outcome(trigger(interval=50.0, idle_seconds=60.0)))

        assert "max_lifetime" == event["outcome"]
        assert "expires after its idle time" in event["message"]
        assert HOUR == pytest.approx(loop.time())
        assert service.lives("cntr_1")

    def test_max_lifetime_was_over_before(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """A trigger that starts after its end, as after a long outage, ends at once."""
        service.make("cntr_1")
        event = run(outcome(trigger(ends_at=EPOCH - 1)))
        assert "max_lifetime" == event["outcome"]
        assert [] == service.requests
        assert 0 == loop.time()

    def test_max_lifetime_holds_for_a_hanging_request(
        self, run: Run, loop: VirtualLoop, service: Service
    ) -> None:
        """A server that does not answer does not push the end."""
        service.make("cntr_1")
        service.failures = [lambda: asyncio.sleep(10 * HOUR)]
        assert "max_lifetime" == run(outcome(trigger()))["outcome"]
        assert HOUR == pytest.approx(loop.time())

    def test_max_lifetime_holds_in_the_queue(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """Neither does a budget without room."""
        service.make("cntr_1")
        loop.call_soon(service.budget.pause, 10 * HOUR)
        assert "max_lifetime" == run(outcome(trigger()))["outcome"]
        assert HOUR == pytest.approx(loop.time())
        assert 0 == service.budget.waiting

    def test_first_touches_are_spread(self, run: Run, service: Service) -> None:
        """Triggers that start together do not ask together."""
        names = [service.make(f"cntr_{number}") for number in range(200)]

        async def main() -> None:
            await asyncio.gather(*(outcome(trigger(name, ends_at=EPOCH + 120)) for name in names))

        run(main())
        first = sorted(service.touches(name)[0] for name in names)
        assert 200 == len(first)
        assert all(20 <= sum(1 for at in first if low <= at < low + 40) for low in (0, 40, 80))

    def test_worker_with_a_fast_clock(self, run: Run, service: Service) -> None:
        """A touch that the worker's clock puts into the future does not put the next one off."""
        names = [service.make(f"cntr_{number}", idle=300) for number in range(50)]
        ahead = {"touched_at": EPOCH + 240, "idle_seconds": 300, "ends_at": EPOCH + 600}

        async def main() -> None:
            await asyncio.gather(*(outcome(trigger(name, **ahead)) for name in names))

        run(main())
        assert max(service.touches(name)[0] for name in names) <= 120

    @pytest.mark.parametrize("touched_at", [EPOCH - 900, EPOCH - 119, None], ids=str)
    def test_after_a_move(self, touched_at: float | None, run: Run, service: Service) -> None:
        """A trigger that starts again, or knows nothing, touches soon enough."""
        service.make("cntr_1")
        run(outcome(trigger(touched_at=touched_at, ends_at=EPOCH + 240)))
        assert 30 >= service.touches("cntr_1")[0]

    def test_unknown_idle_time(self, run: Run, service: Service) -> None:
        """What the first answer says counts."""
        service.make("cntr_1", idle=180)
        event = run(outcome(trigger(idle_seconds=None, touched_at=None)))
        assert "max_lifetime" == event["outcome"]
        assert service.lives("cntr_1")

    def test_interval_longer_than_idle_time(self, run: Run, service: Service) -> None:
        """A container that dies between two touches cannot be kept; said at the first answer."""
        service.make("cntr_1", idle=120)
        event = run(outcome(trigger(idle_seconds=None, touched_at=None)))
        assert ("error", False) == (event["outcome"], event["retryable"])
        assert (
            "interval: got 120 s, expected less than the container's idle time of 2 minutes"
            in event["message"]
        )
        assert 1 == len(service.requests)


class TestDeath:
    """A container that dies although it was to be kept."""

    def test_status_expired(self, run: Run, service: Service) -> None:
        """The event says of what: when it was active last, its idle time, our last touch."""
        service.make("cntr_1")
        service.active["cntr_1"] = -1200
        event = run(outcome(trigger()))
        assert "expired" == event["outcome"]
        for part in (
            "its status is 'expired'",
            "last active at 2023-11-14 21:53:20 UTC",
            "its idle time is 20 minutes",
            "the last touch of it that succeeded was",
        ):
            assert part in event["message"]

    def test_answer_400(self, run: Run, service: Service) -> None:
        """Other operations of the API say it so."""
        service.make("cntr_1")
        service.failures = [None, gone(400)]
        event = run(outcome(trigger()))
        assert "expired" == event["outcome"]
        assert "Container is expired." in event["message"]

    def test_reason_is_the_budget(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """A touch that waited too long for its turn says so."""
        service.make("cntr_1", idle=180)
        loop.call_soon(service.budget.pause, 600)
        event = run(outcome(trigger(idle_seconds=180.0)))
        assert "expired" == event["outcome"]
        assert "for the connection's requests_per_minute, which is too low" in event["message"]

    def test_reason_is_an_outage(self, run: Run, service: Service) -> None:
        """Failures before are part of the reason."""

        async def die() -> None:
            service.make("cntr_1", idle=1)
            raise DOWN

        service.make("cntr_1", idle=180)
        service.failures = [None, die]
        event = run(outcome(trigger(idle_seconds=180.0)))
        assert "expired" == event["outcome"]
        assert "later ones failed, the last with: GET /containers/cntr_1: no connection" in event["message"]


class TestErrors:
    """What goes wrong between us and the service."""

    def test_short_outage(self, run: Run, service: Service) -> None:
        """Failures are tried again sooner than the next touch would be, with growing pauses."""
        service.make("cntr_1")
        service.failures = [None, DOWN, ServerError("HTTP 503", status_code=503), DOWN]
        assert "max_lifetime" == run(outcome(trigger()))["outcome"]
        _, failed, second, third, works, *_ = service.touches("cntr_1")
        assert 3 <= second - failed <= 5
        assert 7 <= third - second <= 10
        assert 15 <= works - third <= 20
        assert service.lives("cntr_1")

    def test_outage_longer_than_its_life(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """When the container must have expired there is nothing to wait for; a retry may find out."""
        service.make("cntr_1")
        service.failures = [None, *itertools.repeat(DOWN, 10_000)]
        event = run(outcome(trigger()))
        assert ("error", True) == (event["outcome"], event["retryable"])
        assert "must have expired" in event["message"]
        assert "no connection to api.example.com" in event["message"]
        first = service.touches("cntr_1")[0]
        assert 1200 <= loop.time() - first <= 1200 + 120
        assert 10 <= len(service.requests) <= 40

    @pytest.mark.parametrize(
        "error",
        [
            AuthenticationError("HTTP 401", status_code=401),
            PermissionDeniedError("HTTP 403", status_code=403),
            QuotaExceededError("HTTP 429", status_code=429),
            ConfigurationError("Connection 'mine' does not exist"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_final(self, error: Exception, run: Run, service: Service) -> None:
        """What would come again ends it at once."""
        service.make("cntr_1")
        service.failures = [error]
        event = run(outcome(trigger()))
        assert ("error", False, str(error)) == (event["outcome"], event["retryable"], event["message"])
        assert 1 == len(service.requests)

    @pytest.mark.parametrize("error", [AirflowException("x"), KeyError("x"), TimeoutError("x")], ids=repr)
    def test_anything_else(self, error: Exception, run: Run, service: Service) -> None:
        """No exception leaves the trigger: Airflow would resume the task without its own method."""
        service.make("cntr_1")
        service.failures = [error]
        event = run(outcome(trigger()))
        assert ("error", True) == (event["outcome"], event["retryable"])
        assert type(error).__name__ in event["message"]


def test_budget_for_many(run: Run, loop: VirtualLoop, service: Service) -> None:
    """1,000 containers of 20 minutes live for three hours on 100 requests a minute.

    Asked at every interval of two minutes they would need 500: those that would expire first go first.
    """
    service.budget = RequestBudget("mine", 100)
    names = [service.make(f"cntr_{number}") for number in range(1000)]

    async def main() -> list[dict[str, Any]]:
        return await asyncio.gather(*(outcome(trigger(name, ends_at=EPOCH + 3 * HOUR)) for name in names))

    assert {"max_lifetime"} == {event["outcome"] for event in run(main())}
    assert all(service.lives(name) for name in names)
    per_minute = [0] * 180
    for at, _, _ in service.requests:
        per_minute[min(int(at // 60), 179)] += 1
    assert 101 >= max(per_minute)
    assert 99 <= min(per_minute[2:])


class TestRunOver:
    """Its DAG run ends while the container is kept."""

    @pytest.fixture(autouse=True)
    def states(self, monkeypatch: pytest.MonkeyPatch, loop: VirtualLoop) -> None:
        """A run that is over after ten minutes."""

        async def run_is_over(task_instance: Any) -> bool:
            return loop.time() > 600

        monkeypatch.setattr(_states, "run_is_over", run_is_over)

    def test_left_alone(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """The task ends, the container is left to its owner."""
        service.make("cntr_1")
        event = run(outcome(trigger()))
        assert "run_over" == event["outcome"]
        assert 600 <= loop.time() <= 720
        assert service.lives("cntr_1")

    def test_deleted(self, run: Run, service: Service) -> None:
        """Where that was asked for, the container goes too, through a passing error as well."""
        service.make("cntr_1")
        loop_of = service.loop
        loop_of.call_at(599, lambda: setattr(service, "failures", [DOWN]))
        event = run(outcome(trigger(delete_when_run_ends=True)))
        assert ("run_over", False) == (event["outcome"], service.lives("cntr_1"))
        assert "cntr_1 is deleted" in event["message"]

    def test_gone_meanwhile(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """A teardown may have been faster."""
        service.make("cntr_1")
        loop.call_at(601, service.deleted.update, {"cntr_1": 601.0})
        event = run(outcome(trigger(delete_when_run_ends=True)))
        assert "run_over" == event["outcome"]

    def test_cannot_be_deleted(self, run: Run, loop: VirtualLoop, service: Service) -> None:
        """The message says what is left."""
        service.make("cntr_1")
        loop.call_at(599, lambda: setattr(service, "failures", [DOWN] * 100))
        event = run(outcome(trigger(delete_when_run_ends=True)))
        assert "run_over" == event["outcome"]
        assert "could not be deleted" in event["message"]
        assert 720 + DELETE_WITHIN + 1 >= loop.time()


KILLS = [
    # (asked for, event fired, task over, run over, deleted)
    (True, False, True, True, True),
    (False, False, True, True, False),
    (True, True, True, True, False),
    (True, False, False, True, False),
    (True, False, True, False, False),
]


@pytest.mark.parametrize(("asked_for", "fired", "task_over", "run_over", "deleted"), KILLS)
class TestKill:
    """Who is told of a kill deletes the container only if nobody can need it any more."""

    @pytest.fixture(autouse=True)
    def states(self, monkeypatch: pytest.MonkeyPatch, task_over: bool, run_over: bool) -> None:
        """What Airflow says."""

        def says(answer: bool) -> Any:
            async def ask(task_instance: Any) -> bool:
                return answer

            return ask

        monkeypatch.setattr(_states, "task_is_over", says(task_over))
        monkeypatch.setattr(_states, "run_is_over", says(run_over))

    def test_on_kill(self, run: Run, service: Service, asked_for: bool, fired: bool, deleted: bool) -> None:
        """Airflow 3.3 and later call this."""
        service.make("cntr_1")
        keep = trigger(delete_when_run_ends=asked_for)
        keep._fired = fired
        run(keep.on_kill())
        assert deleted is not service.lives("cntr_1")

    @pytest.mark.parametrize("has_on_kill", [True, False])
    def test_cancelled(
        self,
        run: Run,
        loop: VirtualLoop,
        service: Service,
        monkeypatch: pytest.MonkeyPatch,
        asked_for: bool,
        fired: bool,
        run_over: bool,
        deleted: bool,
        has_on_kill: bool,
    ) -> None:
        """Before 3.3 being cancelled is the only sign; the same rules hold, and it stays a cancellation."""
        monkeypatch.setattr(container, "_HAS_ON_KILL", has_on_kill)
        service.make("cntr_1")
        keep = trigger(delete_when_run_ends=asked_for)
        keep._fired = fired

        async def main() -> None:
            task = asyncio.ensure_future(events(keep))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())
        assert (deleted and not has_on_kill) is not service.lives("cntr_1")


def test_error_while_cancelled(
    run: Run, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails then is logged, and the cancellation goes on."""

    async def yes(task_instance: Any) -> bool:
        return True

    monkeypatch.setattr(_states, "task_is_over", yes)
    monkeypatch.setattr(container, "_HAS_ON_KILL", False)
    service.make("cntr_1")
    keep = trigger(delete_when_run_ends=True)

    async def main() -> None:
        task = asyncio.ensure_future(events(keep))
        await asyncio.sleep(0)
        monkeypatch.setattr(_states, "run_is_over", yes)
        service.failures = [PermissionDeniedError("HTTP 403", status_code=403)]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert "Container cntr_1 was not deleted: HTTP 403" in caplog.text


def test_returns_after_its_event(run: Run, service: Service) -> None:
    """Airflow takes a trigger that lingers for one to be killed."""
    service.make("cntr_1")
    service.deleted["cntr_1"] = 0.0
    keep = trigger()

    async def main() -> None:
        stream = keep.run()
        assert isinstance(await anext(stream), TriggerEvent)
        assert keep._fired
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main())


def test_inline(run: Run, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `dag.test` nothing else runs meanwhile, so waiting would be for ever."""
    monkeypatch.setattr(_states, "is_inline", lambda: True)
    event = run(outcome(trigger()))
    assert "inline" == event["outcome"]
    assert "dag.test runs one task at a time" in event["message"]
    assert [] == service.requests


def test_arguments() -> None:
    """A trigger is made again from what it tells Airflow: ids and numbers, for it is kept in clear."""
    keep = trigger(delete_when_run_ends=True)
    path, arguments = keep.serialize()
    assert "airflow_containers.triggers.container.KeepContainerAliveTrigger" == path
    assert (path, arguments) == KeepContainerAliveTrigger(**arguments).serialize()
    assert {
        "container_id": "cntr_1",
        "conn_id": "mine",
        "interval": 120.0,
        "ends_at": EPOCH + HOUR,
        "idle_seconds": 1200.0,
        "touched_at": EPOCH,
        "delete_when_run_ends": True,
    } == arguments
    assert "cntr_1" in repr(keep)
