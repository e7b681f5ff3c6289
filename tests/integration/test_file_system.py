"""A container as a file system: Airflow's own paths against the local server."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
import multiprocessing
import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.providers.common.compat.sdk import HookLineageCollector, ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import airflow_containers.filesystems.paths  # noqa: F401 - what operators do on Airflow up to 3.1
from airflow_containers.api import (
    APIConnectionError,
    AuthenticationError,
    ContainerGoneError,
    CreateContainerRequest,
)
from airflow_containers.filesystems.containers import ContainerFileSystem
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.testing import CONNECTION_ID, LocalServer

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def _stores(containers_connection: str, file_systems: None) -> None:
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


# Reading and writing


def test_what_is_written_is_read_by_the_same_path(data: ObjectStoragePath) -> None:
    """The digits that the service puts before a name are nobody's business."""
    path = data / "report.csv"
    path.write_text("a,b\n1,ä\n")

    assert "a,b\n1,ä\n" == path.read_text()
    assert "a,b\n1,ä\n".encode() == path.read_bytes()
    assert path.exists()
    assert path.is_file()
    assert not path.is_dir()
    (listed,) = data.iterdir()
    assert listed.name != path.name
    assert listed.name.endswith("-report.csv")
    assert "a,b\n1,ä\n" == listed.read_text()


def test_csv_is_written_and_read_row_by_row(data: ObjectStoragePath) -> None:
    """The csv module works with open files of both directions."""
    rows = [["a", "b"], ["1", "with, comma"], ["2", "with\nnewline"]]
    with (data / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)

    with data.fs.open((data / "rows.csv").path, "r", newline="") as file:
        assert rows == list(csv.reader(file))


