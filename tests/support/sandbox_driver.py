"""A server's worth of sandbox in a process of its own, as the user that a test wants it to be.

Run as a program it reads orders and writes answers, one JSON document a line; :class:`Driver` speaks to it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_containers.local.sandbox import cgroups, linux
from airflow_containers.local.sandbox.commands import Command, Limits, Mounts, Outcome
from airflow_containers.local.sandbox.runner import Sandbox

USER = 65531
SECRET = "canary-of-the-server-1f0c"
"""In the server's environment, where no command may find it."""

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 512 << 20
STARTED: set[int] = set()
"""Process ids of the servers of this test session."""

_MARKERS = itertools.count()


@dataclass(frozen=True)
class Mode:
    """Who the server is.

    :ivar is_root: or else a user without rights.
    :ivar cgroups: whether it may use control groups.
    """

    name: str
    is_root: bool
    cgroups: bool


def modes() -> list[Mode]:
    """The modes that this machine allows: four, for root where control groups can be made."""
    is_root = os.geteuid() == 0
    found = [Mode("user", is_root=False, cgroups=False)]
    hierarchies, _ = cgroups.find(os.getpid())
    cgroups.close(hierarchies)
    bounded = {controller for hierarchy in hierarchies for controller in hierarchy.controllers}
    if bounded == {"memory", "pids"}:
        found.append(Mode("user-cgroups", is_root=False, cgroups=True))
    if is_root:
        found.append(Mode("root", is_root=True, cgroups=False))
        if bounded == {"memory", "pids"}:
            found.append(Mode("root-cgroups", is_root=True, cgroups=True))
    return found


class Driver:
    """A server's sandbox, in a process of its own.

    :param mode: who it is.
    :param limits: of its containers.
    """

    def __init__(self, mode: Mode, limits: Mapping[str, int] | None = None) -> None:
        self.mode = mode
        arguments = [*(["--cgroups"] if mode.cgroups else []), *(["--user"] if not mode.is_root else [])]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.sandbox_driver",
                *arguments,
                "--limits",
                json.dumps(limits or {}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "SERVER_SECRET": SECRET},
        )
        STARTED.add(self.process.pid)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {0: queue.SimpleQueue()}
        self._last = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        hello = self._answers[0].get(timeout=60)
        self.report: dict[str, Any] = hello["report"]
        self.state = Path(hello["state"])
        self.launcher: int | None = hello["launcher"]
        self.delegated: list[str] = hello["delegated"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            self._answers[answer["number"]].put(answer)

    def order(self, **order: Any) -> int:
        """Give an order; its answer is fetched with :meth:`answer`."""
        self._last += 1
        self._answers[self._last] = queue.SimpleQueue()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"number": self._last, **order}).encode() + b"\n")
        self.process.stdin.flush()
        return self._last

    def answer(self, number: int, timeout: float = 90) -> dict[str, Any]:
        """Wait for an answer."""
        return self._answers[number].get(timeout=timeout)

    def begin(self, command: str, **fields: Any) -> int:
        """Start a command of a shell."""
        return self.order(op="run", argv=["/bin/bash", "-c", command], **fields)

    def outcome(self, number: int) -> Outcome:
        """Wait for what comes out of it."""
        answer = self.answer(number)
        assert "error" not in answer, answer
        for name in ("stdout", "stderr"):
            answer["outcome"][name] = base64.b64decode(answer["outcome"][name])
        return Outcome(**answer["outcome"])

    def run(self, command: str, **fields: Any) -> Outcome:
        """Run a command of a shell."""
        return self.outcome(self.begin(command, **fields))

    def python(self, code: str, **fields: Any) -> Outcome:
        """Run a program of the system's Python."""
        return self.outcome(self.order(op="run", argv=["python3", "-c", code], **fields))

    def folder(self, container: str, name: str = "data") -> Path:
        """A folder of a container, outside."""
        return self.state / container / name

    def kill_server(self) -> None:
        """End the server without a chance to clean up."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the server, and remove what it had."""
        if self.process.poll() is None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        shutil.rmtree(self.state, ignore_errors=True)
        for folder in self.delegated:
            cgroups.remove(Path(folder))


def new_marker() -> str:
    """Some thousand seconds to sleep, which no other test session on this machine sleeps as well."""
    return f"{3071 + next(_MARKERS)}.{os.getpid():07d}"


def processes(marker: str) -> list[int]:
    """Processes of this machine, inside sandboxes or not, that have a text among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def descendants(pid: int) -> list[int]:
    """All that a process started, and that started."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found[1:]


def _delegate() -> list[str]:
    """Give the user a control group, and go there."""
    folders = []
    hierarchies, _ = cgroups.find(os.getpid())
    for hierarchy in hierarchies:
        folder = hierarchy.folder.with_name(f"delegated-{os.getpid()}")
        folder.mkdir()
        for path in (folder, *folder.iterdir()):
            os.chown(path, USER, USER)
        (folder / "cgroup.procs").write_text("0")
        folders.append(str(folder))
    cgroups.close(hierarchies)
    return folders


