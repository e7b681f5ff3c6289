"""Scheduler and triggerer of an Airflow 2.11, with the DAGs of the kill table."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.isolation import REPOSITORY
from tests.support.kill_table import KILL_DAGS
from tests.support.standalone import Standalone, in_sessions, wait_for


class Scheduler211(Standalone):
    """No web server: states are set through Airflow's own Python API.

    :param environment: the connection, and where the tasks note what happens.
    """

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        super().__init__(home, KILL_DAGS, environment)
        self._console: subprocess.Popen[str] | None = None
        self._one_by_one = threading.Lock()
        self._sessions: set[int] = set()

    def _settings(self) -> dict[str, str]:
        return {
            # Several runs at a time on SQLite: Airflow's own tests ask for it in this way.
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout=60",
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "2",
        }

    def start(self) -> None:
        """Start, and return when the DAGs are there."""
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            cwd=self.home,
            env=self._environment,
            check=True,
            capture_output=True,
        )
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            # Readers do not lock writers out then.
            connection.execute("PRAGMA journal_mode=WAL")
        self._process = self._launch("scheduler")
        self._launch("triggerer")
        self._console = subprocess.Popen(
            [sys.executable, "-m", "tests.support.airflow_2_console"],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.home / "console.log").open("wb"),
            text=True,
            start_new_session=True,
        )
        self._sessions.add(self._console.pid)
        wait_for("the DAGs to be parsed", self._parsed, 60)

    def _launch(self, command: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{command}.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", command, "--skip-serve-logs"],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.add(process.pid)
        return process

    def _processes(self) -> list[int]:
        """As in the base class, and those that have written their title over their environment."""
        return sorted({*super()._processes(), *in_sessions(self._sessions)})

    def _parsed(self) -> bool | None:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM serialized_dag").fetchone()
        return count >= 7 or None

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run."""
        self._ask("trigger", dag_id, run_id, conf)

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set a task instance's state, as a user does."""
        self._ask("mark_task", dag_id, run_id, task_id, state)

    def clear_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task instance and those downstream."""
        self._ask("clear_task", dag_id, run_id, task_id)

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed."""
        self._ask("fail_run", dag_id, run_id)

    def restart_triggerer(self, kind: signal.Signals) -> None:
        """End the triggerer by a signal, and start another one."""
        for process_id in self._triggerers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, kind)
        wait_for("the triggerer to end", lambda: not self._triggerers() or None, 60)
        self._launch("triggerer")
        time.sleep(1)

    def _triggerers(self) -> list[int]:
        found = []
        for process_id in self._processes():
            with contextlib.suppress(OSError):
                if b"triggerer" in Path(f"/proc/{process_id}/cmdline").read_bytes():
                    found.append(process_id)
        return found

    def _ask(self, *order: Any) -> None:
        assert self._console is not None
        assert self._console.stdin is not None
        assert self._console.stdout is not None
        with self._one_by_one:
            self._console.stdin.write(json.dumps(order) + "\n")
            self._console.stdin.flush()
            answer = self._console.stdout.readline()
        trouble = json.loads(answer) if answer else "the console has ended"
        assert trouble is None, f"{order}: {trouble}"
