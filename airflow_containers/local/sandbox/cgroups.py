"""Control groups of version 1 and 2: one for each container that runs something. Standard library only.

The groups are made below the server's own, so that what bounds the server bounds its containers too. In
version 2 a group with processes of its own cannot bound groups below it: the server moves into a group
beside those of the containers, if nobody else's process is in the one it was started in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"airflow-containers-(\d+)-(\d+)(-server)?")
_CONTROLLERS = ("memory", "pids")
_SLACK = 8
"""Processes of bubblewrap itself, which count as well."""


@dataclass(frozen=True)
class Hierarchy:
    """A folder of control groups in which this process may make some.

    :ivar version: 1 or 2.
    :ivar controllers: ``memory``, ``pids`` or both.
    :ivar folder: the group that new ones are made in.
    """

    version: int
    controllers: tuple[str, ...]
    folder: Path


def start_time(pid: int, proc: Path = Path("/proc")) -> str:
    """When a process was started, in the kernel's ticks; ``""`` when there is none."""
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def find(
    server: int, proc: Path = Path("/proc"), launcher: int | None = None
) -> tuple[list[Hierarchy], list[str]]:
    """Find where groups can be made, and remove what launchers that were killed left there.

    :param server: process that the groups are made for.
    :param proc: where the kernel tells of processes.
    :param launcher: process that makes them; this one unless given.
    :returns: the hierarchies, at most one for each controller, and why there are not more.
    """
    maker = launcher if launcher is not None else os.getpid()
    name = f"airflow-containers-{maker}-{start_time(maker, proc)}"
    found: list[Hierarchy] = []
    notes: list[str] = []
    refused: list[str] = []
    for version, controllers, own in _own_groups(proc):
        _sweep(own, proc)
        missing = tuple(c for c in controllers if c not in [x for h in found for x in h.controllers])
        if not missing:
            continue
        folder = own / name
        try:
            if version == 2:
                missing = _open_v2(own, missing, server, proc, own / f"{name}-server")
            folder.mkdir(exist_ok=True)
            if version == 2:
                (folder / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in missing))
        except OSError as error:
            with contextlib.suppress(OSError):
                folder.rmdir()
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                refused.append(f"{', '.join(missing)} (version {version})")
            else:
                why = error.strerror or str(error)
                notes.append(f"no control groups of version {version} for {', '.join(missing)}: {why}")
        else:
            if missing:
                found.append(Hierarchy(version, missing, folder))
    if refused:
        notes.append(
            f"the server may not make control groups for {', '.join(refused)}; systemd-run "
            f"--user --scope -p Delegate=yes gives it one"
        )
    return found, notes


def _own_groups(proc: Path) -> list[tuple[int, tuple[str, ...], Path]]:
    """The groups of this process: version, controllers, folder."""
    mounts: dict[str, tuple[Path, str]] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        top, point = (text.replace("\\040", " ") for text in fields.split()[3:5])
        if kind == "cgroup2":
            mounts.setdefault("", (Path(point), top))
        elif kind == "cgroup":
            for controller in options.split(","):
                mounts.setdefault(controller, (Path(point), top))
    groups: list[tuple[int, tuple[str, ...], Path]] = []
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        known = tuple(c for c in names.split(",") if c in _CONTROLLERS)
        key = known[0] if known else names
        if key not in mounts or (names and not known):
            continue
        own = _below(*mounts[key], path)
        if (match := _NAME.fullmatch(own.name)) and match[3]:
            # An earlier launcher of this server took it there.
            own = own.parent
        if names:
            groups.append((1, known, own))
            continue
        with contextlib.suppress(OSError):
            offered = (own / "cgroup.controllers").read_text().split()
            groups.append((2, tuple(c for c in _CONTROLLERS if c in offered), own))
    return sorted(groups, key=lambda group: group[0])


def _below(point: Path, root: str, path: str) -> Path:
    """A group's folder. In a container of another system the mount shows a part of the tree only."""
    if root != "/" and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    folder = point / path.lstrip("/")
    return folder if folder.is_dir() else point


