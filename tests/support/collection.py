"""A pytest plugin: leaves out tests of what this Airflow does not have; in CI a skip is a failure."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Generator

import pytest

_IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def _takes(marker: pytest.Mark, installed: tuple[int, ...]) -> bool:
    minimum, *maximum = map(_version, marker.args)
    return minimum <= installed and all(installed <= each for each in maximum)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests marked for another Airflow; the machine lacks nothing, so they are not skipped."""
    installed = _version(importlib.metadata.version("apache-airflow"))
    markers = {item: item.get_closest_marker("airflow") for item in items}
    left_out = [item for item, marker in markers.items() if marker and not _takes(marker, installed)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = (
            report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, report.longrepr)
        )
        report.outcome = "failed"
        report.longrepr = (
            f"{path}:{line}: {reason} -- a skip counts as a failure in CI: provide what the test needs"
        )
