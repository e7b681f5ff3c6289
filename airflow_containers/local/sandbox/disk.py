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
_NICE = 5


def used_bytes(folders: list[str], pids: list[int], limit: int) -> int:
    """Count what folders use, and files without a name that processes hold.

    :param folders: to look below.
    :param pids: first processes of commands; those that they started are looked at too.
    :param limit: counting ends once it is more.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    devices: set[int] = set()
    levels = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FDS
    for folder in folders:
        with contextlib.suppress(OSError):
            devices.add(Path(folder).stat().st_dev)
            total += _below(folder, limit - total, levels, seen)
        if total > limit:
            return total
    for pid in _with_children(pids):
        total += _nameless(pid, devices, seen)
    return total


def _below(folder: str, limit: int, levels: int, seen: set[tuple[int, int]]) -> int:
    """Count below a folder, by descriptors: what is in it may become a link at any moment."""
    total = 0
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fds = [os.open(folder, flags)]
    waiting: list[list[str]] = []
    try:
        while fds:
            if len(waiting) < len(fds):
                size, folders = _one_folder(fds[-1], seen)
                total += size
                waiting.append(folders)
            if total > limit:
                return total
            if not waiting[-1]:
                waiting.pop()
                os.close(fds.pop())
                continue
            if len(fds) >= levels:
                # Deeper than can be looked: such a tree is there to hide something.
                return limit + 1
            with contextlib.suppress(OSError):
                fds.append(os.open(waiting[-1].pop(), flags, dir_fd=fds[-1]))
        return total
    finally:
        for fd in fds:
            os.close(fd)


def _one_folder(fd: int, seen: set[tuple[int, int]]) -> tuple[int, list[str]]:
    total = 0
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(fd) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            total += _size(status, seen)
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry.name)
    return total, folders


def _size(status: os.stat_result, seen: set[tuple[int, int]]) -> int:
    if status.st_nlink != 1 and not stat.S_ISDIR(status.st_mode):
        key = (status.st_dev, status.st_ino)
        if key in seen:
            return 0
        seen.add(key)
    return max(status.st_blocks * 512, _BLOCK)


def _with_children(pids: list[int]) -> list[int]:
    found = list(pids)
    for pid in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                children = (task / "children").read_text(encoding="ascii")
                found += [int(child) for child in children.split()]
    return found


def _nameless(pid: int, devices: set[int], seen: set[tuple[int, int]]) -> int:
    total = 0
    for kind in ("fd", "map_files"):
        try:
            entries = list(Path(f"/proc/{pid}/{kind}").iterdir())
        except OSError:
            continue
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat()
                if status.st_nlink == 0 and status.st_dev in devices and stat.S_ISREG(status.st_mode):
                    total += _size(status, seen)
    return total


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
                pids = _with_children(watched.pids)
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
