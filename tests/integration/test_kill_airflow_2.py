"""The kill table on Airflow 2.11: a real scheduler and triggerer, and no task state store."""

from __future__ import annotations

import json

import pytest

from airflow_containers.testing import LocalServer
from tests.support.isolation import REPOSITORY
from tests.support.kill_table import (
    AFTER_HAND_OVER,
    BEFORE_INTENT,
    BEFORE_REQUEST,
    IN_REQUEST_AFTER,
    IN_REQUEST_BEFORE,
    USED,
    Case,
    KeepCase,
    KeepRow,
    Row,
    Stage,
    as_markdown,
    kill_9,
    sigterm,
)
from tests.support.scheduler_2_11 import Scheduler211

pytestmark = [pytest.mark.airflow("2.11", below="3.0"), pytest.mark.timeout(900)]

AT_ONCE = 4
NOTHING_MADE = (BEFORE_INTENT, BEFORE_REQUEST, IN_REQUEST_BEFORE)
"""Where a kill leaves nothing that the next try could take over."""

MEASURED = REPOSITORY / "build" / "kill-table-2.11.md"

FROM_OUTSIDE = [
    Case(what, when, False, action)
    for what, action in (
        ("mark failed", "failed"),
        ("mark success", "success"),
        ("clear", "clear"),
        ("DAG run marked failed", "fail run"),
    )
    for when in (IN_REQUEST_AFTER, AFTER_HAND_OVER)
]
TIMEOUTS = [Case("`dagrun_timeout`", IN_REQUEST_AFTER, False, "timeout", "kill_create_timeout")]
CLEARED = [Case("clear", USED, False, "clear", "kill_keep")]
CREATE = [*TIMEOUTS, *kill_9((False,)), *sigterm((False,)), *FROM_OUTSIDE, *CLEARED]
KEEP = [
    KeepCase("`dagrun_timeout`", "timeout", "kill_keep_timeout"),
    KeepCase("mark failed", "failed"),
    KeepCase("clear", "clear"),
    KeepCase("DAG run marked failed", "fail run"),
    KeepCase("sweep", "sweep"),
]
TRIGGERER = [KeepCase("triggerer gets SIGTERM, another starts", "triggerer TERM")]


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
        airflow = Scheduler211(home, environment)
        try:
            airflow.start()
            stage = Stage(airflow, server, notes)
            found = stage.play([*KEEP[:1], *CREATE, *KEEP[1:]], at_once=AT_ONCE, disturbing=TRIGGERER)
        finally:
            airflow.stop()
    MEASURED.parent.mkdir(exist_ok=True)
    rows = ([found[case.key] for case in cases] for cases in (CREATE, [*KEEP, *TRIGGERER]))
    tables = (as_markdown([row for row in group if not isinstance(row, str)]) for group in rows)
    MEASURED.write_text("\n\n".join(tables))
    return found


@pytest.mark.parametrize("case", [*CREATE, *KEEP, *TRIGGERER], ids=lambda case: case.key)
def test_nothing_is_left(case: Case | KeepCase, measured: dict[str, Row | KeepRow | str]) -> None:
    """Whatever happened: one container at a time (checked on the way), and none after a sweep."""
    row = measured[case.key]

    assert not isinstance(row, str), row
    assert 0 == row.swept
    if isinstance(row, Row) and case.what == "`kill -9`":
        assert "success" == row.run
        assert row.result in ("adopted", "new")
        assert (row.result == "new") == (row.when in NOTHING_MADE)
