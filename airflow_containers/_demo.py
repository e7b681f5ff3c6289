"""``airflow-containers demo``: one DAG, run by real Airflow against the local server, step by step.

Everything happens in a directory of its own: Airflow's home, its database and the server's state. Airflow
runs in a process of its own, because its settings are read when it is imported, and because it has much to
say: that goes into a log file.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from airflow_containers.local.process import LocalServer, LocalServerError

_DAG = "container_lifecycle"
_SECONDS = 300
"""How long Airflow may take; 10 to 20 s are usual."""

_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}


class DemoError(Exception):
    """The demo did not show what it should; the message says what it was."""


def run(*, keep: bool = False) -> int:
    """Run the demo and tell about it on standard output.

    :param keep: leave the demo's files where they are, not the log alone.
    :returns: 0, or 1 when something went wrong, which is said on standard error.
    """
    home = Path(tempfile.mkdtemp(prefix="airflow-containers-demo-"))
    log = home / "airflow.log"
    try:
        with LocalServer(state_dir=home / "server") as server:
            _tell(server, home, log)
    except (DemoError, LocalServerError) as error:
        print(f"\nThe demo failed: {error}\nAirflow's log: {log}", file=sys.stderr)
        return 1
    if not keep:
        for entry in home.iterdir():
            if entry != log:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    print(f"\nAirflow's log: {log}" + (f"\nAll files of the demo: {home}" if keep else ""))
    return 0


def _tell(server: LocalServer, home: Path, log: Path) -> None:
    dag_file = _example_dags() / f"{_DAG}.py"
    print(f"A local server speaks the Containers API at {server.base_url}")
    print(f"Airflow {version('apache-airflow')} runs the DAG {_DAG} against it ({dag_file}) ...", flush=True)
    started = time.monotonic()
    token = f"demo-{secrets.token_hex(8)}"
    result = _run_airflow(dag_file, home, log, _connections(server, token))
    print(f"... and was done after {time.monotonic() - started:.0f} s.\n\nThe tasks:")
    for task, state in result["tasks"].items():
        returned = result["returned"].get(task)
        print(f"  {task:<8} {state:<8}" + (f"  returned {returned!r}" if returned else ""))

    requests = server.requests()
    print("\nThe requests that the server got (secrets are never kept):")
    for request in requests:
        print(f"  {request.method} {request.path} -> {request.status}")
        if request.body is not None:
            print("    " + json.dumps(request.body, indent=2).replace("\n", "\n    "))
    left = server.alive()
    print(
        "\nContainers left on the server: " + (", ".join(container["id"] for container in left) or "nothing")
    )

    unfinished = {task: state for task, state in result["tasks"].items() if state != "success"}
    if unfinished or not result["tasks"]:
        raise DemoError(f"tasks that did not succeed: {unfinished or 'all of them'}")
    if left:
        raise DemoError(f"{len(left)} container(s) were not deleted")
    if [request.method for request in requests] != ["POST", "GET", "DELETE", "GET"]:
        raise DemoError("expected requests to create, to retrieve, to delete, and to make sure of that")


def _example_dags() -> Path:
    """The folder of the examples: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent
    for folder in (package / "example_dags", package.parent / "example_dags"):
        if folder.is_dir():
            return folder
    raise DemoError("the example DAGs are not installed; reinstall airflow-containers")


def _connections(server: LocalServer, token: str) -> dict[str, str]:
    service = {"conn_type": "openai_containers", "host": server.base_url, "password": server.api_key}
    buildkite = {"conn_type": "http", "host": "api.buildkite.com", "password": token}
    return {
        "AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT": json.dumps(service),
        "AIRFLOW_CONN_BUILDKITE": json.dumps(buildkite),
    }


def _run_airflow(dag_file: Path, home: Path, log: Path, connections: dict[str, str]) -> dict[str, Any]:
    """Run a DAG in a new process; its states and returned values, by task id."""
    result = home / "result.json"
    airflow_home = home / "airflow"
    airflow_home.mkdir()
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "OPENAI_"))
    }
    environment = (
        inherited
        | _SETTINGS
        | connections
        | {
            "AIRFLOW_HOME": str(airflow_home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
            # The server is on this machine; a proxy of the user's would look for it on its own.
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
    )
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "airflow_containers._demo", str(dag_file), str(result)],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"Airflow was not done after {_SECONDS} s") from None
        finally:
            process.kill()
            process.wait()
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise DemoError(
            f"Airflow ended with status {code}; the last lines of its log:\n  " + "\n  ".join(lines[-5:])
        )
    outcome: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return outcome


def _run_dag(dag_file: Path, result: Path) -> None:
    """The part that runs inside the process with Airflow."""
    from airflow.utils.db import initdb

    initdb()
    try:
        module = import_module("airflow.dag_processing.dagbag")
    except ModuleNotFoundError:  # before Airflow 3.2
        module = import_module("airflow.models.dagbag")
    bag = module.DagBag(str(dag_file))
    if bag.import_errors:
        sys.exit("\n".join(bag.import_errors.values()))
    dag = bag.dags[_DAG]
    found = {instance.task_id: instance for instance in dag.test().get_task_instances()}
    instances = [found[task.task_id] for task in dag.topological_sort()]
    outcome = {
        "tasks": {instance.task_id: str(instance.state) for instance in instances},
        "returned": {
            instance.task_id: instance.xcom_pull(task_ids=instance.task_id) for instance in instances
        },
    }
    result.write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    _run_dag(Path(sys.argv[1]), Path(sys.argv[2]))
