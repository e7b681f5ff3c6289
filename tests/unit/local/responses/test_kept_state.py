"""State of earlier versions, and repeatable ids."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from airflow_containers.local.store import SCHEMA_VERSION, Store
from airflow_containers.testing import LocalServer
from tests.unit.local.responses.conftest import client_of, sh, shell_in


def test_state_of_version_2_is_taken_over(tmp_path: Path) -> None:
    """A server of an earlier version knew no responses; what it had stays."""
    with LocalServer(tmp_path) as server, client_of(server) as client:
        kept = client.containers.create(name="kept").id
        client.containers.files.create(kept, file=("a.txt", b"a"))
        server.stop()
        with sqlite3.connect(tmp_path / "state.db") as db:
            db.executescript(
                "DROP TABLE responses; ALTER TABLE container_files DROP COLUMN stamp;PRAGMA user_version = 2;"
            )
        db.close()
        server.start()

    with LocalServer(tmp_path) as server, client_of(server) as client:
        response: Any = client.responses.create(model="m", input=sh("cat *"), tools=[shell_in(kept)])

    assert "a" == response.output[1].output[0].stdout
    store = Store(tmp_path)
    assert (SCHEMA_VERSION,) == store.execute("PRAGMA user_version").fetchone()
    store.close()


def test_ids_are_repeatable(containers_server: LocalServer) -> None:
    """The same seed gives the same ids, of responses and of all items."""
    found = []
    for _ in range(2):
        containers_server.reset()
        containers_server.seed(7)
        with client_of(containers_server) as client:
            container = client.containers.create(name="x").id
            made = client.responses.create(model="m", input=sh("echo 1"), tools=[shell_in(container)])
            found.append(made.to_dict() | {"created_at": 0, "completed_at": 0})

    assert found[0] == found[1]
