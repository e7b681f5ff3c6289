"""What the README and the guide show is run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from airflow_containers.testing import LocalServer
from tests.support.dag_runs import load_dag, run_dag
from tests.support.isolation import REPOSITORY
from tests.support.skills import make_skill

README = (REPOSITORY / "README.md").read_text()
WAITING = (REPOSITORY / "docs" / "waiting.md").read_text()
FILES = (REPOSITORY / "docs" / "files.md").read_text()
FILE_SYSTEM = (REPOSITORY / "docs" / "file-system.md").read_text()
SKILLS = (REPOSITORY / "docs" / "skills.md").read_text()
LOCAL_SERVER = (REPOSITORY / "docs" / "local-server.md").read_text()


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def waiting_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> Any:
    """The DAG of the guide to waiting, in a bundle of its own."""
    (source,) = _blocks(WAITING, "python")
    file = tmp_path / "waiting_dag.py"
    file.write_text(source)
    bundle = {
        "name": "waiting",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    return load_dag(file)


@pytest.mark.airflow("3.1")
def test_waiting_dag_runs(
    waiting_dag: Any, containers_server: LocalServer, containers_connection: str, airflow_database: Path
) -> None:
    """The DAG of the guide to waiting runs to its end and leaves nothing."""
    run = run_dag(waiting_dag, airflow_database)

    tasks = ("create", "keep", "ready", "work", "delete")
    assert {(name, -1): "success" for name in tasks} == run.tasks
    containers_server.assert_nothing_left()


@pytest.fixture
def files_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> Path:
    """The file with the DAG of the guide to files, in a bundle of its own, with the data that it reads."""
    source = next(block for block in _blocks(FILES, "python") if "with DAG(" in block)
    file = tmp_path / "files_dag.py"
    file.write_text(source)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("city,amount\nOslo,3\n")
    bundle = {
        "name": "files",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    # Airflow 2.11 looks at the executor for a waiting sensor, and this one is not to be used with SQLite.
    monkeypatch.setenv("_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK", "1")
    return file


def test_files_dag_runs(
    files_dag: Path,
    containers_server: LocalServer,
    containers_connection: str,
    airflow_database: Path,
    tmp_path: Path,
) -> None:
    """The DAG of the guide to files brings out what it put in."""
    run = run_dag(load_dag(files_dag), airflow_database, {"results": f"file://{tmp_path}/results"})

    assert "success" == run.state
    there = run.xcoms("put")[-1]["data/orders.csv"]
    assert there.endswith("-orders.csv")
    assert {-1: [there]} == run.xcoms("there")
    results = tmp_path / "results" / run.run_id
    assert ["job.json", "orders.csv"] == sorted(path.name for path in results.iterdir())
    assert {"run": run.run_id, "columns": ["city", "amount"]} == json.loads(
        (results / "job.json").read_text()
    )
    containers_server.assert_nothing_left()


def test_paths_of_what_was_sent_go_to_the_next_task(
    files_dag: Path,
    containers_server: LocalServer,
    containers_connection: str,
    airflow_database: Path,
    tmp_path: Path,
) -> None:
    """The ways from an upload to its paths that the guide names lead there; the wrong one does not."""
    (chosen,) = (block for block in _blocks(FILES, "python") if block.startswith("paths = "))
    (every,) = re.findall(r"`(\"\{\{[^`]*\}\}\")`", FILES)
    (wrong,) = re.findall(r"`(put\.output\[[^`]*\])`", FILES)
    source = files_dag.read_text()
    written = 'paths=["*.csv", "job.json"]'
    assert written in source
    for paths, state in (
        (chosen.strip().replace("paths = ", "paths="), "success"),
        (f"paths={every}", "success"),
        (f"paths={wrong}", "failed"),
    ):
        files_dag.write_text(source.replace(written, paths))
        target = tmp_path / str(hash(paths))
        run = run_dag(load_dag(files_dag), airflow_database, {"results": f"file://{target}"})

        assert state == run.tasks["get", -1], paths
        if state == "success":
            assert ["job.json", "orders.csv"] == sorted(path.name for path in (target / run.run_id).iterdir())
    containers_server.assert_nothing_left()


@pytest.fixture
def file_system_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> Any:
    """The DAG of the guide to the file system, in a bundle of its own."""
    source = next(block for block in _blocks(FILE_SYSTEM, "python") if "with DAG(" in block)
    file = tmp_path / "file_system_dag.py"
    file.write_text(source)
    bundle = {
        "name": "file_system",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    return load_dag(file)


def test_file_system_dag_runs(
    file_system_dag: Any,
    containers_server: LocalServer,
    containers_connection: str,
    file_systems: None,
    airflow_database: Path,
) -> None:
    """The DAG of the guide to the file system writes, hands a path over, and reads by it."""
    run = run_dag(file_system_dag, airflow_database)

    assert {-1: "They add up to 45"} == run.xcoms("total")
    containers_server.assert_nothing_left()


def test_file_system_examples_run(
    containers_connection: str, file_systems: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the guide shows of paths works for a container and a folder."""
    import airflow_containers.filesystems.paths  # noqa: F401 - as the guide says for Airflow up to 3.1
    from airflow_containers.api import CreateContainerRequest
    from airflow_containers.hooks.container import ContainerHook

    with ContainerHook() as hook:
        container = hook.create_container(CreateContainerRequest(name="guide"))
    names = {"container_id": container.id, "folder": tmp_path}
    blocks = [block for block in _blocks(FILE_SYSTEM, "python") if "with DAG(" not in block]
    for block in blocks:
        exec(block, names)

    assert 2 == len(blocks)
    assert "city" == names["head"]
    assert re.search(r"^[0-9a-f]{32}-report\.csv report\.csv 19$", capsys.readouterr().out, re.MULTILINE)
    assert "city,amount\nOslo,3\n" == (tmp_path / "report.csv").read_text()


