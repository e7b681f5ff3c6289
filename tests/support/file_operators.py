"""What tests of uploads and downloads by operators share: a container, a store, and one task each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context

FILES_PATH = "/v1/containers/*/files"
CONTENT_PATH = "/v1/containers/*/files/*/content"


@pytest.fixture(autouse=True)
def server(
    containers_server: LocalServer, file_systems: None, monkeypatch: pytest.MonkeyPatch
) -> LocalServer:
    """A local server, and the default connection to it: no repeated attempts, and no pace."""
    fields = {
        "conn_type": "openai_containers",
        "host": containers_server.base_url,
        "password": containers_server.api_key,
        "extra": {"max_retries": 0, "requests_per_minute": 60_000},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
    return containers_server


@pytest.fixture
def container(server: LocalServer) -> str:
    """The id of a container."""
    options = ClientOptions(api_key=server.api_key, base_url=server.base_url)
    with ContainersClient(options) as client:
        return client.create(CreateContainerRequest(name="files")).id


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """An object store in memory, which Airflow knows as ``memory://``."""
    try:
        from airflow.sdk.io import attach
    except ImportError:  # Airflow 2
        from airflow.io.store import attach
    fs = MemoryFileSystem()
    attach("memory", fs=fs)
    fs.store.clear()
    yield fs
    fs.store.clear()


def upload(container: str, **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run an upload task, and return what it returned, and its XCom ``files``."""
    task = UploadToContainerOperator(task_id="put", container_id=container, **fields)
    context = task_context(task)
    result = task.execute(context)
    assert json.loads(json.dumps(result)) == result
    return result, context["ti"].pushed["files"]


def download(container: str, **fields: Any) -> list[dict[str, Any]]:
    """Run a download task."""
    task = DownloadFromContainerOperator(task_id="get", container_id=container, **fields)
    result = task.execute(task_context(task))
    assert json.loads(json.dumps(result)) == result
    return result


def listed(container: str) -> dict[str, int | None]:
    """Paths and sizes of the files in a container."""
    with ContainerHook() as hook:
        return {file.path or "": file.bytes for file in hook.iterate_container_files(container)}


def content(container: str, path: str) -> bytes:
    """What is in a file of a container."""
    with ContainerHook() as hook:
        (file,) = (file for file in hook.iterate_container_files(container) if file.path == path)
        with hook.open_container_file(container, file.id) as stream:
            return stream.read()


def leftovers(folder: Path) -> list[str]:
    """What is in a folder, as names."""
    return sorted(path.name for path in folder.iterdir())
