"""Which containers are left over, and the walk through the account that deletes them. No I/O of its own.

Only names with an owner token are looked at. Of those:

- The run is proven by the token and the ids in the name (:func:`~airflow_containers.identity.owner_run`).
  While it is live nothing of it is touched, however old it is. When it is over, or Airflow does not know it
  any more, its containers are deleted.
- The run is proven, and Airflow did not answer: kept. It may be live.
- No run is proven: the name had no room for the ids, or another deployment made it. Its age decides, if a
  limit was given; but what the token shows to be of a live run is kept, as far as live runs could be listed
  (:attr:`Rules.live_runs`).

The walk sees containers in list pages only, which refresh no idle clock, and holds two pages at a time. The
containers of a page are deleted after the next page was fetched, so that the cursor is always the id of a
container that is still there.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from airflow_containers import identity, pricing
from airflow_containers.api.errors import ContainerGoneError, ContainersError, InvalidResponseError
from airflow_containers.api.models import Container, ContainerPage
from airflow_containers.identity import Run

PAGE_SIZE: Final = 100
"""Containers on a page: the most that the API gives."""

CONFIRM_AFTER: Final = 10.0
"""Seconds. A run that was over longer ago is asked for again before a container of it is deleted: somebody
may have cleared it. Asking Airflow is cheap beside the pause that the request limit asks for."""

MAX_REMEMBERED_RUNS: Final = 1000
MAX_REPORTED_IDS: Final = 100
MAX_FAILURES_IN_A_ROW: Final = 20
"""Deletes that fail one after the other before no further one is tried: a key without permission fails all
of them. The list is read to its end all the same."""

MAX_UNANSWERED_IN_A_ROW: Final = 3
"""Questions to Airflow without an answer before no further one is asked: each may wait for a time-out."""

_SHOWN_ID: Final = 53
_SHOWN_NAME: Final = 44

State = Literal["live", "over", "unknown"]
Action = Literal["keep", "delete"]
Outcome = Literal["keep", "delete", "deleted", "gone", "failed"]


class SweepIncompleteError(ContainersError):
    """Some containers could not be deleted, for a reason that a retry may mend."""

    retryable = True


@dataclass(frozen=True, slots=True)
class RunState:
    """What Airflow says of a run.

    :param state: ``unknown`` if it gave no clear answer.
    :param words: what follows "the run" in a sentence: ``is running``.
    :param answered: whether Airflow answered at all.
    """

    state: State
    words: str
    answered: bool = True

    @classmethod
    def of(cls, state: str) -> RunState:
        """Return what a state of Airflow's means: a failed or successful run is over, a new state is not."""
        words = f"is {state}"
        if state in ("success", "failed"):
            return cls("over", words)
        return cls("live" if state in ("queued", "running") else "unknown", words)

    @classmethod
    def absent(cls) -> RunState:
        """The run was deleted from Airflow: nobody will come for its containers."""
        return cls("over", "is not in Airflow any more")

    @classmethod
    def unanswered(cls, why: str) -> RunState:
        """Airflow could not be asked, or gave no clear answer.

        :param why: in a few words, without anything secret: an error's class.
        """
        return cls("unknown", f"could not be looked up ({why})", answered=False)


AskRun = Callable[[Run], RunState]
"""Asks Airflow for the state of one run. Does not raise."""


