"""The search for secrets finds what is there: else the tests that use it could not fail."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import canary

SECRET = canary.new_canary()


@pytest.mark.parametrize("before", ["", "u:", "us:", "use:"])
@pytest.mark.parametrize("after", ["", "@", "@h", "@ho"])
def test_base64_is_seen_through(before: str, after: str) -> None:
    """A secret inside Base64 is found wherever in the encoded text it begins."""
    assert canary.in_text(base64.b64encode(f"{before}{SECRET}{after}".encode()), SECRET)


@pytest.mark.parametrize("text", [SECRET, f"key={quote(SECRET, safe='')}&x", f'{{"value": "{SECRET}"}}'])
def test_plain_and_encoded_texts_are_seen(text: str) -> None:
    """A secret is found as it is, percent-encoded and in JSON."""
    assert canary.in_text(text, SECRET)


def test_other_text_is_not_taken_for_it() -> None:
    """Another secret of the same form is not the secret."""
    assert not canary.in_text(canary.new_canary(), SECRET)


def test_every_column_of_every_table_is_read(tmp_path: Path) -> None:
    """Text, bytes and quoted table names make no difference; the column is named."""
    database = tmp_path / "some.db"
    with sqlite3.connect(database) as connection:
        connection.execute('CREATE TABLE "a table" (id INTEGER, note TEXT, raw BLOB)')
        connection.execute("CREATE TABLE empty (id INTEGER)")
        connection.execute(
            'INSERT INTO "a table" VALUES (1, ?, NULL), (2, NULL, ?)', (f"x{SECRET}x", SECRET.encode())
        )

    assert ["a table.note", "a table.raw"] == canary.in_database(database, SECRET)
    assert [] == canary.in_database(database, canary.new_canary())


def test_every_file_below_is_read(tmp_path: Path) -> None:
    """A secret is found in a file however deep, among bytes that are no text."""
    deep = tmp_path / "logs" / "task"
    deep.mkdir(parents=True)
    (deep / "1.log").write_bytes(b"\xff\x00" + SECRET.encode())
    (tmp_path / "other.log").write_text("nothing")

    assert ["logs/task/1.log"] == canary.in_files(tmp_path, SECRET)
