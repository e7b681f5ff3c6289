"""What Airflow says of runs: asked once for each, and again before a container is deleted."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from airflow_containers.identity import Run

CONFIRM_AFTER: Final = 10.0
"""Seconds. A run that was over longer ago is asked for again before a container of it is deleted: somebody
may have cleared it. Asking Airflow is cheap beside the pause that the request limit asks for."""

MAX_REMEMBERED_RUNS: Final = 1000
MAX_UNANSWERED_IN_A_ROW: Final = 3
"""Questions to Airflow without an answer before no further one is asked: each may wait for a time-out."""

State = Literal["live", "over", "unknown"]


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
