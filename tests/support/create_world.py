"""A small service and a small Airflow, simulated, in which the create protocol can be tried in every way.

:class:`Service` keeps containers and a clock; :class:`Task` is one task instance with what it remembers. What
may go one way or the other is a choice: :class:`Replayed` takes each in turn, so that :func:`every_way` goes
through all of them, and :class:`Drawn` leaves them to chance.

What the service may do is what :mod:`airflow_containers.creation` assumes of it: a request that was sent is
carried out within the patience after it was answered, was given up or its worker died, and what it has made
is in every list by then. :attr:`World.latest` of more than that breaks the assumption.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from airflow_containers.api.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ContainersError,
    RateLimitError,
    ServerError,
)
from airflow_containers.api.models import Container, CreateContainerRequest
from airflow_containers.creation import (
    Alive,
    Delete,
    Deleted,
    Found,
    Gone,
    LookUp,
    Made,
    NotMade,
    Pause,
    Plan,
    Post,
    Record,
    Remember,
    Result,
    Settled,
    Step,
    Touch,
    Unavailable,
    Unclear,
    create_once,
    difference,
    fingerprint,
)
from airflow_containers.identity import Owner

T = TypeVar("T")

# Whole seconds, like the service's own times, so that fewer states are different.
PAUSES = (1.0, 2.0)
PATIENCE = sum(PAUSES)
SLOW = PATIENCE + 2
"""Seconds of a request that takes longer than the patience: it waited its turn after a 429, or on the way."""

LONG = 1000.0
"""Seconds after which everything has settled."""

BEGINNING = 1_000_000.0
MOST_STEPS = 100


class Choices(Protocol):
    """Decides what may go one way or the other; the first option is always that nothing goes wrong."""

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``."""
        ...


class Replayed:
    """Takes the choices it was given, and the first option of every further one."""

    def __init__(self, taken: Sequence[int] = ()) -> None:
        self._given = taken
        self.taken: list[int] = []
        self.sizes: list[int] = []

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``."""
        place = len(self.taken)
        index = self._given[place] if place < len(self._given) else 0
        self.taken.append(index)
        self.sizes.append(len(options))
        return options[index]

    def next(self) -> list[int] | None:
        """Return the choices after these, in the order of all there are; ``None`` after the last ones."""
        taken = list(self.taken)
        while taken and taken[-1] + 1 == self.sizes[len(taken) - 1]:
            taken.pop()
        if not taken:
            return None
        return [*taken[:-1], taken[-1] + 1]


class Drawn:
    """Draws each choice; nothing goes wrong more often than not."""

    def __init__(self, rng: random.Random, calm: float = 0.7) -> None:
        self._rng = rng
        self._calm = calm

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``."""
        return options[0] if self._rng.random() < self._calm else self._rng.choice(options)


def every_way(run: Callable[[Choices], T]) -> Iterator[T]:
    """Yield what ``run`` returns for each sequence of choices there is."""
    given: list[int] | None = []
    while given is not None:
        choices = Replayed(given)
        yield run(choices)
        given = choices.next()


REQUESTS: tuple[CreateContainerRequest, ...] = (
    CreateContainerRequest(name="-"),
    CreateContainerRequest(name="-", memory_limit="4g"),
    # The service shows no file ids, so only the memory of the task can tell this one from the first.
    CreateContainerRequest(name="-", file_ids=["file-1"]),
)


class CrashedError(Exception):
    """The worker is gone."""


@dataclass
class Sim:
    """A container as it is. What the service shows of it is in :meth:`shown`."""

    number: int
    name: str
    request: int
    made_at: float
    visible_at: float
    made_in_try: int
    last_active_at: int
    used: bool = False
    handed_over: bool = False
    deleted: bool = False

    def shown(self) -> Container:
        """Return it as the service answers."""
        return _shown(self.number, self.name, int(self.made_at), self.last_active_at, self.request)


@lru_cache(maxsize=100_000)
def _shown(number: int, name: str, created_at: int, last_active_at: int, request: int) -> Container:
    return Container.model_validate(
        {
            "id": f"cntr_{number}",
            "name": name,
            "status": "running",
            "created_at": created_at,
            "last_active_at": last_active_at,
            "memory_limit": REQUESTS[request].memory_limit or "1g",
            "expires_after": {"anchor": "last_active_at", "minutes": 20},
            "network_policy": {"type": "disabled"},
        }
    )


@lru_cache
def _wanted(name: str, request: int) -> CreateContainerRequest:
    return REQUESTS[request].model_copy(update={"name": name})


