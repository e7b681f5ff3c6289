"""Contents on disk: folders of the state directory, and files that are still coming in.

::

    containers/<container id>/data/…      what is /mnt/data in the container: commands do there what they like
    containers/<container id>/tmp/…       what is /tmp in the container
    containers/<container id>/other/…     contents of entries whose path is none below /mnt/data
    containers/<container id>/skills/<name>-<version>/…
    files/<file id>                       Files
    uploads/<upload id>/<part id>         parts of an Upload that is not complete
    skills/<skill id>/<version>.zip       versions of skills
    incoming/…                            requests under way; emptied at the start

Contents come into ``incoming`` first and are renamed into their place in one step, so nothing is ever half
there. What is to go is renamed back to ``incoming`` before it is removed, for the same reason.

Nothing below a ``data`` or a ``tmp`` is ever reached by a path, as a command may put a link into any place of
it at any moment: see :mod:`airflow_containers.local.container_files.folder`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import stat
import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO

_FOLDERS = ("containers", "files", "uploads", "skills", "incoming")
_FLUSH_BYTES = 1 << 20
"""Bytes that are gathered for one write; a writing thread has as many again, so memory is flat."""

_SMALL_BYTES = 64 << 10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_PASSES = 10
"""Looks at a folder that is to go; more than a few are made only while somebody still writes into it."""


class Blobs:
    """The folders of one state directory.

    :param root: the state directory.
    :ivar owner: user and group that commands run under when they are not the server's own: what commands
        may change is given to them.
    """

    def __init__(self, root: Path) -> None:
        self.owner: tuple[int, int] | None = None
        self._root = root
        self._doomed: deque[Path] = deque()
        self._is_removing = False
        self._lock = threading.Lock()
        remove_tree(self.incoming_dir)
        self.incoming_dir.mkdir(mode=0o700, exist_ok=True)

    @property
    def incoming_dir(self) -> Path:
        """Where requests under way put what they read."""
        return self._root / "incoming"

    def temporary(self) -> Path:
        """A new path in :attr:`incoming_dir`, with nothing there."""
        return self.incoming_dir / secrets.token_hex(16)

    def container(self, container_id: str) -> Path:
        """The folder of a container; there once something is in it."""
        return self._root / "containers" / container_id

    def data_dir(self, container_id: str) -> Path:
        """What is ``/mnt/data`` in a container, made when it is not there.

        The folder itself is the server's to name; what is in it is not.
        """
        return self._writable(self.container(container_id) / "data", 0o755)

    def tmp_dir(self, container_id: str) -> Path:
        """What is ``/tmp`` in a container, made when it is not there."""
        return self._writable(self.container(container_id) / "tmp", 0o1777)

    def skills_dir(self, container_id: str) -> Path | None:
        """The folder of a container's skills, or ``None`` when it has none."""
        folder = self.container(container_id) / "skills"
        return folder if folder.is_dir() else None

    def _writable(self, folder: Path, mode: int) -> Path:
        """A folder that commands write into."""
        try:
            status = folder.lstat()
        except FileNotFoundError:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(mode)
            if self.owner is not None:
                os.chown(folder, *self.owner)
            return folder
        if self.owner not in {None, (status.st_uid, status.st_gid)}:
            # It was made by a server that ran commands as somebody else, or none.
            self._hand_over(folder)
        if status.st_mode & 0o700 != 0o700:
            # A command that locks itself out would end all that come after it.
            folder.chmod(mode)
        return folder

    def _hand_over(self, folder: Path) -> None:
        assert self.owner is not None  # noqa: S101 - for the type checker
        # What is deeper than this can go belongs to a command that is over; another one does without it.
        with contextlib.suppress(OSError, RecursionError):
            for _, folders, files, place in os.fwalk(folder):
                os.fchown(place, *self.owner)
                for name in folders + files:
                    with contextlib.suppress(FileNotFoundError):
                        os.chown(name, *self.owner, dir_fd=place, follow_symlinks=False)

    def file(self, file_id: str) -> Path:
        """The contents of a File."""
        return self._root / "files" / file_id

    def upload(self, upload_id: str) -> Path:
        """The folder of an Upload's parts."""
        return self._root / "uploads" / upload_id

    def skill(self, skill_id: str) -> Path:
        """The folder of a skill's versions."""
        return self._root / "skills" / skill_id

    def skill_version(self, skill_id: str, version: int) -> Path:
        """The zip of one version of a skill."""
        return self.skill(skill_id) / f"{version}.zip"

    def names(self, folder: str) -> list[str]:
        """What is in one of the folders, such as ``containers``."""
        try:
            return [entry.name for entry in (self._root / folder).iterdir()]
        except FileNotFoundError:
            return []

    def remove(self, path: Path) -> None:
        """Remove a file or a folder with all in it, at once for everybody else; nothing there is fine.

        What may take a while is removed by a thread; :meth:`settled` waits for it.
        """
        doomed = self.temporary()
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return
        self.dispose(doomed)

    def dispose(self, doomed: Path) -> None:
        """Remove what was moved to a :meth:`temporary` path, as :meth:`remove` does."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            remove_tree(doomed)
            return
        if _is_small(doomed):
            remove_tree(doomed)
            return
        with self._lock:
            self._doomed.append(doomed)
            if self._is_removing:
                return
            self._is_removing = True
        try:
            # One thread, however much there is to remove: the others read and write for requests.
            loop.run_in_executor(None, self._remove_doomed)
        except RuntimeError:
            # The loop is about to end.
            self._remove_doomed()

    def _remove_doomed(self) -> None:
        while True:
            with self._lock:
                if not self._doomed:
                    self._is_removing = False
                    return
                doomed = self._doomed.popleft()
            remove_tree(doomed)

    async def settled(self) -> None:
        """Wait until everything is gone that :meth:`remove` was called for."""
        while self._is_removing:  # noqa: ASYNC110 - the thread belongs to no loop that could be told
            await asyncio.sleep(0.002)

    def clear(self) -> None:
        """Remove all contents but those of requests under way."""
        for name in _FOLDERS:
            if name != "incoming":
                self.remove(self._root / name)

    def discard(self) -> None:
        """Remove all contents and all folders."""
        for name in _FOLDERS:
            remove_tree(self._root / name)


class Incoming:
    """Contents that are still coming in: written to a temporary file by a thread, counted and hashed.

    What is fed is gathered, and written and hashed by a thread while more comes.

    :param path: of the temporary file, which is made with the first bytes, as a form may have many files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self._is_discarded = False

    @property
    def sha256(self) -> str:
        """The checksum, in hex, of what was fed before :meth:`finish`."""
        return self._hash.hexdigest()

    @property
    def is_full(self) -> bool:
        """Whether :meth:`flush` is due."""
        return self._gathered_bytes >= _FLUSH_BYTES

    def feed(self, data: bytes) -> None:
        """Take a piece."""
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        self.size += len(data)

    async def flush(self) -> None:
        """Hand to the thread what was gathered, once it is done with what it got before.

        :raises OSError: when that could not be written.
        """
        await self._written()
        pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if pieces:
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, pieces)

    async def finish(self) -> None:
        """Write the rest and close.

        :raises OSError: when it could not be written.
        """
        if self._file is None and self._writing is None and self._gathered_bytes <= _SMALL_BYTES:
            # Another thread would cost more than it takes off this one.
            self._write(self._gathered)
        else:
            await self.flush()
            await self._written()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    def _write(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._file = self.path.open("xb", buffering=0)
            if self._is_discarded:
                # It was removed before it was there.
                self.path.unlink(missing_ok=True)
        for piece in pieces:
            self._hash.update(piece)
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) or 0 :]

    async def discard(self) -> None:
        """Close, and remove the temporary file unless it was renamed into its place."""
        self._is_discarded = True
        try:
            with contextlib.suppress(OSError):
                await self._written()
            self._close()
            if self.size > _SMALL_BYTES:
                await asyncio.to_thread(self.path.unlink, missing_ok=True)
        finally:
            # Also when the server ends and waits no longer: what a thread still writes has no name then.
            self.path.unlink(missing_ok=True)


