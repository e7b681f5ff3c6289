"""Nothing runs on: after a time-out, after `kill` and `stop`, and when the server or its launcher is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_containers.local.sandbox import cgroups
from airflow_containers.local.sandbox.commands import Command, Mounts
from airflow_containers.local.sandbox.runner import Sandbox
from tests.support.sandbox_driver import (
    STARTED,
    Driver,
    Mode,
    descendants,
    driver,
    new_marker,
    processes,
)

MARKER = new_marker()

DAEMON = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execvp("sleep", ["sleep", "{MARKER}"])
    os._exit(0)
os.wait()
"""
STAYS = {
    "plain": f"sleep {MARKER}",
    "background": f"sleep {MARKER} & sleep {MARKER}",
    "daemon": f"python3 -c '{DAEMON}'; sleep {MARKER}",
    "deaf": (
        f"trap '' TERM INT HUP QUIT; setsid nohup sleep {MARKER} & trap '' TERM;"
        f" while true; do sleep {MARKER}; done"
    ),
}


@pytest.fixture(autouse=True)
def nothing_before() -> Iterator[None]:
    """Nothing of an earlier test runs, and nothing of this one afterwards."""
    assert [] == processes(MARKER)
    yield
    assert [] == processes(MARKER)


def wait_for(count: int = 1) -> None:
    """Wait until commands run."""
    deadline = time.monotonic() + 20
    while len(processes(f"sleep\0{MARKER}")) < count:
        assert time.monotonic() < deadline, processes(MARKER)
        time.sleep(0.01)


def gone(deadline: float = 3.0) -> bool:
    """Whether nothing runs any more within some seconds."""
    end = time.monotonic() + deadline
    while processes(MARKER):
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def groups() -> list[Path]:
    """Control groups of servers of this session that are not there any more."""
    found = []
    for _, _, own in cgroups._own_groups(Path("/proc")):
        # Not rglob: other servers of this machine make and remove groups meanwhile.
        for folder, names, _ in os.walk(own):
            for name in names:
                match = cgroups._NAME.match(name)
                if match and int(match[1]) in STARTED and cgroups.start_time(int(match[1])) != match[2]:
                    found.append(Path(folder, name))
    return found


@pytest.mark.parametrize("kind", STAYS)
def test_timeout(server: Driver, kind: str) -> None:
    """When the time is up all is killed, and what was written before is kept."""
    start = time.monotonic()
    outcome = server.run(f"echo begun; {STAYS[kind]}", timeout=1.0)
    assert ("timeout", None, b"begun\n") == (outcome.ended, outcome.exit_code, outcome.stdout)
    assert 1.0 <= outcome.seconds
    assert time.monotonic() - start < 10
    assert [] == processes(MARKER)


@pytest.mark.parametrize("kind", STAYS)
def test_kill(server: Driver, kind: str) -> None:
    """When `kill` returns nothing of the container runs; another container is left alone."""
    running = [server.begin(STAYS[kind], container="killed") for _ in range(3)]
    other = server.begin("sleep 2; echo other", container="left")
    wait_for(3)
    assert [] == server.answer(server.order(op="kill", container="killed", marker=MARKER))["left"]
    outcomes = [server.outcome(number) for number in running]
    assert {(137, "killed", "deleted")} == {(o.exit_code, o.ended, o.reason) for o in outcomes}
    assert b"other\n" == server.outcome(other).stdout


def test_kill_before_the_start(server: Driver) -> None:
    """A command that was just ordered is killed as well."""
    running = [server.begin(f"sleep {MARKER}", container="early", timeout=20) for _ in range(20)]
    left = server.answer(server.order(op="kill", container="early", reason="expired", marker=MARKER))["left"]
    assert [] == left
    assert {("killed", "expired")} == {(o.ended, o.reason) for o in map(server.outcome, running)}


def test_kill_is_fast(server: Driver) -> None:
    """`kill` is synchronous, so it must be short; for a container that runs nothing it does nothing."""
    start = time.monotonic()
    server.answer(server.order(op="kill", container="nobody", marker=MARKER))
    assert time.monotonic() - start < 2
    assert b"on\n" == server.run("echo on", container="nobody").stdout


@pytest.mark.parametrize("kind", ["background", "daemon"])
def test_end_of_the_command(server: Driver, kind: str) -> None:
    """What a command left in the background ends with it, and its hold on stdout holds nothing up."""
    start = time.monotonic()
    commands = {
        "background": f"sleep {MARKER} & (sleep {MARKER}; echo late) & echo done",
        "daemon": f"python3 -c '{DAEMON}'; setsid sleep {MARKER} & disown; echo done",
    }
    outcome = server.run(commands[kind])
    assert (0, "exit", b"done\n") == (outcome.exit_code, outcome.ended, outcome.stdout)
    assert time.monotonic() - start < 10


