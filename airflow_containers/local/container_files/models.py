"""State and rules of files in containers: where they are, what a list shows, what is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from airflow_containers.local.blobs import Blobs, put
from airflow_containers.local.clock import Clock
from airflow_containers.local.container_files.exceptions import (
    ContainerFileNotFoundError,
    ContentNotFoundError,
    FileTooLargeError,
)
from airflow_containers.local.container_files.folder import MAX_NAME_BYTES, DataFolder, NoPlaceError, is_plain
from airflow_containers.local.container_files.latest import Latest
from airflow_containers.local.container_files.schemas import MAX_FILE_BYTES
from airflow_containers.local.container_files.written import STORED_IN_DATA, WrittenFiles
from airflow_containers.local.containers.models import ContainerBackend
from airflow_containers.local.contents import Content, OpenContent
from airflow_containers.local.errors import ApiError
from airflow_containers.local.files.exceptions import UnknownFileReferenceError
from airflow_containers.local.files.models import FileBackend
from airflow_containers.local.ids import Ids
from airflow_containers.local.paging import select_page
from airflow_containers.local.sandbox.commands import DATA_DIR
from airflow_containers.local.store import Store

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_COLUMNS = "seq, id, container_id, created, path, source, bytes, size, sha256, stored"
_LIVE = "container_id = ? AND deleted IS NULL"
_NUMBERS = 500
"""Entries that are asked for at once."""


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """One file in a container.

    :param created: Unix time in seconds, with fractions.
    :param bytes: as lists show it.
    :param size: of the contents; ``None`` when there are none.
    :param stored: path of the contents below the container's folder; ``None`` when there are none.
    """

    seq: int
    id: str
    container_id: str
    created: float
    path: str
    source: str
    bytes: int | None
    size: int | None
    sha256: str | None
    stored: str | None


class Watch:
    """Collects which files of a container commands have made or written to.

    :param select: gives the files that have these numbers.
    """

    def __init__(self, select: Callable[[Iterable[int]], list[ContainerFile]]) -> None:
        self._select = select
        self._numbers: set[int] = set()

    def add(self, numbers: Iterable[int]) -> None:
        """Take what was found."""
        self._numbers.update(numbers)

    def files(self) -> list[ContainerFile]:
        """Those of them that are there, as they are listed now, in the order of the list."""
        return self._select(sorted(self._numbers))


class ContainerFileBackend:
    """The files in all containers of one server. Each operation counts as activity of the container.

    What commands write is found by :meth:`refresh`, which is no activity.

    :ivar is_running: whether a command runs in a container, so that its list cannot be up to date.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        ids: Ids,
        containers: ContainerBackend,
        files: FileBackend,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._containers = containers
        self._files = files
        self.is_running: Callable[[str], bool] = lambda _container_id: False
        self._written = WrittenFiles(store, clock, ids, containers)
        self._refresh = Latest(self._look)
        # Commands may have run there until the server ended.
        self._dirty = set(blobs.names("containers"))
        self._watches: dict[str, list[Watch]] = {}
        self._left_out: dict[str, dict[str, int]] = {}

    def check(self, container_id: str) -> None:
        """Refuse a container that takes no files, before one is sent.

        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        """
        self._containers.use(container_id)

    def upload(self, container_id: str, filename: str, content: Content) -> ContainerFile:
        """Move ``content`` into a container, at a path of the server's choice.

        :param filename: as the client named it; only what follows the last slash counts.
        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        """
        self._containers.use(container_id)
        return self.insert(container_id, self.choose_path(filename), "user", content)

    async def copy(self, container_id: str, file_id: str) -> ContainerFile:
        """Copy a File into a container, at a path of the server's choice.

        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        :raises UnknownFileReferenceError: when there is no such File.
        :raises FileTooLargeError: when the File is longer than a file in a container may be.
        """
        file = self._files.refer("file_id", file_id)
        if file.bytes > MAX_FILE_BYTES:
            raise FileTooLargeError("file_id", file.bytes, MAX_FILE_BYTES)
        target = self._blobs.temporary()
        try:
            await asyncio.to_thread(shutil.copyfile, self._blobs.file(file_id), target)
            return self.upload(container_id, file.filename, Content(target, file.bytes, file.sha256))
        except FileNotFoundError:
            # It was deleted in the meantime.
            raise UnknownFileReferenceError("file_id", file_id) from None
        finally:
            target.unlink(missing_ok=True)

    def choose_path(self, filename: str) -> str:
        """A new path for a file that a client calls ``filename``: 32 hex digits, a hyphen and its name."""
        prefix = self._ids.new("", 32)
        return f"{DATA_DIR}/{prefix}-{_bounded(filename, MAX_NAME_BYTES - len(prefix) - 1)}"

    def insert(
        self,
        container_id: str,
        path: str,
        source: str,
        content: Content | None,
        *,
        null_bytes: bool = False,
    ) -> ContainerFile:
        """Add an entry, and move ``content`` to where it belongs; an entry with its path gives way.

        :param null_bytes: lists show no size.
        """
        with self._store.transaction():
            file_id = self._ids.new("cfile_", 32, "container_files")
            size, sha256 = (None, None) if content is None else (content.size, content.sha256)
            shown = None if null_bytes else size
            now = self._clock.now()
            cursor = self._store.execute(
                "INSERT INTO container_files (id, container_id, created, path, source, bytes, size, sha256)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (file_id, container_id, now, path, source, shown, size, sha256),
            )
            seq = cursor.lastrowid or 0
            stored = None if content is None else self._place(container_id, path, file_id, seq, content)
        return ContainerFile(seq, file_id, container_id, now, path, source, shown, size, sha256, stored)

    def _place(self, container_id: str, path: str, file_id: str, seq: int, content: Content) -> str:
        """Move the contents of an entry to where they belong; returns where that is."""
        inner = path.removeprefix(f"{DATA_DIR}/")
        stored, stamp = STORED_IN_DATA + inner, None
        if inner != path and is_plain(inner):
            # A file may be listed where others take it for a folder.
            with contextlib.suppress(NoPlaceError):
                stamp = str(self._folder(container_id, make=True).place(content.path, inner))
        if stamp is None:
            stored = f"other/{file_id}"
            put(content.path, self._blobs.container(container_id) / stored)
        else:
            self._store.execute(
                f"UPDATE container_files SET deleted = ? WHERE {_LIVE} AND stored = ?",  # noqa: S608
                (self._clock.now(), container_id, stored),
            )
        self._store.execute(
            "UPDATE container_files SET stored = ?, stamp = ? WHERE seq = ?", (stored, stamp, seq)
        )
        return stored

    def _folder(self, container_id: str, *, make: bool = False) -> DataFolder:
        path = self._blobs.data_dir(container_id) if make else self._blobs.container(container_id) / "data"
        return DataFolder(path, self._blobs.owner)

    def retrieve(self, container_id: str, file_id: str) -> ContainerFile:
        """Find a file.

        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        :raises ContainerFileNotFoundError: when it has no such file.
        """
        self._containers.use(container_id)
        row = self._store.execute(
            f"SELECT {_COLUMNS} FROM container_files WHERE {_LIVE} AND id = ?",  # noqa: S608
            (container_id, file_id),
        ).fetchone()
        if row is None:
            raise ContainerFileNotFoundError
        return ContainerFile(*row)

    def content(self, container_id: str, file_id: str) -> Content | OpenContent:
        """Find the contents of a file, as they are now.

        :raises ContentNotFoundError: when there are none, or the server may not read them; and all of
            :meth:`retrieve`.
        """
        file = self.retrieve(container_id, file_id)
        if file.stored is None or file.size is None:
            raise ContentNotFoundError(file_id, container_id)
        if not file.stored.startswith(STORED_IN_DATA):
            return Content(self._blobs.container(container_id) / file.stored, file.size, file.sha256 or "")
        try:
            opened, now = self._folder(container_id).open(file.stored.removeprefix(STORED_IN_DATA))
        except OSError:
            raise ContentNotFoundError(file_id, container_id) from None
        (stamp,) = self._store.execute(
            "SELECT stamp FROM container_files WHERE seq = ?", (file.seq,)
        ).fetchone()
        is_same = now.size == file.size if stamp is None else stamp == str(now)
        return OpenContent(opened, now.size, file.sha256 if is_same and file.sha256 else str(now))

    def delete(self, container_id: str, file_id: str) -> None:
        """Delete a file with its contents.

        :raises ContainerFileNotFoundError: and all of :meth:`retrieve`.
        """
        file = self.retrieve(container_id, file_id)
        self._store.execute(
            "UPDATE container_files SET deleted = ? WHERE seq = ?", (self._clock.now(), file.seq)
        )
        if file.stored is None:
            return
        if not file.stored.startswith(STORED_IN_DATA):
            self._blobs.remove(self._blobs.container(container_id) / file.stored)
            return
        doomed = self._blobs.temporary()
        if self._folder(container_id).take(file.stored.removeprefix(STORED_IN_DATA), doomed):
            self._blobs.dispose(doomed)

    def page(
        self, container_id: str, *, limit: int = 20, order: str = "desc", after: str | None = None
    ) -> tuple[list[ContainerFile], bool]:
        """One page, by age, and whether there are more.

        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        :raises UnknownCursorError: when ``after`` was never a file of this container.
        """
        self._containers.use(container_id)
        where = {"container_id": container_id}
        rows, has_more = select_page(
            self._store,
            "container_files",
            _COLUMNS,
            where,
            "container file",
            limit=limit,
            order=order,
            after=after,
        )
        return [_from_row(row) for row in rows], has_more

    def mark_dirty(self, container_id: str) -> None:
        """Note that a command has run in a container, so that its list may not be up to date."""
        self._dirty.add(container_id)

    async def catch_up(self, container_id: str) -> None:
        """Bring the list of a container up to date, unless it is."""
        if container_id in self._dirty or self.is_running(container_id):
            await self._refresh(container_id)

    async def refresh(self, container_id: str) -> list[ContainerFile]:
        """Look at what commands have written below :data:`DATA_DIR`, and bring the list up to date.

        A new file gets an entry, with the source ``assistant``; one that was written to keeps its entry, with
        its new size; the entry of one that is gone goes. Calls that overlap share their looks. For a
        container that is not alive, nothing is done.

        :returns: the files that this look found to be new or changed, in the order of the list;
            :meth:`watch` tells of all since some moment.
        """
        return self._select(container_id, await self._refresh(container_id))

    @contextlib.contextmanager
    def watch(self, container_id: str) -> Iterator[Watch]:
        """Collect which files are found to be new or changed while the context lasts, by whose look ever."""
        watch = Watch(lambda numbers: self._select(container_id, numbers))
        self._watches.setdefault(container_id, []).append(watch)
        try:
            yield watch
        finally:
            watches = self._watches[container_id]
            watches.remove(watch)
            if not watches:
                del self._watches[container_id]

    def left_out(self, container_id: str) -> dict[str, int]:
        """What the last look did not list, by reason (see :class:`~.folder.Scan`)."""
        return dict(self._left_out.get(container_id, {}))

    async def _look(self, container_id: str) -> list[int]:
        """Look once; returns the numbers of the new and changed entries."""
        self._dirty.discard(container_id)
        try:
            findings = await self._written.record(container_id, self._folder(container_id))
        except ApiError:
            # It is over, and its files are gone.
            self._left_out.pop(container_id, None)
            return []
        except BaseException:
            self._dirty.add(container_id)
            raise
        self._left_out.pop(container_id, None)
        if findings.left_out:
            self._left_out[container_id] = findings.left_out
        for watch in self._watches.get(container_id, ()):
            watch.add(findings.changed)
        return findings.changed

    def _select(self, container_id: str, numbers: Iterable[int]) -> list[ContainerFile]:
        files: list[ContainerFile] = []
        rest = iter(numbers)
        while some := tuple(islice(rest, _NUMBERS)):
            marks = ", ".join("?" * len(some))
            rows = self._store.execute(
                f"SELECT {_COLUMNS} FROM container_files WHERE {_LIVE} AND seq IN ({marks})",  # noqa: S608
                (container_id, *some),
            )
            files += map(_from_row, rows)
        return sorted(files, key=lambda file: file.seq)


def _from_row(row: tuple[Any, ...]) -> ContainerFile:
    return ContainerFile(*row)


def _bounded(filename: str, limit: int) -> str:
    """The last component of a client's name, fit for a file system, with its suffix if it must be cut."""
    name = _UNPRINTABLE.sub("_", filename.rsplit("/", 1)[-1]) or "upload"
    raw = name.encode()
    if len(raw) <= limit:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = f"{dot}{suffix}".encode() if stem and len(suffix.encode()) <= 32 else b""
    return raw[: limit - len(tail)].decode(errors="ignore") + tail.decode()