def put(source: Path, target: Path) -> None:
    """Move a temporary file or folder to its place, making the folders above it."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source.replace(target)


def _is_small(path: Path) -> bool:
    status = path.lstat()
    return not stat.S_ISDIR(status.st_mode) and status.st_size <= _SMALL_BYTES


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all in it, following no link; nothing there is fine.

    Folders may be as deep and have as many entries as they like, and lack all permissions.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        for _ in range(_MAX_PASSES):
            with contextlib.suppress(OSError):
                _empty(path)
            try:
                path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                continue
            return


def _empty(path: Path) -> None:
    """Remove what is in a folder, as far as one look goes.

    Folders below are moved up into it, one after the other: so no path is ever long, and two descriptors are
    enough for any depth.
    """
    top = _open_folder(path)
    try:
        prefix, moved = secrets.token_hex(8), 0
        doomed = _clear(top)
        while doomed:
            name = doomed.pop()
            with contextlib.suppress(OSError):
                folder = _open_folder(name, top)
                try:
                    for inner in _clear(folder):
                        moved += 1
                        with contextlib.suppress(OSError):
                            doomed.append(_move_up(inner, folder, f"{prefix}-{moved}", top))
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _clear(folder: int) -> list[str]:
    """Remove all but folders from a folder; returns the names of those that are not empty."""
    left = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    os.unlink(entry.name, dir_fd=folder)
                continue
            try:
                os.rmdir(entry.name, dir_fd=folder)
            except OSError:
                left.append(entry.name)
    return left


def _move_up(name: str, folder: int, new_name: str, top: int) -> str:
    try:
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=top)
    except PermissionError:
        # A folder that changes its parent is written to, as `..` is in it.
        _unlock(name, folder)
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=top)
    return new_name


def _open_folder(name: str | Path, parent: int | None = None) -> int:
    """Open a folder that something is to be removed from; never through a link."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _unlock(name, parent)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    if os.fstat(folder).st_mode & 0o700 != 0o700:
        with contextlib.suppress(OSError):
            os.fchmod(folder, 0o700)
    return folder


def _unlock(name: str | Path, parent: int | None) -> None:
    """Give a folder that lacks them the permissions of its owner, never through a link."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    # Linux changes permissions by a name that may be a link, or by a descriptor, which this kind of is not.
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(0o700)
    finally:
        os.close(handle)
