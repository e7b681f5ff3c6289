"""Sweeping a list of 100,000 containers: time, peak memory, pages, and what is deleted.

The peer is the plain loop over ``containers.list`` of the ``openai`` package that collects everything, and
decides nothing. Each walk has a process of its own; the peak is what it takes on top of what is resident
after the imports and one request (Linux only). The states of the runs come from Airflow's metadata database
(SQLite). The connection's request limit is set so high that no pause is made.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _common import (
    SEED,
    clean_environment,
    describe_machine,
    is_quick,
    print_goal,
    print_ratio,
    print_table,
    show_progress,
)
from _sweep_once import DEPLOYMENT

from airflow_containers.identity import Owner
from airflow_containers.testing import CONNECTION_ID, LocalServer

CONTAINERS = 100_000
ROUNDS = 3
OF_ONE_RUN = 10
MAX_MEBIBYTES = 8
MAX_GROWTH = 1
HOUR = 3600
KINDS: Sequence[str] = ("expired", "expired", "somebody's", "live", "over")
"""What each five of the containers are; expired ones are of runs that are over."""

SWEEP, OPENAI = "sweep, dry run", "openai, collecting all"
_HERE = Path(__file__).resolve().parent


def main() -> None:
    """Measure, and print a table, the ratios and the goals."""
    count, rounds = (1_000, 1) if is_quick(__doc__) else (CONTAINERS, ROUNDS)
    with clean_environment() as home:
        describe_machine("apache-airflow", "httpx", "openai", "pydantic")
        _make_runs(count)
        results: dict[str, list[dict[str, Any]]] = defaultdict(list)
        with _server(home / "server", count) as server:
            before = _state(server)
            order = random.Random(SEED)
            for done in range(rounds):
                show_progress(done, rounds + 1)
                for name in order.sample([SWEEP, OPENAI], 2):
                    results[name].append(_walk("dry" if name == SWEEP else "openai", server, count))
            after_dry_runs = _state(server)
            results["delete"].append(_walk("delete", server, count))
            after = _state(server)
            show_progress(1, 1)
    _report(results, count, before, after_dry_runs, after)


@contextlib.contextmanager
def _server(state_dir: Path, count: int) -> Iterator[LocalServer]:
    """A server with that many containers, put straight into its state: creating them takes a minute."""
    from airflow_containers.local.store import Store

    now = time.time()
    store = Store(state_dir)
    insert = (
        "INSERT INTO containers"
        " (id, name, created, last_active, minutes, memory_limit, network_policy, requested)"
        " VALUES (?, ?, ?, ?, 20, '1g', '{\"type\": \"disabled\"}', '{}')"
    )
    with store.transaction():
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            name = "a notebook's container" if kind == "somebody's" else _name(kind, number)
            used = now - HOUR if kind == "expired" else now
            store.execute(insert, (f"cntr_{number:048x}", name, now - HOUR + number / count, used))
    store.close()
    with LocalServer(state_dir) as server:
        os.environ[f"AIRFLOW_CONN_{CONNECTION_ID.upper()}"] = json.dumps(
            {
                "conn_type": "openai_containers",
                "host": server.base_url,
                "password": server.api_key,
                "extra": {"requests_per_minute": 1_000_000},
            }
        )
        yield server


def _name(kind: str, number: int) -> str:
    state = "live" if kind == "live" else "over"
    run_id = f"{state}__{number // (OF_ONE_RUN * len(KINDS)):08d}T00:00:00+00:00"
    owner = Owner(DEPLOYMENT, "reports", run_id, "make", number)
    return owner.name("nightly report", max_length=256)


def _make_runs(count: int) -> None:
    """Put the runs of the names into a new metadata database."""
    from airflow.utils.db import initdb

    logging.disable(logging.INFO)
    initdb()

    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        for number in range(-(-count // (OF_ONE_RUN * len(KINDS)))):
            for state, of_airflow in (("live", "running"), ("over", "success")):
                run_id = f"{state}__{number:08d}T00:00:00+00:00"
                session.add(DagRun(dag_id="reports", run_id=run_id, run_type="manual", state=of_airflow))


def _walk(kind: str, server: LocalServer, count: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(_HERE / "_sweep_once.py"), kind, server.base_url, str(count // 200)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _state(server: LocalServer) -> dict[str, tuple[int, float]]:
    """How many containers of each kind are not deleted, and when all of them together were last active."""
    db = sqlite3.connect(f"file:{server.state_dir}/state.db?mode=ro", uri=True)
    try:
        rows = db.execute(
            "SELECT name, last_active, last_active < created + 1 FROM containers WHERE deleted IS NULL"
        )
        found: dict[str, tuple[int, float]] = dict.fromkeys(KINDS, (0, 0.0))
        for name, last_active, expired in rows:
            kind = _kind(name, expired=bool(expired))
            known, total = found[kind]
            found[kind] = (known + 1, total + last_active)
        return found
    finally:
        db.close()


def _kind(name: str, *, expired: bool) -> str:
    if expired:
        return "expired"
    if " [reports live__" in name:
        return "live"
    return "over" if " [reports over__" in name else "somebody's"


def _report(
    results: dict[str, list[dict[str, Any]]],
    count: int,
    before: dict[str, tuple[int, float]],
    after_dry_runs: dict[str, tuple[int, float]],
    after: dict[str, tuple[int, float]],
) -> None:
    def median(name: str, value: str) -> float:
        return statistics.median(result[value] for result in results[name])

    def row(title: str, name: str) -> list[str]:
        result = results[name][0]
        return [
            title,
            f"{result['listed']:,}",
            f"{result['pages']:,}" if "pages" in result else "",
            f"{result.get('deleted', 0):,}",
            f"{median(name, 'seconds'):.1f}",
            f"{median(name, 'mebibytes'):.1f}",
        ]

    each = count // len(KINDS)
    print(
        f"\n{count:,} containers: {each:,} of live runs, {each:,} of runs that are over, {each:,} of others"
    )
    print_table(
        ["", "listed", "pages", "deleted", "seconds", "peak MiB"],
        [
            row(SWEEP, SWEEP),
            row("sweep, deleting", "delete"),
            row(OPENAI, OPENAI),
        ],
    )
    for value, shown in (("seconds", "time"), ("mebibytes", "peak memory")):
        print_ratio(f"{SWEEP}, {shown},", OPENAI, median(SWEEP, value) / max(median(OPENAI, value), 0.01))
    own, second = median(SWEEP, "mebibytes"), median(SWEEP, "second_half")
    print_goal(f"at most {MAX_MEBIBYTES} MiB", met=own <= MAX_MEBIBYTES, shown=f"{own:.1f} MiB")
    print_goal(
        f"the second half of the list adds at most {MAX_GROWTH} MiB",
        met=second <= MAX_GROWTH,
        shown=f"{second:.1f} MiB",
    )
    pages = results[SWEEP][0]["pages"]
    print_goal("one page for 100 containers", met=pages == -(-count // 100), shown=f"{pages:,}")
    changed = sum(before[kind] != after_dry_runs[kind] for kind in KINDS)
    print_goal("a dry run changes nothing", met=not changed, shown=f"{changed} kinds of containers changed")
    kept = all(before[kind] == after[kind] for kind in KINDS if kind != "over")
    lost = before["live"][0] - after["live"][0]
    print_goal("nothing of a live run is touched", met=kept, shown=f"{lost} of {before['live'][0]:,} deleted")
    left = after["over"][0]
    print_goal(
        "everything of a run that is over is deleted",
        met=left == 0,
        shown=f"{left} of {before['over'][0]:,} left",
    )


if __name__ == "__main__":
    main()
