"""State and rules of Files: what is there, when it expires, what is on disk."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_containers.local.blobs import Blobs, put
from airflow_containers.local.clock import Clock
from airflow_containers.local.contents import Content
from airflow_containers.local.files.exceptions import NoSuchFileError, UnknownFileReferenceError
from airflow_containers.local.ids import Ids
from airflow_containers.local.paging import select_page
from airflow_containers.local.store import Store

_BATCH_SECONDS = 30 * 86400
"""Seconds until a File of the purpose ``batch`` expires; others stay unless it is asked for."""

_COLUMNS = "seq, id, created, filename, purpose, bytes, sha256, expires"


@dataclass(frozen=True, slots=True)
class File:
    """One File.

    :param created: Unix time in seconds, with fractions; so is ``expires``.
    :param expires: when it goes by itself, or ``None``.
    """

    seq: int
    id: str
    created: float
    filename: str
    purpose: str
    bytes: int
    sha256: str
    expires: float | None


class FileBackend:
    """The Files of one server."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids

    def create(
        self,
        content: Content,
        filename: str,
        purpose: str,
        expires_after: int | None = None,
        *,
        file_id: str | None = None,
    ) -> File:
        """Move ``content`` to its place and make a File of it.

        :param expires_after: seconds until it goes by itself; ``None`` for the purpose's default.
        :param file_id: instead of one of the server's choice; a File that has it gives way.
        """
        now = self._clock.now()
        seconds = _BATCH_SECONDS if expires_after is None and purpose == "batch" else expires_after
        expires = None if seconds is None else now + seconds
        with self._store.transaction():
            if file_id is None:
                file_id = self._ids.new("file-", 24, "files")
            else:
                self._store.execute("DELETE FROM files WHERE id = ?", (file_id,))
            cursor = self._store.execute(
                "INSERT INTO files (id, created, filename, purpose, bytes, sha256, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (file_id, now, filename, purpose, content.size, content.sha256, expires),
            )
            put(content.path, self._blobs.file(file_id))
        return File(
            cursor.lastrowid or 0, file_id, now, filename, purpose, content.size, content.sha256, expires
        )

    def find(self, file_id: str) -> File | None:
        """A File that is there and has not expired."""
        self._drop_expired()
        row = self._store.execute(
            f"SELECT {_COLUMNS} FROM files WHERE id = ? AND deleted IS NULL",  # noqa: S608
            (file_id,),
        ).fetchone()
        return None if row is None else File(*row)

    def retrieve(self, file_id: str) -> File:
        """Find a File.

        :raises NoSuchFileError: when there is none.
        """
        file = self.find(file_id)
        if file is None:
            raise NoSuchFileError(file_id)
        return file

    def refer(self, param: str, file_id: str) -> File:
        """Find a File that a field of a request refers to.

        :raises UnknownFileReferenceError: when there is none.
        """
        file = self.find(file_id)
        if file is None:
            raise UnknownFileReferenceError(param, file_id)
        return file

    def content(self, file_id: str) -> Content:
        """Find the contents of a File.

        :raises NoSuchFileError: when there is none.
        """
        file = self.retrieve(file_id)
        return Content(self._blobs.file(file_id), file.bytes, file.sha256)

    def delete(self, file_id: str) -> None:
        """Delete a File with its contents; copies in containers stay.

        :raises NoSuchFileError: when there is none.
        """
        self._drop(self.retrieve(file_id).id)

    def page(
        self,
        *,
        limit: int = 10_000,
        order: str = "desc",
        after: str | None = None,
        purpose: str | None = None,
    ) -> tuple[list[File], bool]:
        """One page, by age, and whether there are more.

        :raises UnknownCursorError: when ``after`` was never a File.
        """
        self._drop_expired()
        where = {} if purpose is None else {"purpose": purpose}
        rows, has_more = select_page(
            self._store, "files", _COLUMNS, where, "file", limit=limit, order=order, after=after
        )
        return [File(*row) for row in rows], has_more

    def sweep(self) -> None:
        """Remove what has expired, and contents of Files that were deleted or never came to be."""
        self._drop_expired()
        for name in self._blobs.names("files"):
            known = self._store.execute(
                "SELECT 1 FROM files WHERE id = ? AND deleted IS NULL", (name,)
            ).fetchone()
            if known is None:
                self._blobs.remove(self._blobs.file(name))

    def _drop_expired(self) -> None:
        rows = self._store.execute(
            "SELECT id FROM files WHERE expires <= ? AND deleted IS NULL", (self._clock.now(),)
        ).fetchall()
        for (file_id,) in rows:
            self._drop(file_id)

    def _drop(self, file_id: str) -> None:
        self._store.execute("UPDATE files SET deleted = ? WHERE id = ?", (self._clock.now(), file_id))
        self._blobs.remove(self._blobs.file(file_id))
