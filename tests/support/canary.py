"""Searches everything that Airflow and the local server keep for a text that must be nowhere."""

from __future__ import annotations

import base64
import secrets
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote


def new_canary() -> str:
    """A secret that no other text contains by chance; its ``+`` and ``=`` are encoded in URLs."""
    return f"canary-{secrets.token_hex(12)}+{secrets.token_hex(4)}="


def forms(canary: str) -> list[bytes]:
    """The canary as it may stand in a text: plain, percent-encoded, or inside Base64 at any place."""
    raw = canary.encode()
    found = [raw, quote(canary, safe="").encode()]
    for skipped in range(3):
        # Groups of three bytes that hold nothing of what stands before and after.
        whole = raw[skipped : skipped + (len(raw) - skipped) // 3 * 3]
        found.append(base64.b64encode(whole))
    return found


def in_text(text: str | bytes, canary: str) -> bool:
    """Whether a text holds any form of the canary."""
    raw = text.encode() if isinstance(text, str) else text
    return any(form in raw for form in forms(canary))


def in_lines(text: str, canary: str) -> list[str]:
    """The lines of a text that hold the canary, cut to what is around it."""
    found = []
    for line in text.splitlines():
        for form in forms(canary):
            before, hit, after = line.partition(form.decode())
            if hit:
                found.append(f"{before[-150:]}{hit}{after[:50]}")
    return found


def in_files(directory: Path, canary: str) -> list[str]:
    """The files under a directory that hold the canary; databases and logs alike are read as raw bytes."""
    wanted = forms(canary)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        # Copied by another process: when this one closes a file, it also gives up the locks that its own
        # SQLite holds on it. Files may vanish meanwhile, so cp's exit status says nothing.
        subprocess.run(
            ["cp", "--recursive", str(directory), str(copy)], check=False, stderr=subprocess.DEVNULL
        )
        assert copy.is_dir(), f"{directory} could not be copied"
        return sorted(
            str(path.relative_to(copy))
            for path in copy.rglob("*")
            if path.is_file() and any(form in path.read_bytes() for form in wanted)
        )


def in_database(database: Path, canary: str) -> list[str]:
    """The columns (``table.column``) of an SQLite database that hold the canary; raw bytes are compared."""
    return sorted({column for column, value in _values(database) if in_text(value, canary)})


def _values(database: Path) -> Iterator[tuple[str, bytes]]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        tables = [
            name.decode()
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in rows.description]
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    if value is not None:
                        yield f"{table}.{name}", value if isinstance(value, bytes) else str(value).encode()
    finally:
        connection.close()
