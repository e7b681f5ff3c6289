"""What importing the operators costs a DAG file that has Airflow's Task SDK already, beside other providers.

Every import is timed in a new process that has run ``from airflow.sdk import BaseOperator``. The modules of
the package in question are forgotten before, because Airflow itself loads what it needs for its list of
providers.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
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

OPERATORS = "airflow_containers.operators.container"
OURS = (OPERATORS, "airflow_containers.hooks.container", "airflow_containers.provider_info")
PEERS = (
    "airflow.providers.openai.operators.openai",
    "airflow.providers.http.operators.http",
)
PROCESSES = 15
MAX_MILLISECONDS = 30

_PROBE = """
import importlib, json, sys, time
from airflow.sdk import BaseOperator

target = sys.argv[1]
package = "airflow_containers" if target.startswith("airflow_containers") else ".".join(target.split(".")[:3])
for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
    del sys.modules[name]
before = set(sys.modules)
start = time.perf_counter()
importlib.import_module(target)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "added": sorted(sys.modules.keys() - before)}))
"""


def main() -> None:
    """Measure, and print a table, the ratios and the goals."""
    quick = is_quick(__doc__)
    with clean_environment():
        describe_machine("apache-airflow", "apache-airflow-providers-openai", "apache-airflow-providers-http")
        peers = [peer for peer in PEERS if _is_installed(peer)]
        for missing in [peer for peer in PEERS if peer not in peers]:
            print(f"{missing}: not installed, left out")
        modules = [*OURS, *peers]
        seconds, added = _measure(modules, 0 if quick else PROCESSES)
    _report(modules, peers, seconds, added)


def _report(
    modules: list[str], peers: list[str], seconds: dict[str, list[float]], added: dict[str, list[str]]
) -> None:
    milliseconds = {module: statistics.median(seconds[module]) * 1000 for module in modules}
    processes = len(seconds[OPERATORS])
    print(f"imported after `from airflow.sdk import BaseOperator`; new processes for each: {processes}")
    print_table(
        ("module", "median ms", "least ms", "modules added", "of third parties"),
        [
            (
                module,
                f"{milliseconds[module]:.1f}",
                f"{min(seconds[module]) * 1000:.1f}",
                str(len(added[module])),
                str(sum(map(_is_third_party, added[module]))),
            )
            for module in modules
        ],
    )
    for module in modules:
        names = sorted({name.partition(".")[0] for name in filter(_is_third_party, added[module])})
        print(f"third parties that {module} adds: {', '.join(names) or 'none'}")
    for peer in peers:
        print_ratio(OPERATORS, peer, milliseconds[OPERATORS] / milliseconds[peer])
    foreign = [name for module in OURS for name in added[module] if _is_third_party(name)]
    print_goal("no third-party module", met=not foreign, shown=", ".join(foreign) or "none")
    most = max(milliseconds[module] for module in OURS)
    print_goal(f"under {MAX_MILLISECONDS} ms", met=most < MAX_MILLISECONDS, shown=f"{most:.1f} ms")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module.rpartition(".operators.")[0]) is not None
    except ModuleNotFoundError:
        return False


def _is_third_party(name: str) -> bool:
    top = name.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in {"airflow", "airflow_containers"}


def _measure(modules: list[str], processes: int) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    first = {module: _probe(module) for module in modules}
    added = {module: probe["added"] for module, probe in first.items()}
    if not processes:
        return {module: [probe["seconds"]] for module, probe in first.items()}, added
    # The first time of each does not count: it compiles the modules, and reads them from the disk.
    seconds = defaultdict(list)
    order = random.Random(SEED)
    for round_number in range(processes):
        for module in order.sample(modules, len(modules)):
            seconds[module].append(_probe(module)["seconds"])
        show_progress(round_number + 1, processes)
    return seconds, added


def _probe(module: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
