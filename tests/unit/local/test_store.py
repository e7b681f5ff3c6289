"""The state directory."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from airflow_containers.local.store import StateDirError, Store


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Missing parents are made; others may not look."""
    store = Store(tmp_path / "a" / "b")
    store.close()

    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_directory_has_one_server(tmp_path: Path) -> None:
    """A second store on the same directory is refused until the first is closed."""
    first = Store(tmp_path)
    with pytest.raises(StateDirError, match="in use by another local server"):
        Store(tmp_path)
    first.close()

    Store(tmp_path).close()


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    """A server that is closed on two paths does not fail."""
    store = Store(tmp_path)
    store.close()
    store.close()


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    """A path that cannot be a directory is refused with the system's reason."""
    (tmp_path / "file").write_text("x", encoding="utf-8")

    with pytest.raises(StateDirError, match="cannot be used: File exists"):
        Store(tmp_path / "file")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """Something else called state.db is left alone, and the directory is free again."""
    (tmp_path / "state.db").write_text("not a database at all, " * 50, encoding="utf-8")

    for _ in range(2):
        with pytest.raises(StateDirError, match="not a database"):
            Store(tmp_path)


def test_state_of_another_version_is_refused(tmp_path: Path) -> None:
    """Old or new state is not guessed at."""
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(StateDirError, match="another version"):
        Store(tmp_path)


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    """An error inside undoes what came before it."""
    store = Store(tmp_path)
    with contextlib.suppress(RuntimeError), store.transaction():
        store.set_meta("a", "1")
        raise RuntimeError

    assert store.get_meta("a") is None
    store.close()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """The system's reason is passed on."""
    (tmp_path / "file").write_text("x", encoding="utf-8")

    with pytest.raises(StateDirError, match="cannot be used: Not a directory"):
        Store(tmp_path / "file" / "below")
