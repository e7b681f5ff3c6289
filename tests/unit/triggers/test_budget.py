"""How requests are paced, and who goes first."""

from __future__ import annotations

import asyncio
import random

import pytest

from airflow_containers.triggers._shared import SECONDS_BETWEEN_WARNINGS, RequestBudget
from tests.support.virtual_time import Run, VirtualLoop


def most_in_a_minute(times: list[float]) -> int:
    """The largest number of requests in any minute."""
    times = sorted(times)
    return max(sum(1 for other in times if at <= other < at + 60 - 1e-6) for at in times)


def test_never_more_than_the_rate(run: Run, loop: VirtualLoop) -> None:
    """However many come at once, a minute never sees more than the budget, and none of it is wasted."""
    budget = RequestBudget("mine", 100)
    times: list[float] = []
    chance = random.Random(1)

    async def ask() -> None:
        await asyncio.sleep(chance.uniform(0, 5))
        await budget.slot(chance.uniform(1, 1000))
        times.append(loop.time())

    async def main() -> None:
        await asyncio.gather(*(ask() for _ in range(500)))

    run(main())
    assert 500 == len(times)
    assert 100 == most_in_a_minute(times)
    assert 5 + 500 * 0.6 > max(times)


def test_a_lone_request_does_not_wait(run: Run, loop: VirtualLoop) -> None:
    """Pacing costs nothing while there is nothing to pace."""
    budget = RequestBudget("mine", 1)
    run(budget.slot(0))
    assert 0 == loop.time()


def test_the_most_urgent_goes_first(run: Run, loop: VirtualLoop) -> None:
    """Not who came first is served first, but who would be late first; among equals, who came first."""
    budget = RequestBudget("mine", 60)
    order: list[str] = []

    async def ask(name: str, within: float) -> None:
        await budget.slot(within)
        order.append(name)

    async def main() -> None:
        await budget.slot(0)
        asked = [ask("patient", 900), ask("urgent", 5), ask("late", -3), ask("same", 900)]
        await asyncio.gather(*asked)

    run(main())
    assert ["late", "urgent", "patient", "same"] == order
    assert 4 == pytest.approx(loop.time())


def test_who_leaves_takes_no_slot(run: Run, loop: VirtualLoop) -> None:
    """A waiter that is cancelled does not delay the others."""
    budget = RequestBudget("mine", 60)

    async def main() -> None:
        await budget.slot(0)
        waiting = [asyncio.ensure_future(budget.slot(number)) for number in range(10)]
        await asyncio.sleep(0)
        assert 10 == budget.waiting
        for task in waiting[:9]:
            task.cancel()
        await waiting[9]

    run(main())
    assert 1 == pytest.approx(loop.time())
    assert 0 == budget.waiting


def test_a_slot_that_comes_too_late_is_handed_on(run: Run, loop: VirtualLoop) -> None:
    """One that is cancelled in the moment of its turn gives the turn back."""
    budget = RequestBudget("mine", 60)

    async def main() -> None:
        await budget.slot(0)
        first = asyncio.ensure_future(budget.slot(1))
        second = asyncio.ensure_future(budget.slot(2))
        await asyncio.sleep(0)
        # After the turn was given, before the task has run.
        loop.call_at(1, first.cancel)
        await second

    run(main())
    assert 1 == pytest.approx(loop.time())


def test_nothing_stays_behind(run: Run, loop: VirtualLoop) -> None:
    """When everybody has left there is no timer that would hold the loop."""
    budget = RequestBudget("mine", 1)

    async def main() -> None:
        await budget.slot(0)
        waiting = [asyncio.ensure_future(budget.slot(number)) for number in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert budget._timer is None
        assert [] == budget._waiting

    run(main())


def test_pause(run: Run, loop: VirtualLoop) -> None:
    """A pause holds everybody, those who wait already too, and pacing goes on after it."""
    budget = RequestBudget("mine", 60)
    times: list[float] = []

    async def ask() -> None:
        await budget.slot(1)
        times.append(loop.time())

    async def main() -> None:
        await budget.slot(0)
        waiting = asyncio.gather(ask(), ask())
        await asyncio.sleep(0.5)
        budget.pause(30)
        budget.pause(5)
        await waiting

    run(main())
    assert [30.5, 31.5] == pytest.approx(times)


def test_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Who waits longer than is good is told of, once in a while, with what to do."""
    budget = RequestBudget("mine", 10)

    async def main() -> None:
        await asyncio.gather(*(budget.slot(20) for _ in range(4)))
        assert "" == caplog.text
        await asyncio.gather(*(budget.slot(20) for _ in range(20)))
        assert 1 == len(caplog.records)
        await asyncio.sleep(SECONDS_BETWEEN_WARNINGS)
        await asyncio.gather(*(budget.slot(20) for _ in range(20)))

    run(main())
    assert 2 == len(caplog.records)
    assert "Connection 'mine'" in caplog.text
    assert "At 10 a minute" in caplog.text
    assert "Raise requests_per_minute in the connection" in caplog.text


def test_repr() -> None:
    """A budget says whose it is."""
    assert "<RequestBudget 'mine' 100/min, 0 waiting>" == repr(RequestBudget("mine", 100))
