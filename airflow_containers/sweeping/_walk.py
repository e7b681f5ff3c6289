"""The walk through the account's list that deletes what is due."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from airflow_containers.api.errors import ContainerGoneError, ContainersError, InvalidResponseError
from airflow_containers.api.models import Container, ContainerPage
from airflow_containers.identity import Run
from airflow_containers.sweeping._report import MAX_REPORTED_IDS, Row, Summary
from airflow_containers.sweeping._runs import RunState, RunStates
from airflow_containers.sweeping._verdict import Rules, Verdict, judge

PAGE_SIZE: Final = 100
"""Containers on a page: the most that the API gives."""

MAX_FAILURES_IN_A_ROW: Final = 20
"""Deletes that fail one after the other before no further one is tried: a key without permission fails all
of them. The list is read to its end all the same."""


class SweepIncompleteError(ContainersError):
    """Some containers could not be deleted, for a reason that a retry may mend."""

    retryable = True


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
