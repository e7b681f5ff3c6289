"""What the benchmarks share: options, statistics that bear noise, and one way to print results."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SEED = 20
"""Of the orders: shuffled, so that a slow minute hits all contestants, and the same in each run."""

_FOREIGN = ("AIRFLOW_", "OPENAI_", "AZURE_OPENAI_")
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}


def is_quick(description: str | None) -> bool:
    """Read the command line.

    :returns: whether only a smoke run was asked for, whose numbers mean nothing.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of some seconds; its numbers mean nothing"
    )
    return bool(parser.parse_args().quick)


@contextlib.contextmanager
def clean_environment() -> Iterator[Path]:
    """Use an Airflow home of its own, and none of the user's settings, keys and proxies.

    Call it before Airflow is imported; processes started inside inherit it.

    :returns: a directory that is removed afterwards.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.upper() in _PROXIES or name == "PYTHONDONTWRITEBYTECODE":
            del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="airflow-containers-bench-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        os.environ |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        yield home


def p90(values: Sequence[float]) -> float:
    """Return the value that nine of ten do not exceed."""
    return statistics.quantiles(values, n=10, method="inclusive")[8] if len(values) > 1 else values[0]


def describe_machine(*distributions: str) -> None:
    """Print what the numbers depend on: the machine's cores, Python, and the versions that take part."""
    shown = [f"{os.cpu_count()} cores", f"Python {platform.python_version()}", platform.system()]
    for name in distributions:
        with contextlib.suppress(PackageNotFoundError):
            shown.append(f"{name} {version(name)}")
    print(", ".join(shown))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table: the first column to the left, all others to the right."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    line = [f"{'-' * widths[0]}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    print()
    for row in (headers, line, *rows):
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        print(f"| {' | '.join(cells)} |")
    print()


def print_ratio(ours: str, peer: str, ratio: float) -> None:
    """Print how much of its peer's time, memory or rate one contestant has."""
    print(f"ratio {ours} / {peer}: {ratio:.2f}")


def print_goal(goal: str, *, met: bool, shown: str) -> None:
    """Print whether a goal is reached. A missed one is no error: machines differ, and runs do too."""
    print(f"goal {goal}: {'met' if met else 'missed'} ({shown})")


def show_progress(done: int, of: int) -> None:
    """Show on a terminal how far the measuring is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{of} " if done < of else "\r\x1b[K")
        sys.stderr.flush()
