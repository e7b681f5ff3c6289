"""HTTPS requests from a container through the proxy to an allowed domain, beside direct ones.

The same program asks the same server with the same interpreter: on this machine directly, and in a container
through a tunnel and, where the domain has a secret, through TLS that the proxy ends itself.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

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

from airflow_containers.testing import LocalServer

HERE = Path(__file__).resolve().parent
DOMAIN = "api.example.com"
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
DIRECT, TUNNEL, TERMINATED = "direct", "through a tunnel", "through TLS that the proxy ends"
REQUESTS = 50
MEBIBYTES = 100
ROUNDS = 5


def create(client: httpx.Client, *, has_secret: bool) -> str:
    """Make a container that may reach the domain."""
    policy: dict[str, Any] = {"type": "allowlist", "allowed_domains": [DOMAIN]}
    if has_secret:
        policy["domain_secrets"] = [{"domain": DOMAIN, "name": "KEY", "value": "a-value-of-some-length"}]
    answer = client.post("/containers", json={"name": "egress", "network_policy": policy})
    answer.raise_for_status()
    container_id: str = answer.json()["id"]
    return container_id


def measure(server: LocalServer, containers: dict[str, str], port: int, ca: Path, *, quick: bool) -> None:
    """Let the contestants take turns, and print."""
    count, size = (3, 1 << 20) if quick else (REQUESTS, MEBIBYTES << 20)
    program = (HERE / "_requests.py").read_text(encoding="utf-8")
    small: dict[str, list[float]] = defaultdict(list)
    large: dict[str, list[float]] = defaultdict(list)
    order = [DIRECT, TUNNEL, TERMINATED] * (1 if quick else ROUNDS)
    random.Random(SEED).shuffle(order)
    for name in order:
        if name == DIRECT:
            command = [PYTHON, str(HERE / "_requests.py"), DOMAIN, str(port), str(ca), str(count), str(size)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        else:
            arguments = f'{DOMAIN} 0 "$SSL_CERT_FILE" {count} {size}'
            result = server.run(
                containers[name],
                f"cat > r.py <<'END'\n{program}\nEND\npython3 r.py {arguments}",
                timeout=300,
            )
            assert result.exit_code == 0, result
            printed = result.stdout
        found = json.loads(printed)
        small[name] += found["small"]
        large[name].append(found["large"])
    rows = []
    for name in (DIRECT, TUNNEL, TERMINATED):
        milliseconds = [seconds * 1e3 for seconds in small[name]]
        speed = size / (1 << 20) / statistics.median(large[name])
        rows.append(
            [name, f"{statistics.median(milliseconds):.1f}", f"{p90(milliseconds):.1f}", f"{speed:.0f}"]
        )
    print_table(["an HTTPS request", "median ms", "p90 ms", "large, MiB/s"], rows)
    for name in (TUNNEL, TERMINATED):
        print_ratio(
            f"{name}, time", DIRECT, statistics.median(small[name]) / statistics.median(small[DIRECT])
        )
        print_ratio(
            f"{name}, speed", DIRECT, statistics.median(large[DIRECT]) / statistics.median(large[name])
        )
    print_goal(
        "every request succeeds", met=True, shown=f"{sum(map(len, small.values()))} small, {len(order)} large"
    )


def main() -> None:
    """Measure and print."""
    quick = is_quick(__doc__)
    describe_machine("airflow-containers", "h11", "trustme")
    with clean_environment(), tempfile.TemporaryDirectory(prefix="airflow-containers-bench-") as folder:
        ca = Path(folder, "authority.pem")
        command = [sys.executable, str(HERE / "_domain.py"), DOMAIN, str(ca)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as domain:
            try:
                assert domain.stdout is not None
                port = int(domain.stdout.readline())
                options = [f"--egress-ca={ca}", f"--connect-to={DOMAIN}:443:127.0.0.1:{port}"]
                with LocalServer(options=options) as server:
                    headers = {"authorization": f"Bearer {server.api_key}"}
                    with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False) as client:
                        containers = {
                            TUNNEL: create(client, has_secret=False),
                            TERMINATED: create(client, has_secret=True),
                        }
                        measure(server, containers, port, ca, quick=quick)
            finally:
                domain.terminate()


if __name__ == "__main__":
    main()
