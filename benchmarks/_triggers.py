"""Runs keep-alive triggers in one process and loop, as a triggerer does, and prints what that costs.

Started by ``keep_alive.py``, once for each measurement: memory that was used once is not given back.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.testing import CONNECTION_ID
from airflow_containers.triggers.container import KeepContainerAliveTrigger

INTERVAL = 120.0
HOUR = 3600.0
TICK = 0.005
STARTED_TOGETHER = 50
"""Triggers that a triggerer starts in one round of its loop."""


class OwnClientTrigger(BaseTrigger):
    """The peer: what providers do. Each trigger opens a client, and asks, sleeps, asks."""

    def __init__(self, container_id: str) -> None:
        super().__init__()
        self.container_id = container_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow keeps."""
        return f"{__name__}.OwnClientTrigger", {"container_id": self.container_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Touch the container at intervals until it is gone."""
        import httpx

        options = await ContainerHook(CONNECTION_ID).aget_options()
        url = f"{options.base_url}/containers/{self.container_id}"
        async with httpx.AsyncClient(headers=options.request_headers(), timeout=60) as client:
            while True:
                answer = await client.get(url)
                if answer.status_code == 404:
                    yield TriggerEvent({"outcome": "gone"})
                    return
                answer.raise_for_status()
                await asyncio.sleep(INTERVAL)


def _ours(container_id: str, interval: float = INTERVAL) -> KeepContainerAliveTrigger:
    return KeepContainerAliveTrigger(
        container_id=container_id,
        conn_id=CONNECTION_ID,
        interval=interval,
        ends_at=time.time() + HOUR,
        idle_seconds=1200.0,
        touched_at=time.time(),
    )


async def _first_event(trigger: BaseTrigger) -> None:
    async for event in trigger.run():
        raise SystemExit(f"a trigger ended early: {event}")


async def _watch(stalls: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(TICK)
        stalls.append(loop.time() - before - TICK)


async def _measure(kind: str, ids: list[str], seconds: float) -> None:
    make: Any = _ours if kind == "shared" else OwnClientTrigger
    # Imports, TLS and whatever else comes once are not part of what more triggers cost.
    warm_up = _ours(ids[0], interval=0.2) if kind == "shared" else make(ids[0])
    await _cancel([asyncio.create_task(_first_event(warm_up))], after=1.5)
    await _say("ready")
    gc.collect()
    gc.freeze()
    before = _resident_mebibytes()
    stalls: list[float] = []
    watch = asyncio.create_task(_watch(stalls))
    started = time.perf_counter()
    tasks = []
    for index in range(0, len(ids), STARTED_TOGETHER):
        tasks += [
            asyncio.create_task(_first_event(make(each))) for each in ids[index : index + STARTED_TOGETHER]
        ]
        await asyncio.sleep(0.01)
    start_took = time.perf_counter() - started
    await asyncio.sleep(max(seconds - start_took, 0))
    elapsed = time.perf_counter() - started
    memory = _resident_mebibytes() - before
    broken = [task for task in tasks if task.done()]
    if broken:
        broken[0].result()
    await _cancel([watch])
    # The requests are counted now; what closing does is not part of it.
    await _say(json.dumps({"memory": memory, "stall": max(stalls), "elapsed": elapsed}))
    await _cancel(tasks)


async def _say(line: str) -> None:
    """Tell the process that has started this one, and wait until it has seen to it."""
    print(line, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def _cancel(tasks: list[asyncio.Task[None]], after: float = 0) -> None:
    await asyncio.sleep(after)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def _resident_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    logging.disable(logging.INFO)
    which, duration = sys.argv[1], float(sys.argv[2])
    container_ids = json.loads(sys.stdin.readline())
    asyncio.run(_measure(which, container_ids, duration))
