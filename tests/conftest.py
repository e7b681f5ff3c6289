"""Set-up of every test: Airflow's home, tests for newer Airflow only, and skips that count as failures in CI."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.isolation import isolate

# Airflow reads its settings when it is first imported, so this comes before any test module is.
_AIRFLOW_HOME = isolate()

_IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The empty Airflow home of this test session."""
    return _AIRFLOW_HOME


def _airflow_version() -> tuple[int, ...]:
    return tuple(int(part) for part in importlib.metadata.version("apache-airflow").split(".")[:2])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of features that this Airflow does not have; nothing is missing on the machine, so no skip."""
    installed = _airflow_version()
    kept, left_out = [], []
    for item in items:
        marker = item.get_closest_marker("airflow")
        needed = tuple(int(part) for part in marker.args[0].split(".")) if marker else (0,)
        (kept if installed >= needed else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def _fail_if_skipped(report: Any) -> None:
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason} -- a skip counts as a failure in CI: provide what the test needs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A user's machine may lack a browser or a sandbox; the machine that decides may not."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """As above, for modules that skip themselves."""
    report = yield
    _fail_if_skipped(report)
    return report
