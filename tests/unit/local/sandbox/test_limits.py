from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.sandbox_driver import Driver, new_marker, processes

MIB = 1 << 20
FILL = "kept = []\nwhile True: kept.append(bytearray(b'x') * (8 << 20))"


def used(server: Driver, container: str) -> int:
    """What a container has on disk."""
    return sum(
        Path(folder, name).stat().st_blocks * 512
        for folder, _, names in os.walk(server.state / container)
        for name in names
    )


def test_memory(server: Driver) -> None:
    """A command that fills memory is killed, or its allocation fails where no control group bounds it."""
    outcome = server.python(FILL, memory=128 * MIB, container="memory")
    if server.mode.cgroups:
        assert (137, "killed", "memory") == (outcome.exit_code, outcome.ended, outcome.reason)
    else:
        assert b"MemoryError" in outcome.stderr or "memory" == outcome.reason
        assert outcome.exit_code in (1, 137)


def test_memory_of_a_part(server: Driver) -> None:
    """A shell whose program took too much goes on, and its outcome says so."""
    outcome = server.run(f'python3 -c "{FILL}"; echo $?', memory=128 * MIB, container="part")
    assert (0, "exit") == (outcome.exit_code, outcome.ended)
    assert (b"137\n", "memory") if server.mode.cgroups else (b"1\n", None) == (outcome.stdout, outcome.reason)


def test_memory_of_many(server: Driver) -> None:
    """Many processes that each take a little are bounded together by a control group."""
    code = """
import os, time
for _ in range(8):
    if not os.fork():
        kept = bytearray(b"x") * (48 << 20)
        time.sleep(1.5)
        os._exit(0)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(8)))
"""
    outcome = server.python(code, memory=128 * MIB, container="many")
    assert b"-9" in outcome.stdout or (137, "memory") == (outcome.exit_code, outcome.reason)


SHARED = {
    "map": """
import mmap, time
kept = []
for _ in range(200):
    kept.append(mmap.mmap(-1, 8 << 20)); kept[-1].write(b"x" * (8 << 20)); time.sleep(0.01)
""",
    "files": """
import os, time
for _ in range(200):
    os.write(os.memfd_create("x"), b"x" * (8 << 20)); time.sleep(0.01)
""",
    "segments": """
import ctypes, time
c = ctypes.CDLL(None)
c.shmat.restype = ctypes.c_void_p
for _ in range(200):
    number = c.shmget(0, 8 << 20, 0o1600)
    if number < 0: raise SystemExit(9)
    ctypes.memset(ctypes.c_void_p(c.shmat(number, None, 0)), 1, 8 << 20); time.sleep(0.01)
""",
}


@pytest.mark.parametrize("kind", SHARED)
def test_memory_that_is_shared(server: Driver, kind: str) -> None:
    """Memory that no limit of a process counts is bounded all the same, in each mode."""
    outcome = server.python(SHARED[kind], memory=128 * MIB, container=f"shared-{kind}", timeout=20)
    if kind == "segments" and not server.mode.cgroups:
        assert (9, "exit") == (outcome.exit_code, outcome.ended)
    else:
        assert (137, "killed", "memory") == (outcome.exit_code, outcome.ended, outcome.reason), outcome.stderr


def test_memory_of_two_commands(server: Driver) -> None:
    """Two commands of one container share its memory; those of another do not."""
    code = "import time\nkept = bytearray(b'x') * (80 << 20)\ntime.sleep(1.5)"
    containers = ("both", "both", "alone")
    numbers = [
        server.order(op="run", argv=["python3", "-c", code], memory=128 * MIB, container=name)
        for name in containers
    ]
    codes = [server.outcome(number).exit_code for number in numbers]
    assert 0 == codes[2]
    # Without control groups nobody can tell which of the two is to blame.
    assert ([0, 137] if server.mode.cgroups else [137, 137]) == sorted(codes[:2], key=str)


