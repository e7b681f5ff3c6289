"""State and rules of Uploads: parts that become a File."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_containers.local.blobs import Blobs, put
from airflow_containers.local.clock import Clock
from airflow_containers.local.contents import Content
from airflow_containers.local.files.models import File, FileBackend
from airflow_containers.local.ids import Ids
from airflow_containers.local.store import Store
from airflow_containers.local.uploads.exceptions import (
    ChecksumError,
    IncompleteUploadError,
    NoSuchUploadError,
    PartIdsError,
    TooManyBytesError,
    UploadNotPendingError,
)

LIFETIME = 3600
"""Seconds from the creation of an Upload to its expiry."""

_COLUMNS = "seq, id, created, filename, purpose, bytes, mime_type, expires_after, expires, status, file_id"
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """One Upload.

    :param bytes: that it will have.
    :param expires_after: seconds after which the File goes, or ``None``.
    :param expires: when the Upload expires; Unix time in seconds.
    :param status: ``pending``, ``completed``, ``cancelled`` or ``expired``.
    """

    seq: int
    id: str
    created: float
    filename: str
    purpose: str
    bytes: int
    mime_type: str
    expires_after: int | None
    expires: float
    status: str
    file_id: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an Upload."""

    id: str
    upload_id: str
    created: float
    bytes: int


class UploadBackend:
    """The Uploads of one server."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, ids: Ids, files: FileBackend) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._files = files
        self._completing: set[str] = set()

    def create(self, request: dict[str, Any]) -> Upload:
        """Make an Upload from a checked request."""
        now = self._clock.now()
        with self._store.transaction():
            upload_id = self._ids.new("upload_", 32, "uploads")
            self._store.execute(
                "INSERT INTO uploads (id, created, filename, purpose, bytes, mime_type, expires_after,"
                " expires, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
                (
                    upload_id,
                    now,
                    request["filename"],
                    request["purpose"],
                    request["bytes"],
                    request["mime_type"],
                    request.get("expires_after", {}).get("seconds"),
                    now + LIFETIME,
                ),
            )
        return self._get(upload_id)

    def pending(self, upload_id: str) -> Upload:
        """Find an Upload that takes parts.

        :raises NoSuchUploadError: when there is none.
        :raises UploadNotPendingError: when it is completed, cancelled or expired.
        """
        self._drop_expired()
        upload = self._get(upload_id)
        status = "being completed" if upload_id in self._completing else upload.status
        if status != "pending":
            raise UploadNotPendingError(upload_id, status)
        return upload

    def add_part(self, upload_id: str, content: Content) -> Part:
        """Move ``content`` to its place as a part.

        :raises TooManyBytesError: when the parts have more bytes than were announced; and all of
            :meth:`pending`.
        """
        upload = self.pending(upload_id)
        total = sum(size for size, _ in self._parts(upload_id).values()) + content.size
        if total > upload.bytes:
            raise TooManyBytesError(upload.bytes, total)
        now = self._clock.now()
        with self._store.transaction():
            part_id = self._ids.new("part_", 32, "upload_parts")
            self._store.execute(
                "INSERT INTO upload_parts (id, upload_id, created, bytes, sha256) VALUES (?, ?, ?, ?, ?)",
                (part_id, upload_id, now, content.size, content.sha256),
            )
            put(content.path, self._blobs.upload(upload_id) / part_id)
        return Part(part_id, upload_id, now, content.size)

    async def complete(self, upload_id: str, part_ids: list[str], md5: str | None) -> tuple[Upload, File]:
        """Make a File of parts, in the given order. After an error, the Upload is as before.

        :raises PartIdsError: for a part of something else, or one that is named twice.
        :raises IncompleteUploadError: when the parts have not the announced bytes.
        :raises ChecksumError: when ``md5`` is another one; and all of :meth:`pending`.
        """
        upload = self.pending(upload_id)
        parts = self._parts(upload_id)
        seen: set[str] = set()
        for index, part_id in enumerate(part_ids):
            if part_id not in parts:
                raise PartIdsError(index, "no part of this Upload has this id.")
            if part_id in seen:
                raise PartIdsError(index, "this part is already in the list.")
            seen.add(part_id)
        total = sum(parts[part_id][0] for part_id in part_ids)
        if total != upload.bytes:
            raise IncompleteUploadError(upload.bytes, total)
        target = self._blobs.temporary()
        folder = self._blobs.upload(upload_id)
        self._completing.add(upload_id)
        try:
            found, sha256 = await asyncio.to_thread(_join, [folder / name for name in part_ids], target)
            if md5 is not None and found != md5.lower():
                raise ChecksumError(found)
            with self._store.transaction():
                file = self._files.create(
                    Content(target, total, sha256), upload.filename, upload.purpose, upload.expires_after
                )
                self._end(upload_id, "completed", file.id)
            self._blobs.remove(folder)
        finally:
            self._completing.discard(upload_id)
            target.unlink(missing_ok=True)
        return self._get(upload_id), file

    def cancel(self, upload_id: str) -> Upload:
        """Cancel an Upload and remove its parts.

        :raises UploadNotPendingError: and all of :meth:`pending`.
        """
        self.pending(upload_id)
        self._end(upload_id, "cancelled")
        self._blobs.remove(self._blobs.upload(upload_id))
        return self._get(upload_id)

    def sweep(self) -> None:
        """End Uploads that have expired, and remove parts of Uploads that have ended or never came to be."""
        self._drop_expired()
        for name in self._blobs.names("uploads"):
            row = self._store.execute("SELECT status FROM uploads WHERE id = ?", (name,)).fetchone()
            if row is None or row[0] != "pending":
                self._blobs.remove(self._blobs.upload(name))

    def _drop_expired(self) -> None:
        rows = self._store.execute(
            "SELECT id FROM uploads WHERE status = 'pending' AND expires <= ?", (self._clock.now(),)
        ).fetchall()
        for (upload_id,) in rows:
            if upload_id not in self._completing:
                self._end(upload_id, "expired")
                self._blobs.remove(self._blobs.upload(upload_id))

    def _end(self, upload_id: str, status: str, file_id: str | None = None) -> None:
        with self._store.transaction():
            self._store.execute(
                "UPDATE uploads SET status = ?, file_id = ? WHERE id = ?", (status, file_id, upload_id)
            )
            self._store.execute("DELETE FROM upload_parts WHERE upload_id = ?", (upload_id,))

    def _get(self, upload_id: str) -> Upload:
        row = self._store.execute(
            f"SELECT {_COLUMNS} FROM uploads WHERE id = ?",  # noqa: S608
            (upload_id,),
        ).fetchone()
        if row is None:
            raise NoSuchUploadError(upload_id)
        return Upload(*row)

    def _parts(self, upload_id: str) -> dict[str, tuple[int, str]]:
        rows = self._store.execute(
            "SELECT id, bytes, sha256 FROM upload_parts WHERE upload_id = ?", (upload_id,)
        )
        return {part_id: (size, sha256) for part_id, size, sha256 in rows}


def _join(sources: list[Path], target: Path) -> tuple[str, str]:
    """Write files one after the other into one; returns its MD5 and SHA-256, in hex."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE_BYTES))
    with target.open("xb", buffering=0) as out:
        for source in sources:
            with source.open("rb", buffering=0) as part:
                while size := part.readinto(buffer):
                    piece = buffer[:size]
                    md5.update(piece)
                    sha256.update(piece)
                    while piece:
                        piece = piece[out.write(piece) :]
    return md5.hexdigest(), sha256.hexdigest()
