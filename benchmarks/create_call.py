"""What one create call costs with the hook and its client, beside bare httpx and the ``openai`` package.

All of them call the same local server over connections that stay open, take the same arguments and return
the container. The contestants take turns in a shuffled order, so that all see the same machine. The processor
time is that of the calling thread alone: the server has no part in it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

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

from airflow_containers.testing import CONNECTION_ID, LocalServer

CALLS = 500
CALLS_OF_ROUND = 10
WARM_UP_CALLS = 20
MAX_RATIO = 1.3

CLIENT, HOOK, HTTPX, OPENAI = "ContainersClient.create", "ContainerHook.create_container", "httpx", "openai"

BODIES: dict[str, dict[str, Any]] = {
    "a name": {"name": "nightly report"},
    "all settings and a secret": {
        "name": "nightly report",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "memory_limit": "4g",
        "network_policy": {
            "type": "allowlist",
            "allowed_domains": ["api.example.com", "data.example.org"],
            "domain_secrets": [
                {"domain": "api.example.com", "name": "API_TOKEN", "value": "0123456789abcdef" * 4}
            ],
        },
        "skills": [{"type": "skill_reference", "skill_id": "openai-spreadsheets", "version": "latest"}],
    },
}

Create = Callable[[dict[str, Any]], object]


def main() -> None:
    """Measure, and print for each body a table, the ratios and the goals."""
    calls = CALLS_OF_ROUND if is_quick(__doc__) else CALLS
    with clean_environment(), LocalServer() as server, ExitStack() as stack:
        describe_machine("apache-airflow", "httpx", "openai", "pydantic")
        contestants = _contestants(server, stack)
        # Airflow leaves many objects behind, and whoever happens to set off a collection would pay for them.
        gc.collect()
        gc.freeze()
        # Airflow turns the client logs of httpx off, and leaves those of the package that openai uses on.
        logging.disable(logging.INFO)
        for title, body in BODIES.items():
            print(f"\ncreate with {title}: {calls} calls each, in turns")
            _report(*_measure(contestants, body, server, calls))


def _contestants(server: LocalServer, stack: ExitStack) -> dict[str, Create]:
    import httpx
    import openai

    from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest
    from airflow_containers.hooks.container import ContainerHook

    os.environ[f"AIRFLOW_CONN_{CONNECTION_ID.upper()}"] = json.dumps(
        {"conn_type": "openai_containers", "host": server.base_url, "password": server.api_key}
    )
    client = stack.enter_context(
        ContainersClient(ClientOptions(api_key=server.api_key, base_url=server.base_url))
    )
    hook = ContainerHook()
    stack.callback(hook.close)
    bare = stack.enter_context(
        httpx.Client(
            headers=client.options.request_headers(),
            timeout=httpx.Timeout(client.options.timeout, connect=10),
            follow_redirects=False,
        )
    )
    official = stack.enter_context(openai.OpenAI(api_key=server.api_key, base_url=server.base_url))
    url = f"{server.base_url}/containers"
    return {
        HTTPX: lambda body: bare.post(url, json=body).json()["id"],
        CLIENT: lambda body: client.create(CreateContainerRequest.model_validate(body)).id,
        HOOK: lambda body: hook.create_container(CreateContainerRequest.model_validate(body)).id,
        OPENAI: lambda body: official.containers.create(**body).id,
    }


def _measure(
    contestants: dict[str, Create], body: dict[str, Any], server: LocalServer, calls: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    for create in contestants.values():
        for _ in range(WARM_UP_CALLS):
            create(body)
    wall, processor = defaultdict(list), defaultdict(list)
    order = random.Random(SEED)
    rounds = calls // CALLS_OF_ROUND
    for round_number in range(rounds):
        # So the server has as little to look through in the last round as in the first.
        server.reset()
        for _ in range(CALLS_OF_ROUND):
            for name in order.sample(list(contestants), len(contestants)):
                create = contestants[name]
                wall_start, processor_start = time.perf_counter(), time.thread_time()
                create(body)
                processor_end, wall_end = time.thread_time(), time.perf_counter()
                wall[name].append(wall_end - wall_start)
                processor[name].append(processor_end - processor_start)
        made = len(server.containers())
        if made != CALLS_OF_ROUND * len(contestants):
            raise SystemExit(f"{made} containers were made by {CALLS_OF_ROUND * len(contestants)} calls")
        show_progress(round_number + 1, rounds)
    return wall, processor


def _report(wall: dict[str, list[float]], processor: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) * 1000 for name, values in wall.items()}
    names = (HTTPX, CLIENT, HOOK, OPENAI)
    print_table(
        ("contestant", "median ms", "p90 ms", "of bare httpx", "processor ms"),
        [
            (
                name,
                f"{medians[name]:.2f}",
                f"{p90(wall[name]) * 1000:.2f}",
                f"{medians[name] / medians[HTTPX]:.2f}",
                f"{statistics.median(processor[name]) * 1000:.2f}",
            )
            for name in names
        ],
    )
    for ours in (CLIENT, HOOK):
        for peer in (HTTPX, OPENAI):
            print_ratio(ours, peer, medians[ours] / medians[peer])
    most = max(medians[CLIENT], medians[HOOK])
    ratio = most / medians[HTTPX]
    print_goal(f"at most {MAX_RATIO} times bare httpx", met=ratio <= MAX_RATIO, shown=f"{ratio:.2f}")
    print_goal(
        "faster than openai", met=most < medians[OPENAI], shown=f"{most:.2f} and {medians[OPENAI]:.2f} ms"
    )


if __name__ == "__main__":
    main()