@dataclass(frozen=True)
class Way:
    """How a create request goes.

    :param answer: ``made``, ``refused`` or ``lost``.
    :param made_after: seconds from the answer until the container is made; ``None``: it never is.
    :param visible_after: seconds from the answer until it is in lists.
    :param takes: seconds until there is an answer.
    """

    answer: str
    made_after: float | None = 0.0
    visible_after: float = 0.0
    takes: float = 1.0


WAYS = (
    Way("made"),
    Way("made", visible_after=PATIENCE, takes=SLOW),
    Way("refused", made_after=None),
    Way("lost", made_after=None),
    Way("lost"),
    Way("lost", visible_after=1.0),
    Way("lost", visible_after=PATIENCE),
    Way("lost", visible_after=PATIENCE, takes=SLOW),
    Way("lost", made_after=1.0, visible_after=PATIENCE),
    Way("lost", made_after=PATIENCE, visible_after=PATIENCE),
)
"""Everything that the protocol is made for."""

LATE_WAYS = (
    Way("lost", visible_after=PATIENCE + 1),
    Way("lost", visible_after=3 * PATIENCE),
    Way("lost", made_after=PATIENCE + 1, visible_after=PATIENCE + 1),
    Way("lost", made_after=3 * PATIENCE, visible_after=3 * PATIENCE),
    Way("made", visible_after=3 * PATIENCE),
)
"""What breaks its assumptions."""


@dataclass
class Task:
    """A task instance, and what is kept for it from one try to the next."""

    name: str
    remembers: bool
    on_retry: Any = "adopt"
    request: int = 0
    record: Record | None = None
    try_number: int = 1
    max_tries: int = 0
    quiet_seconds: float = 0.0

    def plan(self) -> Plan:
        """Return what its next try sets out with."""
        return Plan(
            request=self.wanted(),
            later_try=self.try_number > 1,
            remembers=self.remembers,
            record=self.record,
            max_tries=self.max_tries,
            on_retry=self.on_retry,
            pauses=PAUSES,
            quiet_seconds=self.quiet_seconds,
        )

    def wanted(self) -> CreateContainerRequest:
        """Return what it asks for."""
        return _wanted(self.name, self.request)


@dataclass
class World:
    """The service, its clock, and what goes wrong there.

    :param ghosts: whether lists keep what was deleted.
    :param ways: how a create request may go.
    :param requests: of :data:`REQUESTS`, what later tries may ask for.
    :param failures: calls other than a create that may fail in one try.
    :param trusted: whether the service does what the protocol assumes, so that the strict rules hold.
    """

    ghosts: bool = True
    ways: tuple[Way, ...] = WAYS
    requests: tuple[int, ...] = (0, 1, 2)
    failures: int = 1
    trusted: bool = True
    now: float = BEGINNING
    containers: list[Sim] = field(default_factory=list)
    failures_left: int = 0
    trace: tuple[tuple[object, ...], ...] = ()

    def copy(self) -> World:
        """Return a world that goes its own way from here."""
        return replace(self, containers=[copy.copy(container) for container in self.containers])

    def left(self, task: Task) -> list[Sim]:
        """Return the containers of a task that are not deleted, and those that are still to be made."""
        return [sim for sim in self.containers if sim.name == task.name and not sim.deleted]

    def is_alive(self, sim: Sim) -> bool:
        """Whether a container is there now."""
        return not sim.deleted and sim.made_at <= self.now

    def check(self, holds: bool, rule: str) -> None:
        """Fail with all that has happened if a rule is broken."""
        if not holds:
            happened = "\n  ".join(" ".join(map(str, words)) for words in self.trace)
            raise AssertionError(f"{rule}, after\n  {happened}\nwith\n  {self.containers}")

    def say(self, *words: object) -> None:
        """Remember what has happened."""
        self.trace = (*self.trace, (self.now - BEGINNING, *words))