def _open_v2(own: Path, controllers: tuple[str, ...], server: int, proc: Path, leaf: Path) -> tuple[str, ...]:
    """Have the groups below one bounded; returns by which controllers."""
    control = own / "cgroup.subtree_control"
    on = control.read_text().split()
    order = " ".join(f"+{c}" for c in controllers if c not in on)
    if not order:
        return controllers
    try:
        control.write_text(order)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
    else:
        return controllers
    ours = {server, *_children(server, proc)}
    present = [int(pid) for pid in (own / "cgroup.procs").read_text().split()]
    if not set(present) <= ours:
        raise OSError(errno.EBUSY, "other processes are in the server's group; start it in one of its own")
    leaf.mkdir(exist_ok=True)
    for pid in present:
        (leaf / "cgroup.procs").write_text(str(pid))
    control.write_text(order)
    return controllers


def _children(pid: int, proc: Path) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in (proc / str(pid) / "task").iterdir():
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def _sweep(own: Path, proc: Path) -> None:
    """Remove groups of launchers that are gone; the kernel ended their processes with them."""
    try:
        names = [entry.name for entry in own.iterdir()]
    except OSError:
        return
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or start_time(int(match[1]), proc) == match[2]:
            continue
        if match[3]:
            # A server may still be there, with another launcher.
            with contextlib.suppress(OSError):
                (own / name).rmdir()
        else:
            remove(own / name)


def remove(folder: Path) -> None:
    """Remove a group with all below it, and kill what runs in it; what cannot go stays."""
    deadline = time.monotonic() + 1
    try:
        below = [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError:
        return
    for entry in below:
        remove(entry)
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
            with contextlib.suppress(OSError, ValueError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.001)
        else:
            return


class Group:
    """The control group of one container, in each hierarchy.

    :param hierarchies: where to make it.
    :param name: of its folders.
    """

    def __init__(self, hierarchies: list[Hierarchy], name: str) -> None:
        self._folders = [(hierarchy, hierarchy.folder / name) for hierarchy in hierarchies]
        for _, folder in self._folders:
            folder.mkdir(exist_ok=True)

    @property
    def entrances(self) -> list[str]:
        """Files that a process writes ``0`` to for coming in."""
        return [str(folder / "cgroup.procs") for _, folder in self._folders]

    def limit(self, memory: int, processes: int) -> None:
        """Set what it may use.

        :param memory: bytes, swap included.
        :param processes: at one time.
        """
        for hierarchy, folder in self._folders:
            if "pids" in hierarchy.controllers:
                _write(folder / "pids.max", processes + _SLACK)
            if "memory" not in hierarchy.controllers:
                continue
            if hierarchy.version == 1:
                _write(folder / "memory.limit_in_bytes", memory)
                if (folder / "memory.memsw.limit_in_bytes").exists():
                    _write(folder / "memory.memsw.limit_in_bytes", memory)
            else:
                _write(folder / "memory.max", memory)
                if (folder / "memory.swap.max").exists():
                    _write(folder / "memory.swap.max", 0)

    def kills(self) -> int:
        """How many processes the kernel killed for want of memory."""
        for hierarchy, folder in self._folders:
            if "memory" in hierarchy.controllers:
                name = "memory.oom_control" if hierarchy.version == 1 else "memory.events"
                with contextlib.suppress(OSError, ValueError):
                    fields = dict(line.split() for line in (folder / name).read_text().splitlines())
                    return int(fields.get("oom_kill", 0))
        return 0

    def remove(self) -> None:
        """Remove it; what runs in it is killed."""
        for _, folder in self._folders:
            remove(folder)


def enter(entrances: list[str]) -> None:
    """Go into a group with this process."""
    for entrance in entrances:
        _write(Path(entrance), 0)


def _write(path: Path, number: int) -> None:
    # Not created when it is not there: these are the kernel's files.
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, str(number).encode())
    finally:
        os.close(fd)


def close(hierarchies: list[Hierarchy]) -> None:
    """Remove all groups, and take the server back to where it was started.

    :param hierarchies: from :func:`find`.
    """
    for hierarchy in hierarchies:
        remove(hierarchy.folder)
        leaf = hierarchy.folder.with_name(f"{hierarchy.folder.name}-server")
        if not leaf.is_dir():
            continue
        own = hierarchy.folder.parent
        with contextlib.suppress(OSError):
            order = " ".join(f"-{c}" for c in hierarchy.controllers)
            (own / "cgroup.subtree_control").write_text(order)
            for pid in (leaf / "cgroup.procs").read_text().split():
                (own / "cgroup.procs").write_text(pid)
            leaf.rmdir()