def test_a_file_that_is_written_again_is_replaced(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """An upload makes a second file on the service; the first is deleted after it."""
    path = data / "report.csv"
    path.write_text("old")
    path.write_text("new")

    assert "new" == path.read_text()
    assert ["report.csv"] == plain_names(data)
    methods = [
        request.method for request in containers_server.requests() if request.method in {"POST", "DELETE"}
    ]
    assert ["POST", "POST", "POST", "DELETE"] == methods


def test_a_file_that_a_command_has_written_is_replaced(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """What is at exactly the path that was written to must not be what is read afterwards."""
    containers_server.add_container_file(container_of(data), "/mnt/data/report.csv", b"by a command")
    path = data / "report.csv"
    assert "by a command" == path.read_text()

    path.write_text("ours")

    assert "ours" == path.read_text()
    assert ["report.csv"] == plain_names(data)


def test_a_failed_upload_leaves_the_old_file(data: ObjectStoragePath, containers_server: LocalServer) -> None:
    """Nothing is deleted before the new file is safe."""
    path = data / "report.csv"
    path.write_text("old")
    containers_server.order_fault(method="POST", path="/v1/containers/*/files", status=400)

    with pytest.raises(Exception, match=r"400"):
        path.write_text("new")

    assert "old" == path.read_text()


def test_a_block_that_fails_uploads_nothing(data: ObjectStoragePath) -> None:
    """Neither bytes nor text of half a file get to the service."""

    def fail(mode: str, half: Any) -> None:
        with (data / "half").open(mode) as file:
            file.write(half)
            raise ZeroDivisionError

    for mode, half in ("wb", b"half"), ("w", "half"):
        with pytest.raises(ZeroDivisionError):
            fail(mode, half)

    assert [] == list(data.iterdir())


def test_a_file_may_be_made_only_if_there_is_none(data: ObjectStoragePath) -> None:
    """Mode `x` makes sure of it before anything is written."""
    with data.fs.open((data / "once").path, "xt") as file:
        file.write("first")

    with pytest.raises(FileExistsError, match="once"):
        data.fs.open((data / "once").path, "xt")
    assert "first" == (data / "once").read_text()


def test_a_whole_file_may_be_sent_only_if_there_is_none(data: ObjectStoragePath, tmp_path: Path) -> None:
    """The mode `create` of fsspec makes sure of it, for a file of the worker and for bytes."""
    (tmp_path / "once").write_text("first")
    once = (data / "once").path
    data.fs.put_file(str(tmp_path / "once"), once, mode="create")

    with pytest.raises(FileExistsError, match="once"):
        data.fs.put_file(str(tmp_path / "once"), once, mode="create")
    with pytest.raises(FileExistsError, match="once"):
        data.fs.pipe_file(once, b"second", mode="create")
    assert ["first"] == [path.read_text() for path in data.iterdir()]


def test_an_empty_file_is_one(data: ObjectStoragePath) -> None:
    """Touch makes it, and leaves one that is there alone."""
    (data / "empty").touch()
    assert b"" == (data / "empty").read_bytes()
    assert 0 == (data / "empty").stat().st_size

    (data / "full").write_bytes(b"x")
    (data / "full").touch()
    assert b"x" == (data / "full").read_bytes()


def test_files_are_compressed_on_the_way(data: ObjectStoragePath) -> None:
    """Fsspec's `compression` works in both directions."""
    path = (data / "report.csv.gz").path
    with data.fs.open(path, "wt", compression="infer") as file:
        file.write("a\n" * 1000)

    assert b"a\n" * 1000 == gzip.decompress((data / "report.csv.gz").read_bytes())
    with data.fs.open(path, "rt", compression="gzip") as file:
        assert "a\n" * 1000 == file.read()


def test_several_files_are_written_together_or_not_at_all(data: ObjectStoragePath) -> None:
    """A transaction of fsspec uploads at its end."""

    def write(*, broken: bool) -> None:
        with data.fs.transaction:
            for name in "a", "b":
                with data.fs.open((data / name).path, "wb") as file:
                    file.write(b"x")
            assert [] == list(data.iterdir())
            if broken:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(broken=True)
    assert [] == list(data.iterdir())

    write(broken=False)
    assert ["a", "b"] == plain_names(data)


def test_reading_from_front_to_back_is_one_request(
    data: ObjectStoragePath, containers_server: LocalServer, no_leftovers: Path
) -> None:
    """Nothing is kept on the disk, and nothing is asked for twice."""
    content = os.urandom(3 * MEGABYTE + 17)
    (data / "big").write_bytes(content)

    with data.fs.open((data / "big").path, "rb") as file:
        assert len(content) == file.size
        pieces = [file.read(700_000)]
        assert [] == list(no_leftovers.iterdir())
        assert 2 == file.seek(2)  # within what is read ahead
        assert content[2:5] == file.read(3)
        file.seek(700_000)
        while piece := file.read(700_000):
            pieces.append(piece)
    assert content == b"".join(pieces)
    containers_server.assert_requested("GET", "/v1/containers/*/files/*/content", times=1)


def test_any_position_can_be_read(data: ObjectStoragePath, containers_server: LocalServer) -> None:
    """Stepping back downloads the file once; from then on it is on the disk."""
    content = os.urandom(3 * MEGABYTE)
    (data / "big").write_bytes(content)

    with data.fs.open((data / "big").path, "rb") as file:
        assert content[-8:] == (file.seek(-8, os.SEEK_END), file.read())[1]
        assert content[:8] == (file.seek(0), file.read(8))[1]
        assert 8 == file.tell()
        assert content[2 * MEGABYTE :] == (file.seek(2 * MEGABYTE), file.read())[1]
        with pytest.raises(OSError, match="before the start"):
            file.seek(-1)
    containers_server.assert_requested("GET", "/v1/containers/*/files/*/content", times=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(-1, 1_200_000)),
            st.tuples(st.sampled_from(["0", "1", "2"]), st.integers(-1_500_000, 3_500_000)),
        ),
        max_size=8,
    )
)
def test_an_open_file_is_like_one_on_the_disk(
    shared: tuple[ObjectStoragePath, bytes], steps: list[tuple[str, int]]
) -> None:
    """Whatever is read and wherever one goes: the same bytes, the same positions, the same refusals."""
    path, content = shared
    ours, theirs = path.fs.open(path.path, "rb"), io.BytesIO(content)
    with ours:
        for what, number in steps:
            if what == "read":
                assert theirs.read(number) == ours.read(number)
                continue
            base = {"0": 0, "1": theirs.tell(), "2": len(content)}[what]
            if base + number < 0:
                with pytest.raises(OSError, match=r"before the start"):
                    ours.seek(number, int(what))
            else:
                assert theirs.seek(number, int(what)) == ours.seek(number, int(what))
            assert theirs.tell() == ours.tell()


@pytest.fixture
def shared(data: ObjectStoragePath) -> tuple[ObjectStoragePath, bytes]:
    """A file of two and a half megabytes, and what is in it."""
    content = os.urandom(2 * MEGABYTE + 500_000)
    (data / "shared").write_bytes(content)
    return data / "shared", content