class Try:
    """One try of a task, from its first step to its end; :attr:`calls` are those of the service."""

    def __init__(self, world: World, task: Task, choices: Choices) -> None:
        self._world = world
        self._task = task
        self._choices = choices
        self._known_alive: set[int] = set()
        self.calls: list[Step] = []
        self.disturbed = False
        world.failures_left = world.failures

    def run(self) -> Sim | None:
        """Return the container that the try has handed over; ``None`` if it has failed."""
        try:
            return self._run()
        except CrashedError:
            self._world.say("crash")
            return None

    def _run(self) -> Sim | None:
        world, task = self._world, self._task
        world.say(f"try {task.try_number} for request {task.request}, max_tries {task.max_tries}")
        self._may_crash()
        steps = create_once(task.plan(), lambda: world.now)
        result: Result = None
        for _ in range(MOST_STEPS):
            try:
                step = steps.send(result)
            except StopIteration as stop:
                return self._settle(stop.value)
            except ContainersError as error:
                world.say("error", type(error).__name__)
                world.check(self.disturbed, "a try to which nothing happens succeeds")
                return None
            if not isinstance(step, Remember | Pause):
                self.calls.append(step)
            result = self._perform(step)
            world.say(type(step).__name__, getattr(step, "container_id", ""), "->", result)
            # Nothing changes in these, so a crash after one is a crash before it with a later retry.
            if not isinstance(step, Pause | LookUp):
                self._may_crash()
        world.check(False, "a try ends")
        return None

    def _settle(self, settled: Settled) -> Sim | None:
        world, task = self._world, self._task
        sim = self._sim(settled.container.id)
        world.say("settled on", settled.container.id)
        world.check(world.is_alive(sim), "the result is alive")
        world.check(not sim.used, "a used container is never the result")
        world.check(not (task.remembers and sim.handed_over), "nor is one that was handed over, as known")
        world.check(difference(settled.container, task.wanted()) is None, "it is what was asked for")
        world.check(
            task.on_retry == "adopt" or sim.made_in_try == task.try_number, "recreate takes over nothing"
        )
        if world.trusted:
            world.check([sim] == world.left(task), "it is the only one")
            world.check(not task.remembers or sim.request == task.request, "it was made by the same request")
        if task.remembers:
            record = task.record
            world.check(record is not None and record.container_id == settled.container.id, "it is known")
            self._may_crash()
            assert record is not None
            task.record = record.handed_over()
        self._may_crash()
        sim.handed_over = True
        world.say("success")
        return sim

    def _may_crash(self) -> None:
        if self._choices.pick((False, True)):
            self.disturbed = True
            raise CrashedError

    def _sim(self, container_id: str) -> Sim:
        world = self._world
        (sim,) = (sim for sim in world.containers if f"cntr_{sim.number}" == container_id)
        world.check(sim.name == self._task.name, "containers of others are left alone")
        return sim

    def _perform(self, step: Step) -> Result:
        match step:
            case Remember():
                if self._task.remembers:
                    self._task.record = step.record
                return None
            case Pause():
                self._world.now += step.seconds
                return None
            case Post():
                return self._post()
            case LookUp():
                return self._look_up(step)
            case Touch():
                return self._touch(step)
            case Delete():
                return self._delete(step)

    def _post(self) -> Result:
        world, task = self._world, self._task
        known = [sim for sim in world.containers if sim.number in self._known_alive and world.is_alive(sim)]
        world.check(not known, "nothing is created while a live container of ours is known")
        if world.trusted:
            world.check(not world.left(task), "nothing is created while there is a container of ours")
        way = self._choices.pick(world.ways)
        self.disturbed |= way is not world.ways[0]
        world.now += way.takes
        if way.made_after is not None:
            made_at = world.now + way.made_after
            sim = Sim(
                number=len(world.containers),
                name=task.name,
                request=task.request,
                made_at=made_at,
                visible_at=world.now + way.visible_after,
                made_in_try=task.try_number,
                last_active_at=int(made_at),
            )
            world.containers.append(sim)
            if way.answer == "made":
                self._known_alive.add(sim.number)
                return Made(sim.shown())
        if way.answer == "refused":
            return NotMade(RateLimitError("too fast", status_code=429))
        return Unclear(AmbiguousCreateError("no answer", name=task.name))

    def _fails(self, *ways: T) -> T | None:
        """Return one of the ways in which a call may fail, or ``None``."""
        world = self._world
        if not world.failures_left:
            return None
        way = self._choices.pick((None, *ways))
        if way is not None:
            self.disturbed = True
            world.failures_left -= 1
        return way

    def _look_up(self, step: LookUp) -> Result:
        world = self._world
        failure = self._fails(
            ServerError("down", status_code=503), AuthenticationError("key", status_code=401)
        )
        if failure is not None:
            return Unavailable(failure)
        found = [
            sim
            for sim in world.containers
            if sim.name == step.name
            and max(sim.made_at, sim.visible_at) <= world.now
            and (world.ghosts or not sim.deleted)
            and (step.created_since is None or int(sim.made_at) >= step.created_since)
        ]
        found.sort(key=lambda sim: sim.made_at, reverse=step.created_since is not None)
        self._known_alive |= {sim.number for sim in found if world.is_alive(sim)}
        return Found([sim.shown() for sim in found])

    def _touch(self, step: Touch) -> Result:
        world, sim = self._world, self._sim(step.container_id)
        failure = self._fails(ServerError("down", status_code=500))
        if world.is_alive(sim):
            sim.last_active_at = int(world.now)
            self._known_alive.add(sim.number)
        if failure is not None:
            return Unavailable(failure)
        return Alive(sim.shown()) if world.is_alive(sim) else Gone()

    def _delete(self, step: Delete) -> Result:
        world, sim = self._world, self._sim(step.container_id)
        failure = self._fails("before", "after")
        if failure == "before":
            return Unavailable(ServerError("down", status_code=503))
        was_alive = world.is_alive(sim)
        sim.deleted = sim.deleted or was_alive
        if failure is not None:
            return Unavailable(ServerError("down", status_code=500))
        return Deleted() if was_alive else Gone()


