"""A command in a sandbox beside bubblewrap alone with the same arguments, and what containers cost.

That is: how long one takes to make, a hundred at once that each run a command, and the memory of idle ones,
all over HTTP. Bubblewrap alone has no launcher, no control groups, no limits, no watch of the disk and no way
out; it is started by `subprocess`. Both run `true`, and their outputs are read to the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from _common import (
    SEED,
    clean_environment,
    describe_machine,
    is_quick,
    p90,
    print_goal,
    print_ratio,
    print_table,
)

from airflow_containers.local.sandbox import channel
from airflow_containers.local.sandbox.bubblewrap import (
    FILTER_FD,
    FIRST_FILE_FD,
    OPTIONS_FD,
    STATUS_FD,
    Sources,
)
from airflow_containers.local.sandbox.commands import Command, Mounts
from airflow_containers.local.sandbox.host import Preparation, prepare
from airflow_containers.local.sandbox.runner import Sandbox
from airflow_containers.testing import LocalServer

COMMANDS = 50
PAUSE = 0.03
"""Seconds between two commands, as nobody sends them back to back; both contestants get it."""

CONTAINERS = 100
IDLE = 1000
MEMORY = 1 << 30
MAX_OVERHEAD_MILLISECONDS = 10
MAX_CREATION_MILLISECONDS = 10
MAX_IDLE_KIBIBYTES = 10

OURS, BARE = "Sandbox.run", "bubblewrap alone"
ARGV = ("/bin/sh", "-c", "true")


def reserve_descriptors(count: int) -> None:
    """Take the numbers that bubblewrap's descriptors have, before anything else does."""
    while (fd := os.open(os.devnull, os.O_RDONLY)) < OPTIONS_FD + count:
        pass
    os.close(fd)


def run_bare(preparation: Preparation, mounts: Mounts) -> float:
    """Run a command under bubblewrap alone; returns the seconds it took."""
    start = time.perf_counter()
    assert preparation.bubblewrap is not None
    recipe = preparation.recipe(0)
    sources = Sources(str(mounts.data), str(mounts.tmp), None, {})
    texts = {
        OPTIONS_FD: "".join(f"{o}\0" for o in recipe.options(sources, {}, shares_network=False)).encode()
    }
    texts |= {FIRST_FILE_FD + n: text.encode() for n, text in enumerate(recipe.files)}
    if preparation.filter is not None:
        texts[FILTER_FD] = preparation.filter
    for number, text in texts.items():
        fd = channel.in_memory(text)
        os.dup2(fd, number)
        os.close(fd)
    arguments = [preparation.bubblewrap.path, "--args", str(OPTIONS_FD), "--", *ARGV]
    done = subprocess.run(
        arguments,
        pass_fds=[*texts, STATUS_FD],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={},
    )
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start


async def measure_overhead(sandbox: Sandbox, mounts: Mounts, *, quick: bool) -> None:
    """One command at a time, ours and the peer's in turn."""
    preparation = prepare(enabled=True)
    reserve_descriptors(16)
    os.dup2(os.open(os.devnull, os.O_WRONLY), STATUS_FD)
    seconds: dict[str, list[float]] = defaultdict(list)
    order = [OURS, BARE] * (3 if quick else COMMANDS)
    random.Random(SEED).shuffle(order)
    for name in (OURS, BARE, *order):
        await asyncio.sleep(PAUSE)
        if name == OURS:
            start = time.perf_counter()
            outcome = await sandbox.run(Command("one", ARGV, {}, mounts, MEMORY, 60))
            seconds[name].append(time.perf_counter() - start)
            assert outcome.exit_code == 0, outcome
        else:
            seconds[name].append(run_bare(preparation, mounts))
    rows = []
    for name, values in seconds.items():
        milliseconds = [value * 1e3 for value in values[1:]]
        rows.append([name, f"{statistics.median(milliseconds):.1f}", f"{p90(milliseconds):.1f}"])
    print_table(["one command", "median ms", "p90 ms"], rows)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    print_ratio(OURS, BARE, medians[OURS] / medians[BARE])
    overhead = (medians[OURS] - medians[BARE]) * 1e3
    shown = f"{overhead:.1f} ms"
    print_goal(
        f"under {MAX_OVERHEAD_MILLISECONDS} ms over {BARE}",
        met=overhead < MAX_OVERHEAD_MILLISECONDS,
        shown=shown,
    )


def memory(server: LocalServer) -> int:
    """KiB that the server and all its children have in memory."""
    parents: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text(encoding="utf-8")
        except OSError:
            continue
        parents[int(status.partition("PPid:")[2].split()[0])].append(int(folder.name))
    assert server.pid is not None
    found, ours = [server.pid], []
    while found:
        ours.append(found.pop())
        found += parents[ours[-1]]
    total = 0
    for pid in ours:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += int(rollup.partition("\nPss:")[2].split()[0])
    return total


def measure_containers(*, quick: bool) -> None:
    """How long a container takes to be made, many that each run a command, and idle ones."""
    many, idle = (5, 10) if quick else (CONTAINERS, IDLE)
    with LocalServer() as server:
        headers = {"authorization": f"Bearer {server.api_key}"}
        with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False) as client:

            def create() -> str:
                container_id: str = client.post("/containers", json={"name": "n"}).json()["id"]
                return container_id

            server.run(create(), "true")
            seconds = []
            for _ in range(many):
                start = time.perf_counter()
                create()
                seconds.append(time.perf_counter() - start)
            median = statistics.median(seconds) * 1e3
            print(f"a container is made in {median:.2f} ms (median), {p90(seconds) * 1e3:.2f} ms (p90)")
            goal = f"a container is made in under {MAX_CREATION_MILLISECONDS} ms"
            print_goal(goal, met=median < MAX_CREATION_MILLISECONDS, shown=f"{median:.2f} ms")

            containers = [create() for _ in range(many)]
            start = time.perf_counter()
            with ThreadPoolExecutor(many) as pool:
                results = list(pool.map(lambda one: server.run(one, f"echo {one}"), containers))
            took = time.perf_counter() - start
            good = sum(result.stdout.strip() == one for result, one in zip(results, containers, strict=True))
            print(f"{many} containers at once, a command each: {took:.2f} s, {good} of {many} succeeded")
            print_goal("all at once", met=good == many, shown=f"{took / many * 1e3:.1f} ms each")

            before = memory(server)
            for _ in range(idle):
                create()
            each = (memory(server) - before) / idle
            print_goal(
                f"an idle container has under {MAX_IDLE_KIBIBYTES} KiB of memory",
                met=each < MAX_IDLE_KIBIBYTES,
                shown=f"{max(each, 0):.1f} KiB",
            )


async def main() -> None:
    """Measure and print."""
    quick = is_quick(__doc__)
    describe_machine("airflow-containers")
    sandbox = Sandbox()
    await sandbox.start()
    assert sandbox.report.problem is None, sandbox.report.problem
    print(sandbox.report.summary())
    with tempfile.TemporaryDirectory(prefix="airflow-containers-bench-") as name:
        mounts = Mounts(Path(name, "data"), Path(name, "tmp"))
        for folder in (mounts.data, mounts.tmp):
            folder.mkdir()
            if sandbox.uid is not None:
                os.chown(folder, sandbox.uid, sandbox.uid)
        await measure_overhead(sandbox, mounts, quick=quick)
    await sandbox.stop()


if __name__ == "__main__":
    asyncio.run(main())
    with clean_environment():
        measure_containers(quick=is_quick(__doc__))