def test_formats_that_jump_in_a_file_can_be_read_and_written(data: ObjectStoragePath) -> None:
    """An archive is read from its end, and patched while it is written."""
    with data.fs.open((data / "a.zip").path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one.txt", "one")
        archive.writestr("two.txt", "two" * 1000)

    with data.fs.open((data / "a.zip").path) as file, zipfile.ZipFile(file) as archive:
        assert ["one.txt", "two.txt"] == archive.namelist()
        assert b"two" * 1000 == archive.read("two.txt")


@pytest.mark.airflow("3.3")
def test_a_table_is_read_and_written_by_its_url(data: ObjectStoragePath) -> None:
    """By fsspec, pandas knows the scheme; Parquet jumps in a file."""
    import pandas as pd  # the newest environment alone has it

    table = pd.DataFrame({"city": ["Oslo", "Rome"], "amount": [3, 4]})
    table.to_csv(f"{data}/table.csv", index=False)
    table.to_parquet(f"{data}/table.parquet")

    assert table.equals(pd.read_csv(f"{data}/table.csv"))
    assert table.equals(pd.read_parquet(f"{data}/table.parquet"))


def test_parts_of_files(data: ObjectStoragePath) -> None:
    """Fsspec's own ways to a part of a file."""
    (data / "a").write_bytes(b"0123456789")
    fs, path = data.fs, (data / "a").path

    assert (b"0123", b"789") == (fs.head(path, 4), fs.tail(path, 3))
    assert [b"234", b"89", b"01234567"] == [
        fs.cat_file(path, 2, 5),
        fs.cat_file(path, -2),
        fs.cat_file(path, 0, -2),
    ]
    assert b"345" == (data / "a").read_block(3, 3)


def test_a_content_that_breaks_off_is_an_error(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """Nobody takes the first half of a file for the whole."""
    (data / "big").write_bytes(os.urandom(3 * MEGABYTE))
    containers_server.order_fault(
        method="GET", path="/v1/containers/*/files/*/content", truncate=2 * MEGABYTE, times=10
    )

    with pytest.raises(APIConnectionError):
        (data / "big").read_bytes()
    with data.fs.open((data / "big").path) as file, pytest.raises(APIConnectionError):
        file.seek(0, os.SEEK_END)


def test_a_download_that_breaks_off_goes_on(
    data: ObjectStoragePath, containers_server: LocalServer, tmp_path: Path
) -> None:
    """What is kept on the disk is whole although a connection was lost."""
    content = os.urandom(3 * MEGABYTE)
    (data / "big").write_bytes(content)
    broken = {"method": "GET", "path": "/v1/containers/*/files/*/content", "reset_after": MEGABYTE}

    containers_server.order_fault(**broken)
    (data / "big").copy(ObjectStoragePath(f"file://{tmp_path}/big"))
    assert content == (tmp_path / "big").read_bytes()

    containers_server.order_fault(**broken)
    with data.fs.open((data / "big").path) as file:
        assert content[-5:] == (file.seek(-5, os.SEEK_END), file.read())[1]


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


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a process"
)
def test_memory_does_not_depend_on_the_size_of_a_file(data: ObjectStoragePath) -> None:
    """What passes through is on its way or on the disk, however it is written, read and copied."""
    (data / "small").write_bytes(b"x" * MEGABYTE)
    (data / "small").read_bytes()
    piece = os.urandom(MEGABYTE)
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()

    with (data / "large").open("wb") as file:
        for _ in range(100):
            file.write(piece)
    with (data / "large").open("rb") as file:
        assert 100 * MEGABYTE == sum(len(read) for read in iter(lambda: file.read(MEGABYTE), b""))
    with data.fs.open((data / "large").path) as file:
        assert 100 * MEGABYTE == file.seek(0, os.SEEK_END)
    (data / "large").copy(data / "copy")

    assert _peak() - before < 30


def _peak() -> float:
    """The most memory this process had, in MiB, since it was last asked to forget it."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


# Looking


def test_stat_says_what_the_service_says(data: ObjectStoragePath) -> None:
    """Size, time, and what tells one version of a file from another."""
    path = data / "report.csv"
    path.write_bytes(b"12345")
    stat, key, checksum = path.stat(), path.ukey(), path.checksum()

    assert (5, 5) == (stat.st_size, path.size())
    age = datetime.now(UTC).timestamp() - stat.st_mtime
    assert -2 < age < 60
    assert data.fs.created(path.path).timestamp() == stat.st_mtime
    assert stat["ino"].startswith("cfile_")
    assert ("user", "report.csv", "file") == (stat["source"], stat["plain_name"], stat["type"])
    assert path.samefile(next(iter(data.iterdir())))
    assert (key, checksum) == (path.ukey(), path.checksum())

    path.write_bytes(b"54321")
    assert key != path.ukey()
    assert checksum != path.checksum()


def test_folders_are_what_paths_imply(data: ObjectStoragePath, containers_server: LocalServer) -> None:
    """Files of commands may be in folders, which can be listed and walked like any."""
    for name in "a.txt", "sub/b.txt", "sub/deep/c.txt":
        containers_server.add_container_file(container_of(data), f"/mnt/data/{name}", b"x")

    assert ["a.txt", "sub"] == sorted(path.name for path in data.iterdir())
    assert (data / "sub").is_dir()
    assert not (data / "su").exists()
    assert data.parent.parent.is_dir()
    assert [
        ("data", ["sub"], ["a.txt"]),
        ("sub", ["deep"], ["b.txt"]),
        ("deep", [], ["c.txt"]),
    ] == [(root.rpartition("/")[2], dirs, files) for root, dirs, files in data.fs.walk(data.path)]
    assert 3 == data.fs.du(data.path)
    assert ["a.txt", "b.txt", "c.txt"] == [path.rpartition("/")[2] for path in data.fs.find(data.path)]


def test_an_empty_container_has_its_folder(data: ObjectStoragePath) -> None:
    """`/mnt/data` is there before the first file."""
    assert data.is_dir()
    assert [] == list(data.iterdir())
    data.mkdir(exist_ok=True, parents=True)


def test_patterns_match_both_names(data: ObjectStoragePath, containers_server: LocalServer) -> None:
    """The plain name and the service's."""
    (data / "report-1.csv").write_text("sent")
    containers_server.add_container_file(container_of(data), "/mnt/data/report-2.csv", b"made")
    containers_server.add_container_file(container_of(data), "/mnt/data/sub/report-3.csv", b"deep")

    assert ["made", "sent"] == sorted(path.read_text() for path in data.glob("report-*.csv"))
    assert 3 == len(list(data.rglob("report-*")))
    assert [] == list(data.glob("*.txt"))


def test_odd_entries_of_a_list(data: ObjectStoragePath, containers_server: LocalServer) -> None:
    """A null size is unknown, contents that are not there are missing, and climbing paths lead nowhere."""
    container_id = container_of(data)
    containers_server.add_container_file(container_id, "/mnt/data/unknown", b"12345", null_bytes=True)
    containers_server.add_container_file(container_id, "/mnt/data/broken", None)
    containers_server.add_container_file(container_id, "/mnt/data/a.csv/mnt/data/b.csv", b"two paths in one")
    climbing = containers_server.add_container_file(container_id, "/mnt/data/../../etc/passwd", b"climb")

    assert (data / "unknown").stat()["size"] is None
    assert b"12345" == (data / "unknown").read_bytes()
    with data.fs.open((data / "unknown").path) as file:
        assert 5 == file.size
    with pytest.raises(FileNotFoundError, match="broken"):
        (data / "broken").read_bytes()
    assert b"two paths in one" == (data / "a.csv/mnt/data/b.csv").read_bytes()
    assert ["a.csv", "broken", "unknown"] == sorted(path.name for path in data.iterdir())
    by_id = data.parent.parent / climbing["id"]
    assert b"climb" == by_id.read_bytes()


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


# Deleting


def test_a_deleted_file_is_gone(data: ObjectStoragePath) -> None:
    """By the name it was written as, with every other version of that name."""
    path = data / "report.csv"
    with ContainerHook() as hook:
        for number in range(3):
            source = tempfile.gettempdir() + "/report.csv"
            Path(source).write_text(str(number))
            hook.upload_container_file(container_of(data), Path(source))
        Path(source).unlink()
    (data / "other.csv").write_text("stays")
    assert "2" == path.read_text()

    path.unlink()

    assert not path.exists()
    assert ["other.csv"] == plain_names(data)
    with pytest.raises(FileNotFoundError):
        path.unlink()
    path.unlink(missing_ok=True)


def test_deleting_a_file_by_its_whole_path_leaves_its_namesakes(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """Who lists and deletes deletes what was listed."""
    for digit in "ab":
        containers_server.add_container_file(
            container_of(data), f"/mnt/data/{digit * 32}-report.csv", digit.encode()
        )

    (data / f"{'b' * 32}-report.csv").unlink()

    assert [f"{'a' * 32}-report.csv"] == [path.name for path in data.iterdir()]


def test_a_copy_that_a_command_has_made_is_another_file(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """What is listed can be deleted one by one, and all at once."""
    for delete in (
        lambda: [path.unlink() for path in list(data.iterdir())],
        lambda: data.fs.rm(data.path, recursive=True),
        lambda: data.fs.rm(f"{data.path}/*"),
    ):
        (data / "report.csv").write_text("sent")
        containers_server.add_container_file(container_of(data), "/mnt/data/report.csv", b"copied")
        assert 2 == len(list(data.iterdir()))

        delete()

        assert [] == list(data.iterdir())


def test_a_file_that_is_called_like_a_pattern_is_deleted_alone(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """Whoever names files in a container must not decide which others go."""
    for name in "*", "a", "b":
        containers_server.add_container_file(container_of(data), f"/mnt/data/{name}", b"x")

    (data / "*").unlink()

    assert ["a", "b"] == sorted(path.name for path in data.iterdir())


def test_everything_in_a_folder_is_deleted_on_demand_only(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """The container stays, and its folder."""
    for name in "a", "sub/b":
        containers_server.add_container_file(container_of(data), f"/mnt/data/{name}", b"x")
    with pytest.raises(IsADirectoryError):
        data.fs.rm(data.path)

    data.fs.rm(data.path, recursive=True)

    assert [] == list(data.iterdir())
    assert 1 == len(containers_server.alive())


# Refused


def test_paths_refuse_what_the_service_cannot_do(data: ObjectStoragePath) -> None:
    """The reason gets through Airflow's paths, and nothing is changed."""
    (data / "a").write_text("x")

    for operation in (
        lambda: (data / "a").rename(data / "b"),
        lambda: (data / "a").replace(data / "b"),
        lambda: (data / "a").move(data / "b"),
        lambda: (data / "a").open("a"),
        lambda: (data / "new").mkdir(parents=True, exist_ok=True),
        lambda: (data / "new" / "a").write_text("x"),
    ):
        with pytest.raises(NotImplementedError, match=r"the service|cannot be changed"):
            operation()

    assert ["a"] == plain_names(data)


def test_a_folder_that_would_be_a_new_one_is_refused_before_anything_is_sent(
    data: ObjectStoragePath, tmp_path: Path
) -> None:
    """A tree cannot be copied into a container, as nobody can choose its paths."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("x")

    with pytest.raises(NotImplementedError, match="knows no empty folders"):
        ObjectStoragePath(f"file://{tmp_path}/tree").copy(data, recursive=True)

    assert [] == list(data.iterdir())


# Copying


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


# The rest of Airflow


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


def test_a_container_that_is_gone_has_no_files(
    data: ObjectStoragePath, containers_server: LocalServer
) -> None:
    """It is a missing file for who handles files, and a gone container for who handles containers."""
    (data / "a").write_text("x")
    with ContainerHook() as hook:
        hook.delete_container(container_of(data))

    assert not (data / "a").exists()
    assert not data.is_dir()
    for operation in (
        (data / "a").read_text,
        lambda: (data / "a").write_text("y"),
        lambda: data.fs.ls(data.path),
        lambda: data.fs.find(data.path),
        lambda: data.fs.glob(f"{data.path}/*"),
        lambda: data.fs.rm(data.path, recursive=True),
        lambda: data.fs.rm((data / "a").path),
        lambda: data.fs.makedirs(data.path, exist_ok=True),
    ):
        with pytest.raises(FileNotFoundError, match=r"has expired or was deleted") as caught:
            operation()
        assert isinstance(caught.value, ContainerGoneError)
        assert 404 == caught.value.status_code


def test_a_wrong_key_is_no_missing_file(
    data: ObjectStoragePath, containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be looked for is not one that is not there."""
    containers_server.order_fault(method="GET", path="/v1/containers/*/files", status=401, times=4)

    for look in (data / "a").exists, data.is_dir, (data / "a").is_file, (data / "a").read_text:
        with pytest.raises(AuthenticationError):
            look()


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


printable = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=printable.filter(lambda name: name not in {".", ".."}), content=st.binary(max_size=200))
def test_any_name_is_found_as_it_was_written(data: ObjectStoragePath, name: str, content: bytes) -> None:
    """Blanks, quotes, percent signs and every script: what was written there is read there."""
    path = f"{data.path}/{name}"
    data.fs.pipe_file(path, content)

    assert content == data.fs.open(path).read()
    assert data.fs.isfile(path)
    data.fs.rm_file(path)
    assert not data.fs.exists(path)
