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

from airflow_containers.sweeping._report import MAX_REPORTED_IDS, TABLE_HEAD, Row, Summary
from airflow_containers.sweeping._runs import (
    CONFIRM_AFTER,
    MAX_REMEMBERED_RUNS,
    MAX_UNANSWERED_IN_A_ROW,
    AskRun,
    RunState,
    RunStates,
)
from airflow_containers.sweeping._verdict import Rules, Verdict, judge
from airflow_containers.sweeping._walk import (
    MAX_FAILURES_IN_A_ROW,
    PAGE_SIZE,
    Pacer,
    Sweep,
    SweepIncompleteError,
)

__all__ = [
    "CONFIRM_AFTER",
    "MAX_FAILURES_IN_A_ROW",
    "MAX_REMEMBERED_RUNS",
    "MAX_REPORTED_IDS",
    "MAX_UNANSWERED_IN_A_ROW",
    "PAGE_SIZE",
    "TABLE_HEAD",
    "AskRun",
    "Pacer",
    "Row",
    "Rules",
    "RunState",
    "RunStates",
    "Summary",
    "Sweep",
    "SweepIncompleteError",
    "Verdict",
    "judge",
]
