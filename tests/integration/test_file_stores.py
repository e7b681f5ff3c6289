"""Transfers with stores that fail, or have odd files and names; and with what else tasks meet at night."""

from __future__ import annotations

import io
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from airflow_containers.api import CreateContainerRequest
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators._stores import StorePath
from airflow_containers.operators._transfers import FileTransferError, LimitError
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import STARTED, task_context


@pytest.fixture(autouse=True)
def server(
    containers_server: LocalServer, file_systems: None, monkeypatch: pytest.MonkeyPatch
) -> LocalServer:
    """A local server, and the default connection to it: no repeated attempts, and no pace."""
    connect(containers_server, monkeypatch, requests_per_minute=60_000)
    return containers_server


@pytest.fixture
def container(server: LocalServer) -> str:
    """The id of a container."""
    return create()


class Shelf(MemoryFileSystem):
    """A store of one test: what it says and does is changed at will."""

    protocol = "shelf"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return f"/{str(path).removeprefix('shelf://').strip('/')}"

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path."""
        return f"shelf:/{name}"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """An empty store that Airflow knows as ``shelf://``."""
    try:
        from airflow.sdk.io import attach
    except ImportError:  # Airflow 2
        from airflow.io.store import attach
    fsspec.register_implementation("shelf", Shelf, clobber=True)
    made = Shelf(skip_instance_cache=True)
    attach("shelf", fs=made)
    made.store.clear()
    yield made
    made.store.clear()


def connect(server: LocalServer, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    """Make the default connection lead to a server."""
    fields = {
        "conn_type": "openai_containers",
        "host": server.base_url,
        "password": server.api_key,
        "extra": {"max_retries": 0, **extra},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))


def create() -> str:
    """Make a container, and return its id."""
    with ContainerHook() as hook:
        return hook.get_conn().create(CreateContainerRequest(name="stores")).id


def upload(container: str, **fields: Any) -> dict[str, str]:
    """Run an upload task."""
    task = UploadToContainerOperator(task_id="put", container_id=container, **fields)
    sent: dict[str, str] = task.execute(task_context(task))
    return sent


def download(container: str, **fields: Any) -> list[dict[str, Any]]:
    """Run a download task."""
    task = DownloadFromContainerOperator(task_id="get", container_id=container, **fields)
    return task.execute(task_context(task))


class Appearing(io.BytesIO):
    """A file of a store that appears while it is written, as on a server of SFTP."""

    def __init__(self, shelf: Shelf, path: str, breaks_at: str) -> None:
        super().__init__()
        self._shelf, self._path, self._breaks_at = shelf, shelf._strip_protocol(path), breaks_at

    def write(self, data: Any) -> int:
        """Write, and show what there is by now."""
        written = super().write(data)
        self._shelf.store[self._path] = MemoryFile(self._shelf, self._path, self.getvalue())
        if self._breaks_at == "write":
            raise OSError("the line is dead")
        return written

    def close(self) -> None:
        """Close, which may fail as well."""
        if not self.closed:
            super().close()
            if self._breaks_at == "close":
                raise OSError("the line is dead")


class Committed(AbstractBufferedFile):  # type: ignore[misc]
    """A file of a store that appears when it is closed, also by the garbage collector, as in S3."""

    discarded = False

    def _upload_chunk(self, final: bool = False) -> bool:
        if final and not self.discarded:
            self.fs.pipe_file(self.path, self.buffer.getvalue())
        return True

    def _initiate_upload(self) -> None:
        pass

    def discard(self) -> None:
        """Give it up."""
        self.discarded = True


class TimeIsOver(BaseException):
    """As Airflow's time-out of a task: no ``Exception``."""


