"""Time to ready, memory and speed of the local server, beside a bare Starlette route under uvicorn.

The peer keeps nothing, checks nothing and answers the same text always, so the ratios are what all that
costs. Creates come from a process of its own, over plain sockets.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _common import (
    SEED,
    clean_environment,
    describe_machine,
    is_quick,
    p90,
    print_goal,
    print_ratio,
    print_table,
    show_progress,
)
from create_call import BODIES

STARTS = 15
ROUNDS = 5
CREATES_OF_ROUND = 1_600
LONE_CREATES_OF_ROUND = 400
CONNECTIONS = 8
MAX_READY_MILLISECONDS = 500
MAX_MEBIBYTES = 60

OURS, BARE = "local server", "bare Starlette"
BODY = json.dumps(BODIES["all settings and a secret"]).encode()
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready.

    :param ready: seconds from the start of the process to its line.
    """

    pid: int
    port: int
    ready: float


def main() -> None:
    """Measure, and print a table, the ratios and the goals."""
    quick = is_quick(__doc__)
    starts, rounds, lone, many = (
        (1, 1, 20, 80) if quick else (STARTS, ROUNDS, LONE_CREATES_OF_ROUND, CREATES_OF_ROUND)
    )
    with clean_environment() as home:
        describe_machine("starlette", "uvicorn", "httptools")
        results = {OURS: defaultdict(list), BARE: defaultdict(list)}
        _measure_starts(results, home, starts)
        _measure_creates(results, home, rounds, lone, many)
    _report(results, starts, rounds, lone, many)


def _measure_starts(results: dict[str, dict[str, list[float]]], home: Path, starts: int) -> None:
    order = random.Random(SEED)
    # One more than counts: the first start compiles and reads from the disk.
    for number in range(starts + 1):
        for name in order.sample(list(results), len(results)):
            with _running(name, home / f"start-{number}") as server:
                if number:
                    results[name]["ready"].append(server.ready)
        show_progress(number, starts)


def _measure_creates(
    results: dict[str, dict[str, list[float]]], home: Path, rounds: int, lone: int, many: int
) -> None:
    order = random.Random(SEED)
    with _running(OURS, home / "load") as ours, _running(BARE, home) as bare:
        servers = {OURS: ours, BARE: bare}
        for name, server in servers.items():
            results[name]["idle"] = [_resident_mebibytes(server.pid)]
        for number in range(rounds):
            for name in order.sample(list(servers), len(servers)):
                port = servers[name].port
                results[name]["seconds"] += _load(port, lone, 1)["seconds"]
                results[name]["rate"].append(many / _load(port, many, CONNECTIONS)["elapsed"])
            show_progress(number + 1, rounds)
        for name, server in servers.items():
            results[name]["loaded"] = [_resident_mebibytes(server.pid)]


@contextlib.contextmanager
def _running(name: str, state_dir: Path) -> Iterator[Server]:
    command = {
        OURS: ["-m", "airflow_containers.cli", "serve", "--port", "0", "--state-dir", str(state_dir)],
        BARE: [str(_HERE / "_bare_server.py")],
    }[name]
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            ready = time.perf_counter() - started
            if not line.startswith("listening on "):
                raise SystemExit(f"the {name} did not start: {line!r}")
            yield Server(process.pid, urlsplit(line.split()[-1]).port or 0, ready)
        finally:
            process.terminate()


def _load(port: int, requests: int, connections: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(_HERE / "_load.py"), str(port), str(requests), str(connections)],
        input=BODY,
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _resident_mebibytes(pid: int) -> float:
    """Memory of a process that is in RAM, shared pages included."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        kibibytes = status.read_text(encoding="ascii").partition("VmRSS:")[2].split()[0]
    else:
        done = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=True
        )
        kibibytes = done.stdout
    return int(kibibytes) / 1024


def _report(
    results: dict[str, dict[str, list[float]]], starts: int, rounds: int, lone: int, many: int
) -> None:
    creates = rounds * (lone + many)
    print(
        f"starts of each server: {starts}; creates on each: {creates:,}, in rounds: {rounds}, "
        f"one by one: {rounds * lone:,}, by {CONNECTIONS} clients at once: {rounds * many:,}"
    )
    milliseconds = {
        name: (statistics.median(values["ready"]) * 1000, statistics.median(values["seconds"]) * 1000)
        for name, values in results.items()
    }
    rates = {name: statistics.median(values["rate"]) for name, values in results.items()}
    lines = {
        "ready, median ms": {name: f"{milliseconds[name][0]:.0f}" for name in results},
        "ready, p90 ms": {name: f"{p90(values['ready']) * 1000:.0f}" for name, values in results.items()},
        "create one by one, p50 ms": {name: f"{milliseconds[name][1]:.2f}" for name in results},
        "create one by one, p90 ms": {
            name: f"{p90(values['seconds']) * 1000:.2f}" for name, values in results.items()
        },
        f"creates per second, {CONNECTIONS} clients": {name: f"{rates[name]:,.0f}" for name in results},
        "memory idle, MiB": {name: f"{values['idle'][0]:.1f}" for name, values in results.items()},
        f"memory after {creates:,} creates, MiB": {
            name: f"{values['loaded'][0]:.1f}" for name, values in results.items()
        },
    }
    print_table(("", OURS, BARE), [(title, cells[OURS], cells[BARE]) for title, cells in lines.items()])
    ready, create = (milliseconds[OURS][index] / milliseconds[BARE][index] for index in (0, 1))
    print_ratio(f"{OURS}, time to ready,", BARE, ready)
    print_ratio(f"{OURS}, create p50,", BARE, create)
    print_ratio(f"{OURS}, creates per second,", BARE, rates[OURS] / rates[BARE])
    loaded = results[OURS]["loaded"][0]
    print_ratio(f"{OURS}, memory after {creates:,} creates,", BARE, loaded / results[BARE]["loaded"][0])
    shown = f"{milliseconds[OURS][0]:.0f} ms"
    print_goal(
        f"ready under {MAX_READY_MILLISECONDS} ms",
        met=milliseconds[OURS][0] < MAX_READY_MILLISECONDS,
        shown=shown,
    )
    most = max(loaded, results[OURS]["idle"][0])
    print_goal(f"at most {MAX_MEBIBYTES} MiB", met=most <= MAX_MEBIBYTES, shown=f"{most:.1f} MiB")


if __name__ == "__main__":
    main()
