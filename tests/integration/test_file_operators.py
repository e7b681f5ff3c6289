"""Files into a container and out of it, with the local server over a real socket."""

from __future__ import annotations

import importlib
import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import HookLineageCollector
from fsspec.implementations.memory import MemoryFileSystem

from airflow_containers.operators._transfers import FileTransferError
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context
from tests.support.dag_runs import load_dag, run_dag
from tests.support.file_operators import (
    CONTENT_PATH,
    FILES_PATH,
    container,
    download,
    leftovers,
    listed,
    server,
    store,
    upload,
)

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["container", "server", "store"]


@pytest.mark.parametrize("direction", ["in", "out"])
def test_time_out(container: str, server: LocalServer, tmp_path: Path, direction: str) -> None:
    """A time-out that Airflow raises in the task's thread ends it soon; nothing stays on either side."""

    class TaskTimeoutError(BaseException):
        pass

    def ring(*_: object) -> None:
        raise TaskTimeoutError

    task: Any
    if direction == "in":
        for number in range(10):
            (tmp_path / f"{number}.csv").write_text("x")
        server.order_fault(method="POST", path=FILES_PATH, delay=0.4, times=50)
        task = UploadToContainerOperator(
            task_id="put", container_id=container, sources=f"{tmp_path}/*", parallel=2
        )
    else:
        for number in range(10):
            server.add_container_file(container, f"/mnt/data/{number}", b"x")
        server.order_fault(method="GET", path=CONTENT_PATH, delay=0.4, times=50)
        task = DownloadFromContainerOperator(
            task_id="get", container_id=container, paths="*", target=tmp_path, parallel=2
        )
    before = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(TaskTimeoutError):
            task.execute(task_context(task))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5
    if direction == "in":
        assert {} == listed(container)
    else:
        assert not any(name.startswith(".") for name in leftovers(tmp_path))
        assert 0 < len(leftovers(tmp_path)) < 10


def test_many_files_in_parallel(container: str, server: LocalServer, tmp_path: Path) -> None:
    """Two hundred small files go in and out, four at a time, each complete."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(200):
        (source / f"{number}.txt").write_text(f"content of {number}")
    result, _ = upload(container, sources=f"{source}/*")
    assert 200 == len({*result.values()})
    written = download(container, paths="*.txt", target=target)
    assert 200 == len(written)
    assert {f"{number}.txt": f"content of {number}" for number in range(200)} == {
        path.name: path.read_text() for path in target.iterdir()
    }


def test_pace(container: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a task keep to the connection's requests a minute: the third of two waits."""
    fields = json.loads(os.environ["AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT"])
    fields["extra"]["requests_per_minute"] = 2
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
    texts = {f"{number}.txt": "x" for number in range(3)}
    task = UploadToContainerOperator(task_id="put", container_id=container, texts=texts)
    threading.Timer(2.0, task.on_kill).start()
    with pytest.raises(FileTransferError, match=r"the task was killed; 2 of 3 files were sent before"):
        task.execute(task_context(task))
    server.assert_requested("POST", FILES_PATH, times=2)


def test_lineage(
    container: str, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Airflow is told of the files and objects that were read and written."""
    from airflow.providers.common.compat.lineage import hook

    collector = HookLineageCollector()
    for name in ("airflow.sdk.lineage", "airflow.lineage.hook"):
        with suppress(ImportError, AttributeError):
            module = importlib.import_module(name)
            monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: collector)
    store.pipe_file("/bucket/a.csv", b"x")
    (tmp_path / "b.csv").write_text("y")
    upload(container, sources=["memory://bucket/a.csv", tmp_path / "b.csv"], texts={"c.csv": "z"})
    download(container, paths="a.csv", target=tmp_path / "out")
    download(container, paths="b.csv", target="memory://bucket/out")

    found = hook.get_hook_lineage_collector().collected_assets
    assert {"memory://bucket/a.csv", f"file://{tmp_path}/b.csv"} == {
        entry.asset.uri for entry in found.inputs
    }
    assert {f"file://{tmp_path}/out/a.csv", "memory://bucket/out/b.csv"} == {
        entry.asset.uri for entry in found.outputs
    }


DAG_SOURCE = """
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG
from airflow_containers.operators.container import container
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator

with DAG("files", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    with container() as box:
        put = UploadToContainerOperator(
            task_id="put",
            container_id=box,
            sources=["data/*.csv"],
            texts={"config.json": {"run": "{{ run_id }}"}},
        )
        get = DownloadFromContainerOperator(
            task_id="get",
            container_id=box,
            paths="{{ ti.xcom_pull('put').values() | list | tojson }}",
            target="TARGET/{{ dag.dag_id }}",
        )
        each = DownloadFromContainerOperator.partial(
            task_id="each", container_id=box, target="TARGET/each"
        ).expand(paths=["a.csv", "*.json"])
        put >> [get, each]
"""


def test_real_airflow(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path
) -> None:
    """In a DAG: sources beside the DAG file, templates, results by XCom, mapped tasks."""
    dags, target = tmp_path / "dags", tmp_path / "target"
    (dags / "data").mkdir(parents=True)
    for name in ("a.csv", "b.csv"):
        (dags / "data" / name).write_text(name)
    bundle = {
        "name": "files",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    file = dags / "files.py"
    file.write_text(DAG_SOURCE.replace("TARGET", str(target)))
    run = run_dag(load_dag(file), airflow_database)

    assert {"success"} == {*run.tasks.values()}
    assert {"data/a.csv", "data/b.csv", "config.json"} == run.xcoms("put")[-1].keys()
    assert ["data/a.csv", "data/b.csv", "config.json"] == [
        entry["source"] for entry in run.xcoms("put", "files")[-1]
    ]
    assert ["a.csv", "b.csv", "config.json"] == leftovers(target / "files")
    assert {"run": run.run_id} == json.loads((target / "files" / "config.json").read_text())
    assert 3 == len(run.xcoms("get")[-1])
    assert ["a.csv", "config.json"] == leftovers(target / "each")
    server.assert_nothing_left()
