from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sandbox_driver import Driver, descendants


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the machine, with the uid that commands have outside where that can be."""
    process = subprocess.Popen(["sleep", "60.815"], env={"VICTIM": "secret-of-the-victim"})
    yield process
    process.kill()
    process.wait()


def test_host_processes_are_not_seen(server: Driver, victim: subprocess.Popen[bytes]) -> None:
    """Only the command's own processes are in /proc."""
    outcome = server.run("cd /proc; ls -d [0-9]*; cat [0-9]*/cmdline [0-9]*/environ | tr '\\0' '\\n'; ps aux")
    numbers = [int(word) for word in outcome.stdout.split() if word.isdigit()]
    assert b"60.815" not in outcome.stdout
    assert b"secret-of-the-victim" not in outcome.stdout
    assert 0 < len([n for n in numbers if n < 100])
    assert b"python" not in outcome.stdout


def test_paths_of_the_machine_are_not_told(server: Driver) -> None:
    """The arguments of the sandbox's first process name no folder of the machine."""
    outcome = server.run("cat /proc/1/cmdline /proc/1/environ | tr '\\0' ' '")
    assert str(server.state).encode() not in outcome.stdout
    assert b"SERVER_SECRET" not in outcome.stdout


def test_signals(server: Driver, victim: subprocess.Popen[bytes]) -> None:
    """A signal to a number of the machine reaches nobody; to everybody, only the command's own."""
    numbers = [victim.pid, server.process.pid, server.launcher, os.getpid()]
    code = f"""
import os, signal
for number in {numbers} + list(range(2, 40000)):
    try:
        if number != os.getpid(): os.kill(number, signal.SIGKILL)
    except OSError: pass
print("sent")
"""
    assert b"sent\n" == server.python(code).stdout
    server.run("kill -9 -1; kill -9 1; kill -STOP 1")
    assert victim.poll() is None
    assert server.process.poll() is None
    assert b"alive\n" == server.run("echo alive").stdout


def test_abstract_sockets(server: Driver) -> None:
    """An abstract Unix socket of the machine cannot be reached."""
    name = f"\0host-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        outcome = server.python(
            f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({name!r})\nprint('REACHED')"
        )
        assert b"ConnectionRefusedError" in outcome.stderr
        assert b"" == outcome.stdout
        assert name[1:].encode() not in server.run("cat /proc/net/unix").stdout


def test_shared_memory_of_the_machine(server: Driver) -> None:
    """System V and POSIX shared memory of the machine are not there."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x5EC2E7
    made = libc.shmget(key, 4096, 0o1666)
    assert made >= 0
    path = f"/dev/shm/host-{uuid.uuid4().hex}"
    try:
        Path(path).write_text("shared")
        Path(path).chmod(0o666)
        code = (
            f"import ctypes, os\nprint(ctypes.CDLL(None).shmget({key}, 4096, 0))\n"
            f"print(os.path.exists({path!r}))"
        )
        assert b"-1\nFalse\n" == server.python(code).stdout
    finally:
        libc.shmctl(made, 0, None)
        Path(path).unlink()


def test_queues_of_the_machine(server: Driver) -> None:
    """System V message queues and semaphores of the machine are not listed."""
    assert b"" == server.run("tail -n +2 -q /proc/sysvipc/msg /proc/sysvipc/sem /proc/sysvipc/shm").stdout


def test_name_of_the_machine(server: Driver) -> None:
    """The machine's name is not told, and a new one cannot be given."""
    before = socket.gethostname()
    outcome = server.run("uname -n; hostname evil; uname -n")
    assert b"container\ncontainer\n" == outcome.stdout
    assert before == socket.gethostname()


def test_namespaces_are_all_new(server: Driver) -> None:
    """Every namespace is another than the machine's."""
    kinds = ("user", "pid", "net", "ipc", "uts", "mnt", "cgroup")
    outcome = server.run("; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds))
    host = {str(Path("/proc/self/ns", kind).readlink()) for kind in kinds}
    inside = set(outcome.stdout.decode().split())
    assert len(kinds) == len(inside)
    assert set() == inside & host


def test_nice_to_the_machine(server: Driver) -> None:
    """Commands stand back behind the server, and are the first to go when the machine has no memory left."""
    outcome = server.run(
        "nice; cat /proc/self/oom_score_adj; nice -n -10 nice; echo -1000 > /proc/self/oom_score_adj;"
        " cat /proc/self/oom_score_adj"
    )
    own = min(os.nice(0) + 5, 19)
    assert f"{own}\n500\n{own}\n500\n".encode() == outcome.stdout


def test_idle_server_has_no_process_of_a_container(server: Driver) -> None:
    """When nothing runs, nothing but the launcher, its spares and its watcher is there."""
    server.run("true", container="idle")
    assert server.launcher is not None
    arguments = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(server.launcher)}
    assert [] == [line for line in arguments if b"bwrap" in line.split(b"\0")[0]]
    assert len(descendants(server.launcher)) <= 3
    assert sys.executable.encode() in arguments.pop()
