"""A container as a file system: files that are read from front to back, at any position, and in part."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.api import APIConnectionError
from airflow_containers.testing import LocalServer
from tests.support.file_system import MEGABYTE, data, known_stores, new_container, no_leftovers

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["data", "known_stores", "new_container", "no_leftovers"]


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
