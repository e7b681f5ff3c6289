"""What thousands of keep-alive triggers cost a triggerer: memory, stalls of its loop, requests.

Each measurement is a process of its own with one event loop and the local server. The peer is what providers
do today: a trigger opens its own client, asks when it starts, and asks again after each interval.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _common import (
    clean_environment,
    describe_machine,
    is_quick,
    print_goal,
    print_ratio,
    print_table,
    show_progress,
)

from airflow_containers.testing import CONNECTION_ID, LocalServer

SECONDS = 20.0
ROUNDS = 3
BUDGETS = {1_000: 100, 10_000: 1_000}
"""Requests a minute by triggers: the default, and twice what 10,000 containers of 20 minutes need."""

MAX_MEBIBYTES = {1_000: 20, 10_000: 120}
MAX_STALL_MILLISECONDS = 50
SHARED, OWN = "shared client", "client per trigger"

_HERE = Path(__file__).resolve().parent


def main() -> None:
    """Measure, and print a table, the ratios and the goals."""
    quick = is_quick(__doc__)
    budgets = {20: 60_000, 100: 60_000} if quick else BUDGETS
    rounds, seconds = (1, 3.0) if quick else (ROUNDS, SECONDS)
    few, many = budgets
    cases = [(OWN, few), (SHARED, few), (SHARED, many)]
    results: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with clean_environment(), LocalServer() as server:
        describe_machine("apache-airflow", "httpx")
        ids = _create(server, many)
        for number in range(rounds):
            for index, (kind, count) in enumerate(cases):
                for name, value in _run(server, kind, ids[:count], budgets[count], seconds).items():
                    results[kind, count][name].append(value)
                show_progress(number * len(cases) + index + 1, rounds * len(cases))
    medians = {
        case: {name: statistics.median(values) for name, values in values_by_name.items()}
        for case, values_by_name in results.items()
    }
    _report(medians, budgets, seconds)


def _create(server: LocalServer, count: int) -> list[str]:
    from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest

    request = CreateContainerRequest(name="kept")
    with (
        ContainersClient(ClientOptions(api_key=server.api_key, base_url=server.base_url)) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        return list(pool.map(lambda _: client.create(request).id, range(count)))


def _run(
    server: LocalServer, kind: str, ids: list[str], requests_per_minute: int, seconds: float
) -> dict[str, float]:
    os.environ[f"AIRFLOW_CONN_{CONNECTION_ID.upper()}"] = json.dumps(
        {
            "conn_type": "openai_containers",
            "host": server.base_url,
            "password": server.api_key,
            "extra": {"requests_per_minute": requests_per_minute},
        }
    )
    which = "shared" if kind == SHARED else "own"
    arguments = [sys.executable, str(_HERE / "_triggers.py"), which, str(seconds)]
    with subprocess.Popen(
        arguments, cwd=_HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise SystemExit("no pipes")

        def ask(line: str) -> str:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        if ask(json.dumps(ids)) != "ready":
            raise SystemExit(f"the process with {len(ids)} triggers ({kind}) did not start")
        server.clear_requests()
        line = ask("")
        requests = len(server.requests("GET"))
        if not line.startswith("{"):
            raise SystemExit(f"the process with {len(ids)} triggers ({kind}) has failed")
        measured: dict[str, float] = json.loads(line)
        ask("")
    return measured | {"requests": requests}


def _report(
    medians: dict[tuple[str, int], dict[str, float]], budgets: dict[int, int], seconds: float
) -> None:
    allowed = {count: budget * seconds / 60 + 1 for count, budget in budgets.items()}
    print_table(
        ("", "added MiB", "KiB per trigger", "longest stall ms", f"requests in {seconds:g} s", "allowed"),
        [
            (
                f"{count:,} triggers, {kind}",
                f"{case['memory']:.1f}",
                f"{case['memory'] * 1024 / count:.1f}",
                f"{case['stall'] * 1000:.0f}",
                f"{case['requests']:,.0f}",
                f"{allowed[count]:,.0f}" if kind == SHARED else "-",
            )
            for (kind, count), case in medians.items()
        ],
    )
    few = min(budgets)
    ours, peer = medians[SHARED, few], medians[OWN, few]
    for name, title in (("memory", "added memory"), ("stall", "longest stall"), ("requests", "requests")):
        print_ratio(
            f"{few:,} triggers with a {SHARED}, {title},", f"a {OWN}", ours[name] / max(peer[name], 1e-9)
        )
    for count, limit in zip(budgets, MAX_MEBIBYTES.values(), strict=True):
        case = medians[SHARED, count]
        print_goal(
            f"{count:,} triggers under {limit} MiB",
            met=case["memory"] < limit,
            shown=f"{case['memory']:.1f} MiB",
        )
        print_goal(
            f"{count:,} triggers stall the loop for less than {MAX_STALL_MILLISECONDS} ms",
            met=case["stall"] * 1000 < MAX_STALL_MILLISECONDS,
            shown=f"{case['stall'] * 1000:.0f} ms",
        )
        print_goal(
            f"{count:,} triggers keep to {budgets[count]:,} requests a minute",
            met=case["requests"] <= allowed[count],
            shown=f"{case['requests']:.0f} in {seconds:g} s",
        )


if __name__ == "__main__":
    main()
