"""A container as a file system, in what Airflow does: lineage, XCom, connections, threads and forks."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.providers.common.compat.sdk import HookLineageCollector, ObjectStoragePath

from airflow_containers.filesystems.containers import ContainerFileSystem
from airflow_containers.testing import CONNECTION_ID
from tests.support.file_system import container_of, data, known_stores, new_container, no_leftovers

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["data", "known_stores", "new_container", "no_leftovers"]


@pytest.fixture
def lineage(monkeypatch: pytest.MonkeyPatch) -> HookLineageCollector:
    """A collector of lineage, as there is one when a listener reads it."""
    collector = HookLineageCollector()
    for name in "airflow.sdk.lineage", "airflow.lineage.hook", "airflow.io.path":
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if "get_hook_lineage_collector" in vars(module):
            monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: collector)
    return collector


def _uris(collector: Any) -> tuple[set[str], set[str]]:
    found = getattr(collector, "collected_assets", None) or collector.collected_datasets
    return tuple(  # type: ignore[return-value]
        {getattr(entry, "asset", getattr(entry, "dataset", None)).uri for entry in entries}
        for entries in (found.inputs, found.outputs)
    )


def test_lineage_is_reported(data: ObjectStoragePath, lineage: Any, tmp_path: Path) -> None:
    """Reading, writing and copying tell Airflow what was read and written."""
    container_id = container_of(data)
    with (data / "made.csv").open("w") as file:
        file.write("x")
    with (data / "made.csv").open() as file:
        file.read()
    (tmp_path / "local.csv").write_text("y")
    ObjectStoragePath(f"file://{tmp_path}/local.csv").copy(data / "sent.csv")

    inputs, outputs = _uris(lineage)
    assert {f"{container_id}/mnt/data/made.csv"} == {
        uri.rpartition("@")[2].removeprefix("openai-container://") for uri in inputs if "container" in uri
    }
    assert {f"{container_id}/mnt/data/{name}" for name in ("made.csv", "sent.csv")} == {
        uri.rpartition("@")[2].removeprefix("openai-container://") for uri in outputs
    }


def test_a_path_survives_xcom(data: ObjectStoragePath) -> None:
    """One task writes, the next one reads by the path that it was handed."""
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serde import deserialize, serialize
    (data / "report.csv").write_text("x")

    again = deserialize(json.loads(json.dumps(serialize(data / "report.csv"))))

    assert again == data / "report.csv"
    assert "x" == again.read_text()


def test_without_a_connection_id_the_default_is_used(data: ObjectStoragePath) -> None:
    """The short form of a path."""
    short = ObjectStoragePath(f"openai-container://{container_of(data)}/mnt/data/report.csv")
    short.write_text("x")

    assert "x" == (data / "report.csv").read_text()


def test_one_file_system_serves_several_threads(data: ObjectStoragePath) -> None:
    """Airflow keeps one for a connection and process."""
    barrier = threading.Barrier(8)

    def work(number: int) -> str:
        barrier.wait()
        path = data / f"{number}.txt"
        path.write_text(f"text {number}" * 1000)
        return str(path.read_text())

    with ThreadPoolExecutor(8) as pool:
        assert [f"text {number}" * 1000 for number in range(8)] == list(pool.map(work, range(8)))
    assert 8 == len(list(data.iterdir()))


def test_a_file_system_works_in_a_forked_process(data: ObjectStoragePath) -> None:
    """Workers fork; the child's requests do not mix with the parent's."""
    (data / "a").write_text("parent")
    fs, path = data.fs, (data / "a").path

    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=lambda: queue.put(fs.cat(path)))
    child.start()
    assert b"parent" == queue.get(timeout=60)
    child.join(60)
    assert 0 == child.exitcode
    assert "parent" == (data / "a").read_text()


def test_a_fork_in_the_middle_of_a_request_does_no_harm(data: ObjectStoragePath) -> None:
    """What another thread of the parent holds at that moment does not keep the child waiting."""
    (data / "a").write_text("parent")
    fs, path = data.fs, (data / "a").path

    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=lambda: queue.put(fs.cat(path)))
    with fs._service._lock:
        child.start()
    try:
        assert b"parent" == queue.get(timeout=20)
    finally:
        child.kill()
        child.join(60)


def test_an_instance_of_its_own_needs_no_airflow_path(data: ObjectStoragePath) -> None:
    """Fsspec's users get the same files."""
    fs = ContainerFileSystem(CONNECTION_ID)
    fs.pipe(f"{container_of(data)}/mnt/data/a", b"x")

    assert (
        b"x"
        == fsspec.open(f"openai-container://{CONNECTION_ID}@{container_of(data)}/mnt/data/a").open().read()
    )