def test_memory_in_files(server: Driver) -> None:
    """The folder in memory is bounded, and there is no other."""
    outcome = server.run(
        "cd /dev/shm; head -c 40M /dev/zero > a; head -c 40M /dev/zero > b; du "
        "-m . | cut -f1; touch /dev/x /run/x /x"
    )
    assert b"No space left" in outcome.stderr
    assert b"64\n" == outcome.stdout


def test_one_large_file(server: Driver) -> None:
    """A file cannot grow past what a container may have."""
    outcome = server.run(
        "dd if=/dev/zero of=/mnt/data/large bs=1M count=200; truncate -s 1T /mnt/data/sparse; true",
        container="file",
    )
    assert (
        b"File size limit" in outcome.stderr
        or b"File too large" in outcome.stderr
        or outcome.reason == "disk"
    )
    assert used(server, "file") <= 65 * MIB
    assert (server.folder("file") / "large").stat().st_size <= 64 * MIB


@pytest.mark.parametrize("place", ["/mnt/data", "/tmp"])
def test_many_large_files(server: Driver, place: str) -> None:
    """A command is killed soon after its container has more on disk than it may."""
    container = "files" + place.replace("/", "-")
    outcome = server.run(
        f"for n in $(seq 1000); do dd if=/dev/zero of={place}/$n bs=1M count=4 status=none; sleep 0.02; done",
        container=container,
    )
    assert (137, "killed", "disk") == (outcome.exit_code, outcome.ended, outcome.reason)
    assert used(server, container) < 400 * MIB


def test_many_small_files(server: Driver) -> None:
    """Empty files and folders count: there are only so many."""
    code = (
        "import os\nfor n in range(10**7):\n  os.mkdir(f'/mnt/data/{n}'); open(f'/mnt/data/{n}/x', "
        "'w').close()"
    )
    outcome = server.python(code, container="small")
    assert (137, "killed", "disk") == (outcome.exit_code, outcome.ended, outcome.reason)


def test_nameless_files(server: Driver) -> None:
    """What is open and has no name any more counts as well."""
    code = """
import mmap, os, tempfile, time
kept = []
for n in range(1000):
    file = tempfile.TemporaryFile(dir="/mnt/data"); kept.append(file)
    file.write(b"x" * (4 << 20)); file.flush()
    time.sleep(0.02)
"""
    outcome = server.python(code, container="nameless")
    assert (137, "killed", "disk") == (outcome.exit_code, outcome.ended, outcome.reason)


def test_deep_folders(server: Driver) -> None:
    """A tree that is deeper than a path may be long hides nothing."""
    code = """
import os, time
os.chdir("/mnt/data")
for n in range(400): os.mkdir("x" * 200); os.chdir("x" * 200)
for n in range(1000):
    with open(str(n), "wb") as file: file.write(b"x" * (4 << 20))
    time.sleep(0.02)
"""
    outcome = server.python(code, container="deep")
    assert (137, "killed", "disk") == (outcome.exit_code, outcome.ended, outcome.reason)


@pytest.mark.parametrize("bits", ["0300", "0000"])
def test_closed_folders(server: Driver, bits: str) -> None:
    """A folder that may not be listed, or not be entered, hides nothing."""
    code = f"""
import os, time
os.mkdir("/mnt/data/closed"); fd = os.open("/mnt/data/closed", os.O_RDONLY | os.O_DIRECTORY)
for n in range(1000):
    os.chmod("/mnt/data/closed", 0o700)
    file = os.open(str(n), os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.chmod("/mnt/data/closed", 0o{bits})
    os.write(file, b"x" * (4 << 20)); os.close(file); time.sleep(0.02)
"""
    outcome = server.python(code, container=f"closed-{bits}")
    (server.folder(f"closed-{bits}") / "closed").chmod(0o700)
    assert (137, "killed", "disk") == (outcome.exit_code, outcome.ended, outcome.reason)


