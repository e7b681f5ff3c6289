"""Create and keep-alive tasks that are ended in many ways, with the scheduler of Airflow 2.11."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_containers.testing import LocalServer
from tests.support.isolation import REPOSITORY
from tests.support.kill_table import (
    AFTER_HAND_OVER,
    BEFORE_INTENT,
    BEFORE_REQUEST,
    IN_HAND_OVER,
    IN_REQUEST_AFTER,
    IN_REQUEST_BEFORE,
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
    tables_in_docs,
)
from tests.support.scheduler_2_11 import Scheduler211

pytestmark = [pytest.mark.airflow("2.11", "2.11"), pytest.mark.timeout(600)]

MEASURED = REPOSITORY / "build" / "kill-table-2.11.md"


def _killed(case: Case) -> tuple[Any, ...]:
    if case.when == LATE:
        return ("killed", "no", 2, "new", "success", 1)
    result = "new" if case.when in (BEFORE_INTENT, BEFORE_REQUEST) else "adopted"
    return ("killed", "no", 1, result, "success", 0)


def _ended(
    what: str, action: str, when: str, requests: int | str, result: str, run: str, left: int = 0
) -> dict[Case, tuple[Any, ...]]:
    outcome = ("AirflowTaskTerminated", "yes", requests, result, run, left)
    return {Case(what, when, False, action): outcome}


CREATE: dict[Case, tuple[Any, ...]] = {
    **{case: _killed(case) for case in kill_9((False,))},
    # On a slow machine the service acts while ``on_kill`` looks.
    **_ended("SIGTERM", "SIGTERM", IN_REQUEST_BEFORE, "1 or 2", "adopted or new", "success"),
    **_ended("SIGTERM", "SIGTERM", IN_REQUEST_AFTER, 2, "new", "success"),
    **_ended("SIGTERM", "SIGTERM", IN_HAND_OVER, 2, "new", "success"),
    **_ended("SIGTERM", "SIGTERM", AFTER_HAND_OVER, 1, "adopted", "success"),
    **_ended("mark failed", "failed", IN_REQUEST_AFTER, 1, "none", "failed"),
    **_ended("mark failed", "failed", AFTER_HAND_OVER, 1, "none", "failed", 1),
    **_ended("mark success", "success", IN_REQUEST_AFTER, 1, "none", "success"),
    **_ended("clear", "clear", IN_REQUEST_AFTER, 2, "new", "success"),
    **_ended("clear", "clear", AFTER_HAND_OVER, 1, "adopted", "success"),
    Case("clear", USED, False, "clear", "kill_keep"): ("returned", "no", 2, "new", "success", 0),
}
KEEP: dict[KeepCase, tuple[Any, ...]] = {
    KeepCase("mark failed", "failed"): ("-", "failed", "failed", 0),
    KeepCase("clear", "clear"): ("alive, touched", "success", "success", 0),
    KeepCase("`dagrun_timeout`", "timeout", "kill_keep_timeout"): ("-", "skipped", "failed", 1),
}
TRIGGERER: dict[KeepCase, tuple[Any, ...]] = {
    KeepCase("triggerer gets SIGTERM, another starts", "triggerer TERM"): (
        *("alive, touched", "success", "success"),
        0,
    )
}
EXPECTED = {case: (*outcome, 0) for case, outcome in {**CREATE, **KEEP, **TRIGGERER}.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row | KeepRow | str]:
    """A row for each case, by its key; a text where something went wrong."""
    home = tmp_path_factory.mktemp("kill-table")
    notes = home / "notes"
    notes.mkdir()
    with LocalServer() as server:
        airflow = Scheduler211(home, environment(server, notes))
        try:
            airflow.start()
            cases = sorted([*CREATE, *KEEP], key=lambda case: "timeout" not in case.dag_id)
            found = Stage(airflow, server, notes).play(cases, at_once=4, disturbing=[*TRIGGERER])
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
    assert [as_markdown(table) for table in tables] == tables_in_docs()[2:]