def _let_pass() -> None:
    """Put what the user's interpreter needs in the user's reach, in a mount namespace of this process."""
    linux.unshare(linux.NEWNS)
    linux.mounts_stay_here()
    for path in {Path(sys.base_prefix), Path(sys.prefix), ROOT}:
        closed = next((p for p in reversed(path.parents) if p.stat().st_mode & 0o005 != 0o005), None)
        if closed is not None:
            fd = os.open(path, os.O_PATH)
            linux.mount_tmpfs(str(closed))
            path.mkdir(parents=True)
            linux.bind(fd, str(path))
            os.close(fd)


def _drop(arguments: list[str]) -> None:
    delegated = _delegate() if "--cgroups" in arguments else []
    _let_pass()
    state = tempfile.mkdtemp(prefix="sandbox-driver-")
    os.chown(state, USER, USER)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    added = ["--state", state, "--delegated", json.dumps(delegated)]
    os.execv(sys.executable, [sys.executable, "-m", "tests.support.sandbox_driver", *arguments, *added])


def _state(given: str | None) -> Path:
    state = Path(given or tempfile.mkdtemp(prefix="sandbox-driver-"))
    state.chmod(0o700)
    return state


def _peak() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10


async def _serve(options: argparse.Namespace) -> None:  # noqa: C901 - one order after the other
    sandbox = Sandbox(limits=Limits(**json.loads(options.limits)), cgroups=options.cgroups)
    await sandbox.start()
    state = _state(options.state)
    tasks: dict[int, asyncio.Task[None]] = {}

    def say(number: int, **answer: Any) -> None:
        sys.stdout.write(json.dumps({"number": number, **answer}) + "\n")
        sys.stdout.flush()

    def mounts(container: str, order: dict[str, Any]) -> Mounts:
        folders = [state / container / name for name in ("data", "tmp", "skills")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if sandbox.uid is not None and folder.name != "skills":
                os.chown(folder, sandbox.uid, sandbox.uid)
        (folders[2] / "SKILL.md").write_text("a skill")
        read_only = {inside: Path(outside) for inside, outside in order.get("read_only", {}).items()}
        return Mounts(folders[0], folders[1], folders[2] if order.get("skills") else None, read_only)

    def echo(listener: socket.socket) -> None:
        def accept() -> None:
            with listener:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        connection.sendall(b"hello from outside")

        listener.setblocking(True)
        threading.Thread(target=accept, daemon=True).start()

    async def run(order: dict[str, Any]) -> None:
        container = order.get("container", "one")
        command = Command(
            container_id=container,
            argv=tuple(order["argv"]),
            environment=order.get("environment", {}),
            mounts=mounts(container, order),
            memory_bytes=order.get("memory", MEMORY),
            timeout=order.get("timeout", 60),
            max_output_bytes=order.get("max_output"),
            listen=echo if order.get("listen") else None,
            stdin=base64.b64decode(order.get("stdin", "")),
        )
        try:
            outcome = await sandbox.run(command)
        except BaseException as error:  # noqa: BLE001 - the test is told
            say(order["number"], error=f"{type(error).__name__}: {error}")
            return
        fields = {**outcome.__dict__}
        for name in ("stdout", "stderr"):
            fields[name] = base64.b64encode(fields[name]).decode()
        say(order["number"], outcome=fields)

    reader = asyncio.StreamReader(limit=64 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    launcher = sandbox._process.pid if sandbox._process else None
    say(
        0,
        report=sandbox.report.as_dict(),
        state=str(state),
        launcher=launcher,
        delegated=json.loads(options.delegated),
    )
    while line := await reader.readline():
        order = json.loads(line)
        if order["op"] == "run":
            task = asyncio.create_task(run(order))
            tasks[order["number"]] = task
            # It is ordered before what comes next.
            await asyncio.sleep(0)
        elif order["op"] == "cancel":
            tasks[order["of"]].cancel()
            await asyncio.wait([tasks[order["of"]]])
            say(order["number"], left=processes(order["marker"]))
        elif order["op"] == "kill":
            sandbox.kill(order["container"], order.get("reason", "deleted"))
            say(order["number"], left=processes(order["marker"]))
        elif order["op"] == "memory":
            say(order["number"], peak=_peak())
        elif order["op"] == "stop":
            await sandbox.stop()
            say(order["number"], left=processes(order["marker"]))
    await sandbox.stop()


@contextlib.contextmanager
def driver(mode: Mode, **limits: int) -> Iterator[Driver]:
    """Have a server's sandbox for a while."""
    made = Driver(mode, limits)
    try:
        yield made
    finally:
        made.close()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", action="store_true")
    parser.add_argument("--cgroups", action="store_true")
    parser.add_argument("--limits", default="{}")
    parser.add_argument("--state")
    parser.add_argument("--delegated", default="[]")
    options = parser.parse_args()
    if options.user and os.geteuid() == 0:
        _drop(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(options))


if __name__ == "__main__":
    _main()
