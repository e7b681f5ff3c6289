"""State and rules of files in containers: where they are, what a list shows, what is on disk."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from typing import Any

from airflow_containers.local.blobs import Blobs, put
from airflow_containers.local.clock import Clock
from airflow_containers.local.container_files.exceptions import (
    ContainerFileNotFoundError,
    ContentNotFoundError,
    FileTooLargeError,
)
from airflow_containers.local.container_files.schemas import MAX_FILE_BYTES
from airflow_containers.local.containers.models import ContainerBackend
from airflow_containers.local.contents import Content
from airflow_containers.local.files.exceptions import UnknownFileReferenceError
from airflow_containers.local.files.models import FileBackend
from airflow_containers.local.ids import Ids
from airflow_containers.local.paging import select_page
from airflow_containers.local.store import Store

DATA_DIR = "/mnt/data"
"""The folder of a container that its files are in."""

_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 2048
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_COLUMNS = "seq, id, container_id, created, path, source, bytes, size, sha256, stored"


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


class ContainerFileBackend:
    """The files in all containers of one server. Each operation counts as activity of the container."""

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
        return f"{DATA_DIR}/{prefix}-{_bounded(filename, _MAX_NAME_BYTES - len(prefix) - 1)}"

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
            stored = None if content is None else self._place(container_id, path, file_id)
            size, sha256 = (None, None) if content is None else (content.size, content.sha256)
            shown = None if null_bytes else size
            now = self._clock.now()
            if stored is not None:
                self._store.execute(
                    "UPDATE container_files SET deleted = ? WHERE container_id = ? AND stored = ?"
                    " AND deleted IS NULL",
                    (now, container_id, stored),
                )
            cursor = self._store.execute(
                "INSERT INTO container_files (id, container_id, created, path, source, bytes, size, sha256,"
                " stored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (file_id, container_id, now, path, source, shown, size, sha256, stored),
            )
            if content is not None and stored is not None:
                put(content.path, self._blobs.container(container_id) / stored)
        return ContainerFile(
            cursor.lastrowid or 0, file_id, container_id, now, path, source, shown, size, sha256, stored
        )

    def _place(self, container_id: str, path: str, file_id: str) -> str:
        """Where the contents of ``path`` are, below the container's folder."""
        inner = _below_data(path)
        folder = self._blobs.container(container_id) / "data"
        if inner is None or (folder / inner).is_dir():
            return f"other/{file_id}"
        # A file may be listed where others take it for a folder.
        above = inner.split("/")[:-1]
        if any((folder / "/".join(above[:end])).is_file() for end in range(1, len(above) + 1)):
            return f"other/{file_id}"
        return f"data/{inner}"

    def retrieve(self, container_id: str, file_id: str) -> ContainerFile:
        """Find a file.

        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        :raises ContainerFileNotFoundError: when it has no such file.
        """
        self._containers.use(container_id)
        row = self._store.execute(
            f"SELECT {_COLUMNS} FROM container_files"  # noqa: S608
            " WHERE container_id = ? AND id = ? AND deleted IS NULL",
            (container_id, file_id),
        ).fetchone()
        if row is None:
            raise ContainerFileNotFoundError
        return ContainerFile(*row)

    def content(self, container_id: str, file_id: str) -> Content:
        """Find the contents of a file.

        :raises ContentNotFoundError: when it is listed without contents; and all of :meth:`retrieve`.
        """
        file = self.retrieve(container_id, file_id)
        if file.stored is None or file.size is None or file.sha256 is None:
            raise ContentNotFoundError(file_id, container_id)
        return Content(self._blobs.container(container_id) / file.stored, file.size, file.sha256)

    def delete(self, container_id: str, file_id: str) -> None:
        """Delete a file with its contents.

        :raises ContainerFileNotFoundError: and all of :meth:`retrieve`.
        """
        file = self.retrieve(container_id, file_id)
        self._store.execute(
            "UPDATE container_files SET deleted = ? WHERE seq = ?", (self._clock.now(), file.seq)
        )
        if file.stored is not None:
            self._blobs.remove(self._blobs.container(container_id) / file.stored)

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


def _below_data(path: str) -> str | None:
    """The path from :data:`DATA_DIR` on, if it is one there that a file system takes."""
    inner = path.removeprefix(f"{DATA_DIR}/")
    is_plain = (
        inner != path
        and len(inner.encode()) <= _MAX_PATH_BYTES
        and all(
            part not in {"", ".", ".."} and len(part.encode()) <= _MAX_NAME_BYTES and "\0" not in part
            for part in inner.split("/")
        )
    )
    return inner if is_plain else None
