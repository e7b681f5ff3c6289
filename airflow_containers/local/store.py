"""The state directory: one SQLite file, a lock, and the folders of :mod:`airflow_containers.local.blobs`.

Every statement commits on its own unless it runs inside :meth:`Store.transaction`. The file is in WAL
mode with ``synchronous=NORMAL``: what was acknowledged survives the death of the process, though not
necessarily a power cut.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

SCHEMA_VERSION = 3

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE containers (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created REAL NOT NULL,
    last_active REAL NOT NULL,
    minutes INTEGER NOT NULL,
    memory_limit TEXT NOT NULL,
    network_policy TEXT NOT NULL,
    requested TEXT NOT NULL,
    deleted REAL
);
CREATE INDEX containers_by_name ON containers (name);
"""
_FILES_AND_SKILLS = """
CREATE TABLE container_files (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    container_id TEXT NOT NULL,
    created REAL NOT NULL,
    path TEXT NOT NULL,
    source TEXT NOT NULL,
    bytes INTEGER,
    size INTEGER,
    sha256 TEXT,
    stored TEXT,
    deleted REAL
);
CREATE INDEX container_files_by_container ON container_files (container_id, seq);
CREATE TABLE files (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    expires REAL,
    deleted REAL
);
CREATE TABLE uploads (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    mime_type TEXT NOT NULL,
    expires_after INTEGER,
    expires REAL NOT NULL,
    status TEXT NOT NULL,
    file_id TEXT
);
CREATE TABLE upload_parts (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    upload_id TEXT NOT NULL,
    created REAL NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE INDEX upload_parts_by_upload ON upload_parts (upload_id);
CREATE TABLE skills (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    default_version INTEGER NOT NULL,
    versions_made INTEGER NOT NULL,
    deleted REAL
);
CREATE TABLE skill_versions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    skill_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    created REAL NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    deleted REAL,
    UNIQUE (skill_id, version)
);
"""
_RESPONSES_AND_STAMPS = """
CREATE TABLE responses (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    completed REAL,
    expires REAL,
    status TEXT NOT NULL,
    previous_id TEXT,
    request TEXT NOT NULL,
    input TEXT NOT NULL,
    output TEXT NOT NULL,
    result TEXT NOT NULL
);
ALTER TABLE container_files ADD COLUMN stamp TEXT;
"""
_STEPS = (_FIRST, _FILES_AND_SKILLS, _RESPONSES_AND_STAMPS)
"""What each version of the schema added; state of an earlier version takes the steps that it lacks."""
_TABLES = (
    *("containers", "container_files", "files", "uploads", "upload_parts", "skills", "skill_versions"),
    *("responses", "meta"),
)


class StateDirError(Exception):
    """The state directory cannot be used; the message says why, in one line."""


class Store:
    """The database of one server.

    :param state_dir: directory of the state; made (mode 0700) when missing.
    :raises StateDirError: when it cannot be written, is in use by another server, or holds something else.
    """

    def __init__(self, state_dir: str | os.PathLike[str]) -> None:
        self.path = Path(state_dir).expanduser()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self.path / "lock")
        except OSError as error:
            raise StateDirError(f"cannot be used: {error.strerror or error}") from error
        try:
            self._db = self._open()
        except sqlite3.Error as error:
            self._lock.close()
            raise StateDirError(f"cannot be used: {error}") from error
        except StateDirError:
            self._lock.close()
            raise

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path / "state.db", isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if 0 <= version < SCHEMA_VERSION:
                steps = "".join(_STEPS[version:])
                db.executescript(f"BEGIN; {steps} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            elif version != SCHEMA_VERSION:
                raise StateDirError(  # noqa: TRY301 - the handler below only closes
                    f"holds state of another version ({version}, this is {SCHEMA_VERSION}); use another one"
                )
        except BaseException:
            db.close()
            raise
        return db

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._db.execute(sql, parameters)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements inside one unit: all of them or none. One inside another joins it."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get_meta(self, key: str) -> str | None:
        """One remembered value, or ``None``."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Remember one value across restarts."""
        self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in _TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours

    def close(self) -> None:
        """Close the file and release the directory; may be called twice."""
        self._db.close()
        self._lock.close()

    def discard(self) -> None:
        """Close, and remove what this class put into the directory; the directory too if it is empty then."""
        self._db.close()
        for name in ("state.db", "state.db-wal", "state.db-shm", "lock"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    handle = path.open("a")
    try:
        import fcntl
    except ImportError:  # pragma: no cover - no advisory locks on this system
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise StateDirError("is in use by another local server") from None
    return handle
