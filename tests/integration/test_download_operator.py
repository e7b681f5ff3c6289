"""Files out of a container, with the local server over a real socket."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.operators._transfers import FileTransferError
from airflow_containers.operators.files import DownloadFromContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context
from tests.support.file_operators import CONTENT_PATH, container, download, leftovers, server, store, upload

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["container", "server", "store"]


class TestDownload:
    """What comes out, and where it goes."""

    def test_paths_patterns_and_ids(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """Each file once, with its size and checksum; the newest for a path, all for a pattern."""
        _, (old,) = upload(container, texts={"report.csv": "old"})
        server.advance_clock(10)
        _, (new,) = upload(container, texts={"report.csv": "newer"})
        made = server.add_container_file(container, "/mnt/data/out/a.csv", b"made inside")
        written = download(
            container,
            paths=["report.csv", "/mnt/data/out/*.csv"],
            file_ids=[old["id"], new["id"]],
            target=tmp_path,
        )
        assert [new["id"], made["id"], old["id"]] == [entry["id"] for entry in written]
        assert ["report.csv", "a.csv", "report-2.csv"] == [Path(entry["target"]).name for entry in written]
        for entry, data in zip(written, (b"newer", b"made inside", b"old"), strict=True):
            assert {"path", "id", "target", "bytes", "sha256"} == entry.keys()
            assert data == Path(entry["target"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert 3 == len(leftovers(tmp_path))

    def test_folder_is_made_and_files_are_readable(self, container: str, tmp_path: Path) -> None:
        """The next task may run as somebody else: the worker's umask says who reads."""
        upload(container, texts={"a.csv": "x"})
        (entry,) = download(container, paths="a.csv", target=tmp_path / "new" / "folder")
        mask = os.umask(0o022)
        os.umask(mask)
        assert 0o666 & ~mask == stat.S_IMODE(Path(entry["target"]).stat().st_mode)

    def test_existing_files_are_replaced(self, container: str, tmp_path: Path) -> None:
        """A retry writes the same names again."""
        upload(container, texts={"a.csv": "x"})
        (tmp_path / "a.csv").write_text("from an earlier try")
        for _ in range(2):
            download(container, paths="a.csv", target=tmp_path)
        assert ["a.csv"] == leftovers(tmp_path)
        assert "x" == (tmp_path / "a.csv").read_text()

    def test_links_are_not_followed(self, container: str, tmp_path: Path) -> None:
        """A link that somebody has planted is replaced; what it points to stays as it is."""
        victim, target = tmp_path / "victim", tmp_path / "out"
        victim.write_text("precious")
        victim.chmod(0o600)
        target.mkdir()
        (target / "a.csv").symlink_to(victim)
        (target / "b.csv").symlink_to(tmp_path / "nowhere")
        upload(container, texts={"a.csv": "x", "b.csv": "y"})
        download(container, paths="*.csv", target=target)
        assert ("precious", 0o600) == (victim.read_text(), stat.S_IMODE(victim.stat().st_mode))
        assert not (tmp_path / "nowhere").exists()
        assert not any(path.is_symlink() for path in target.iterdir())
        assert "x" == (target / "a.csv").read_text()

    def test_folder_in_the_way(self, container: str, tmp_path: Path) -> None:
        """A folder with the file's name is an error in words, and nothing is left."""
        (tmp_path / "a.csv").mkdir()
        upload(container, texts={"a.csv": "x"})
        with pytest.raises(FileTransferError, match=r"Task 'get': /mnt/data/.*a\.csv: .*director"):
            download(container, paths="a.csv", target=tmp_path)
        assert ["a.csv"] == leftovers(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(FileTransferError, match="is there and is no folder"):
            download(container, paths="a.csv", target=tmp_path / "file")

    def test_store(
        self, container: str, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Into a store, by way of a temporary file that does not stay."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        upload(container, texts={"a.csv": "x", "b.csv": "y" * 3_000_000})
        written = download(container, paths="*.csv", target="memory://bucket/out/")
        assert {"memory://bucket/out/a.csv", "memory://bucket/out/b.csv"} == {
            entry["target"] for entry in written
        }
        assert (b"x", b"y" * 3_000_000) == (store.cat("/bucket/out/a.csv"), store.cat("/bucket/out/b.csv"))
        assert [] == leftovers(tmp_path)

    def test_store_that_fails(
        self, container: str, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store that breaks in the middle gets no half of a file, and nothing stays on the worker."""
        from fsspec.implementations.memory import MemoryFile

        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        upload(container, texts={"a.csv": "y" * 3_000_000})
        pieces = 0

        def write(file: MemoryFile, data: bytes) -> int:
            nonlocal pieces
            pieces += 1
            if pieces == 2:
                raise OSError("the store is full")
            return super(MemoryFile, file).write(data)

        monkeypatch.setattr(MemoryFile, "write", write, raising=False)
        with pytest.raises(FileTransferError, match=r"a\.csv: OSError: the store is full; 0 of 1 files"):
            download(container, paths="a.csv", target="memory://bucket/out")
        assert 2 == pieces
        assert [] == leftovers(tmp_path)

    def test_file_url(self, container: str, tmp_path: Path) -> None:
        """``file://`` is a folder of the worker."""
        upload(container, texts={"a.csv": "x"})
        (entry,) = download(container, paths="a.csv", target=f"file://{tmp_path}/out")
        assert (str(tmp_path / "out" / "a.csv"), "x") == (
            entry["target"],
            (tmp_path / "out/a.csv").read_text(),
        )

    def test_nothing_matches(self, container: str, tmp_path: Path) -> None:
        """It fails, skips or is passed over, as asked."""
        with pytest.raises(
            FileTransferError, match=r"Task 'get': \*\.csv matches no file in container cntr_"
        ):
            download(container, paths="*.csv", target=tmp_path)
        with pytest.raises(FileTransferError, match=r"a\.csv is not there in container cntr_.*, which has 0"):
            download(container, paths="a.csv", target=tmp_path)
        with pytest.raises(AirflowSkipException):
            download(container, paths="*.csv", target=tmp_path, if_nothing_matches="skip")
        assert [] == download(container, paths="*.csv", target=tmp_path, if_nothing_matches="ignore")

    def test_limits(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """Known sizes are added up before the first byte."""
        upload(container, texts={f"{number}.csv": "x" * 100 for number in range(5)})
        with pytest.raises(AirflowFailException, match="one file more than max_files allows, which is 4"):
            download(container, paths="*.csv", target=tmp_path, max_files=4)
        with pytest.raises(
            AirflowFailException, match="more bytes than max_bytes allows, which is 499 bytes"
        ):
            download(container, paths="*.csv", target=tmp_path, max_bytes=499)
        server.assert_requested("GET", CONTENT_PATH, times=0)
        assert 5 == len(download(container, paths="*.csv", target=tmp_path, max_files=5, max_bytes=500))

    def test_unknown_sizes(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """A file whose size the list does not tell is fetched, and counted while it comes."""
        data = os.urandom(3_000_000)
        server.add_container_file(container, "/mnt/data/a.bin", data, null_bytes=True)
        with pytest.raises(
            AirflowFailException, match="more bytes than max_bytes allows, which is 2,999,999"
        ):
            download(container, paths="a.bin", target=tmp_path, max_bytes=2_999_999)
        assert [] == leftovers(tmp_path)
        (entry,) = download(container, paths="a.bin", target=tmp_path, max_bytes=3_000_000)
        assert (3_000_000, hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert data == (tmp_path / "a.bin").read_bytes()
        assert ["a.bin"] == leftovers(tmp_path)

    def test_unknown_size_without_a_length(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """Also where the answer does not say how long it is going to be."""
        server.add_container_file(container, "/mnt/data/a.bin", b"x" * 1000, null_bytes=True)
        server.add_container_file(container, "/mnt/data/b.bin", b"x" * 1000, null_bytes=True)
        with pytest.raises(AirflowFailException, match="more bytes than max_bytes allows"):
            download(container, paths="*.bin", target=tmp_path, max_bytes=1999, parallel=1)
        assert ["a.bin"] == leftovers(tmp_path) or ["b.bin"] == leftovers(tmp_path)

    def test_listed_and_not_there(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """An entry without content is an error in words, never a file with an error in it."""
        server.add_container_file(container, "/mnt/data/a.csv", None)
        with pytest.raises(AirflowFailException, match=r"Task 'get': /mnt/data/a\.csv: .*HTTP 404.*; 0 of 1"):
            download(container, paths="a.csv", target=tmp_path)
        assert [] == leftovers(tmp_path)

    @pytest.mark.parametrize("null_bytes", [False, True])
    @pytest.mark.parametrize(
        "fault",
        [{"status": 500}, {"reset_after": 1000}, {"truncate": 1000}],
        ids=lambda fault: next(iter(fault)),
    )
    def test_broken_transfer(
        self, container: str, server: LocalServer, tmp_path: Path, fault: dict[str, Any], null_bytes: bool
    ) -> None:
        """What breaks off is not there, and a retry may mend it."""
        server.add_container_file(container, "/mnt/data/a.bin", b"x" * 1_000_000, null_bytes=null_bytes)
        server.order_fault(method="GET", path=CONTENT_PATH, times=50, **fault)
        with pytest.raises(FileTransferError, match=r"/mnt/data/a\.bin: .*; 0 of 1 files were written"):
            download(container, paths="a.bin", target=tmp_path)
        assert [] == leftovers(tmp_path)

    @pytest.mark.parametrize("null_bytes", [False, True])
    @pytest.mark.parametrize("fault", [{"reset_after": 1_000_000}, {"truncate": 1_000_000}])
    def test_broken_once(
        self,
        container: str,
        server: LocalServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        fault: dict[str, Any],
        null_bytes: bool,
    ) -> None:
        """It goes on where it was, also where the list does not tell the size, and is counted once."""
        fields = json.loads(os.environ["AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT"])
        fields["extra"]["max_retries"] = 1
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
        data = bytes(range(256)) * 8000
        server.add_container_file(container, "/mnt/data/a.bin", data, null_bytes=null_bytes)
        server.order_fault(method="GET", path=CONTENT_PATH, times=1, **fault)
        (entry,) = download(container, paths="a.bin", target=tmp_path, max_bytes=len(data))
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert data == (tmp_path / "a.bin").read_bytes()
        assert ["a.bin"] == leftovers(tmp_path)

    def test_error_with_status_200(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """A gateway's error is not saved as a file whose size nobody knows."""
        server.add_container_file(container, "/mnt/data/a.csv", b"1,2", null_bytes=True)
        error = {"error": {"message": "File not found."}}
        server.order_fault(method="GET", path=CONTENT_PATH, times=9, status=200, body=json.dumps(error))
        with pytest.raises(FileTransferError, match=r"/mnt/data/a\.csv: .*an error in its body"):
            download(container, paths="a.csv", target=tmp_path)
        assert [] == leftovers(tmp_path)

    @pytest.mark.parametrize("null_bytes", [False, True])
    def test_full_disk(self, container: str, server: LocalServer, tmp_path: Path, null_bytes: bool) -> None:
        """A disk that takes no more is an error that may pass, and nothing of the file stays."""
        server.add_container_file(container, "/mnt/data/a.bin", b"x" * 3_000_000, null_bytes=null_bytes)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(FileTransferError, match=r"Task 'get': /mnt/data/a\.bin: .*; 0 of 1 files"):
                download(container, paths="a.bin", target=tmp_path / "out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [] == leftovers(tmp_path / "out")

    def test_others_are_told(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """What was written before a failure is complete, stays, and is named."""
        server.add_container_file(container, "/mnt/data/a.csv", b"first")
        server.add_container_file(container, "/mnt/data/b.csv", None)
        with pytest.raises(
            AirflowFailException, match=rf"1 of 2 files were .*, each complete: {tmp_path}/a\.csv"
        ):
            download(container, paths=["a.csv", "b.csv"], target=tmp_path, parallel=1)
        assert ["a.csv"] == leftovers(tmp_path)

    def test_kill(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """A killed task ends within seconds, and leaves no part of a file."""
        for number in range(4):
            server.add_container_file(container, f"/mnt/data/{number}", b"x" * 200_000)
        server.order_fault(method="GET", path=CONTENT_PATH, times=50, drip={"bytes": 1000, "seconds": 0.05})
        task = DownloadFromContainerOperator(
            task_id="get", container_id=container, paths="*", target=tmp_path, parallel=2
        )
        threading.Timer(1.0, task.on_kill).start()
        started = time.monotonic()
        with pytest.raises(FileTransferError, match="the task was killed; 0 of 4 files were written"):
            task.execute(task_context(task))
        assert time.monotonic() - started < 5
        assert [] == leftovers(tmp_path)


HOSTILE = [
    "/mnt/data/../../etc/passwd",
    "../../etc/passwd",
    "/etc/passwd",
    "/mnt/data/a\0b",
    "/mnt/data/a\nb",
    "/mnt/data/" + "x" * 3000,
    "/mnt/data/" + "é" * 300,
    "/mnt/data/Report.csv",
    "/mnt/data/report.csv",
    "/mnt/data/REPORT.CSV",
    "/mnt/data/caf\u00e9",
    "/mnt/data/cafe\u0301",
    "/mnt/data/..",
    "/mnt/data/.",
    "/mnt/data/CON",
    "/mnt/data/a.csv, /mnt/data/b.csv",
    "/mnt/data/~",
    "/mnt/data/-rf *",
    "C:\\Windows\\win.ini",
    "",
]


class TestHostileNames:
    """A name from a container is not trusted."""

    def test_on_disk(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """All of them come out beside each other, and nothing is anywhere else."""
        target = tmp_path / "in" / "there"
        ids = [
            server.add_container_file(container, path or "/", str(number).encode())["id"]
            for number, path in enumerate(HOSTILE)
        ]
        written = download(container, file_ids=ids, target=target)
        assert len(HOSTILE) == len({entry["target"] for entry in written}) == len(leftovers(target))
        for number, entry in enumerate(written):
            path = Path(entry["target"])
            assert target == path.parent
            assert str(number) == path.read_text()
        assert ["there"] == leftovers(target.parent)
        assert ["in"] == leftovers(tmp_path)

    def test_log(
        self, container: str, server: LocalServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No name writes a line of its own into the task's log or message."""
        forged = "/mnt/data/a\n[2026-01-01] ERROR forged"
        server.add_container_file(container, forged, b"x")
        caplog.set_level("INFO")
        download(container, paths="**", target=tmp_path)
        assert not any("\n" in record.getMessage() for record in caplog.records)
        server.add_container_file(container, forged, None)
        with pytest.raises(AirflowFailException) as caught:
            download(container, paths="**", target=tmp_path)
        assert "\n" not in str(caught.value)

    def test_in_a_store(self, container: str, server: LocalServer, store: MemoryFileSystem) -> None:
        """The same in a store."""
        ids = [server.add_container_file(container, path or "/", b"x")["id"] for path in HOSTILE]
        written = download(container, file_ids=ids, target="memory://bucket/out")
        assert len(HOSTILE) == len(written) == len(store.find("/"))
        assert all(path.startswith("/bucket/out/") and path.count("/") == 3 for path in store.find("/"))

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5, unique=True))
    def test_any_names(self, container: str, server: LocalServer, tmp_path: Path, names: list[str]) -> None:
        """Whatever the names are, each file is in the folder, and nothing else is."""
        target = tmp_path / hashlib.sha256(repr(names).encode()).hexdigest()
        usable = [name for name in names if name.isprintable() or "\n" in name]
        ids = [server.add_container_file(container, f"/mnt/data/{name}", b"x")["id"] for name in usable]
        if not ids:
            return
        written = download(container, file_ids=ids, target=target)
        assert {Path(entry["target"]) for entry in written} == {*target.iterdir()}
        assert len({*ids}) == len(written)
