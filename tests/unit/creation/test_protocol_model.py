"""Model check of the create protocol: every way in which a few tries can go, in a simulated world.

A choice is made wherever the world can go one way or the other: whether a request is carried out and when,
whether its answer arrives, how late its container is in lists, whether a list, a look or a delete fails,
whether the worker dies after an act (also before it knows of the answer), whether Airflow retries at once or
later, whether the task succeeds, is used and is cleared, and what the next try asks for. The rules that must
hold are in :mod:`tests.support.create_world`, beside what they speak of.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_containers.creation import Post, Remember
from airflow_containers.identity import Owner
from tests.support.create_world import (
    LATE_WAYS,
    LONG,
    OURS,
    WAYS,
    Between,
    Choices,
    Drawn,
    Replayed,
    Task,
    Try,
    World,
    betweens,
    every_way,
    explore,
)

# It knows nothing of Airflow, so once is enough.
pytestmark = pytest.mark.airflow("3.3")


def at_most_one(world: World, task: Task) -> None:
    """However a try ended, no second container is there or on its way."""
    world.check(len(world.left(task)) <= 1, "at most one container is left")


def at_most_one_stray(world: World, task: Task) -> None:
    """A broken assumption costs one container more, and a later try that can see both ends one of them."""
    world.check(len(world.left(task)) <= 2, "at most one stray is left")
    later, later_task = world.copy(), replace(task)
    Between(clears=True, gap=LONG, request=task.request).apply(later, later_task, None)
    one = Try(later, later_task, Replayed()).run()
    world.check(one is not None and [one] == later.left(later_task), "a later try leaves one")


configurations = pytest.mark.parametrize(
    ("remembers", "on_retry"),
    [(True, "adopt"), (True, "recreate"), (False, "adopt"), (False, "recreate")],
    ids=["remembers-adopt", "remembers-recreate", "forgets-adopt", "forgets-recreate"],
)


@configurations
def test_three_tries(remembers: bool, on_retry: str) -> None:
    """Three tries leave at most one container, also when the request changes on the way."""
    # The change is one that the service does not show, where it is remembered, or else one that it shows.
    world = World(ghosts=False, failures=0, requests=(0, 2) if remembers else (0, 1))
    count = explore(world, Task(OURS, remembers, on_retry), 3, at_most_one)
    assert count.tries >= 10_000
    assert count.interleavings >= 20_000_000


@configurations
def test_two_tries_of_which_calls_fail(remembers: bool, on_retry: str) -> None:
    """Lists with ghosts, a list, look or delete that fails in each try, and another request or the same."""
    world = World(failures=1, requests=(0, 2) if remembers else (0, 1))
    count = explore(world, Task(OURS, remembers, on_retry), 2, at_most_one)
    assert count.tries >= 15_000
    assert count.interleavings >= 750_000


@pytest.mark.parametrize("late", LATE_WAYS, ids=str)
@pytest.mark.parametrize("remembers", [True, False], ids=["remembers", "forgets"])
def test_later_than_the_patience(remembers: bool, late: Any) -> None:
    """A container that turns up later than the protocol waits is one stray, which a later try ends."""
    world = World(failures=0, trusted=False, ways=(WAYS[0], late), requests=(0,))
    # Late in one try of two, and once there: what is late each time leaves a stray each time.
    tried = list(every_way(lambda choices: _late_once(world.copy(), remembers, choices)))
    assert len(tried) >= 800


def _late_once(world: World, remembers: bool, choices: Choices) -> None:
    task = Task(OURS, remembers)
    ways = world.ways
    for number in range(2):
        world.ways = ways if number == 0 else ways[:1]
        sim = Try(world, task, _LateOnce(choices, ways[1])).run()
        at_most_one_stray(world, task)
        choices.pick(betweens(sim, (0,))).apply(world, task, sim)


class _LateOnce:
    """Choices of which only the first create request of a try may be late."""

    def __init__(self, choices: Choices, late: Any) -> None:
        self._choices = choices
        self._late = late
        self._was_late = False

    def pick(self, options: Any) -> Any:
        """Return one of ``options``."""
        if self._was_late and self._late in options:
            return options[0]
        picked = self._choices.pick(options)
        self._was_late |= picked is self._late
        return picked


@pytest.mark.parametrize("late", [LATE_WAYS[0], LATE_WAYS[2]], ids=str)
def test_two_that_turn_up(late: Any) -> None:
    """A container that turns up after the second request is the older one: it is kept, the other deleted."""
    world, task = World(failures=0, trusted=False, ways=(WAYS[0], late)), Task(OURS, remembers=True)
    # No crash at first and after the intent is kept; then the first request is late, and nothing else.
    one = Try(world, task, Replayed([0, 0, 1]))
    sim = one.run()
    assert 2 == one.calls.count(Post())
    assert [world.containers[0]] == [sim] == world.left(task)


@pytest.mark.parametrize("remembers", [True, False], ids=["remembers", "forgets"])
def test_nothing_goes_wrong(remembers: bool) -> None:
    """A first try to which nothing happens takes one request, and no other call of the service."""
    world, task = World(), Task(OURS, remembers)
    one = Try(world, task, Replayed())
    sim = one.run()
    assert [Post()] == one.calls
    assert [sim] == world.left(task)


@pytest.mark.parametrize("remembers", [True, False], ids=["remembers", "forgets"])
def test_a_slow_request_is_waited_for(remembers: bool) -> None:
    """A request may be under way for minutes before it is sent: a retry looks for the whole patience then."""
    world, task = World(), Task(OURS, remembers)
    slow = next(way for way in WAYS if way.takes > 1 and way.answer == "lost")
    world.ways = (slow,)
    # The worker dies after the answer was lost: not before the first step, not after the intent is kept.
    assert Try(world, task, Replayed([0, 0, 0, 1])).run() is None
    (made,) = world.left(task)
    Between(clears=False, gap=0.0).apply(world, task, None)
    second = Try(world, task, Replayed())
    assert made == second.run()
    assert not [call for call in second.calls if isinstance(call, Post | Remember)]


OWNERS = [
    Owner(deployment, dag_id, run_id, "make", map_index)
    for deployment in ("one", "other")
    for dag_id in ("reports",)
    for run_id in ("manual__1", "manual__2")
    for map_index in (-1, 0, 1)
]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from(["adopt", "recreate"]), st.booleans())
def test_owners_side_by_side(seed: int, remembers: bool, on_retry: str, ghosts: bool) -> None:
    """Deployments, runs and map indexes of one name, five tries each: nobody touches what is another's."""
    rng = random.Random(seed)
    world = World(ghosts=ghosts, failures=2)
    names = [owner.name("report", max_length=256) for owner in OWNERS]
    tasks = [Task(name, remembers, on_retry) for name in (*names, f"{OURS}x", f"x{OURS}", OURS, "report")]
    tries = [task for task in tasks for _ in range(5)]
    rng.shuffle(tries)
    for task in tries:
        choices = Drawn(rng)
        sim = Try(world, task, choices).run()
        at_most_one(world, task)
        choices.pick(betweens(sim, world.requests)).apply(world, task, sim)
    for task in tasks:
        sim = Try(world, task, Replayed()).run()
        assert [sim] == world.left(task)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from(["adopt", "recreate"]), st.booleans())
def test_five_tries(seed: int, remembers: bool, on_retry: str, ghosts: bool) -> None:
    """Five tries in which a lot goes wrong, and a sixth in which nothing does."""
    rng = random.Random(seed)
    choices = Drawn(rng, calm=0.4)
    world, task = World(ghosts=ghosts, failures=3), Task(OURS, remembers, on_retry)
    for _ in range(5):
        sim = Try(world, task, choices).run()
        at_most_one(world, task)
        choices.pick(betweens(sim, world.requests)).apply(world, task, sim)
    last = Try(world, task, Replayed()).run()
    assert [last] == world.left(task)
