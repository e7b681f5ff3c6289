"""Brings the entries of a container up to date with what commands have written, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from airflow_containers.local.clock import Clock
from airflow_containers.local.container_files.folder import MAX_FILES, DataFolder, Stamp, compare
from airflow_containers.local.containers.models import ContainerBackend
from airflow_containers.local.ids import Ids
from airflow_containers.local.sandbox.commands import DATA_DIR
from airflow_containers.local.store import Store

STORED_IN_DATA = "data/"
"""What is below :data:`DATA_DIR` is stored below this, as seen from the container's folder."""

_BATCH = 200
"""Entries that are written at once; others are served between two batches."""

_THREADS = 2
"""Scans at once, apart from the threads that read and write for requests."""

_SINCE = "SELECT stored FROM container_files WHERE container_id = ? AND seq > ? AND deleted IS NULL"

T = TypeVar("T")
_Row = tuple[str, int, str | None, int]


@dataclass(slots=True)
class Findings:
    """What became of a container's entries.

    :param changed: numbers of the new entries and of those whose contents are others now, in order.
    :param left_out: what is not listed, by reason (see :class:`~.folder.Scan`).
    """

    changed: list[int] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Look:
    """What a thread found out about a container's folder.

    :param other: number of an entry, its stamp now, and whether its contents are others.
    """

    new: dict[str, Stamp]
    other: list[tuple[int, Stamp, bool]]
    gone: list[int]
    left_out: dict[str, int]


class WrittenFiles:
    """Looks at the folders of containers and writes down what is there."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, containers: ContainerBackend) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._containers = containers
        self._threads: ThreadPoolExecutor | None = None

    async def record(self, container_id: str, folder: DataFolder) -> Findings:
        """Look once, and bring the entries up to date.

        :raises ContainerNotFoundError: when there is no such container, also if it goes meanwhile.
        :raises ContainerExpiredError: when it has expired.
        """
        self._containers.check(container_id)
        rows = self._store.execute(
            "SELECT stored, seq, stamp, size FROM container_files"
            " WHERE container_id = ? AND deleted IS NULL AND stored >= ? AND stored < ?",
            (container_id, STORED_IN_DATA, STORED_IN_DATA.replace("/", "0")),
        ).fetchall()
        live, last = self._store.execute(
            "SELECT COUNT(*) FILTER (WHERE deleted IS NULL), COALESCE(MAX(seq), 0) FROM container_files"
            " WHERE container_id = ?",
            (container_id,),
        ).fetchone()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "scan")
        look = await asyncio.get_running_loop().run_in_executor(self._threads, _look, folder, rows)
        room = max(MAX_FILES - live + len(look.gone), 0)
        findings = Findings([seq for seq, _, is_changed in look.other if is_changed], look.left_out)
        if len(look.new) > room:
            findings.left_out["more"] = findings.left_out.get("more", 0) + len(look.new) - room

        taken: set[str] = set()

        def insert(batch: list[tuple[str, Stamp]]) -> None:
            nonlocal last
            # Requests have gone on putting files there.
            taken.update(stored for (stored,) in self._store.execute(_SINCE, (container_id, last)))
            for path, stamp in batch:
                if STORED_IN_DATA + path not in taken:
                    last = self._insert(container_id, path, stamp)
                    findings.changed.append(last)

        await self._in_batches(container_id, look.gone, self._end)
        await self._in_batches(container_id, look.other, self._update)
        await self._in_batches(container_id, islice(look.new.items(), room), insert)
        return findings

    async def _in_batches(
        self, container_id: str, items: Iterable[T], write: Callable[[list[T]], None]
    ) -> None:
        rest = iter(items)
        while batch := list(islice(rest, _BATCH)):
            with self._store.transaction():
                self._containers.check(container_id)
                write(batch)
            await asyncio.sleep(0)

    def _end(self, batch: list[int]) -> None:
        now = self._clock.now()
        for seq in batch:
            self._store.execute(
                "UPDATE container_files SET deleted = ? WHERE seq = ? AND deleted IS NULL", (now, seq)
            )

    def _update(self, batch: list[tuple[int, Stamp, bool]]) -> None:
        for seq, stamp, is_changed in batch:
            # What is the checksum of is not known any more: it could have been put back by a command.
            self._store.execute(
                "UPDATE container_files SET stamp = ?, sha256 = NULL, size = ?,"
                " bytes = CASE WHEN ? THEN ? ELSE bytes END WHERE seq = ? AND deleted IS NULL",
                (str(stamp), stamp.size, is_changed, stamp.size, seq),
            )

    def _insert(self, container_id: str, path: str, stamp: Stamp) -> int:
        cursor = self._store.execute(
            "INSERT INTO container_files (id, container_id, created, path, source, bytes, size, stored,"
            " stamp) VALUES (?, ?, ?, ?, 'assistant', ?, ?, ?, ?)",
            (
                self._ids.new("cfile_", 32, "container_files"),
                container_id,
                self._clock.now(),
                f"{DATA_DIR}/{path}",
                stamp.size,
                stamp.size,
                STORED_IN_DATA + path,
                str(stamp),
            ),
        )
        return cursor.lastrowid or 0


def _look(folder: DataFolder, rows: list[_Row]) -> _Look:
    """Scan a folder, and compare it with the entries of its container."""
    known = {stored.removeprefix(STORED_IN_DATA): (seq, size) for stored, seq, _, size in rows}
    stamps = {stored.removeprefix(STORED_IN_DATA): Stamp.parse(stamp) for stored, _, stamp, _ in rows}
    scan = folder.scan()
    new, other, gone = compare(folder, stamps, scan)
    changes: list[tuple[int, Stamp, bool]] = []
    for path, now in other.items():
        (seq, size), before = known[path], stamps[path]
        is_changed = now.size != size if before is None else not now.has_same_contents(before)
        changes.append((seq, now, is_changed))
    return _Look(new, sorted(changes), [known[path][0] for path in gone], dict(scan.left_out))