def test_stop(mode: Mode) -> None:
    """When the server stops all is killed, its launcher and its control groups too."""
    with driver(mode) as server:
        running = [server.begin(command, container=kind) for kind, command in STAYS.items()]
        wait_for(4)
        assert server.launcher is not None
        started = descendants(server.launcher)
        assert [] == server.answer(server.order(op="stop", marker=MARKER))["left"]
        assert {("killed", "stopped")} == {(o.ended, o.reason) for o in map(server.outcome, running)}
        assert [] == [pid for pid in (*started, server.launcher) if Path(f"/proc/{pid}/exe").exists()]
    assert [] == groups()


def test_death_of_the_server(mode: Mode) -> None:
    """When the server is killed all ends within a moment, and no control group is left."""
    with driver(mode) as server:
        for kind, command in STAYS.items():
            server.begin(command, container=kind)
        wait_for(4)
        server.kill_server()
        assert gone()
        deadline = time.monotonic() + 5
        while Path(f"/proc/{server.launcher}/exe").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [] == groups()


def test_death_of_the_launcher(mode: Mode) -> None:
    """When the launcher is killed all ends with it, the outcome says so, and the next has a new one."""
    with driver(mode) as server:
        running = server.begin(f"echo begun; exec sleep {MARKER}")
        wait_for()
        assert server.launcher is not None
        os.kill(server.launcher, signal.SIGKILL)
        outcome = server.outcome(running)
        assert (137, "killed", "launcher", b"begun\n") == (
            outcome.exit_code,
            outcome.ended,
            outcome.reason,
            outcome.stdout,
        )
        assert gone()
        assert b"again\n" == server.run("echo again").stdout


def test_death_of_both(mode: Mode) -> None:
    """When nobody is left to clean up all ends the same, and the next server removes the control groups."""
    with driver(mode) as server:
        for kind, command in STAYS.items():
            server.begin(command, container=kind)
        wait_for(4)
        assert server.launcher is not None
        os.kill(server.process.pid, signal.SIGSTOP)
        os.kill(server.launcher, signal.SIGKILL)
        os.kill(server.process.pid, signal.SIGKILL)
        assert gone()
        if not mode.is_root and mode.cgroups:
            # They are in a group that goes with the test's user.
            return
        with driver(mode) as following:
            assert b"on\n" == following.run("echo on").stdout
            assert [] == groups()


def test_death_of_the_watcher(mode: Mode) -> None:
    """Without the watcher of the disk no command goes on, and the next has a new one."""
    with driver(mode, disk_bytes=8 << 20) as server:
        running = server.begin(f"sleep {MARKER}")
        wait_for()
        assert server.launcher is not None
        watcher = next(pid for pid in descendants(server.launcher) if _is_outside(pid))
        os.kill(watcher, signal.SIGKILL)
        assert "disk" == server.outcome(running).reason
        assert b"on\n" == server.run("echo on").stdout
        assert "disk" == server.run("for n in 1 2 3; do head -c 5M /dev/zero > $n; done; sleep 5").reason


def _is_outside(pid: int) -> bool:
    """Whether a process is in no pid namespace of its own, as spares and sandboxes are."""
    with contextlib.suppress(OSError):
        return (
            len(Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()) == 1
        )
    return False


def test_cancel(server: Driver) -> None:
    """When the task that waits for a command is cancelled nothing of it runs any more at its end."""
    running = server.begin(STAYS["daemon"])
    wait_for()
    left = server.answer(server.order(op="cancel", of=running, marker=MARKER))["left"]
    assert [] == left
    assert "error" in server.answer(running)


async def test_launcher_that_is_killed_while_a_command_begins(tmp_path: Path) -> None:
    """A command that has its user already, and is not bubblewrap yet, goes with the launcher."""
    sandbox = Sandbox()
    await sandbox.start()
    assert sandbox.report.problem is None
    mounts = Mounts(tmp_path / "data", tmp_path / "tmp")
    for folder in (mounts.data, mounts.tmp):
        folder.mkdir()
        if sandbox.uid is not None:
            os.chown(folder, sandbox.uid, sandbox.uid)
    try:
        for _ in range(8):
            await sandbox.run(Command("c", ("true",), {}, mounts, 1 << 30, 20))
            assert sandbox._process is not None
            killer = threading.Thread(target=kill_when_ready, args=(sandbox._process.pid, sandbox.uid))
            killer.start()
            outcome = await sandbox.run(Command("c", ("sleep", MARKER), {}, mounts, 1 << 30, 20))
            killer.join()
            assert "killed" == outcome.ended
            await asyncio.sleep(0.1)
            assert [] == processes(MARKER)
    finally:
        await sandbox.stop()
        for pid in processes(MARKER):
            os.kill(pid, signal.SIGKILL)


def kill_when_ready(launcher: int, uid: int | None) -> None:
    """Kill a launcher as soon as one of its children has become the user of commands."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text()
                if f"\nUid:\t{uid}\t" in status or status.startswith("Name:\tbwrap\n"):
                    os.kill(launcher, signal.SIGKILL)
                    return
