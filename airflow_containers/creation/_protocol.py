"""The protocol itself; see the package for what it promises."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from airflow_containers.api.errors import AmbiguousCreateError, ContainersError
from airflow_containers.api.models import Container, CreateContainerRequest
from airflow_containers.creation._fitness import difference, fingerprint, is_unused
from airflow_containers.creation._record import Phase, Record
from airflow_containers.creation._steps import (
    Alive,
    Delete,
    Deleted,
    Found,
    Gone,
    LookUp,
    Made,
    NotMade,
    Pause,
    Post,
    Protocol,
    Remember,
    Result,
    Settled,
    Step,
    Touch,
    Unavailable,
    Unclear,
)
from airflow_containers.identity import has_owner_token

OnRetry = Literal["adopt", "recreate"]
ON_RETRY: Final[tuple[str, ...]] = get_args(OnRetry)

DEFAULT_PATIENCE: Final = 30.0
"""Seconds after which a container that is in no list is taken not to exist. The service documents none."""

MAX_POSTS: Final = 2
"""Create requests of one try whose outcome may be unknown; after that the task's own retries go on."""

CLOCK_SKEW: Final = 300.0
"""Seconds that the clocks of a worker and the service may be apart."""

_FIRST_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What one try of a create task sets out with.

    :param request: what to ask for.
    :param unique: whether the request's name has an owner token; nothing is taken by its name without.
    :param later_try: whether another try of the same task instance went before.
    :param remembers: whether a record outlives this try.
    :param record: what the tries before have left, if anything.
    :param max_tries: of the task instance now.
    :param on_retry: ``adopt`` a container of an earlier try, or ``recreate`` it.
    :param pauses: seconds between one look at the list and the next; their sum is the patience.
    :param cleared: whether this is the first try after a clear, or may be: then what was handed over counts
        as used.
    :param begun_at: when the first try can have sent its request at the earliest, in seconds since 1970;
        ``None`` if that is not known.
    :param quiet_seconds: for how long, at least, no earlier try can have sent a request.
    """

    request: CreateContainerRequest
    unique: bool = True
    later_try: bool = False
    remembers: bool = False
    record: Record | None = None
    max_tries: int = 0
    on_retry: OnRetry = "adopt"
    pauses: tuple[float, ...] = field(default_factory=lambda: growing_pauses(DEFAULT_PATIENCE))
    quiet_seconds: float = 0.0
    cleared: bool = False
    begun_at: float | None = None


def create_once(plan: Plan, now: Callable[[], float]) -> Protocol:
    """Yield the steps to the one container of a task instance, and return it.

    :param now: the time in seconds since 1970.
    :raises ContainersError: the error of the create request, or the one that made it impossible to tell
        whether there is a container already; none was left behind that a later try does not find.
    """
    return _Creation(plan, now).run()


class _Creation:
    def __init__(self, plan: Plan, now: Callable[[], float]) -> None:
        self._plan = plan
        self._request = plan.request
        self._now = now
        self._fingerprint = fingerprint(plan.request)

    def run(self) -> Protocol:
        if self._plan.later_try or self._plan.record is not None:
            settled = yield from self._resume()
            if settled is not None:
                yield from self._remember_created(settled.container)
                return settled
        return (yield from self._make())

    def _resume(self) -> Generator[Step, Result, Settled | None]:
        """Take over what an earlier try has left, or end it."""
        plan, record = self._plan, self._plan.record
        known = record is not None and record.container_id is not None
        begun_at = plan.begun_at if record is None else record.sent_at
        search = _Search(self, all_since=None if known or begun_at is None else begun_at - CLOCK_SKEW)
        if record is not None and record.container_id is not None:
            yield from search.consider_known(record.container_id)
        names = self._names()
        if names:
            waited: float | None = plan.quiet_seconds
            if record is None:
                # With a memory that holds nothing, no request was sent, or it was long ago.
                waited = None if plan.remembers else waited
            elif record.phase == "intent":
                # Not the time since then alone: a request may wait its turn for minutes before it is sent.
                waited = min(plan.quiet_seconds, self._now() - record.sent_at)
            else:
                waited = None
            yield from search.run(names, waited)
        if search.chosen is None:
            return None
        return Settled(search.chosen, "an earlier try of this task has made it")

    def _names(self) -> list[str]:
        """Return the names that containers of this task instance may have."""
        names = [self._request.name] if self._plan.unique else []
        record = self._plan.record
        # A name without token, from before the task had unique_name=True, may be anybody's.
        if record is not None and record.name not in names and has_owner_token(record.name):
            names.append(record.name)
        return names

    def _make(self) -> Protocol:
        unclear: AmbiguousCreateError | None = None
        first_sent_at = self._now()
        for _ in range(MAX_POSTS):
            sent_at = self._now()
            yield Remember(self._record("intent", sent_at))
            outcome = yield Post()
            if isinstance(outcome, Made):
                container = outcome.container
                if unclear is not None:
                    container = yield from self._settle(container, first_sent_at - CLOCK_SKEW)
                yield from self._remember_created(container)
                adopted = None if container is outcome.container else "it is the older of two"
                return Settled(container, adopted)
            if isinstance(outcome, NotMade):
                if unclear is None:
                    yield Remember(None)
                raise outcome.error
            if not isinstance(outcome, Unclear):
                raise _unexpected(outcome)
            unclear = outcome.error
            if not self._plan.unique:
                raise unclear
            search = _Search(self, unclear, sent_at - CLOCK_SKEW, all_since=sent_at - CLOCK_SKEW)
            yield from search.run([self._request.name], 0.0)
            if search.chosen is not None:
                yield from self._remember_created(search.chosen)
                return Settled(search.chosen, "the lost request has made it")
        raise _given_up(unclear, sum(self._plan.pauses))

    def _settle(self, made: Container, since: float) -> Generator[Step, Result, Container]:
        """After more than one request: keep the oldest container of the name, and delete the others."""
        found: Sequence[Container] = ()
        for pause in (0.0, *self._plan.pauses):
            if pause:
                yield Pause(pause)
            result = yield LookUp(self._request.name)
            found = result.containers if isinstance(result, Found) else ()
            # Whoever sees the newer one sees the older one as well.
            if any(container.id == made.id for container in found):
                break
        others = _oldest_first(container for container in found if container.id != made.id)
        kept: Container | None = None
        for container in others:
            reason = f"{(kept or made).id} is older"
            if kept is None and (container.created_at or 0) <= (made.created_at or 0):
                reason = self.unfit(container, since) or ""
                if not reason:
                    result = yield Touch(container.id)
                    kept = result.container if isinstance(result, Alive) else None
                    reason = "" if kept or isinstance(result, Gone) else "it cannot be looked at"
            if reason:
                yield from self._delete(container, reason)
        if kept is None:
            return made
        yield from self._delete(made, f"{kept.id} is older")
        return kept

    def _delete(self, container: Container, reason: str) -> Generator[Step, Result, None]:
        result = yield Delete(container.id, reason)
        if isinstance(result, Unavailable):
            raise result.error

    def unfit(self, container: Container, since: float | None) -> str | None:
        """Say why a container of ours is not to be taken over, if it is not.

        :param since: when this try has sent its first request; nobody can know a container made after that.
        """
        plan, record = self._plan, self._plan.record
        if since is None and plan.on_retry == "recreate":
            return "the task asks for a new one on each try"
        if record is None:
            if not is_unused(container, since):
                return "it was active after its creation, so other tasks may have used it"
        elif record.container_id == container.id and record.was_used(plan.max_tries, cleared=plan.cleared):
            return "it was handed over before the task was cleared, so other tasks may have used it"
        if since is None and record is not None and record.fingerprint != self._fingerprint:
            return "the request has changed"
        return difference(container, self._request)

    def _record(self, phase: Phase, sent_at: float, container_id: str | None = None) -> Record:
        return Record(
            phase=phase,
            name=self._request.name,
            sent_at=sent_at,
            fingerprint=self._fingerprint,
            max_tries=self._plan.max_tries,
            container_id=container_id,
        )

    def _remember_created(self, container: Container) -> Generator[Step, Result, None]:
        yield Remember(self._record("created", self._now(), container.id))

    @property
    def pauses(self) -> tuple[float, ...]:
        return self._plan.pauses


class _Search:
    """Looks for containers of ours: takes one, and deletes every other one that it sees.

    :param failed_post: the create request of this try whose container is looked for.
    :param since: when that was sent, less the skew of the clocks.
    :param all_since: read all that was made since then, without the server's filter, before giving up.
    """

    def __init__(
        self,
        creation: _Creation,
        failed_post: AmbiguousCreateError | None = None,
        since: float | None = None,
        *,
        all_since: float | None = None,
    ) -> None:
        self._all_since = all_since
        self._creation = creation
        self._failed_post = failed_post
        self._since = since
        self._done: set[str] = set()
        self._accounted = False
        self.chosen: Container | None = None

    def consider_known(self, container_id: str) -> Generator[Step, Result, None]:
        """Take or delete a container whose id is remembered; no list is needed for that."""
        result = yield Touch(container_id)
        self._done.add(container_id)
        if isinstance(result, Unavailable):
            raise result.error
        if isinstance(result, Alive):
            yield from self._consider(result.container, verified=True)

    def run(self, names: Sequence[str], waited: float | None) -> Generator[Step, Result, None]:
        """Look until what was asked for is accounted for, or the patience is over.

        :param waited: seconds since a request may have been sent whose outcome is unknown; ``None`` for
            none, and then one look is enough.
        :raises ContainersError: if the last look failed, or one for a reason that waiting does not mend.
        """
        failure: ContainersError | None = None
        for pause in (0.0, *_left_of(self._creation.pauses, waited)):
            if pause:
                yield Pause(pause)
            failure = yield from self._look([LookUp(name) for name in names])
            if self.chosen is not None or self._accounted or (failure is not None and not failure.retryable):
                break
        else:
            if self._all_since is not None and failure is None:
                failure = yield from self._look([LookUp(name, self._all_since) for name in names])
        if failure is not None and self.chosen is None:
            if self._failed_post is None:
                raise failure
            raise self._failed_post from failure

    def _look(self, steps: Sequence[LookUp]) -> Generator[Step, Result, ContainersError | None]:
        found: list[Container] = []
        for step in steps:
            result = yield step
            if isinstance(result, Unavailable):
                return result.error
            if not isinstance(result, Found):
                raise _unexpected(result)
            found += result.containers
        for container in _oldest_first(found):
            if container.id not in self._done:
                self._done.add(container.id)
                yield from self._consider(container)
        return None

    def _consider(self, container: Container, *, verified: bool = False) -> Generator[Step, Result, None]:
        reason = self._creation.unfit(container, self._since)
        if reason is None and self.chosen is not None:
            reason = f"{self.chosen.id} is taken already"
        result: Result
        if reason is not None:
            result = yield Delete(container.id, reason)
            # One that a request of unknown outcome has made is as good as found when it is deleted; one that
            # was used is older than that request.
            self._accounted |= isinstance(result, Deleted) and is_unused(container, self._since)
        elif verified:
            self.chosen = container
            return
        else:
            # A list keeps ghosts of what was deleted, so only a look at the container itself tells.
            result = yield Touch(container.id)
            if isinstance(result, Alive):
                self.chosen = result.container
        if isinstance(result, Unavailable):
            raise result.error


def growing_pauses(patience: float) -> tuple[float, ...]:
    """Return pauses that double from half a second on and add up to ``patience`` seconds."""
    pauses: list[float] = []
    left = patience
    pause = _FIRST_PAUSE
    while left > 0:
        pauses.append(min(pause, left))
        left -= pause
        pause *= 2
    return tuple(pauses)


def _left_of(pauses: Sequence[float], waited: float | None) -> list[float]:
    """Return the pauses that are still to come when ``waited`` seconds have passed already."""
    if waited is None:
        return []
    left = sum(pauses) - max(0.0, waited)
    coming: list[float] = []
    for pause in pauses:
        if left <= 0:
            break
        coming.append(min(pause, left))
        left -= pause
    return coming


def _oldest_first(containers: Iterable[Container]) -> list[Container]:
    # The sort is stable, so containers of the same second stay in the list's order, which is by age.
    return sorted(containers, key=lambda container: container.created_at or 0)


def _given_up(unclear: AmbiguousCreateError | None, patience: float) -> AmbiguousCreateError:
    assert unclear is not None  # noqa: S101 - the last request was unclear, or this would not be reached
    return AmbiguousCreateError(
        f"{unclear}. It was sent {MAX_POSTS} times in this try, and each time no container of that name "
        f"turned up within {patience:g} s",
        name=unclear.name,
        status_code=unclear.status_code,
        request_id=unclear.request_id,
    )


def _unexpected(result: Result) -> TypeError:
    return TypeError(f"a step was answered by {type(result).__name__}")
