"""`airflow-containers demo`: what a stranger sees."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from airflow_containers import _demo


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_demo_shows_the_request_the_id_the_states_and_what_is_left(temporary: Path) -> None:
    """The command ends with 0 and tells all of it, with the secret as asterisks; only the log stays."""
    outcome = subprocess.run(
        [sys.executable, "-m", "airflow_containers.cli", "demo"], capture_output=True, text=True, check=False
    )

    assert 0 == outcome.returncode, outcome.stderr
    (container_id,) = set(re.findall(r"cntr_[0-9a-f]{48}", outcome.stdout))
    for shown in (
        f"create   success   returned '{container_id}'",
        "look     success",
        "delete   success",
        "POST /v1/containers -> 200",
        '"name": "BUILDKITE_TOKEN",',
        '"value": "***"',
        f"DELETE /v1/containers/{container_id} -> 200",
        "Containers left on the server: nothing",
    ):
        assert shown in outcome.stdout
    assert ["airflow.log"] == [path.name for path in temporary.rglob("*") if path.is_file()]
    assert outcome.stdout.count("\n") < 50


def test_demo_says_which_tasks_failed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a task fails, the demo ends with 1, names it, and says where the log is."""
    outcome = {"tasks": {"create": "success", "look": "failed"}, "returned": {"create": None, "look": None}}
    monkeypatch.setattr(_demo, "_run_airflow", lambda *arguments: outcome)

    assert 1 == _demo.run()
    told = capsys.readouterr().err
    assert "{'look': 'failed'}" in told
    assert f"Airflow's log: {temporary}" in told


def test_demo_shows_the_end_of_the_log_when_airflow_breaks(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When Airflow itself ends with an error, the demo ends with 1 and shows the last lines of its log."""
    broken = temporary / "container_lifecycle.py"
    broken.write_text("raise RuntimeError('the example is broken')  # an airflow dag")
    monkeypatch.setattr(_demo, "_example_dags", lambda: temporary)

    assert 1 == _demo.run()
    assert "the example is broken" in capsys.readouterr().err


def test_demo_needs_all_three_requests(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks that claim success without having asked the server do not pass for a good run."""
    outcome: dict[str, Any] = {"tasks": {"create": "success"}, "returned": {"create": "cntr_1"}}
    monkeypatch.setattr(_demo, "_run_airflow", lambda *arguments: outcome)

    assert 1 == _demo.run()
    assert "expected requests to create" in capsys.readouterr().err