class TestFailures:
    """What a store does in the middle of it."""

    @pytest.mark.parametrize("breaks_at", ["write", "close"])
    def test_half_a_file_is_removed(
        self, container: str, shelf: Shelf, breaks_at: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where files appear while they are written, nothing of one that failed stays."""
        upload(container, texts={"a.csv": "x" * 100})
        monkeypatch.setattr(Shelf, "open", lambda fs, path, _mode: Appearing(fs, path, breaks_at))
        with pytest.raises(FileTransferError, match=r"a\.csv: OSError: the line is dead; 0 of 1 files"):
            download(container, paths="a.csv", target="shelf://out")
        assert {} == shelf.store

    def test_what_was_given_up_does_not_appear_later(
        self, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where a file appears when it is closed, the old one is still there after a failure."""
        shelf.pipe_file("/out/a.csv", b"old")
        made: list[Committed] = []

        def opened(path: str, _mode: str) -> Committed:
            made.append(Committed(shelf, path, "wb"))
            return made[-1]

        def ended() -> None:
            if made[0].buffer.tell():
                raise FileTransferError("killed")

        (tmp_path / "a.csv").write_bytes(b"x" * 3_000_000)
        monkeypatch.setattr(shelf, "open", opened)
        with pytest.raises(FileTransferError, match="killed"):
            StorePath(shelf, "/out/a.csv", "shelf://out/a.csv").write(tmp_path / "a.csv", ended)
        made[0].close()
        assert made[0].discarded
        assert b"old" == shelf.cat_file("/out/a.csv")

    def test_source_is_named(self, container: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a store raises while it is asked, the message says for which source."""

        def info(_fs: Shelf, _path: str, **_: Any) -> None:
            raise RuntimeError("the token has expired")

        monkeypatch.setattr(Shelf, "info", info)
        told = r"^Task 'put': shelf://in/a\.csv: RuntimeError: the token has expired$"
        with pytest.raises(FileTransferError, match=told):
            upload(container, sources=["shelf://in/a.csv"])

    def test_killed_while_sources_are_looked_for(
        self, container: str, shelf: Shelf, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that has to be copied to the worker first is given up, in words."""
        shelf.pipe_file("/in/a.csv", b"x")
        monkeypatch.setattr(Shelf, "info", lambda _, path, **__: {"name": path, "type": "file", "size": None})

        class Endless(io.RawIOBase):
            def read(self, _size: int = -1) -> bytes:
                time.sleep(0.02)
                return b"x"

        monkeypatch.setattr(Shelf, "open", lambda *_: Endless())
        task = UploadToContainerOperator(task_id="put", container_id=container, sources="shelf://in/a.csv")
        threading.Timer(0.3, task.on_kill).start()
        with pytest.raises(FileTransferError, match=r"^Task 'put': the task was killed before the first"):
            task.execute(task_context(task))
        assert [] == server.requests("POST", "/v1/containers/*/files")

    def test_source_without_an_end(
        self, container: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is copied to the worker because the store tells no size ends where it becomes too much."""
        shelf.pipe_file("/in/a.csv", b"x")
        monkeypatch.setattr(Shelf, "info", lambda _, path, **__: {"name": path, "type": "file", "size": None})
        pieces = 0

        class Long(io.RawIOBase):
            def read(self, _size: int = -1) -> bytes:
                nonlocal pieces
                pieces += 1
                return b"x" * 1000 if pieces < 100 else b""

        monkeypatch.setattr(Shelf, "open", lambda *_: Long())
        with pytest.raises(LimitError, match=r"with shelf://in/a\.csv there are more bytes than max_bytes"):
            upload(container, sources="shelf://in/a.csv", max_bytes=2_500)
        assert 3 == pieces

    def test_killed_before_it_began(self, container: str, server: LocalServer) -> None:
        """A task that is killed while it is prepared sends nothing."""
        task = UploadToContainerOperator(task_id="put", container_id=container, texts={"a.csv": "x"})
        task.on_kill()
        with pytest.raises(FileTransferError, match=r"^Task 'put': the task was killed"):
            task.execute(task_context(task))
        assert [] == server.requests("POST", "/v1/containers/*/files")

    def test_what_is_gone_is_taken_back(self, container: str, server: LocalServer) -> None:
        """A file that somebody else has deleted in the meantime is not called left."""
        server.order_fault(method="POST", path="/v1/containers/*/files", delay=0.001)
        server.order_fault(method="POST", path="/v1/containers/*/files", status=400)
        server.order_fault(method="DELETE", path="/v1/containers/*/files/*", status=404)
        with pytest.raises(AirflowFailException, match=r"1 of 2 files were sent before: .*; they are del"):
            upload(container, texts={"a.csv": "x", "b.csv": "y"}, parallel=1)

    def test_store_that_cannot_do_it(self, container: str, server: LocalServer) -> None:
        """What a store has no call for does not come with a retry."""
        upload(container, texts={"a.csv": "x"})
        folder = f"openai-container://openai_containers_default@{create()}/mnt/data/new"
        with pytest.raises(AirflowFailException, match=r"a\.csv: NotImplementedError: .* cannot be written"):
            download(container, paths="a.csv", target=folder)

    def test_time_out(
        self,
        container: str,
        shelf: Shelf,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """What is there already when the task's time is over is in its log."""
        upload(container, texts={"a.csv": "x", "b.csv": "y"})
        released = threading.Event()
        open_file = Shelf.open

        def opened(fs: Shelf, path: str, mode: str) -> Any:
            if path.endswith("b.csv"):
                released.wait(20)
            return open_file(fs, path, mode)

        def expired(*_: object) -> None:
            raise TimeIsOver

        monkeypatch.setattr(Shelf, "open", opened)
        before = signal.signal(signal.SIGALRM, expired)
        signal.setitimer(signal.ITIMER_REAL, 1)
        try:
            with pytest.raises(TimeIsOver):
                download(container, paths=["a.csv", "b.csv"], target="shelf://out")
        finally:
            released.set()
            signal.signal(signal.SIGALRM, before)
        told = caplog.text + capsys.readouterr().out
        assert "1 of 2 files were written, each complete: shelf://out/a.csv" in told


class TestPlaces:
    """Where relative paths, URLs and patterns lead."""

    def test_signs_in_the_name_of_the_folder(self, container: str, tmp_path: Path) -> None:
        """The DAG's folder may be called like a pattern; what the author writes is one."""
        folder = tmp_path / "dags[prod]*"
        (folder / "data").mkdir(parents=True)
        for name in ("a.csv", "b.csv"):
            (folder / "data" / name).write_text(name)
        dag = DAG("reports", schedule=None, start_date=STARTED)
        dag.fileloc = str(folder / "dag.py")
        task = UploadToContainerOperator(
            task_id="put", container_id=container, sources="./data/*.csv", dag=dag
        )
        assert ["data/a.csv", "data/b.csv"] == [*task.execute(task_context(task))]

    @pytest.mark.parametrize(
        ("url", "meant"),
        [
            ("file://tmp/out", "file:///tmp/out"),
            ("LOCAL://out", "LOCAL:///out"),
            ("file://disk@tmp", "file://disk@/tmp"),
        ],
    )
    def test_file_url_with_two_slashes(self, container: str, url: str, meant: str) -> None:
        """It would lead to wherever the worker was started, so it is refused, with the way to write it."""
        told = f"{url} leads to no absolute path, expected three slashes: {meant}$"
        with pytest.raises(InvalidTaskArgumentError, match=f"Task 'get': target: {told}"):
            download(container, paths="a.csv", target=url)
        with pytest.raises(AirflowFailException, match=f"Task 'put': {told}"):
            upload(container, sources=url)

    def test_folders_of_a_store_are_no_files(self, container: str, shelf: Shelf) -> None:
        """A pattern means files, whatever else it matches in the store."""
        shelf.makedirs("/in/sub")
        shelf.pipe_file("/in/sub/b.csv", b"y")
        shelf.pipe_file("/in/a.csv", b"x")
        assert ["shelf://in/a.csv"] == [*upload(container, sources="shelf://in/*")]

    def test_from_container_to_container(self, container: str) -> None:
        """A file from another container has its plain name, also if a pattern has found it."""
        upload(container, texts={"a.csv": "x", "b.csv": "y"})
        there = f"openai-container://openai_containers_default@{container}/mnt/data"
        sent = upload(create(), sources=[f"{there}/a*.csv", f"{there}/b.csv"])
        assert [r"a.csv", "b.csv"] == [path.rpartition("/")[2][33:] for path in sent.values()]


class TestOneAtATime:
    """What a task uses while it works."""

    def test_worker_keeps_one_file_for_each_transfer(
        self, container: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On the way to a store no more than that is on the worker's disk."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        upload(container, texts={f"{number}.csv": "x" for number in range(4)})
        kept: list[int] = []
        open_file = Shelf.open

        def opened(fs: Shelf, path: str, mode: str) -> Any:
            kept.append(len([each for each in tmp_path.rglob("*") if each.is_file()]))
            return open_file(fs, path, mode)

        monkeypatch.setattr(Shelf, "open", opened)
        download(container, paths="*.csv", target="shelf://out", parallel=1)
        assert [1, 1, 1, 1] == kept

    def test_lists_count(
        self, container: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Each page of the list of a container's files is a request of the task's budget."""
        for number in range(101):
            server.add_container_file(container, f"/mnt/data/{number}.csv", b"x")
        connect(server, monkeypatch, requests_per_minute=2)
        task = DownloadFromContainerOperator(
            task_id="get", container_id=container, paths="1.csv", target=tmp_path / "out"
        )
        threading.Timer(1.5, task.on_kill).start()
        with pytest.raises(FileTransferError, match="the task was killed"):
            task.execute(task_context(task))
        assert 2 == len(server.requests("GET", "/v1/containers/*/files"))
        assert [] == server.requests("GET", "/v1/containers/*/files/*/content")


def test_size_that_is_not_the_listed_one(
    container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file with other bytes than the list says is not taken for it."""
    upload(container, texts={"a.csv": "xyz"})
    iterate = ContainerHook.iterate_container_files

    def listed(hook: ContainerHook, container_id: str, **options: Any) -> Iterator[Any]:
        for file in iterate(hook, container_id, **options):
            yield file.model_copy(update={"bytes": 2})

    monkeypatch.setattr(ContainerHook, "iterate_container_files", listed)
    with pytest.raises((FileTransferError, AirflowFailException), match="where 2 were expected"):
        download(container, paths="a.csv", target=tmp_path / "out")
    assert [] == [*(tmp_path / "out").iterdir()]
