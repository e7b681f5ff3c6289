"""Walks the list of containers once, in a new process, and prints what that took as JSON.

Usage: _sweep_once.py dry|delete|openai BASE_URL HALF_OF_THE_PAGES
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
    kind, base_url, half = sys.argv[1:4]
    walk = _openai(base_url) if kind == "openai" else _sweep(base_url, int(half), dry_run=kind == "dry")
    logging.disable(logging.INFO)
    before = _forget_peak()
    started = time.perf_counter()
    result = walk()
    seconds = time.perf_counter() - started
    print(json.dumps({**result, "seconds": seconds, "mebibytes": _peak() - before}))


def _sweep(base_url: str, half: int, *, dry_run: bool) -> Callable[[], dict[str, Any]]:
    from airflow_containers import sweeping
    from airflow_containers.hooks.container import ContainerHook
    from airflow_containers.hooks.runs import ask_database
    from airflow_containers.identity import Run

    hook = ContainerHook()
    peaks: list[float] = []

    def list_page(after: str | None) -> Any:
        if sweep.summary.pages == half:
            peaks.append(_peak())
        return hook.list_containers(after=after, limit=sweeping.PAGE_SIZE, order="desc")

    sweep = sweeping.Sweep(
        list_page=list_page,
        delete=hook.delete_container,
        runs=sweeping.RunStates(ask_database),
        rules=sweeping.Rules(DEPLOYMENT),
        dry_run=dry_run,
        # A line is made, as for the log, and goes nowhere.
        report=str,
        pause=sweeping.Pacer(hook.get_options().requests_per_minute).wait,
    )
    hook.list_containers(limit=1)
    ask_database(Run("reports", "warm-up"))
    assert hook.get_options().base_url == base_url
    return lambda: {**sweep.run().to_json(), "second_half": _peak() - peaks[0]}


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