@pytest.fixture
def readme_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> Any:
    """The README's DAG, in a bundle of its own: Airflow 3 runs nothing that is in none."""
    (source,) = _blocks(README, "python")
    file = tmp_path / "readme_dag.py"
    file.write_text(source)
    bundle = {
        "name": "readme",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    return load_dag(file)


def test_readme_dag_runs(
    readme_dag: Any, containers_server: LocalServer, containers_connection: str, airflow_database: Path
) -> None:
    """The README's DAG creates a container, works in it and deletes it."""
    run = run_dag(readme_dag, airflow_database)

    assert {
        ("create_container", -1): "success",
        ("work", -1): "success",
        ("delete_container", -1): "success",
    } == run.tasks
    (create,) = containers_server.assert_requested("POST", "/v1/containers", times=1)
    assert {"type": "allowlist", "allowed_domains": ["api.example.com"]} == create.body["network_policy"]
    containers_server.assert_nothing_left()


def test_guide_test_runs(readme_dag: Any, containers_server: LocalServer, containers_connection: str) -> None:
    """The guide's test of a DAG passes for the README's DAG."""
    namespace: dict[str, Any] = {"dag": readme_dag}
    source = next(block for block in _blocks(LOCAL_SERVER, "python") if "def test_" in block)
    exec(source, namespace)

    namespace["test_my_dag_leaves_nothing_behind"](containers_server, containers_connection)


def test_guide_starts_a_server_without_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    """The guide's server starts, tells its address and ends."""
    source = next(block for block in _blocks(LOCAL_SERVER, "python") if "import LocalServer" in block)

    exec(source, {})

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1\n", capsys.readouterr().out)


def test_readme_command_makes_the_connection(airflow_database: Path) -> None:
    """The README's command adds a connection of our type whose password is the key."""
    command = next(block for block in _blocks(README, "sh") if "connections add" in block)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "OPENAI_API_KEY": "sk-of-the-readme",
        # One key for both commands: in unit-test mode each process would make its own.
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
    }

    def airflow(line: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", line], env=environment, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    airflow(command)
    try:
        shown = airflow("airflow connections get openai_containers_default --output json")
        (connection,) = json.loads(shown[shown.index("[{") :])
        assert ("openai_containers", "sk-of-the-readme") == (connection["conn_type"], connection["password"])
    finally:
        airflow("airflow connections delete openai_containers_default")


def test_guide_commands_work(containers_server: LocalServer) -> None:
    """Each curl command of the guide gets an answer that is no error."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    block = next(block for block in _blocks(LOCAL_SERVER, "console") if "$L/health" in block)
    address = containers_server.base_url.removesuffix("/v1") + "/_local"
    lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert "L=http://127.0.0.1:8645/_local" == lines[0]
    script = ["curl() { command curl --silent --show-error --fail-with-body --noproxy '*' \"$@\"; echo; }"]

    done = subprocess.run(
        ["bash", "-ec", "\n".join([*script, f"L={address}", *lines[1:]])],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    assert len(lines) - 1 == len(answers)


@pytest.fixture
def skill_folders(tmp_path: Path) -> Path:
    """A folder with the two skills that the guide to skills names."""
    for name in ("report", "style"):
        make_skill(tmp_path / "skills" / name, name=name)
    return tmp_path


def test_skills_dag_runs(
    skill_folders: Path,
    containers_server: LocalServer,
    containers_connection: str,
    airflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The DAG of the guide to skills publishes one skill and sends the other."""
    bundle = {
        "name": "skills",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(skill_folders)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    file = skill_folders / "skills_dag.py"
    file.write_text(next(block for block in _blocks(SKILLS, "python") if "with DAG(" in block))

    run = run_dag(load_dag(file), airflow_database)

    assert "success" == run.state
    (entry,) = containers_server.requests("POST", "/v1/containers")
    assert entry.body is not None
    assert ["inline", "skill_reference"] == [skill["type"] for skill in entry.body["skills"]]
    containers_server.assert_nothing_left()


def test_skills_examples_run(
    skill_folders: Path,
    containers_server: LocalServer,
    containers_connection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the guide shows of the hook works, and so does the command."""
    monkeypatch.chdir(skill_folders)
    names: dict[str, Any] = {}
    blocks = [block for block in _blocks(SKILLS, "python") if "with DAG(" not in block]
    for block in blocks:
        exec(block, names)
    (command,) = _blocks(SKILLS, "sh")
    program = Path(sys.executable).with_name("airflow-containers")
    done = subprocess.run(
        command.replace("airflow-containers", str(program)),
        shell=True,
        check=False,
        capture_output=True,
        text=True,
    )

    assert 2 == len(blocks)
    assert ["report"] == [container["name"] for container in containers_server.alive()]
    assert (["1"], "created") == (names["versions"], names["published"].outcome)
    assert (skill_folders / "report.zip").stat().st_size > 100
    assert (0, 2) == (done.returncode, done.stdout.count("is fine"))
