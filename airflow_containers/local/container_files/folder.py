"""The folder of a container that commands write into, reached so that nothing in it leads out of it.

While the server works on it, a command may swap any folder for a link, any file for a FIFO, and back. So
every step is taken from the descriptor of the folder before it, never through a link, and what was opened is
looked at before it is used. Nothing here takes long, whatever the folder has in it: what bounds leave out is
counted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 2048
MAX_FILES = 10_000
"""Files of one container that are listed."""

MAX_ENTRIES = 200_000
"""Names that one scan looks at; a folder with a long path counts for several, as all paths are in memory."""

MAX_SECONDS = 2.0
"""Time that one scan takes, and again at most the look for what it has not found."""

_MAX_OPEN = 16
"""Folders that a scan has open."""

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | _NO_LINK
_LIST = os.O_RDONLY | os.O_DIRECTORY | _NO_LINK
_READ = os.O_RDONLY | os.O_NONBLOCK | _NO_LINK
"""A FIFO that is opened so waits for nobody."""

_FILE_MODE = 0o644
_FOLDER_MODE = 0o755
_GONE = (FileNotFoundError, NotADirectoryError)


class NoPlaceError(Exception):
    """A file cannot be where it should: something else is there, or on the way."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another without reading it.

    The time of the last change is the kernel's: a command cannot set it, as it can the time of writing.
    """

    size: int
    inode: int
    written: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of a file."""
        return cls(status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)

    @classmethod
    def parse(cls, text: str | None) -> Stamp | None:
        """What :meth:`__str__` made, or ``None`` of nothing."""
        return None if text is None else cls(*(int(part, 16) for part in text.split(":")))

    def __str__(self) -> str:
        return f"{self.size:x}:{self.inode:x}:{self.written:x}:{self.changed:x}"

    def has_same_contents(self, other: Stamp) -> bool:
        """Whether permissions, owner and names are all that can have changed, for who does not deceive."""
        return (self.size, self.inode, self.written) == (other.size, other.inode, other.written)


@dataclass(slots=True)
class Scan:
    """What a look at the folder found.

    :param files: path below the folder → stamp; the shallow ones first, each folder in order of names.
    :param left_out: how many entries are not among them, by reason: ``links``, ``special`` (FIFOs, sockets,
        devices), ``names`` (no UTF-8), ``deep`` (path too long), ``unreadable`` (folders that the server may
        not look into), ``more`` (files over the limit), ``unseen`` (folders that there was no time for).
    """

    files: dict[str, Stamp] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


