"""What the benchmarks of transfers share: the server, the turns of the sides, and the table."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from _common import SEED, print_table, show_progress

from airflow_containers.testing import CONNECTION_ID

HOOK, HTTPX, OPENAI = "hook", "httpx", "openai"
SIDES = (HOOK, HTTPX, OPENAI)
Results = dict[str, list[dict[str, float]]]

_HERE = Path(__file__).resolve().parent
_IN_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Run the server that throws bodies away; the connection of the hook leads to it.

    :returns: its base URL.
    """
    command = [sys.executable, str(_HERE / "_sink.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().removeprefix("listening on ").strip()
        os.environ[f"AIRFLOW_CONN_{CONNECTION_ID.upper()}"] = json.dumps(
            {"conn_type": "openai_containers", "host": base_url, "password": "sk-local"}
        )
        try:
            yield base_url
        finally:
            process.terminate()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for the files, in memory where there is one: a disk would be what is measured."""
    parent = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="airflow-containers-bench-", dir=parent) as name:
        yield Path(name)


def make_file(path: Path, size: int) -> Path:
    """Write a file that cannot be compressed: a mebibyte of noise, again and again."""
    noise = random.Random(SEED).randbytes(1 << 20)
    with path.open("wb") as file:
        for start in range(0, size, len(noise)):
            file.write(noise[: min(len(noise), size - start)])
    return path


def in_turns(operation: str, base_url: str, file: Path, number: int, rounds: int) -> Results:
    """Run each side in new processes, in a shuffled order."""
    results: Results = {side: [] for side in SIDES}
    order = random.Random(SEED)
    for done in range(rounds):
        for side in order.sample(SIDES, len(SIDES)):
            results[side].append(_once(side, operation, base_url, file, number))
        show_progress(done + 1, rounds)
    return results


def median(results: Results, side: str, value: str) -> float:
    """Return the median of a value of one side's runs."""
    return statistics.median(result[value] for result in results[side])


def print_sides(results: Results, rate: str, amount: float) -> None:
    """Print a table of the sides.

    :param rate: what the amount is, for the column of what is moved in a second.
    :param amount: how much of it each run has moved.
    """
    rows: list[Sequence[str]] = []
    for side in SIDES:
        seconds = median(results, side, "seconds")
        rows.append(
            (
                side,
                f"{seconds:.2f}",
                f"{amount / seconds:,.0f}",
                f"{median(results, HTTPX, 'seconds') / seconds:.2f}",
                f"{median(results, side, 'mebibytes'):.1f}",
            )
        )
    print_table(("", "median s", f"{rate} per s", "speed of bare httpx", "added MiB"), rows)


def speed(results: Results, ours: str, peer: str) -> float:
    """Return how many times as fast as its peer one side is."""
    return median(results, peer, "seconds") / max(median(results, ours, "seconds"), 1e-9)


def _once(side: str, operation: str, base_url: str, file: Path, number: int) -> dict[str, float]:
    command = [str(_HERE / "_transfer_once.py"), side, operation, base_url, str(file), str(number)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result
