"""Create and keep-alive tasks that are ended in every way, in a whole Airflow, and what was left."""

from __future__ import annotations

import json
import pytest

from airflow_containers.testing import LocalServer
from tests.support.isolation import REPOSITORY
from tests.support.kill_airflow import KillableAirflow
from tests.support.kill_table import (
    AFTER_HAND_OVER,
    IN_REQUEST_AFTER,
    USED,
    Case,
    KeepCase,
    KeepRow,
    Row,
    Stage,
    as_markdown,
    kill_9,
    sigterm,
    tables_in_docs,
)

pytestmark = [pytest.mark.e2e, pytest.mark.airflow("3.3"), pytest.mark.timeout(900)]

AT_ONCE = 6
MEASURED = REPOSITORY / "build" / "kill-table-3.3.md"

TIMEOUTS = [
    Case("`dagrun_timeout`", when, True, "timeout", "kill_create_timeout")
    for when in (IN_REQUEST_AFTER, AFTER_HAND_OVER)
]
FROM_OUTSIDE = [
    Case(what, when, store, action)
    for what, action, stores in (
        ("mark failed", "failed", (True,)),
        ("mark success", "success", (True,)),
        ("clear", "clear", (True, False)),
        ("DAG run marked failed", "fail run", (True,)),
    )
    for when in (IN_REQUEST_AFTER, AFTER_HAND_OVER)
    for store in stores
]
CLEARED = [Case("clear", USED, store, "clear", "kill_keep") for store in (True, False)]
CREATE = [*TIMEOUTS, *kill_9((True, False)), *sigterm((True, False)), *FROM_OUTSIDE, *CLEARED]
KEEP = [
    KeepCase("`dagrun_timeout`", "timeout", "kill_keep_timeout"),
    KeepCase("`dagrun_timeout`, `delete_when_run_ends`", "timeout", "kill_keep_delete_timeout"),
    KeepCase("mark failed", "failed"),
    KeepCase("mark success", "success"),
    KeepCase("clear", "clear"),
    KeepCase("DAG run marked failed", "fail run"),
    KeepCase("sweep", "sweep"),
]
TRIGGERER = [
    KeepCase("triggerer gets SIGTERM, another starts", "triggerer TERM"),
    KeepCase("triggerer gets `kill -9`, another starts", "triggerer KILL"),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row | KeepRow | str]:
    """A row for each case, by its key; a text where something went wrong."""
    home = tmp_path_factory.mktemp("kill-table")
    notes = home / "notes"
    notes.mkdir()
    with LocalServer() as server:
        connection = {
            "conn_type": "openai_containers",
            "host": server.base_url,
            "password": server.api_key,
            "extra": {"max_retries": 0},
        }
        environment = {
            "AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT": json.dumps(connection),
            "KILL_TABLE_NOTES": str(notes),
        }
        airflow = KillableAirflow(home, environment)
        try:
            airflow.start()
            stage = Stage(airflow, server, notes)
            cases = [*KEEP[:2], *CREATE, *KEEP[2:]]
            found = stage.play(cases, at_once=AT_ONCE, disturbing=TRIGGERER)
        finally:
            airflow.stop()
    MEASURED.parent.mkdir(exist_ok=True)
    MEASURED.write_text("\n\n".join(_tables(found)))
    return found


def _tables(found: dict[str, Row | KeepRow | str]) -> list[str]:
    groups = ([found[case.key] for case in cases] for cases in (CREATE, [*KEEP, *TRIGGERER]))
    return [as_markdown([row for row in group if not isinstance(row, str)]) for group in groups]


@pytest.mark.parametrize("case", [*CREATE, *KEEP, *TRIGGERER], ids=lambda case: case.key)
def test_nothing_is_left(case: Case | KeepCase, measured: dict[str, Row | KeepRow | str]) -> None:
    """Whatever happened: one container at a time (checked on the way), and none after a sweep."""
    row = measured[case.key]

    assert not isinstance(row, str), row
    assert 0 == row.swept
    if isinstance(row, Row) and row.result == "adopted":
        assert 1 == row.requests


@pytest.mark.parametrize("table", [0, 1], ids=["create", "keep alive"])
def test_page_is_what_was_measured(table: int, measured: dict[str, Row | KeepRow | str]) -> None:
    """The guide's tables are those that this run has made; the run leaves its own in `build`."""
    assert [*tables_in_docs()][table].splitlines() == _tables(measured)[table].splitlines()