class RunStates:
    """Asks Airflow for each run once, and again only when a container is about to be deleted.

    Holds the states of at most 1000 runs, those asked for last.

    :param clock: seconds, monotonic.
    """

    def __init__(self, ask: AskRun, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._known: OrderedDict[Run, tuple[float, RunState]] = OrderedDict()
        self._unanswered_in_a_row = 0
        self.unanswered = 0
        """Questions without an answer so far."""

        self.problem: str | None = None
        """Why Airflow was given up on; ``None`` while it is asked."""

    def state(self, run: Run) -> RunState:
        """Return the state of ``run``, as it was when it was first asked for."""
        return self._state(run, math.inf)

    def confirmed(self, run: Run) -> RunState:
        """Return the state of ``run``, asked for not more than 10 seconds ago."""
        return self._state(run, CONFIRM_AFTER)

    def _state(self, run: Run, max_age: float) -> RunState:
        now = self._clock()
        if run in self._known:
            asked, state = self._known[run]
            if now - asked <= max_age:
                self._known.move_to_end(run)
                return state
        if self.problem is not None:
            return RunState.unanswered(self.problem)
        state = self._ask(run)
        self._unanswered_in_a_row = 0 if state.answered else self._unanswered_in_a_row + 1
        self.unanswered += not state.answered
        if self._unanswered_in_a_row >= MAX_UNANSWERED_IN_A_ROW:
            self.problem = (
                f"Airflow was not asked on: {self._unanswered_in_a_row} runs in a row had no answer"
            )
        self._known[run] = (now, state)
        self._known.move_to_end(run)
        if len(self._known) > MAX_REMEMBERED_RUNS:
            self._known.popitem(last=False)
        return state


@dataclass(frozen=True, slots=True)
class Rules:
    """What is swept.

    :param deployment_id: this deployment's id; an empty one proves no run.
    :param prefix: only containers whose names start so.
    :param older_than: age above which a container is deleted whose run is not proven; ``None`` keeps it. It
        has to be longer than the longest run of any deployment that shares the account.
    :param live_runs: runs that were live when the sweep began, each as its
        :func:`~airflow_containers.identity.run_hash`: those that could be listed. They protect containers
        whose names have no ids.
    :raises ValueError: if ``older_than`` is not above zero.
    """

    deployment_id: str
    prefix: str | None = None
    older_than: timedelta | None = None
    live_runs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.older_than is not None and self.older_than <= timedelta(0):
            raise ValueError(f"older_than: got {self.older_than}, expected a time span above zero")

    def covers(self, container: Container) -> bool:
        """Whether the container was made by this package, and is asked for."""
        name = container.name or ""
        return identity.has_owner_token(name) and name.startswith(self.prefix or "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of one container.

    :param reason: why, in words.
    :param owner: what is known of the run that made it.
    :param minutes: minutes alive, begun ones counted; ``None`` if the service does not tell its start.
    :param cost: US dollars so far; ``None`` if the price or the start is not known.
    """

    container: Container
    action: Action
    reason: str
    owner: State
    minutes: int | None
    cost: Decimal | None


def judge(
    container: Container, *, rules: Rules, state_of: Callable[[Run], RunState], now: float
) -> Verdict | None:
    """Decide about one container.

    :param state_of: asked only if the name proves the run.
    :param now: seconds since 1970.
    :returns: ``None`` for one that is not to be looked at: its name has no owner token or another prefix, or
        it has ended already.
    """
    if not rules.covers(container) or not container.is_alive:
        return None
    action: Action
    minutes = None if container.created_at is None else max(0, math.ceil((now - container.created_at) / 60))
    run = identity.owner_run(container.name or "", rules.deployment_id) if rules.deployment_id else None
    if run is None and _hash_of_run(container.name or "") in rules.live_runs:
        owner: State = "live"
        action, reason = "keep", "the owner token is that of a live run"
    elif run is None:
        owner = "unknown"
        action, reason = _by_age(container, rules, now)
    else:
        answer = state_of(run)
        owner = answer.state
        action = "delete" if owner == "over" else "keep"
        reason = f"run {run.run_id} of {run.dag_id} {answer.words}"
    return Verdict(
        container=container,
        action=action,
        reason=reason,
        owner=owner,
        minutes=minutes,
        cost=None if minutes is None else pricing.cost(container.memory_limit, minutes),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    :param outcome: ``delete`` in a dry run, else what became of it; ``gone`` if it ended meanwhile.
    :param error: why deleting it failed.
    """

    verdict: Verdict
    outcome: Outcome
    error: ContainersError | None = None

    def __str__(self) -> str:
        verdict = self.verdict
        container = verdict.container
        cells = (
            f"{self.outcome:<7}",
            f"{'?' if verdict.minutes is None else verdict.minutes:>7}",
            f"{container.memory_limit or '?':>6}",
            f"{pricing.dollars(verdict.cost):>10}",
            f"{_shown(container.id, _SHOWN_ID):<{_SHOWN_ID}}",
            f"{_shown(container.name or '', _SHOWN_NAME):<{_SHOWN_NAME}}",
            verdict.reason if self.error is None else f"{verdict.reason}; {self.error}",
        )
        return "  ".join(cells)


TABLE_HEAD: Final = "  ".join(
    (
        f"{'WHAT':<7}",
        f"{'MINUTES':>7}",
        f"{'MEMORY':>6}",
        f"{'COST':>10}",
        f"{'CONTAINER':<{_SHOWN_ID}}",
        f"{'NAME':<{_SHOWN_NAME}}",
        "WHY",
    )
)
"""The columns of a :class:`Row` as text."""


@dataclass(slots=True)
class Summary:
    """The counts of one sweep.

    :param listed: entries of all pages.
    :param others: without an owner token or with another prefix; not looked at.
    :param ended: of this package, expired or deleted already; the service lists them on.
    :param found: of this package, and alive.
    :param live: kept, because the run is live.
    :param unknown: kept, because nobody knows whether the run is over.
    :param due: to be deleted; in a dry run this is all that happens.
    :param gone: ended between the list and the delete.
    :param minutes: minutes alive of those that were due, without the ``gone``: nobody knows since when.
    :param cost: US dollars for these minutes, without the ``unpriced``.
    :param unpriced: due, with unknown cost.
    :param ids: of those deleted or, in a dry run, due; the first 100.
    """

    dry_run: bool
    pages: int = 0
    listed: int = 0
    others: int = 0
    ended: int = 0
    found: int = 0
    live: int = 0
    unknown: int = 0
    due: int = 0
    deleted: int = 0
    gone: int = 0
    failed: int = 0
    minutes: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    ids: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values; the cost is a text such as ``$0.1875``."""
        names = (
            *("dry_run", "pages", "listed", "others", "ended", "found", "live", "unknown"),
            *("due", "deleted", "gone", "failed", "minutes", "unpriced"),
        )
        return {
            **{name: getattr(self, name) for name in names},
            "cost": pricing.dollars(self.cost),
            "container_ids": list(self.ids),
        }

    def lines(self) -> list[str]:
        """Return the end of the report, for people."""
        dollars = pricing.dollars(self.cost)
        money = f"minutes alive {self.minutes}, cost {dollars} at the prices of {pricing.AS_OF}"
        if self.unpriced:
            money += f" and {self.unpriced} of unknown cost"
        if self.dry_run:
            done = f"Dry run, nothing was deleted. To delete: {self.due} ({money})"
        else:
            done = (
                f"Deleted: {self.deleted}, gone meanwhile: {self.gone}, failed: {self.failed}, "
                f"of {self.due} ({money})"
            )
        return [
            (
                f"Pages: {self.pages}. Containers: {self.listed}; of this package and alive: {self.found}, "
                f"of it and ended: {self.ended}, others or with another prefix: {self.others}"
            ),
            f"Kept: {self.live} of live runs, {self.unknown} of unknown owners",
            done,
        ]


class Sweep:
    """One walk through the list.

    :param list_page: returns the page of at most 100 containers, newest first, after the container of that
        id; the first page after ``None``.
    :param delete: deletes a container by id.
    :param report: takes each line of the table when it is known.
    :param pause: called before each request; waits for as long as the request limit wants.
    :param now: seconds since 1970.
    """

    def __init__(
        self,
        *,
        list_page: Callable[[str | None], ContainerPage],
        delete: Callable[[str], object],
        runs: RunStates,
        rules: Rules,
        dry_run: bool,
        report: Callable[[Row], object],
        pause: Callable[[], object] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._list_page = list_page
        self._delete = delete
        self._runs = runs
        self._rules = rules
        self._report = report
        self._pause = pause
        self._now = now
        self._landmark: str | None = None
        self._next_landmark = 1
        self._failures_in_a_row = 0
        self.summary = Summary(dry_run=dry_run)
        """The counts so far, also after an error."""

        self.failures: list[ContainersError] = []
        """The first failed delete that a retry may mend, and the first that it cannot."""

    def run(self) -> Summary:
        """List everything and delete what is due, unless this is a dry run.

        :raises ContainersError: if a page cannot be listed. A delete that fails is counted and reported.
        """
        page = self._fetch(None)
        while True:
            cursor = self._cursor(page)
            following = None if cursor is None else self._fetch(cursor)
            for container in page.data:
                self._look_at(container)
            if following is None:
                return self.summary
            page = following

    def _fetch(self, after: str | None) -> ContainerPage:
        self._pause()
        page = self._list_page(after)
        self.summary.pages += 1
        self.summary.listed += len(page.data)
        return page

    def _cursor(self, page: ContainerPage) -> str | None:
        """Return where the page after ``page`` starts, or ``None`` after the last one.

        A server that goes in circles is found by Brent's method: one id is remembered, at pages 1, 2, 4, 8
        and so on, so that the memory does not grow with the list.
        """
        if page.has_more is False or not page.data:
            return None
        last = page.data[-1].id
        if last == self._landmark:
            raise InvalidResponseError(
                f"GET /containers: two pages end with {last}; the server does not page as this API does"
            )
        if self.summary.pages >= self._next_landmark:
            self._landmark = last
            self._next_landmark *= 2
        return last

    def _look_at(self, container: Container) -> None:
        summary = self.summary
        if not self._rules.covers(container):
            summary.others += 1
            return
        verdict = self._judge(container, self._runs.state)
        if verdict is None:
            summary.ended += 1
            return
        summary.found += 1
        row = self._carry_out(verdict)
        self._count(row)
        self._report(row)

    def _judge(self, container: Container, state_of: Callable[[Run], RunState]) -> Verdict | None:
        return judge(container, rules=self._rules, state_of=state_of, now=self._now())

    def _carry_out(self, verdict: Verdict) -> Row:
        if self.summary.dry_run or verdict.action == "keep":
            return Row(verdict, verdict.action)
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            return Row(verdict, "failed", ContainersError("not tried: the deletes before it failed"))
        container = verdict.container
        self._pause()
        # After the pause, so that as little as possible can happen to the run between answer and delete.
        confirmed = self._judge(container, self._runs.confirmed) or verdict
        if confirmed.action == "keep":
            return Row(confirmed, "keep")
        try:
            self._delete(container.id)
        except ContainerGoneError:
            self._failures_in_a_row = 0
            return Row(confirmed, "gone")
        except ContainersError as error:
            self._failures_in_a_row += 1
            if all(known.retryable is not error.retryable for known in self.failures):
                self.failures.append(error)
            return Row(confirmed, "failed", error)
        self._failures_in_a_row = 0
        return Row(confirmed, "deleted")

    def _count(self, row: Row) -> None:
        summary, verdict = self.summary, row.verdict
        if row.outcome == "keep":
            if verdict.owner == "live":
                summary.live += 1
            else:
                summary.unknown += 1
            return
        summary.due += 1
        if row.outcome == "gone":
            summary.gone += 1
            return
        summary.minutes += verdict.minutes or 0
        if verdict.cost is None:
            summary.unpriced += 1
        else:
            summary.cost += verdict.cost
        summary.deleted += row.outcome == "deleted"
        summary.failed += row.outcome == "failed"
        if row.outcome in ("delete", "deleted") and len(summary.ids) < MAX_REPORTED_IDS:
            summary.ids.append(verdict.container.id)


class Pacer:
    """Spaces calls evenly, so that in no minute there are more than so many.

    What the client sends again on its own is not counted.

    :param per_minute: calls in a minute, 1 or more.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._interval = 60 / per_minute
        self._clock = clock
        self._sleep = sleep
        self._next = -math.inf

    def wait(self) -> None:
        """Return when the next call may start."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._interval


def _hash_of_run(name: str) -> str:
    return name[-identity.TOKEN_LENGTH :][len(identity.OWNER_PREFIX) :][: identity.RUN_LENGTH]


def _by_age(container: Container, rules: Rules, now: float) -> tuple[Action, str]:
    if not rules.deployment_id:
        why = "no run can be proven without this deployment's id"
    else:
        why = "the name proves no run of this deployment"
    if rules.older_than is None:
        return "keep", f"{why}, and no age limit was given"
    if container.created_at is None:
        return "keep", f"{why}, and its age is not told"
    if now - container.created_at > rules.older_than.total_seconds():
        return "delete", f"{why}, and it is older than {rules.older_than}"
    return "keep", f"{why}, and it is not older than {rules.older_than}"


def _shown(text: str, length: int) -> str:
    """Return a text for one cell: somebody else may have put a line break or a colour into it."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
