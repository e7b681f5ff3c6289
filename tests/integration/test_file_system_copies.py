"""A container as a file system: copies to and from the worker, other stores and other containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_containers.api import APIConnectionError
from airflow_containers.testing import LocalServer
from tests.support.file_system import (
    MEGABYTE,
    container_of,
    data,
    known_stores,
    new_container,
    no_leftovers,
    plain_names,
)

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["data", "known_stores", "new_container", "no_leftovers"]


def test_files_are_copied_to_and_from_the_worker(data: ObjectStoragePath, tmp_path: Path) -> None:
    """One file, and a whole folder, both ways."""
    for name in "one", "two":
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text(name)

    ObjectStoragePath(f"file://{tmp_path}/out/one").copy(data / "renamed")
    data.fs.put(f"{tmp_path}/out/", data.path, recursive=True)
    assert ["one", "renamed", "two"] == plain_names(data)

    (data / "renamed").copy(ObjectStoragePath(f"file://{tmp_path}/back"))
    data.copy(ObjectStoragePath(f"file://{tmp_path}/all"), recursive=True)
    assert "one" == (tmp_path / "back").read_text()
    assert ["one", "one", "two"] == sorted(
        path.read_text() for path in (tmp_path / "all").rglob("*") if path.is_file()
    )


def test_files_are_copied_to_and_from_other_stores(data: ObjectStoragePath) -> None:
    """A store that Airflow reaches by fsspec's generic ways, such as S3."""
    there = ObjectStoragePath("memory:///bucket/report.csv")
    there.write_text("from elsewhere")

    there.copy(data / "report.csv")
    assert "from elsewhere" == (data / "report.csv").read_text()

    (data / "report.csv").copy(ObjectStoragePath("memory:///bucket/back.csv"))
    assert b"from elsewhere" == fsspec.filesystem("memory").cat("/bucket/back.csv")


def test_a_file_is_moved_out(data: ObjectStoragePath, tmp_path: Path) -> None:
    """To another store a move is a copy and a delete, which both can be done."""
    (data / "a").write_text("x")

    (data / "a").move(ObjectStoragePath(f"file://{tmp_path}/a"))

    assert "x" == (tmp_path / "a").read_text()
    assert [] == list(data.iterdir())


def test_files_are_copied_between_containers(new_container: Any) -> None:
    """By way of the worker; the copy has the name that the author knows."""
    one, two = new_container("one"), new_container("two")
    (one / "a.csv").write_text("a")
    (one / "b.csv").write_text("b")

    (one / "a.csv").copy(two / "copy.csv")
    one.fs.copy(one.path + "/", two.path + "/", recursive=True)

    assert ["a.csv", "b.csv", "copy.csv"] == plain_names(two)
    assert ["a", "b", "a"] == [(two / name).read_text() for name in ("a.csv", "b.csv", "copy.csv")]
    assert ["a.csv", "b.csv"] == plain_names(one)


def test_many_files_cost_one_list(
    data: ObjectStoragePath, containers_server: LocalServer, tmp_path: Path
) -> None:
    """A call that moves many files does not ask for the list again for each."""
    (tmp_path / "many").mkdir()
    for number in range(20):
        (tmp_path / "many" / f"{number}").write_text("x")

    data.fs.put(f"{tmp_path}/many/", data.path, recursive=True)
    data.fs.get(data.path + "/", f"{tmp_path}/back/", recursive=True)
    data.fs.rm(data.path, recursive=True)

    assert 20 == len(list((tmp_path / "back").iterdir()))
    containers_server.assert_requested("GET", "/v1/containers/*/files", times=3)


def test_a_failed_download_leaves_what_was_there(
    data: ObjectStoragePath, containers_server: LocalServer, tmp_path: Path
) -> None:
    """An old file is better than half a new one."""
    (data / "big").write_bytes(b"new" * MEGABYTE)
    (tmp_path / "big").write_bytes(b"old")
    containers_server.order_fault(
        method="GET", path="/v1/containers/*/files/*/content", truncate=MEGABYTE, times=10
    )

    with pytest.raises(APIConnectionError):
        data.fs.get_file((data / "big").path, str(tmp_path / "big"))

    assert [("big", b"old")] == [(path.name, path.read_bytes()) for path in tmp_path.iterdir()]


def test_a_download_of_everything_stays_in_its_folder(
    data: ObjectStoragePath, containers_server: LocalServer, tmp_path: Path
) -> None:
    """Whatever paths are listed: nothing is written outside of the folder that was named."""
    for number, path in enumerate(
        [
            "/mnt/data/../../../../../../x",
            "/etc/passwd",
            "relative",
            "/mnt/data//x",
            "/mnt/data/./x",
            "/mnt/data/~/x",
        ]
    ):
        containers_server.add_container_file(container_of(data), path, str(number).encode())
    inside = tmp_path / "a" / "b" / "inside"
    inside.mkdir(parents=True)

    data.fs.get(container_of(data), f"{inside}/", recursive=True)

    assert {"inside"} == {path.name for path in inside.parent.iterdir()}
    assert {"b"} == {path.name for path in inside.parent.parent.iterdir()}
    contents = sorted(path.read_text() for path in inside.rglob("*") if path.is_file())
    assert ["0", "1", "2", "3", "4", "5"] == contents


def test_a_folder_that_would_be_a_new_one_is_refused_before_anything_is_sent(
    data: ObjectStoragePath, tmp_path: Path
) -> None:
    """A tree cannot be copied into a container, as nobody can choose its paths."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("x")

    with pytest.raises(NotImplementedError, match="knows no empty folders"):
        ObjectStoragePath(f"file://{tmp_path}/tree").copy(data, recursive=True)

    assert [] == list(data.iterdir())
