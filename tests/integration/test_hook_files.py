"""The hook's methods for files, against the local server."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.api import (
    AmbiguousUploadError,
    BytesSource,
    ContainerFileNotFoundError,
    CreateContainerRequest,
    InvalidRequestError,
    NotFoundError,
    SourceChangedError,
)
from airflow_containers.hooks import _progress, _uploads
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.testing import LocalServer

DATA = random.Random(1).randbytes(2_500_000)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.01)
    monkeypatch.setattr(_uploads, "PAUSES_BEFORE_LOOKS", (0.0, 0.01))


@pytest.fixture
def hook(containers_connection: str) -> Iterator[ContainerHook]:
    """A hook for the local server."""
    with ContainerHook() as made:
        yield made


@pytest.fixture
def container_id(hook: ContainerHook) -> str:
    """A container."""
    return hook.create_container(CreateContainerRequest(name="files")).id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "my report.csv"
    path.write_bytes(DATA)
    return path


class TestContainerFiles:
    """In and out."""

    def test_there_and_back(self, hook: ContainerHook, container_id: str, path: Path) -> None:
        """Uploaded, listed, retrieved, downloaded, opened, deleted."""
        file = hook.upload_container_file(container_id, path)
        assert file.path is not None
        assert file.path.endswith("-my report.csv")
        assert (len(DATA), "user") == (file.bytes, file.source)
        assert [file] == list(hook.iterate_container_files(container_id))
        assert [file] == hook.list_container_files(container_id, limit=5, order="asc").data
        assert file == hook.retrieve_container_file(container_id, file.id)
        target = path.with_name("back.csv")
        downloaded = hook.download_container_file(container_id, file.id, target, expected_bytes=file.bytes)
        assert DATA == target.read_bytes()
        assert hashlib.sha256(DATA).hexdigest() == downloaded.sha256
        assert hook.delete_container_file(container_id, file.id).deleted
        with pytest.raises(ContainerFileNotFoundError):
            hook.retrieve_container_file(container_id, file.id)

    def test_names(self, hook: ContainerHook, container_id: str, path: Path) -> None:
        """Another name, a text as path, and a source."""
        sources: list[Any] = [path, str(path), BytesSource("mine", DATA)]
        for source in sources:
            file = hook.upload_container_file(container_id, source, name="other.txt")
            assert file.path is not None
            assert file.path.endswith("-other.txt")

    def test_opened(self, hook: ContainerHook, container_id: str, path: Path) -> None:
        """A stream with a size, read in any pieces, that gives its connection back."""
        file = hook.upload_container_file(container_id, path)
        with hook.open_container_file(container_id, file.id) as stream:
            assert len(DATA) == stream.size
            assert DATA[:10] == stream.read(10)
            assert DATA[10:100_000] == stream.read(99_990)
            assert DATA[100_000:] == stream.read()
            assert b"" == stream.read(1)
        assert stream.closed
        with hook.open_container_file(container_id, file.id) as stream:
            assert isinstance(stream, io.BufferedReader)
            stream.read(1)
        with pytest.raises(ContainerFileNotFoundError):
            hook.open_container_file(container_id, "cfile_none")
        assert 1 == len(hook.list_container_files(container_id).data)

    def test_all_pages(self, hook: ContainerHook, container_id: str, containers_server: LocalServer) -> None:
        """More than one page holds."""
        for number in range(205):
            containers_server.add_container_file(container_id, f"/mnt/data/{number}", b"")
        assert 205 == len({file.id for file in hook.iterate_container_files(container_id, order="asc")})

    def test_what_is_new(
        self, hook: ContainerHook, container_id: str, containers_server: LocalServer
    ) -> None:
        """Lists are cumulative; a snapshot tells what came later, also where a path was written again."""
        containers_server.add_container_file(container_id, "/mnt/data/old", b"1")
        containers_server.add_container_file(container_id, "/mnt/data/again", b"1")
        snapshot = hook.snapshot_container_files(container_id)
        assert [] == snapshot.new_files(hook)
        for name in ("again", "new"):
            containers_server.add_container_file(container_id, f"/mnt/data/{name}", b"2")
        assert ["/mnt/data/again", "/mnt/data/new"] == [file.path for file in snapshot.new_files(hook)]


class TestFiles:
    """The Files API."""

    def test_there_and_back(self, hook: ContainerHook, container_id: str, path: Path) -> None:
        """Made, listed, copied into a container, downloaded, deleted."""
        file = hook.upload_file(path, expires_after=3600)
        assert ("my report.csv", len(DATA), "user_data") == (file.filename, file.bytes, file.purpose)
        assert file.expires_at is not None
        assert [file] == list(hook.iterate_files(purpose="user_data"))
        assert [] == hook.list_files(purpose="batch").data
        copy = hook.copy_file_into_container(container_id, file.id)
        assert len(DATA) == copy.bytes
        assert DATA == hook.download_file(file.id, path.with_name("x")).path.read_bytes()
        assert hook.delete_file(file.id).deleted
        with pytest.raises(NotFoundError) as caught:
            hook.retrieve_file(file.id)
        assert "base URL" not in str(caught.value)

    @pytest.mark.parametrize("change", [{"purpose": "fun"}, {"expires_after": 3599}, {"expires_after": True}])
    def test_what_is_refused_at_once(self, hook: ContainerHook, path: Path, change: Any) -> None:
        """With the limits in the message, and before anything is sent."""
        with pytest.raises(InvalidRequestError, match="expected"):
            hook.upload_file(path, **change)

    @pytest.mark.parametrize("size", [1_000_001, 2_000_000, 2_500_000])
    def test_in_parts(
        self, hook: ContainerHook, path: Path, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file above the limit goes in parts, and the service compares the checksum of the whole."""
        small_parts(monkeypatch)
        path.write_bytes(DATA[:size])
        file = hook.upload_file(path, name="large.bin")
        assert ("large.bin", size) == (file.filename, file.bytes)
        assert DATA[:size] == hook.download_file(file.id, path.with_name("x")).path.read_bytes()


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what is large, and what a part is, small enough for a test."""
    monkeypatch.setattr("airflow_containers.api.models.MAX_FILE_BYTES", 1_000_000)
    monkeypatch.setattr("airflow_containers.api.models.MAX_PART_BYTES", 400_000)


class TestOnce:
    """An upload that was not answered is looked for."""

    def test_the_answer_is_lost(
        self, hook: ContainerHook, container_id: str, path: Path, containers_server: LocalServer
    ) -> None:
        """The file that is there is taken; there is no second one."""
        containers_server.order_fault(method="POST", path="*/files", when="after", reset=True, times=1)
        file = hook.upload_container_file(container_id, path)
        assert [file] == list(hook.iterate_container_files(container_id))
        containers_server.assert_requested("POST", f"/v1/containers/{container_id}/files", times=1)

    def test_nothing_was_made(
        self, hook: ContainerHook, container_id: str, path: Path, containers_server: LocalServer
    ) -> None:
        """It is sent again, and there is one."""
        containers_server.order_fault(method="POST", path="*/files", status=500, times=1)
        file = hook.upload_container_file(container_id, path)
        assert [file] == list(hook.iterate_container_files(container_id))
        containers_server.assert_requested("POST", f"/v1/containers/{container_id}/files", times=2)

    def test_it_is_given_up(
        self, hook: ContainerHook, container_id: str, path: Path, containers_server: LocalServer
    ) -> None:
        """After ``max_retries``."""
        containers_server.order_fault(method="POST", path="*/files", status=500, times=99)
        with pytest.raises(AmbiguousUploadError):
            hook.upload_container_file(container_id, path)
        containers_server.assert_requested("POST", f"/v1/containers/{container_id}/files", times=3)
        assert [] == list(hook.iterate_container_files(container_id))

    @pytest.mark.parametrize("other", [DATA[::-1], DATA + b"x", DATA[:-1]])
    def test_another_file_is_not_taken_for_it(
        self,
        hook: ContainerHook,
        container_id: str,
        path: Path,
        containers_server: LocalServer,
        other: bytes,
    ) -> None:
        """Name and size alone may be anybody's."""
        prefix = "0" * 32
        containers_server.add_container_file(
            container_id, f"/mnt/data/{prefix}-my report.csv", other, source="user"
        )
        containers_server.order_fault(method="POST", path="*/files", status=500, times=1)
        file = hook.upload_container_file(container_id, path)
        assert len(DATA) == file.bytes
        assert 2 == len(list(hook.iterate_container_files(container_id)))

    def test_an_own_earlier_file_is_not_taken_for_it(
        self, hook: ContainerHook, container_id: str, path: Path, containers_server: LocalServer
    ) -> None:
        """Somebody who sends a file twice wants two."""
        first = hook.upload_container_file(container_id, path)
        containers_server.order_fault(method="POST", path="*/files", status=500, times=1)
        assert first.id != hook.upload_container_file(container_id, path).id

    @pytest.mark.parametrize(
        ("fault", "posts"), [({"when": "after", "reset": True}, 1), ({"status": 503}, 2)]
    )
    def test_files_and_copies(
        self,
        hook: ContainerHook,
        container_id: str,
        path: Path,
        containers_server: LocalServer,
        fault: dict[str, Any],
        posts: int,
    ) -> None:
        """The same for the Files API, and for copies of its files."""
        containers_server.order_fault(method="POST", path="*/files", times=1, **fault)
        file = hook.upload_file(path)
        assert [file] == list(hook.iterate_files())
        containers_server.assert_requested("POST", "/v1/files", times=posts)
        containers_server.order_fault(method="POST", path="*/files", times=1, **fault)
        copy = hook.copy_file_into_container(container_id, file.id)
        assert [copy] == list(hook.iterate_container_files(container_id))

    @pytest.mark.parametrize(
        "fault", [{"when": "after", "reset": True}, {"status": 500}], ids=["made", "not made"]
    )
    @pytest.mark.parametrize("step", ["parts", "complete"])
    def test_in_parts(
        self,
        hook: ContainerHook,
        path: Path,
        containers_server: LocalServer,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        fault: dict[str, Any],
    ) -> None:
        """A part may be sent twice; what is completed is one file."""
        small_parts(monkeypatch)
        containers_server.order_fault(method="POST", path=f"/v1/uploads/*/{step}", times=1, **fault)
        file = hook.upload_file(path)
        assert [file] == list(hook.iterate_files())
        assert DATA == hook.download_file(file.id, path.with_name("x")).path.read_bytes()
        # The checksum is right at once. Only a part that was made twice is counted, and begins it anew.
        made_twice = step == "parts" and "reset" in fault
        containers_server.assert_requested("POST", "/v1/uploads", times=2 if made_twice else 1)

    def test_parts_of_a_file_that_changes(
        self,
        hook: ContainerHook,
        path: Path,
        containers_server: LocalServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The upload is cancelled, and there is no file."""
        small_parts(monkeypatch)

        source = BytesSource("a.bin", DATA)
        source.data = DATA[:-1]
        with pytest.raises(SourceChangedError):
            hook.upload_file(source)
        assert [] == list(hook.iterate_files())
        assert 1 == len(containers_server.requests("POST", "/v1/uploads/*/cancel"))


class TestLog:
    """What a person sees of a transfer."""

    def test_lines_at_intervals(
        self,
        hook: ContainerHook,
        container_id: str,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """How far it is, and at the end how fast it was."""
        monkeypatch.setattr(_progress, "INTERVAL_SECONDS", 0.0)
        monkeypatch.setattr(ContainerHook, "log", logging.getLogger("transfers"))
        with caplog.at_level(logging.INFO):
            file = hook.upload_container_file(container_id, path)
            hook.download_container_file(container_id, file.id, path.with_name("x"), expected_bytes=len(DATA))
        lines = [record.getMessage() for record in caplog.records]
        assert any(line.startswith("Uploading my report.csv to cntr_") for line in lines)
        assert any(" of 2.5 MB (100 %)" in line for line in lines)
        assert any("Downloading cfile_" in line and "done, 2500000 bytes in " in line for line in lines)

    def test_a_second_attempt_counts_from_the_start(
        self,
        hook: ContainerHook,
        container_id: str,
        containers_server: LocalServer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """No more than all of a file is ever told."""
        monkeypatch.setattr(_progress, "INTERVAL_SECONDS", 0.0)
        monkeypatch.setattr(ContainerHook, "log", logging.getLogger("transfers"))
        containers_server.order_fault(method="POST", path="*/files", reset_reading_after=100_000, times=1)
        with caplog.at_level(logging.INFO, "transfers"):
            hook.upload_container_file(container_id, BytesSource("a.bin", DATA * 4))
        told = [record.getMessage() for record in caplog.records if " %)" in record.getMessage()]
        assert 2 <= sum("(2 %)" in line for line in told)
        assert told[-1].endswith("10.0 MB of 10.0 MB (100 %)")
        assert 100 == max(int(line.rpartition("(")[2].removesuffix(" %)")) for line in told)

    def test_a_name_writes_no_lines(
        self,
        hook: ContainerHook,
        container_id: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Names may come from a store, where anybody has written."""
        monkeypatch.setattr(_progress, "INTERVAL_SECONDS", 0.0)
        monkeypatch.setattr(ContainerHook, "log", logging.getLogger("transfers"))
        with caplog.at_level(logging.INFO):
            hook.upload_container_file(container_id, BytesSource("a\nERROR: b", DATA))
            hook.upload_file(BytesSource("a\nERROR: b", DATA))
        lines = [record.getMessage() for record in caplog.records]
        assert 2 == sum(line.startswith(r"Uploading 'a\nERROR: b'") and "done" in line for line in lines)
        assert not any("\n" in line for line in lines)

    def test_small_ones_are_quiet(
        self,
        hook: ContainerHook,
        container_id: str,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A thousand small files do not fill the log."""
        monkeypatch.setattr(ContainerHook, "log", logging.getLogger("transfers"))
        with caplog.at_level(logging.INFO):
            hook.upload_container_file(container_id, path)
        assert not [record for record in caplog.records if "Uploading" in record.getMessage()]


def test_memory_stays_flat(hook: ContainerHook, container_id: str, tmp_path: Path) -> None:
    """64 MB in and out add a few MiB at the most, by the process's own peak."""
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    hook.upload_container_file(container_id, BytesSource("warm", DATA))
    clear_peak()
    before = peak()
    made = hook.upload_container_file(container_id, path)
    hook.download_container_file(container_id, made.id, tmp_path / "back.bin", expected_bytes=64_000_000)
    assert peak() - before < 8 * 1024 * 1024


def clear_peak() -> None:
    """Let the peak be counted anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path(f"/proc/{os.getpid()}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