class DataFolder:
    """``/mnt/data`` of one container. Paths are relative to it, with slashes, and may come from anybody.

    :param path: the folder, in a place that commands cannot change.
    :param owner: user and group that what is put there is given to.
    """

    def __init__(self, path: Path, owner: tuple[int, int] | None = None) -> None:
        self._path = path
        self._owner = owner

    @contextlib.contextmanager
    def _folder(self, parts: list[str], *, make: bool = False, change: bool = False) -> Iterator[int]:
        """A descriptor of a folder, to take the next step from.

        :param make: make those that are not there.
        :param change: the folder is to be changed, whatever permissions a command has taken from it.
        """
        folder = os.open(self._path, _STEP)
        try:
            if change:
                _unlock(folder)
            for part in parts:
                try:
                    inner = os.open(part, _STEP, dir_fd=folder)
                except FileNotFoundError:
                    if not make:
                        raise
                    inner = self._make(part, folder)
                folder, outer = inner, folder
                os.close(outer)
                if change:
                    _unlock(folder)
            yield folder
        finally:
            os.close(folder)

    def _make(self, name: str, folder: int) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, _FOLDER_MODE, dir_fd=folder)
            if self._owner is not None:
                os.chown(name, *self._owner, dir_fd=folder, follow_symlinks=False)
        return os.open(name, _STEP, dir_fd=folder)

    def open(self, path: str) -> tuple[IO[bytes], Stamp]:
        """Open a file for reading.

        :raises OSError: when no regular file is there, or the server may not read it.
        """
        *above, name = _parts(path)
        with self._folder(above) as folder:
            number = os.open(name, _READ, dir_fd=folder)
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            os.close(number)
            raise FileNotFoundError(f"no regular file: {path!r}")
        return os.fdopen(number, "rb", buffering=0), Stamp.of(status)

    def stamps(self, paths: Iterable[str], *, seconds: float = MAX_SECONDS) -> dict[str, Stamp | None]:
        """The stamps of files; ``None`` where no regular file is.

        Those are missing that the server may not look at, or that there was no time for.
        """
        found: dict[str, Stamp | None] = {}
        end = time.monotonic() + seconds
        by_folder = sorted((path.rpartition("/")[::2], path) for path in paths)
        for above, group in groupby(by_folder, key=lambda item: item[0][0]):
            if time.monotonic() > end:
                break
            items = [(name, path) for (_, name), path in group]
            try:
                with self._folder(above.split("/") if above else []) as folder:
                    for name, path in items:
                        with contextlib.suppress(PermissionError):
                            found[path] = _stamp_of(name, folder)
            except OSError as error:
                if isinstance(error, _GONE) or _is_about_names(error):
                    found.update((path, None) for _, path in items)
        return found

    def place(self, source: Path, path: str) -> Stamp:
        """Move a file to its place, in one step; a file or a link that is there gives way.

        :param source: in a place on the same file system that commands cannot change.
        :raises NoPlaceError: when a folder is there, or something else than a folder is above it; the source
            is where it was then.
        """
        *above, name = _parts(path)
        number = os.open(source, os.O_RDONLY | _NO_LINK)
        try:
            before = os.fstat(number)
            os.fchmod(number, _FILE_MODE)
            if self._owner is not None:
                os.fchown(number, *self._owner)
            try:
                with self._folder(above, make=True, change=True) as folder:
                    os.replace(source, name, dst_dir_fd=folder)
            except OSError as error:
                if isinstance(error, (*_GONE, IsADirectoryError, PermissionError)) or _is_about_names(error):
                    raise NoPlaceError(path) from error
                raise
            # If a command has written to it already, this is the stamp of no file, as it should be.
            changed = os.fstat(number).st_ctime_ns
            return Stamp(before.st_size, before.st_ino, before.st_mtime_ns, changed)
        finally:
            os.close(number)

    def take(self, path: str, target: Path) -> bool:
        """Move a file out of the folder; tells whether a regular file was there.

        :param target: in a place on the same file system that commands cannot change, with nothing there.
        """
        *above, name = _parts(path)
        try:
            with self._folder(above, change=True) as folder:
                if _stamp_of(name, folder) is None:
                    return False
                # What a command puts there in this very moment is moved in its place, but not followed.
                os.rename(name, target, src_dir_fd=folder)
        except OSError as error:
            if isinstance(error, (*_GONE, PermissionError)) or _is_about_names(error):
                return False
            raise
        return True

    def scan(self, *, max_files: int = MAX_FILES, seconds: float = MAX_SECONDS) -> Scan:
        """Look for files in the folder and all below it; opens folders, and never a file."""
        found = Scan()
        waiting = deque([""])
        end = time.monotonic() + seconds
        left = MAX_ENTRIES
        # The last folders stay open, as the way to what is in them may be long.
        opened: dict[str, int] = {}
        try:
            while waiting:
                path = waiting.popleft()
                try:
                    number = opened[path] = self._list(path, opened)
                except _GONE:
                    continue
                except OSError:
                    found.left_out["unreadable"] += 1
                    continue
                folders, cost = _look(number, f"{path}/" if path else "", found, max_files, left, end)
                waiting.extend(folders)
                left -= cost
                if left <= 0 or time.monotonic() > end:
                    found.left_out["unseen"] += len(waiting) + 1
                    break
                if len(opened) > _MAX_OPEN:
                    os.close(opened.pop(next(iter(opened))))
        finally:
            for number in opened.values():
                os.close(number)
        return found

    def _list(self, path: str, opened: Mapping[str, int]) -> int:
        """A descriptor of a folder whose names can be read."""
        if not path:
            return os.open(self._path, _LIST)
        above, _, name = path.rpartition("/")
        if above in opened:
            return os.open(name, _LIST, dir_fd=opened[above])
        with self._folder(above.split("/") if above else []) as folder:
            return os.open(name, _LIST, dir_fd=folder)


