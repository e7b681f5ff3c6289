"""A container as a file system: what is written, listed, deleted and refused, by Airflow's own paths."""

from __future__ import annotations

import csv
import gzip
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.api import AuthenticationError, ContainerGoneError
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.testing import LocalServer
from tests.support.file_system import (
    container_of,
    data,
    known_stores,
    new_container,
    no_leftovers,
    plain_names,
)

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["data", "known_stores", "new_container", "no_leftovers"]


# Writing


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
    """The plain name, and the service's where the pattern means it."""
    (data / "report-1.csv").write_text("sent")
    containers_server.add_container_file(container_of(data), f"/mnt/data/{'a1' * 16}-sum.txt", b"1")

    assert [] == list(data.glob("a*"))
    assert 1 == len(list(data.glob("a1a1a1a1*"))) == len(list(data.glob("*-sum.txt")))
    containers_server.add_container_file(container_of(data), "/mnt/data/report-2.csv", b"made")
    containers_server.add_container_file(container_of(data), "/mnt/data/sub/report-3.csv", b"deep")

    assert ["made", "sent"] == sorted(path.read_text() for path in data.glob("report-*.csv"))
    assert 3 == len(list(data.rglob("report-*")))
    assert [] == list(data.glob("*.parquet"))


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