@dataclass(frozen=True)
class Between:
    """What happens from one try to the next: Airflow retries one that failed, a person clears any of them."""

    clears: bool
    gap: float
    uses: bool = False
    request: int = 0

    def apply(self, world: World, task: Task, handed_over: Sim | None) -> None:
        """Let it happen."""
        if self.uses:
            assert handed_over is not None
            # The times of the service are whole seconds, and no task of Airflow follows another within one.
            world.now += 2
            handed_over.used = True
            handed_over.last_active_at = int(world.now)
        world.now += self.gap
        task.try_number += 1
        task.max_tries += self.clears
        task.quiet_seconds = 0.0 if self.clears else self.gap
        task.request = self.request
        world.say(self)


_AFTER_FAILURE = (Between(False, 0.0), Between(False, 1.0), Between(False, LONG), Between(True, 0.0))
_AFTER_SUCCESS = (
    Between(True, 0.0, uses=True),
    Between(True, LONG, uses=True),
    Between(True, 0.0),
    Between(True, LONG),
)


def betweens(handed_over: Sim | None, requests: Sequence[int]) -> list[Between]:
    """Return all that may happen before the next try, which asks for one of ``requests``."""
    ways = _AFTER_FAILURE if handed_over is None else _AFTER_SUCCESS
    return [replace(way, request=request) for way in ways for request in requests]


def key(world: World, task: Task) -> tuple[object, ...]:
    """Return all that the next try can tell or be told by: equal keys have equal futures."""
    kept = [sim for sim in world.containers if world.ghosts or not sim.deleted]
    kept.sort(key=lambda sim: sim.made_at)
    places = {f"cntr_{sim.number}": place for place, sim in enumerate(kept)}
    record = task.record
    return (
        task.request,
        min(task.quiet_seconds, PATIENCE),
        None
        if record is None
        else (
            record.phase,
            min(world.now - record.sent_at, task.quiet_seconds, PATIENCE),
            _prints(task.name).index(record.fingerprint),
            record.max_tries == task.max_tries,
            places.get(record.container_id, -1) if record.container_id else None,
        ),
        *(
            (
                sim.request,
                max(sim.made_at - world.now, 0.0),
                max(sim.visible_at - world.now, 0.0),
                # Beyond the skew of clocks that the protocol allows for, or not.
                world.now - sim.made_at >= LONG,
                sim.last_active_at > int(sim.made_at),
                sim.used,
                sim.handed_over,
                sim.deleted,
            )
            for sim in kept
        ),
    )


@lru_cache
def _prints(name: str) -> list[str]:
    return [fingerprint(_wanted(name, request)) for request in range(len(REQUESTS))]


@dataclass
class Count:
    """How much was tried."""

    tries: int = 0
    interleavings: int = 0
    states: int = 0


def explore(world: World, task: Task, tries: int, after: Callable[[World, Task], None]) -> Count:
    """Go through every way in which so many tries can go, from each state between two of them once.

    :param after: checks what is left after each try.
    """
    count = Count()
    level: dict[object, tuple[World, Task, int]] = {None: (world, task, 1)}
    for number in range(1, tries + 1):
        following: dict[object, tuple[World, Task, int]] = {}
        count.states += len(level)
        count.interleavings = 0
        for start, start_task, ways_here in level.values():
            ends: dict[object, tuple[World, Task, Sim | None, int]] = {}

            def run(
                choices: Choices, start: World = start, start_task: Task = start_task
            ) -> tuple[World, Task, Sim | None]:
                world, task = start.copy(), replace(start_task)
                one = Try(world, task, choices)
                sim = one.run()
                after(world, task)
                return world, task, sim

            for end, end_task, sim in every_way(run):
                count.tries += 1
                count.interleavings += ways_here
                if number < tries:
                    found = (*key(end, end_task), sim and sim.number)
                    ways = ends[found][3] if found in ends else 0
                    ends[found] = (end, end_task, sim, ways + ways_here)
            for end, end_task, sim, ways in ends.values():
                for between in betweens(sim, end.requests):
                    world, task = end.copy(), replace(end_task)
                    between.apply(world, task, None if sim is None else world.containers[sim.number])
                    found = key(world, task)
                    before = following[found][2] if found in following else 0
                    following[found] = (world, task, before + ways)
        level = following
    return count


OURS = Owner("a-deployment", "reports", "manual__1", "make").name("report", max_length=256)