def test_disk_of_others(server: Driver) -> None:
    """A container that was stopped for its disk can be tidied up, and stops nobody else."""
    outcome = server.run(
        "head -c 40M /dev/zero > /mnt/data/a; head -c 40M /dev/zero > /mnt/data/b; sleep 5", container="full"
    )
    assert "disk" == outcome.reason
    assert 0 == server.run("sleep 0.6", container="other").exit_code
    assert 0 == server.run("rm /mnt/data/a", container="full").exit_code
    assert 0 == server.run("sleep 0.6", container="full").exit_code


def test_fork_bomb(server: Driver) -> None:
    """A fork bomb ends with its command; the machine and other containers live."""
    start, marker = time.monotonic(), new_marker()
    bomb = server.begin(f"bomb() {{ bomb | bomb & }}; bomb; sleep {marker}", container="bomb", timeout=3)
    time.sleep(0.5)
    assert b"alive\n" == server.run("echo alive", container="beside").stdout
    outcome = server.outcome(bomb)
    assert ("timeout", None) == (outcome.ended, outcome.exit_code)
    assert time.monotonic() - start < 15
    assert [] == processes(marker)


def test_number_of_processes(server: Driver) -> None:
    """No more processes can be started than the limit says."""
    code = """
import os, time
made = 0
try:
    while made < 1000:
        if not os.fork(): time.sleep(20); os._exit(0)
        made += 1
except BlockingIOError: pass
print(made)
"""
    made = int(server.python(code, container="number").stdout)
    assert 50 <= made <= 72


def test_threads_count(server: Driver) -> None:
    """Threads are bounded like processes."""
    code = (
        "import threading, time\ntry:\n  for n in range(1000): threading.Thread(target=time.sleep, "
        "args=(5,), daemon=True).start()\nexcept RuntimeError: print(n)"
    )
    assert 50 <= int(server.python(code, container="threads", memory=2 << 30).stdout) <= 72


def test_open_files(server: Driver) -> None:
    """A process has at most 1024 files open, and cannot ask for more."""
    code = (
        "import os, resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "try:\n  while True: os.dup(0)\nexcept OSError as error: print(error.strerror)"
    )
    assert b"(1024, 1024)\nToo many open files\n" == server.python(code).stdout


def test_no_core_dumps(server: Driver) -> None:
    """A crash writes no image of the memory; this limit lets no handler outside have it either."""
    code = "import os, resource as r\nprint(r.getrlimit(r.RLIMIT_CORE), flush=True)\nos.kill(os.getpid(), 11)"
    outcome = server.run(f"python3 -c '{code}'; echo $?; ls", container="crash")
    assert b"(1, 1)\n139\n" == outcome.stdout
    code = "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); print(r.getrlimit(r.RLIMIT_CORE))"
    assert b"(1, 1)\n" == server.python(code).stdout


@pytest.mark.parametrize("stream", [1, 2])
def test_output(server: Driver, stream: int) -> None:
    """Output is read to its end, kept to the limit, and costs the server no more memory than that."""
    before = server.answer(server.order(op="memory"))["peak"]
    outcome = server.run(f"head -c 300M /dev/zero | tr '\\0' x >&{stream}; echo end >&{3 - stream}")
    kept, other = (outcome.stdout, outcome.stderr) if stream == 1 else (outcome.stderr, outcome.stdout)
    assert (MIB, b"end\n") == (len(kept), other)
    assert (stream == 1, stream == 2) == (outcome.stdout_truncated, outcome.stderr_truncated)
    assert server.answer(server.order(op="memory"))["peak"] - before < 16 * MIB


def test_less_output(server: Driver) -> None:
    """A command may ask that less is kept; exactly as much is not cut."""
    outcome = server.run("printf 12345; printf 123456 >&2", max_output=5)
    assert (b"12345", False, b"12345", True) == (
        outcome.stdout,
        outcome.stdout_truncated,
        outcome.stderr,
        outcome.stderr_truncated,
    )


def test_endless_output(server: Driver) -> None:
    """A command that never stops writing ends with its time."""
    outcome = server.run("yes", timeout=1, container="yes")
    assert ("timeout", MIB, True) == (outcome.ended, len(outcome.stdout), outcome.stdout_truncated)
