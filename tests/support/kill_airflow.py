"""A whole Airflow 3 whose runs are ended in every way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.kill_table import KILL_DAGS
from tests.support.standalone import Standalone, in_sessions, wait_for

QUICK = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}
"""Airflow looks at everything more often, so that the tests do not wait."""


class KillableAirflow(Standalone):
    """`airflow standalone` with the DAGs of the kill table.

    :param environment: the connection, and where the tasks note what happens.
    """

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        super().__init__(home, KILL_DAGS, QUICK | environment)
        self._one_by_one = threading.Lock()
        self._sessions: set[int] = set()

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run."""

        def known() -> bool | None:
            return self.client.get(f"/api/v2/dags/{dag_id}").is_success or None

        wait_for(f"the DAG {dag_id} to be parsed", known, 60)
        body = {"logical_date": None, "dag_run_id": run_id, "conf": conf}
        self._ask("POST", f"/dags/{dag_id}/dagRuns", body)

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set a task instance's state, as a user does."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self._ask("PATCH", path, {"new_state": state})

    def clear_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task instance and those downstream."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "include_downstream": True,
        }
        self._ask("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed."""
        self._ask("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def restart_triggerer(self, kind: signal.Signals) -> None:
        """End the triggerer by a signal, and start another one."""
        running = self._triggerers()
        assert running
        # Its parent is the command itself; with it gone in this way, a machine loses all of them.
        for process_id in running if kind == signal.SIGKILL else running[:1]:
            os.kill(process_id, kind)
        wait_for("the triggerer to end", lambda: not self._triggerers() or None, 60)
        with (self.home / "triggerer.log").open("ab") as output:
            another = subprocess.Popen(
                [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.add(another.pid)
        time.sleep(1)

    def _triggerers(self) -> list[int]:
        """Its processes that live, parents first."""
        return sorted(each for each in self._processes() if _is_live_triggerer(each))

    def _processes(self) -> list[int]:
        """As in the base class, and those that have written their title over their environment."""
        sessions = self._sessions | ({self._process.pid} if self._process else set())
        return sorted({*super()._processes(), *in_sessions(sessions)})

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Ask for a change; again if the database was locked, for SQLite has one writer at a time."""

        def probe() -> httpx.Response | None:
            with self._one_by_one:
                answer = self.client.request(method, f"/api/v2{path}", json=body)
            return None if answer.status_code == 500 else answer

        answer = wait_for(path, probe, 60, pause=1)
        assert answer.is_success or answer.status_code == 409, f"{path}: {answer.status_code} {answer.text}"


def _is_live_triggerer(process_id: int) -> bool:
    try:
        command = Path(f"/proc/{process_id}/cmdline").read_bytes()
    except OSError:
        return False
    return b"triggerer" in command
