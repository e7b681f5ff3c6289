"""Watches how much containers use of the disk, and of memory where no control group does, in a process of its
own. Standard library only.

Counted is what is below ``/mnt/data`` and ``/tmp``, every entry at least one block, and what has no name any
more but is still open. What a command writes between two looks is not noticed before the second.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_containers.local.sandbox import channel, linux
from airflow_containers.local.sandbox.memory import used_memory

_BLOCK = 4096
_PAUSE = 0.2
_PAUSE_FACTOR = 10
"""The pause is this many times what the last look took: a tenth of one processor at most."""

_MAX_PAUSE = 3.0

_SPARE_FDS = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NICE = 5


def used_bytes(folders: list[str], pids: list[int], limit: int) -> int:
    """Count what folders use, and files without a name that processes hold.

    :param folders: to look below.
    :param pids: first processes of commands; those that they started are looked at too.
    :param limit: counting ends once it is more.
    """
    count = _Count(limit)
    count.add_folders(folders)
    if count.was_refused and os.geteuid() != 0:
        count.total = max(count.total, _count_as_owner(folders, limit))
    if count.total > limit:
        return count.total
    devices = {Path(folder).stat().st_dev for folder in folders if Path(folder).exists()}
    for pid in with_children(pids):
        count.add_nameless(pid, devices)
    return count.total


class _Count:
    """Adds up.

    :param limit: counting ends once it is more.
    :ivar total: bytes.
    :ivar was_refused: whether something could not be looked at.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[tuple[int, int]] = set()
        self._levels = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FDS
        self.total = 0
        self.was_refused = False

    def add_folders(self, folders: list[str]) -> None:
        """Count what is below folders."""
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                self._add_below(folder)

    def _add_below(self, folder: str) -> None:
        """By descriptors: what is in it may become a link at any moment."""
        fds = [os.open(folder, _FOLDER)]
        waiting: list[list[str]] = []
        try:
            while fds and self.total <= self._limit:
                if len(waiting) < len(fds):
                    waiting.append(self._add_one(fds[-1]))
                elif not waiting[-1]:
                    waiting.pop()
                    os.close(fds.pop())
                elif len(fds) >= self._levels:
                    # Deeper than can be looked: such a tree is there to hide something.
                    self.total = self._limit + 1
                else:
                    try:
                        fds.append(os.open(waiting[-1].pop(), _FOLDER, dir_fd=fds[-1]))
                    except OSError as error:
                        self._note(error)
        finally:
            for fd in fds:
                os.close(fd)

    def _add_one(self, fd: int) -> list[str]:
        folders: list[str] = []
        with contextlib.suppress(OSError), os.scandir(fd) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError as error:
                    self._note(error)
                    continue
                self._add(status)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.name)
                if self.total > self._limit:
                    break
        return folders

    def add_nameless(self, pid: int, devices: set[int]) -> None:
        """Count files without a name, on some devices, that a process holds."""
        for kind in ("fd", "map_files"):
            try:
                entries = list(Path(f"/proc/{pid}/{kind}").iterdir())
            except OSError:
                continue
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if status.st_nlink == 0 and status.st_dev in devices and stat.S_ISREG(status.st_mode):
                        self._add(status)

    def _note(self, error: OSError) -> None:
        # Anything else: it went away, or became something else, while this looked.
        self.was_refused |= isinstance(error, PermissionError)

    def _add(self, status: os.stat_result) -> None:
        if status.st_nlink != 1 and not stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if key in self._seen:
                return
            self._seen.add(key)
        self.total += max(status.st_blocks * 512, _BLOCK)


def _count_as_owner(folders: list[str], limit: int) -> int:
    """Count in a user namespace, in which no mode of a file of this user's keeps anything from it."""
    user = (os.geteuid(), os.getegid())
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            linux.unshare(linux.NEWUSER)
            linux.map_user(*user)
            count = _Count(limit)
            count.add_folders(folders)
            os.write(write, str(count.total).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return int(answer or 0)


def with_children(pids: list[int]) -> list[int]:
    """Processes, and all that they started."""
    found = list(pids)
    for pid in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                children = (task / "children").read_text(encoding="ascii")
                found += [int(child) for child in children.split()]
    return found


@dataclass
class _Watched:
    """One container.

    :ivar memory: bytes it may have; ``None`` where a control group sees to it.
    """

    folders: list[str]
    memory: int | None
    pids: list[int] = field(default_factory=list)
    due: float = 0.0
    memory_due: float = 0.0

    @property
    def next(self) -> float:
        return self.due if self.memory is None else min(self.due, self.memory_due)


class Watcher:
    """Looks at the containers that run something, and at each once more when it has ended.

    :param orders: where they are named, and where it says which uses too much.
    :param limit: bytes of one container.
    """

    def __init__(self, orders: socket.socket, limit: int) -> None:
        self._orders = orders
        self._limit = limit
        self._watched: dict[str, _Watched] = {}

    def live(self) -> None:
        """Watch until the other end is gone."""
        linux.close_all_but({self._orders.fileno()})
        linux.die_with_parent()
        os.nice(_NICE)
        with contextlib.suppress(OSError, ValueError):
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        while True:
            due = min((watched.next for watched in self._watched.values()), default=None)
            wait = None if due is None else max(due - time.monotonic(), 0)
            if select.select([self._orders], [], [], wait)[0]:
                received = channel.receive(self._orders)
                if received is None:
                    return
                self._order(received[0]["container"], received[0])
                continue
            self._look()

    def _order(self, container: str, order: dict[str, Any]) -> None:
        pid = order["pid"]
        watched = self._watched.get(container)
        if "folders" in order:
            folders = order["folders"]
            if watched is None:
                watched = _Watched(folders, order["memory"], due=time.monotonic() + _PAUSE)
                self._watched[container] = watched
            watched.pids.append(pid)
        elif watched is not None:
            watched.pids.remove(pid)
            if not watched.pids:
                del self._watched[container]

    def _look(self) -> None:
        for container, watched in list(self._watched.items()):
            start = time.monotonic()
            if watched.memory is not None and watched.memory_due <= start:
                pids = with_children(watched.pids)
                devices = {Path(folder).stat().st_dev for folder in watched.folders if Path(folder).exists()}
                if used_memory(pids, devices, watched.memory) > watched.memory:
                    channel.send(self._orders, {"container": container, "reason": "memory"})
                watched.memory_due = _next(start)
                start = time.monotonic()
            if watched.due > start:
                continue
            if used_bytes(watched.folders, watched.pids, self._limit) > self._limit:
                channel.send(self._orders, {"container": container, "reason": "disk"})
            watched.due = _next(start)


def _next(start: float) -> float:
    """When to look again, if the last look began at ``start``."""
    end = time.monotonic()
    return end + min(max(_PAUSE, (end - start) * _PAUSE_FACTOR), _MAX_PAUSE)
