"""The test suite's own rules: what is left out, and when a skip is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.isolation import REPOSITORY

_ONE_SKIPS = """
import pytest

def test_needs_a_browser():
    pytest.skip("there is no browser")

def test_known_to_fail():
    pytest.xfail("known")
"""

_ALL_SKIP = """
import pytest

pytest.skip("there is no sandbox", allow_module_level=True)
"""

_TOO_NEW = """
import pytest

@pytest.mark.airflow("99.0")
def test_of_tomorrow():
    assert False

def test_of_today():
    pass
"""


def _pytest(directory: Path, source: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_inner.py").write_text(source)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = airflow: as in the project\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.collection", "-p", "no:cacheprovider", "-ra"],
        cwd=directory,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("source", "reason"), [(_ONE_SKIPS, "there is no browser"), (_ALL_SKIP, "there is no sandbox")]
)
def test_skip_fails_the_session_in_ci(tmp_path: Path, source: str, reason: str) -> None:
    """In CI a skipped test, and a module that skips itself, fail the session and say why."""
    outcome = _pytest(tmp_path, source, ci="true")

    assert outcome.returncode != 0
    assert reason in outcome.stdout
    assert "a skip counts as a failure in CI" in outcome.stdout


@pytest.mark.parametrize("ci", ["", "false"])
def test_skip_is_a_skip_for_a_user(tmp_path: Path, ci: str) -> None:
    """Elsewhere a skip stays a skip, and an expected failure is one everywhere."""
    outcome = _pytest(tmp_path, _ONE_SKIPS, ci=ci)

    assert outcome.returncode == 0
    assert "1 skipped, 1 xfailed" in outcome.stdout


def test_tests_for_a_newer_airflow_are_left_out(tmp_path: Path) -> None:
    """A test of something that this Airflow does not have is deselected, which is no skip."""
    outcome = _pytest(tmp_path, _TOO_NEW, ci="true")

    assert outcome.returncode == 0, outcome.stdout
    assert "1 passed, 1 deselected" in outcome.stdout
