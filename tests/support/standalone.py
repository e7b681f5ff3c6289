"""A whole Airflow 3 (`airflow standalone`) on free ports, with its REST API; `stop` leaves nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.isolation import EXAMPLE_DAGS, airflow_settings, clean_environment

HEALTHY_WITHIN = 180
"""Seconds; 20 to 30 are usual on two cores."""

Found = TypeVar("Found")

_FINAL_STATES = frozenset({"success", "failed"})


def free_port() -> int:
    """A TCP port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, probe: Callable[[], Found | None], seconds: float, pause: float = 0.5) -> Found:
    """The first value of `probe` that is not None, within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value is not None:
            return value
        time.sleep(pause)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


def in_sessions(sessions: set[int]) -> list[int]:
    """The processes of sessions that the tests have begun."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # After the name, which may hold anything: state, parent, group, session.
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
                if int(fields[3]) in sessions and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


class Standalone:
    """Scheduler, API server, DAG processor and triggerer; call `stop` also when `start` has failed.

    :param home: an empty directory; everything Airflow writes is under it.
    :param dags: the folder with the DAG files.
    :param environment: further environment variables of all its processes.
    """

    def __init__(
        self, home: Path, dags: Path = EXAMPLE_DAGS, environment: dict[str, str] | None = None
    ) -> None:
        self.home = home
        self.database = home / "airflow.db"
        self.output = home / "standalone.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self._environment = (
            clean_environment() | airflow_settings(home, dags) | self._settings() | (environment or {})
        )
        self._process: subprocess.Popen[bytes] | None = None

    def _settings(self) -> dict[str, str]:
        return {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": self.url.rpartition(":")[2],
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            # The command starts the others by their name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self) -> None:
        """Start, and return when all four components are healthy."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for("Airflow to be healthy", self._healthy, HEALTHY_WITHIN)
        except AssertionError as error:
            tail = self.output.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{error}; the end of what it wrote:\n{tail}") from None

    def _healthy(self) -> bool | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"airflow standalone ended with exit code {self._process.returncode}")
        try:
            health = self.client.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return None
        return all(part["status"] == "healthy" for part in health.values()) or None

    def stop(self) -> None:
        """End all its processes, also those that left the process group."""
        self.client.close()
        if self._process is None:
            return
        for kind, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + patience
            while (mine := self._processes()) and time.monotonic() < deadline:
                for process_id in mine:
                    try:
                        os.kill(process_id, kind)
                    except ProcessLookupError:
                        continue
                self._process.poll()
                time.sleep(0.5)
        self._process.wait(timeout=10)
        assert not self._processes(), "processes of Airflow are left"

    def _processes(self) -> list[int]:
        """The live processes that were started with this Airflow home: no other process can have it."""
        mark = f"AIRFLOW_HOME={self.home}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
            except OSError:
                continue
        if self._process is not None:
            # Some write their title over their environment.
            found += in_sessions({self._process.pid})
        return sorted({*found} - {os.getpid()})

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer to a GET below ``/api/v2``."""
        return self.client.get(f"/api/v2{path}", params=params).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a POST below ``/api/v2``."""
        answer = self.client.post(f"/api/v2{path}", json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def run(self, dag_id: str, conf: dict[str, Any] | None = None, seconds: float = 180) -> ApiRun:
        """Trigger a DAG without a logical date, as the UI does, and wait for the end of the run."""

        def known() -> bool | None:
            return self.client.get(f"/api/v2/dags/{dag_id}").is_success or None

        def ended() -> str | None:
            state = self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            return state if state in _FINAL_STATES else None

        wait_for(f"the DAG {dag_id} to be parsed", known, seconds)
        run_id = self.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf or {}})[
            "dag_run_id"
        ]
        return ApiRun(self, dag_id, run_id, wait_for(f"the run of {dag_id} to end", ended, seconds))


class ApiRun:
    """One finished run, seen through the REST API."""

    def __init__(self, airflow: Standalone, dag_id: str, run_id: str, state: str) -> None:
        self.state = state
        self.run_id = run_id
        self._airflow = airflow
        self._path = f"/dags/{dag_id}/dagRuns/{run_id}"

    @property
    def task_instances(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Everything the API says of each task instance, by task id and map index."""
        listed = self._airflow.get(f"{self._path}/taskInstances", limit=100)["task_instances"]
        return {(instance["task_id"], instance["map_index"]): instance for instance in listed}

    @property
    def tasks(self) -> dict[tuple[str, int], str]:
        """The state of each task instance."""
        return {key: instance["state"] for key, instance in self.task_instances.items()}

    def xcom_keys(self, task_id: str, map_index: int = -1) -> set[str]:
        """The keys that one task instance has pushed."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries"
        return {entry["key"] for entry in self._airflow.get(path, map_index=map_index)["xcom_entries"]}

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """One pushed value."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self._airflow.get(path, map_index=map_index, deserialize=False, stringify=False)["value"]

    def links(self, task_id: str) -> dict[str, str | None]:
        """The extra links of one task instance, by the name on the button."""
        listed: dict[str, str | None] = self._airflow.get(f"{self._path}/taskInstances/{task_id}/links")[
            "extra_links"
        ]
        return listed

    def log(self, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
        """The log of one try, as the UI shows it."""
        path = f"/api/v2{self._path}/taskInstances/{task_id}/logs/{try_number}"
        answer = self._airflow.client.get(
            path,
            params={"map_index": map_index, "full_content": True},
            headers={"accept": "application/x-ndjson"},
        )
        return answer.raise_for_status().text

    def everything(self) -> str:
        """All that the API tells about this run, as one text to search."""
        parts = [str(self._airflow.get(self._path)), str(self.task_instances)]
        for (task_id, map_index), instance in self.task_instances.items():
            parts += [str(self.xcom(task_id, key, map_index)) for key in self.xcom_keys(task_id, map_index)]
            parts += [self.log(task_id, map_index, number + 1) for number in range(instance["try_number"])]
        return "\n".join(parts)
