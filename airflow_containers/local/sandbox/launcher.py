"""The process that starts commands and ends them. Standard library only, one thread.

::

    server ── launcher ─┬─ spare (waits for a command)
                        ├─ spare that became bubblewrap ── bubblewrap ── command ── …
                        └─ watcher of the disk

It holds one end of a channel to the server. When the other end is gone, however the server ended, it kills
all that runs and removes its control groups; when it is killed itself, the kernel kills its children.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_containers.local.sandbox import cgroups, channel, disk, linux
from airflow_containers.local.sandbox.spare import Settings, live

_SPARES = 2
_ENDED = {"event": "ended", "signal": None, "exit_code": None, "memory": False, "reason": None}
_KILL_TIME = 2.0
"""Seconds that killed processes get to be gone."""


@dataclass
class _Container:
    """What runs of one container.

    :ivar group: that bounds it, if any does.
    :ivar children: its commands.
    """

    group: cgroups.Group | None
    children: list[_Child] = field(default_factory=list)


@dataclass
class _Child:
    """A spare, or what it became.

    :ivar pid: its number here; it is 1 in its own namespace.
    :ivar watch: descriptor that tells when it and all it started have ended.
    :ivar orders: channel to it.
    :ivar status: where bubblewrap writes.
    :ivar group: that it was born in, unless a container took it.
    :ivar number: of the command.
    :ivar container: of the command.
    :ivar kills: for want of memory, before it began.
    """

    pid: int
    watch: int
    orders: socket.socket
    status: int
    group: cgroups.Group | None
    number: int = -1
    container: str = ""
    kills: int = 0
    reason: str | None = None


class Launcher:
    """Starts and ends commands.

    :param server: channel for what may wait.
    :param control: channel for what the server waits for.
    :param settings: what it was told.
    """

    def __init__(self, server: socket.socket, control: socket.socket, settings: Settings) -> None:
        self._server = server
        self._control = control
        self._settings = settings
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._spares: deque[_Child] = deque()
        self._containers: dict[str, _Container] = {}
        self._made = 0
        self._user = (os.geteuid(), os.getegid())
        self._is_busy = False
        self._watcher: socket.socket | None = None
        self._watcher_pid = 0
        self._is_ending = False
        self._hierarchies, self._notes = self._find_groups()
        bounded = {c: h.version for h in self._hierarchies for c in h.controllers}
        names = {"memory": "memory", "processes": "pids"}
        self._bounds = [name for name, controller in names.items() if controller not in bounded]
        self._hello = {
            "memory": f"cgroup v{bounded['memory']}" if "memory" in bounded else "rlimit",
            "processes": f"cgroup v{bounded['pids']}" if "pids" in bounded else "rlimit",
            "notes": self._notes,
        }

    def _find_groups(self) -> tuple[list[cgroups.Hierarchy], list[str]]:
        if not self._settings.cgroups:
            return [], ["control groups are switched off"]
        hierarchies, notes = cgroups.find(self._settings.server)
        usable: list[cgroups.Hierarchy] = []
        for hierarchy in hierarchies:
            # That a group can be made does not say that a process may go there.
            group = cgroups.Group([hierarchy], "trial")
            pid = os.fork()
            if not pid:
                try:
                    cgroups.enter(group.entrances)
                    os._exit(0)
                except BaseException:  # noqa: BLE001 - nobody is above this process
                    os._exit(1)
            has_entered = os.waitpid(pid, 0)[1] == 0
            group.remove()
            if has_entered:
                usable.append(hierarchy)
            else:
                cgroups.remove(hierarchy.folder)
                notes.append(f"no process may go into control groups of version {hierarchy.version}")
        return usable, notes

    def run(self) -> None:
        """Work until the server is gone."""
        self._server.setblocking(False)
        self._watch(self._server.fileno(), self._read_server)
        self._watch(self._control.fileno(), self._read_control)
        self._send(self._hello)
        try:
            while not self._is_ending:
                # One at a time: a handler may close another's descriptor, and its number is given anew.
                self._handlers[self._poll.poll()[0][0]]()
                self._refill()
        finally:
            self._end()

    def _refill(self) -> None:
        while self._is_busy and not self._is_ending and len(self._spares) < _SPARES:
            try:
                self._spares.append(self._fork())
            except OSError:
                # The next command is told why.
                self._is_busy = False

    def _watch(self, fd: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        del self._handlers[fd]
        self._poll.unregister(fd)

    def _send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        try:
            self._server.setblocking(True)
            channel.send(self._server, message, fds)
            self._server.setblocking(False)
        except OSError:
            self._is_ending = True

    def _read_server(self) -> None:
        while not self._is_ending:
            try:
                received = channel.receive(self._server)
            except BlockingIOError:
                return
            if received is None:
                self._is_ending = True
                return
            message, fds = received
            try:
                if message["op"] == "run":
                    self._start(message, fds)
                elif message["op"] == "end":
                    self._kill([c for c in self._running() if c.number == message["id"]])
                else:
                    self._is_ending = True
            finally:
                for fd in fds:
                    os.close(fd)

    def _read_control(self) -> None:
        received = channel.receive(self._control)
        if received is None:
            self._is_ending = True
            return
        # The commands that were sent before this are to be killed too.
        self._read_server()
        container = self._containers.get(received[0]["container"])
        children = list(container.children) if container else []
        self._kill(children)
        deadline = time.monotonic() + _KILL_TIME
        left = [child for child in children if not self._wait(child, deadline)]
        with contextlib.suppress(OSError):
            channel.send(self._control, {"left": len(left)})

    def _running(self) -> list[_Child]:
        return [child for container in self._containers.values() for child in container.children]

    @staticmethod
    def _kill(children: list[_Child]) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.watch, signal.SIGKILL)

    def _wait(self, child: _Child, deadline: float) -> bool:
        poll = select.poll()
        poll.register(child.watch, select.POLLIN)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            return False
        self._ended(child)
        return True

    def _fork(self) -> _Child:
        group = None
        if self._hierarchies:
            self._made += 1
            group = cgroups.Group(self._hierarchies, str(self._made))
        ours, theirs = channel.pair()
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        try:
            pid = linux.clone(self._settings.namespaces)
        except OSError:
            ours.close()
            theirs.close()
            os.close(status_read)
            os.close(status_write)
            if group:
                group.remove()
            raise
        if not pid:
            entrances = group.entrances if group else []
            live(self._settings, theirs, status_write, entrances, self._bounds, self._user)
            os._exit(1)
        theirs.close()
        os.close(status_write)
        child = _Child(pid, os.pidfd_open(pid), ours, status_read, group)
        self._watch(child.watch, lambda: self._ended(child))
        self._watch(child.orders.fileno(), lambda: self._read_child(child))
        return child

    def _start(self, order: dict[str, Any], fds: list[int]) -> None:
        self._is_busy = True
        try:
            child = self._spares.popleft() if self._spares else self._fork()
        except OSError as error:
            self._is_busy = False
            text = "no more user namespaces can be made" if error.errno == errno.ENOSPC else str(error)
            self._send({**_ENDED, "id": order["id"], "error": text})
            return
        child.number, child.container = order["id"], order["container"]
        container = self._containers.get(child.container)
        entrances: list[str] = []
        if container is None:
            # The group that the spare is in already becomes the container's: going into one takes long.
            container = self._containers[child.container] = _Container(child.group)
            child.group = None
            if container.group:
                container.group.limit(order["memory"], self._settings.processes)
        elif container.group:
            entrances = container.group.entrances
        container.children.append(child)
        child.kills = container.group.kills() if container.group else 0
        message = {
            "id": child.number,
            "listen": order["listen"],
            "memory": order["memory"],
        }
        # Opened here: it has other things where the groups are.
        doors = [os.open(entrance, os.O_WRONLY | os.O_CLOEXEC) for entrance in entrances]
        # It may have died: its end is told of all the same.
        with contextlib.suppress(OSError):
            channel.send(child.orders, message, [*fds, *doors])
        for door in doors:
            os.close(door)
        self._tell_watcher(
            {
                "container": child.container,
                "pid": child.pid,
                "folders": order["folders"],
                "memory": order["memory"] if "memory" in self._bounds else None,
            }
        )

    def _read_child(self, child: _Child) -> None:
        received = channel.receive(child.orders)
        if received is None:
            self._forget(child.orders.fileno())
            return
        message, fds = received
        self._send({"id": message["id"], "event": "listening"}, tuple(fds))
        for fd in fds:
            os.close(fd)

    def _ended(self, child: _Child) -> None:
        if child.orders.fileno() in self._handlers:
            # A listener that it sent may still be there to read.
            with contextlib.suppress(BlockingIOError):
                child.orders.setblocking(False)
                self._read_child(child)
        _, status = os.waitpid(child.pid, 0)
        self._forget(child.watch)
        if child.orders.fileno() in self._handlers:
            self._forget(child.orders.fileno())
        child.orders.close()
        os.close(child.watch)
        exit_code = _exit_code(child.status)
        container = self._containers.get(child.container)
        if child.number < 0 or container is None:
            if child.group:
                child.group.remove()
            with contextlib.suppress(ValueError):
                self._spares.remove(child)
            return
        container.children.remove(child)
        kills = container.group.kills() - child.kills if container.group else 0
        self._send(
            {
                **_ENDED,
                "id": child.number,
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                "exit_code": exit_code,
                "memory": kills > 0,
                "reason": child.reason,
            }
        )
        self._tell_watcher({"container": child.container, "pid": child.pid})
        if child.group:
            child.group.remove()
        if not container.children:
            if container.group:
                container.group.remove()
            del self._containers[child.container]

    def _tell_watcher(self, message: dict[str, Any]) -> None:
        if self._watcher is None:
            ours, theirs = channel.pair()
            self._watcher_pid = os.fork()
            if not self._watcher_pid:
                try:
                    disk.Watcher(theirs, self._settings.disk_bytes).live()
                finally:
                    os._exit(0)
            theirs.close()
            self._watcher = ours
            self._watch(ours.fileno(), self._read_watcher)
        with contextlib.suppress(OSError):
            channel.send(self._watcher, message)

    def _read_watcher(self) -> None:
        if self._watcher is None:
            return
        received = channel.receive(self._watcher)
        if received is None:
            # Killed by somebody. Without it no command may run: the next one starts another.
            self._forget(self._watcher.fileno())
            self._watcher.close()
            self._watcher = None
            os.waitpid(self._watcher_pid, 0)
            self._kill_for("disk", self._running())
            return
        container = self._containers.get(received[0]["container"])
        self._kill_for(received[0]["reason"], container.children if container else [])

    def _kill_for(self, reason: str, children: list[_Child]) -> None:
        for child in children:
            child.reason = child.reason or reason
        self._kill(children)

    def _end(self) -> None:
        children = self._running() + list(self._spares)
        self._kill(children)
        deadline = time.monotonic() + _KILL_TIME
        for child in children:
            self._wait(child, deadline)
        if self._watcher is not None:
            self._watcher.close()
            os.kill(self._watcher_pid, signal.SIGKILL)
            os.waitpid(self._watcher_pid, 0)
        cgroups.close(self._hierarchies)


def _exit_code(status: int) -> int | None:
    """Read what bubblewrap wrote, which says so only when the command was started."""
    text = b""
    with open(status, "rb", buffering=0) as file:
        while piece := file.read(4096):
            text += piece
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if "exit-code" in document:
                return int(document["exit-code"])
    return None


def main(server: str, control: str, settings: str) -> None:
    """Run the launcher.

    :param server: descriptor of the channel for what may wait.
    :param control: descriptor of the channel for what the server waits for.
    :param settings: as JSON.
    """
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    linux.leave_keyring()
    os.chdir("/")
    os.umask(0o022)
    channels = [socket.socket(fileno=int(fd)) for fd in (server, control)]
    Launcher(channels[0], channels[1], Settings(**json.loads(settings))).run()
    sys.exit(0)
