"""What tests of containers as file systems share: a container's folder, and nothing left on the worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

import airflow_containers.filesystems.paths  # noqa: F401 - what operators do on Airflow up to 3.1
from airflow_containers.api import CreateContainerRequest
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.testing import CONNECTION_ID, LocalServer

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def known_stores(containers_connection: str, file_systems: None) -> None:
    """A connection to the local server, and a store besides that only fsspec knows."""
    try:
        from airflow.sdk.io import attach
    except ImportError:  # before Airflow 3.0
        from airflow.io.store import attach
    attach("memory", fs=fsspec.filesystem("memory"))


@pytest.fixture
def new_container(containers_server: LocalServer) -> Any:
    """Makes a container, and returns its folder of files."""

    def make(name: str = "files") -> ObjectStoragePath:
        with ContainerHook() as hook:
            container = hook.create_container(CreateContainerRequest(name=name))
        return ObjectStoragePath(f"openai-container://{CONNECTION_ID}@{container.id}/mnt/data")

    return make


@pytest.fixture
def data(new_container: Any) -> ObjectStoragePath:
    """The folder `/mnt/data` of a new container."""
    folder: ObjectStoragePath = new_container()
    return folder


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that is empty after each test."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [] == list(folder.iterdir())


def container_of(path: ObjectStoragePath) -> str:
    """The id of the container that a path is in."""
    return str(path.path).partition("/")[0]


def plain_names(folder: ObjectStoragePath) -> list[str]:
    """The names in a folder as they were written, sorted."""
    return sorted(str(path.stat()["plain_name"]) for path in folder.iterdir())
