"""Create and keep-alive tasks that are ended in every way, in a whole Airflow 3.3: what was left."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_containers.testing import LocalServer
from tests.support.isolation import REPOSITORY
from tests.support.kill_airflow import KillableAirflow
from tests.support.kill_table import (
    AFTER_HAND_OVER,
    BEFORE_INTENT,
    BEFORE_REQUEST,
    IN_REQUEST_AFTER,
    LATE,
    USED,
    Case,
    KeepCase,
    KeepRow,
    Row,
    Stage,
    as_markdown,
    assert_row,
    environment,
    expected_rows,
    kill_9,
    sigterm,
    tables_in_docs,
)

pytestmark = [pytest.mark.e2e, pytest.mark.airflow("3.3"), pytest.mark.timeout(900)]

AT_ONCE = 5
MEASURED = REPOSITORY / "build" / "kill-table-3.3.md"
BOTH = (True, False)


def _killed(case: Case) -> tuple[Any, ...]:
    if case.when == LATE:
        return ("killed", "no", 2, "new", "success", 1)
    result = "new" if case.when in (BEFORE_INTENT, BEFORE_REQUEST) else "adopted"
    return ("killed", "no", 1, result, "success", 0)


def _terminated(case: Case) -> tuple[Any, ...]:
    if case.when == AFTER_HAND_OVER:
        return ("returned", "yes", 1, "new", "success", 0)
    requests = 1 if case.when in (BEFORE_INTENT, BEFORE_REQUEST) else 2
    return ("AbandonedError", "yes", requests, "new", "success", 0)


def _from_outside(what: str, action: str, run: str, *, dag_id: str = "kill_create") -> dict[Case, Any]:
    """A task that is not to go on: what it has not handed over is gone, the rest is left to the sweeper."""
    return {
        Case(what, IN_REQUEST_AFTER, True, action, dag_id): ("killed", "yes", 1, "none", run, 0),
        Case(what, AFTER_HAND_OVER, True, action, dag_id): ("returned", "yes", 1, "none", run, 1),
    }


CREATE: dict[Case, tuple[Any, ...]] = {
    **{case: _killed(case) for case in kill_9(BOTH)},
    **{case: _terminated(case) for case in sigterm(BOTH)},
    **_from_outside("mark failed", "failed", "failed"),
    Case("mark success", IN_REQUEST_AFTER, True, "success"): ("killed", "yes", 1, "none", "success", 0),
    # The teardown starts at once, and finds the id only if the task could still return it.
    Case("mark success", AFTER_HAND_OVER, True, "success"): (
        *("returned", "yes", 1, "new", "success"),
        "0 or 1",
    ),
    **_from_outside("DAG run marked failed", "fail run", "failed"),
    **_from_outside("`dagrun_timeout`", "timeout", "failed", dag_id="kill_create_timeout"),
    **{
        Case("clear", IN_REQUEST_AFTER, store, "clear"): ("killed", "yes", 2, "new", "success", 0)
        for store in BOTH
    },
    # It depends on Airflow whether the retry is told of the clear.
    Case("clear", AFTER_HAND_OVER, True, "clear"): (
        *("returned", "yes", "1 or 2", "adopted or new"),
        *("success", 0),
    ),
    Case("clear", AFTER_HAND_OVER, False, "clear"): ("returned", "yes", 1, "adopted", "success", 0),
    **{
        Case("clear", USED, store, "clear", "kill_keep"): ("returned", "no", 2, "new", "success", 0)
        for store in BOTH
    },
}
KEEP: dict[KeepCase, tuple[Any, ...]] = {
    KeepCase("mark failed", "failed"): ("-", "failed", "failed", 0),
    KeepCase("mark success", "success"): ("-", "success", "success", 0),
    KeepCase("clear", "clear"): ("alive, touched", "success", "success", 0),
    KeepCase("DAG run marked failed", "fail run"): ("-", "failed", "failed", 0),
    KeepCase("`dagrun_timeout`", "timeout", "kill_keep_timeout"): ("-", "skipped", "failed", 1),
    KeepCase("`dagrun_timeout`, `delete_when_run_ends`", "timeout", "kill_keep_delete_timeout"): (
        *("-", "skipped", "failed"),
        0,
    ),
    KeepCase("sweep of a live run", "sweep"): ("alive, touched", "success", "success", 0),
}
TRIGGERER: dict[KeepCase, tuple[Any, ...]] = {
    KeepCase("triggerer gets SIGTERM, another starts", "triggerer TERM"): (
        *("alive, touched", "success", "success"),
        0,
    ),
    KeepCase("triggerer gets `kill -9`, another starts", "triggerer KILL"): (
        *("alive, touched", "success", "success"),
        0,
    ),
}
EXPECTED = {case: (*outcome, 0) for case, outcome in {**CREATE, **KEEP, **TRIGGERER}.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row | KeepRow | str]:
    """A row for each case, by its key; a text where something went wrong."""
    home = tmp_path_factory.mktemp("kill-table")
    notes = home / "notes"
    notes.mkdir()
    with LocalServer() as server:
        airflow = KillableAirflow(home, environment(server, notes))
        try:
            airflow.start()
            cases = sorted([*CREATE, *KEEP], key=lambda case: "timeout" not in case.dag_id)
            found = Stage(airflow, server, notes).play(cases, at_once=AT_ONCE, disturbing=[*TRIGGERER])
        finally:
            airflow.stop()
    MEASURED.parent.mkdir(exist_ok=True)
    rows = [[found[case.key] for case in group] for group in (CREATE, {**KEEP, **TRIGGERER})]
    tables = [as_markdown([row for row in group if not isinstance(row, str)]) for group in rows]
    MEASURED.write_text("\n\n".join(tables) + "\n")
    return found


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: case.key)
def test_row(case: Case | KeepCase, measured: dict[str, Row | KeepRow | str]) -> None:
    """What happened to the run, how many containers it left, and how many of them a sweep left."""
    assert_row(measured[case.key], EXPECTED[case])


def test_documentation() -> None:
    """The page shows the tables that the rows are held against."""
    rows = expected_rows(EXPECTED)
    tables = [[row for row in rows if isinstance(row, kind)] for kind in (Row, KeepRow)]
    assert [as_markdown(table) for table in tables] == tables_in_docs()[:2]
