"""Walks the list of containers once, in a new process, and prints what that took as JSON.

Usage: _sweep_once.py dry|delete|openai BASE_URL
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEPLOYMENT = "bench"


def main() -> None:
    """Run one contestant."""
    kind, base_url = sys.argv[1:3]
    walk = _openai(base_url) if kind == "openai" else _sweep(base_url, dry_run=kind == "dry")
    logging.disable(logging.INFO)
    before = _forget_peak()
    started = time.perf_counter()
    result = walk()
    seconds = time.perf_counter() - started
    print(json.dumps({**result, "seconds": seconds, "mebibytes": _peak() - before}))


def _sweep(base_url: str, *, dry_run: bool) -> Callable[[], dict[str, Any]]:
    from airflow_containers import sweeping
    from airflow_containers.hooks.container import ContainerHook
    from airflow_containers.hooks.runs import ask_database
    from airflow_containers.identity import Run

    hook = ContainerHook()
    rows = [0]

    def report(row: sweeping.Row) -> None:
        rows[0] += len(str(row)) > 0

    sweep = sweeping.Sweep(
        list_page=lambda after: hook.list_containers(after=after, limit=sweeping.PAGE_SIZE, order="desc"),
        delete=hook.delete_container,
        runs=sweeping.RunStates(ask_database),
        rules=sweeping.Rules(DEPLOYMENT),
        dry_run=dry_run,
        report=report,
        pause=sweeping.Pacer(hook.get_options().requests_per_minute).wait,
    )
    hook.list_containers(limit=1)
    ask_database(Run("reports", "warm-up"))
    assert hook.get_options().base_url == base_url
    return lambda: {**sweep.run().to_json(), "rows": rows[0]}


def _openai(base_url: str) -> Callable[[], dict[str, Any]]:
    import openai

    client = openai.OpenAI(api_key="sk-local", base_url=base_url)
    client.containers.list(limit=1)

    def walk() -> dict[str, Any]:
        return {"listed": len(list(client.containers.list(limit=100)))}

    return walk


def _forget_peak() -> float:
    # Linux sets the peak back to what is resident now; imports may have taken more for a moment.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