def _unlock(folder: int) -> None:
    """Give the owner of a folder, who need not be root, the permissions that the next step takes."""
    mode = os.fstat(folder).st_mode
    if mode & 0o300 != 0o300:
        # A descriptor of this kind has no permissions to change but by its name; it fails where that is none.
        with contextlib.suppress(OSError):
            Path(f"/proc/self/fd/{folder}").chmod(stat.S_IMODE(mode) | 0o300)


def _stamp_of(name: str, folder: int) -> Stamp | None:
    """The stamp of an entry of a folder, if it is a regular file."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Stamp.of(status) if stat.S_ISREG(status.st_mode) else None


def _look(
    number: int, prefix: str, found: Scan, max_files: int, max_entries: int, end: float
) -> tuple[list[str], int]:
    """Take the entries of one folder; returns the folders among them, and what they count for."""
    files: list[tuple[str, Stamp]] = []
    folders: list[str] = []
    cost = 0
    room = max_files - len(found.files)
    with contextlib.suppress(OSError), os.scandir(number) as entries:
        for number_of, entry in enumerate(entries):
            cost += 1
            if cost >= max_entries or (number_of % 256 == 255 and time.monotonic() > end):
                break
            path = prefix + entry.name
            reason = _why_not(entry, path)
            if reason is not None:
                found.left_out[reason] += 1
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
                cost += len(path) >> 6
            elif len(files) >= room:
                found.left_out["more"] += 1
            else:
                # It may be gone by now, or be something else.
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        files.append((path, Stamp.of(status)))
    found.files.update(sorted(files, key=lambda file: file[0]))
    return sorted(folders), cost


def _why_not(entry: os.DirEntry[str], path: str) -> str | None:
    """Why an entry is not listed, unless it is a file or a folder that can be."""
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "names"
    if length > MAX_PATH_BYTES:
        return "deep"
    try:
        if entry.is_symlink():
            return "links"
        if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
            return None
    except OSError:
        pass
    return "special"


def compare(
    folder: DataFolder, known: Mapping[str, Stamp | None], scan: Scan
) -> tuple[dict[str, Stamp], dict[str, Stamp], list[str]]:
    """What a scan says of files that are known already: which are new, which look otherwise, which are gone.

    :param known: path → the stamp that it had; ``None`` when nobody has looked yet.
    """
    new = {path: stamp for path, stamp in scan.files.items() if path not in known}
    # The scan may have ended before it came to them, and a file that gives way to another can be missed.
    seen = folder.stamps(path for path in known if path not in scan.files) | scan.files
    other = {
        path: now for path, before in known.items() if (now := seen.get(path)) is not None and now != before
    }
    return new, other, [path for path, now in seen.items() if now is None]


def is_plain(path: str) -> bool:
    """Whether a path is one below a folder that a file system takes."""
    return len(os.fsencode(path)) <= MAX_PATH_BYTES and all(
        part not in {"", ".", ".."} and len(os.fsencode(part)) <= MAX_NAME_BYTES and "\0" not in part
        for part in path.split("/")
    )


def _parts(path: str) -> list[str]:
    if not is_plain(path):
        raise FileNotFoundError(f"no path below a folder: {path!r}")
    return path.split("/")


def _is_about_names(error: OSError) -> bool:
    """Whether an error says that something on the way is a link, or its name none."""
    return error.errno in {errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
