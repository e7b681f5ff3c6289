"""Files into a container and out of it, with the local server over a real socket."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import resource
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    HookLineageCollector,
)
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest
from airflow_containers.container_paths import plain_name
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._transfers import FileTransferError
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context
from tests.support.dag_runs import load_dag, run_dag

FILES_PATH = "/v1/containers/*/files"
CONTENT_PATH = "/v1/containers/*/files/*/content"


@pytest.fixture(autouse=True)
def server(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
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


class TestUpload:
    """Where files come from."""

    def test_paths_and_patterns(self, container: str, tmp_path: Path) -> None:
        """Each file is there under a path of the service's choice; a folder below only for two stars."""
        for name in ("a.csv", "b.csv", "deep/c.csv", "d.txt", ".hidden.csv"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        result, files = upload(
            container, sources=[tmp_path / "d.txt", f"{tmp_path}/*.csv", f"{tmp_path}/**/*.csv"]
        )
        names = ("d.txt", "a.csv", "b.csv", "deep/c.csv")
        assert [str(tmp_path / name) for name in names] == list(result)
        for name in names:
            assert name.encode() == content(container, result[str(tmp_path / name)])
            assert Path(name).name == plain_name(result[str(tmp_path / name)])
        assert [{"source", "id", "path", "bytes"}] * 4 == [file.keys() for file in files]
        assert list(result.values()) == [file["path"] for file in files]
        assert [5, 5, 5, 10] == [file["bytes"] for file in files]

    def test_texts(self, container: str) -> None:
        """A text as it is, everything else as JSON."""
        result, _ = upload(container, texts={"note.txt": "Grüße\n", "config.json": {"a": [1, None]}})
        assert "Grüße\n".encode() == content(container, result["note.txt"])
        assert {"a": [1, None]} == json.loads(content(container, result["config.json"]))

    def test_template_of_another_language(self, container: str) -> None:
        """A text may be a template itself once it is rendered, and is sent as it is."""
        task = UploadToContainerOperator(
            task_id="put", container_id=container, texts={"page.j2": "{% raw %}{{ title }}{% endraw %}"}
        )
        context = task_context(task)
        task.render_template_fields(context)
        assert b"{{ title }}" == content(container, task.execute(context)["page.j2"])

    def test_file_ids(self, container: str, server: LocalServer) -> None:
        """A file of the Files API is copied by the service."""
        server.add_file("file-1", b"from the Files API", filename="big.bin")
        result, (file,) = upload(container, file_ids=["file-1", "file-1"])
        assert "big.bin" == plain_name(result["file-1"])
        assert b"from the Files API" == content(container, file["path"])
        with pytest.raises(AirflowFailException, match=r"file-2: .*HTTP 400"):
            upload(container, file_ids="file-2")

    def test_store(self, container: str, store: MemoryFileSystem) -> None:
        """URLs and patterns of a store, which are called by their URLs."""
        for name in ("a.csv", "b.csv", "c#d.csv", "[x].csv", "deep/e.csv"):
            store.pipe_file(f"/bucket/in/{name}", name.encode())
        result, _ = upload(container, sources=["memory://bucket/in/*.csv"])
        urls = [f"memory:///bucket/in/{name}" for name in ("[x].csv", "a.csv", "b.csv", "c#d.csv")]
        assert urls == list(result)
        assert b"c#d.csv" == content(container, result["memory:///bucket/in/c#d.csv"])
        result, _ = upload(container, sources="memory://bucket/in/[x].csv")
        assert b"[x].csv" == content(container, result["memory://bucket/in/[x].csv"])

    def test_store_without_sizes(
        self, container: str, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A file of unknown size is copied to the worker first, bounded, and nothing of it stays."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        store.pipe_file("/bucket/a.csv", b"x" * 5000)
        known = store.info
        monkeypatch.setattr(store, "info", lambda path: known(path) | {"size": None})
        result, _ = upload(container, sources="memory://bucket/a.csv")
        assert "a.csv" == plain_name(result["memory://bucket/a.csv"])
        assert b"x" * 5000 == content(container, result["memory://bucket/a.csv"])
        with pytest.raises(
            AirflowFailException, match="more bytes than max_bytes allows, which is 4,999 bytes"
        ):
            upload(container, sources="memory://bucket/a.csv", max_bytes=4999)
        assert [] == leftovers(tmp_path)

    def test_file_urls(self, container: str, tmp_path: Path) -> None:
        """The worker's disk as a store."""
        (tmp_path / "a b.csv").write_text("x")
        (tmp_path / "c.csv").write_text("y")
        result, _ = upload(container, sources=[f"file://{tmp_path}/a b.csv", f"file://{tmp_path}/c*"])
        assert [f"file://{tmp_path}/a b.csv", f"file://{tmp_path}/c.csv"] == list(result)

    def test_odd_names(self, container: str, tmp_path: Path) -> None:
        """Names of the worker's own files are sent, whatever they are."""
        names = ['quo"te.txt', "new\nline.txt", "ü\u202e.txt", "a" * 250, "*.txt", "-rf"]
        for name in names:
            (tmp_path / name).write_text(name)
        result, _ = upload(container, sources=[tmp_path / name for name in names])
        for name in names:
            assert name.encode() == content(container, result[str(tmp_path / name)])

    def test_same_name_twice(self, container: str, tmp_path: Path) -> None:
        """Two files of one name are two files, each at its path."""
        for folder in ("red", "blue"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a.csv").write_text(folder)
        result, _ = upload(container, sources=f"{tmp_path}/*/a.csv")
        assert 2 == len({*result.values()})
        for path, there in result.items():
            assert Path(path).parent.name.encode() == content(container, there)

    def test_same_label_twice(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """A text that is called like a source has no entry of its own in the result, so it is refused."""
        (tmp_path / "a.csv").write_text("x")
        os.chdir(tmp_path)
        with pytest.raises(AirflowFailException, match=r"'a.csv' is given twice, among sources, texts and"):
            upload(container, sources="a.csv", texts={"a.csv": "y"})
        server.assert_requested("POST", FILES_PATH, times=0)

    def test_empty_file(self, container: str, tmp_path: Path) -> None:
        """A file without a byte is a file."""
        (tmp_path / "empty").touch()
        result, _ = upload(container, sources=tmp_path / "empty")
        assert b"" == content(container, result[str(tmp_path / "empty")])


class TestNothingThere:
    """What is not found before the first byte is sent."""

    @pytest.mark.parametrize("pattern", ["none*.csv", "none.csv"])
    def test_choices(self, container: str, server: LocalServer, tmp_path: Path, pattern: str) -> None:
        """It fails, skips or is passed over, as asked."""
        source = f"{tmp_path}/{pattern}"
        with pytest.raises(
            FileTransferError, match=r"Task 'put': .*none.* (matches no file|is not there) on the"
        ):
            upload(container, sources=source, texts={"a": "b"})
        with pytest.raises(AirflowSkipException, match="there is no file to transfer"):
            upload(container, sources=source, if_nothing_matches="skip")
        assert ({}, []) == upload(container, sources=source, if_nothing_matches="ignore")
        server.assert_requested("POST", FILES_PATH, times=0)
        for choice in ("skip", "ignore"):
            result, _ = upload(container, sources=source, texts={"a": "b"}, if_nothing_matches=choice)
            assert ["a"] == list(result)

    def test_empty_list(self, container: str, tmp_path: Path) -> None:
        """A template that renders to an empty list is as good as a pattern without a match."""
        for choice, expected in (("fail", FileTransferError), ("skip", AirflowSkipException)):
            with pytest.raises(expected, match="there is no file to transfer"):
                upload(container, sources="[]", if_nothing_matches=choice)
            with pytest.raises(expected, match="there is no file to transfer"):
                download(container, paths="[]", target=tmp_path, if_nothing_matches=choice)
        assert ({}, []) == upload(container, sources="[]", if_nothing_matches="ignore")

    def test_in_a_store(self, container: str, store: MemoryFileSystem) -> None:
        """The same for stores."""
        with pytest.raises(FileTransferError, match=r"memory://bucket/\*\.csv matches no file in the store"):
            upload(container, sources="memory://bucket/*.csv")
        with pytest.raises(FileTransferError, match=r"memory://bucket/a\.csv is not there in the store"):
            upload(container, sources="memory://bucket/a.csv")

    def test_store_that_nobody_knows(self, container: str) -> None:
        """The message says what is missing."""
        with pytest.raises(
            AirflowFailException, match=r"nosuch://bucket/a: .*expected the URL of a store whose"
        ):
            upload(container, sources="nosuch://bucket/a")

    def test_no_files(self, container: str, tmp_path: Path) -> None:
        """A folder or a pipe is no file."""
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(
            FileTransferError, match=r"is a folder, expected a file or a pattern: .*/\* for what"
        ):
            upload(container, sources=tmp_path)
        with pytest.raises(FileTransferError, match="is no regular file, and is not read"):
            upload(container, sources=tmp_path / "pipe")

    def test_relative_paths_begin_at_the_dag(self, container: str, tmp_path: Path) -> None:
        """A worker's current folder means nothing; the message says where it was looked for."""
        with pytest.raises(
            FileTransferError, match=r"none\.csv is not there on the worker \(looked for at /"
        ):
            upload(container, sources="none.csv")

    def test_limits(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """Too many files or bytes are found before anything is sent."""
        for number in range(5):
            (tmp_path / f"{number}.csv").write_bytes(b"x" * 100)
        with pytest.raises(AirflowFailException, match="one file more than max_files allows, which is 4"):
            upload(container, sources=f"{tmp_path}/*", max_files=4)
        with pytest.raises(
            AirflowFailException, match="more bytes than max_bytes allows, which is 499 bytes"
        ):
            upload(container, sources=f"{tmp_path}/*", max_bytes=499)
        server.assert_requested("POST", FILES_PATH, times=0)
        upload(container, sources=f"{tmp_path}/*", max_files=5, max_bytes=500)


class TestAllOrNothing:
    """What becomes of a try that fails."""

    def test_failed_try_is_taken_back(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """What was sent is named and deleted again; the next try puts everything in, once."""
        for number in range(6):
            (tmp_path / f"{number}.csv").write_text(str(number))
        server.order_fault(method="POST", path=FILES_PATH, delay=0.001, times=3)
        server.order_fault(method="POST", path=FILES_PATH, status=500)
        with pytest.raises(FileTransferError) as caught:
            upload(container, sources=f"{tmp_path}/*.csv", parallel=1)
        message = str(caught.value)
        assert f"Task 'put': {tmp_path}/3.csv: " in message
        assert "HTTP 500" in message
        assert "3 of 6 files were sent before: " in message
        assert message.endswith("; they are deleted again")
        assert f"{tmp_path}/0.csv (/mnt/data/" in message
        assert {} == listed(container)

        upload(container, sources=f"{tmp_path}/*.csv")
        assert 6 == len(listed(container))

    def test_what_cannot_be_taken_back_is_named(
        self, container: str, server: LocalServer, tmp_path: Path
    ) -> None:
        """A service that fails altogether leaves something behind, and the message says what."""
        for number in range(3):
            (tmp_path / f"{number}.csv").write_text(str(number))
        server.order_fault(method="POST", path=FILES_PATH, delay=0.001, times=2)
        server.order_fault(method="POST", path=FILES_PATH, status=500)
        server.order_fault(method="DELETE", status=500, times=50)
        with pytest.raises(FileTransferError) as caught:
            upload(container, sources=f"{tmp_path}/*.csv", parallel=1)
        left = listed(container)
        assert 2 == len(left)
        _, _, told = str(caught.value).partition("of these are still in the container, beside what a later")
        assert all(path in told for path in left)

    def test_container_is_gone(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """Then there is nothing to take back, and no retry helps."""
        (tmp_path / "a.csv").write_text("x")
        server.advance_clock(1300)
        with pytest.raises(AirflowFailException, match=rf"{tmp_path}/a\.csv: .*; 0 of 1 files were sent"):
            upload(container, sources=tmp_path / "a.csv")

    def test_same_path_for_two(self, container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A service that puts two files at one path has lost one of them."""
        (tmp_path / "a.csv").write_text("x")
        (tmp_path / "b.csv").write_text("y")
        send = ContainerHook.upload_container_file

        def same(hook: ContainerHook, *args: Any, **kwargs: Any) -> Any:
            return send(hook, *args, **kwargs).model_copy(update={"path": "/mnt/data/a"})

        monkeypatch.setattr(ContainerHook, "upload_container_file", same)
        with pytest.raises(AirflowFailException, match="at the same path /mnt/data/a; give them names"):
            upload(container, sources=f"{tmp_path}/*.csv")
        assert {} == listed(container)

    def test_container_ends_half_way(
        self, container: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was sent is gone with it, and the message says so."""
        send = ContainerHook.upload_container_file

        def last(hook: ContainerHook, *args: Any) -> Any:
            file = send(hook, *args)
            server.advance_clock(1300)
            return file

        monkeypatch.setattr(ContainerHook, "upload_container_file", last)
        expected = r"b\.txt: .*; 1 of 2 files were .*; the container is gone, and they with it"
        with pytest.raises(AirflowFailException, match=expected):
            upload(container, texts={"a.txt": "x", "b.txt": "y"}, parallel=1)

    def test_source_that_changes(
        self, container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A file that grows while it is sent is not in the container, not even in part."""
        growing = tmp_path / "growing.csv"
        growing.write_bytes(b"x" * 1_000_000)
        send = ContainerHook.upload_container_file

        def grown(hook: ContainerHook, *args: Any) -> Any:
            with growing.open("ab") as file:
                file.write(b"y")
            return send(hook, *args)

        monkeypatch.setattr(ContainerHook, "upload_container_file", grown)
        with pytest.raises(FileTransferError, match=r"growing\.csv: it had 1000000 bytes .*; 0 of 1 files"):
            upload(container, sources=growing)
        assert {} == listed(container)

    def test_kill(self, container: str, server: LocalServer, tmp_path: Path) -> None:
        """A killed task ends within seconds: the rest is not begun, and what was sent is deleted."""
        for number in range(20):
            (tmp_path / f"{number:02}.csv").write_text(str(number))
        server.order_fault(method="POST", path=FILES_PATH, delay=0.3, times=50)
        task = UploadToContainerOperator(
            task_id="put", container_id=container, sources=f"{tmp_path}/*.csv", parallel=2
        )
        threading.Timer(1.0, task.on_kill).start()
        started = time.monotonic()
        with pytest.raises(FileTransferError, match=r"the task was killed; \d+ of 20 files were sent before"):
            task.execute(task_context(task))
        assert time.monotonic() - started < 5
        assert {} == listed(container)

    def test_kill_in_a_large_file(
        self, container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A file under way is given up at its next piece."""
        (tmp_path / "large").write_bytes(b"x" * 50_000_000)
        task = UploadToContainerOperator(task_id="put", container_id=container, sources=tmp_path / "large")
        send = ContainerHook.upload_container_file

        def killed(hook: ContainerHook, container_id: str, source: Any) -> Any:
            begin = source.open

            def opened() -> Any:
                file = begin()
                assert file.read(1000)
                task.on_kill()
                return file

            source.open = opened
            return send(hook, container_id, source)

        monkeypatch.setattr(ContainerHook, "upload_container_file", killed)
        with pytest.raises(FileTransferError, match="the task was killed; 0 of 1 files were sent before"):
            task.execute(task_context(task))
        assert {} == listed(container)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_time_out(container: str, server: LocalServer, tmp_path: Path, direction: str) -> None:
    """A time-out that Airflow raises in the task's thread ends it soon; nothing stays on either side."""

    class TaskTimeoutError(BaseException):
        pass

    def ring(*_: object) -> None:
        raise TaskTimeoutError

    task: Any
    if direction == "in":
        for number in range(10):
            (tmp_path / f"{number}.csv").write_text("x")
        server.order_fault(method="POST", path=FILES_PATH, delay=0.4, times=50)
        task = UploadToContainerOperator(
            task_id="put", container_id=container, sources=f"{tmp_path}/*", parallel=2
        )
    else:
        for number in range(10):
            server.add_container_file(container, f"/mnt/data/{number}", b"x")
        server.order_fault(method="GET", path=CONTENT_PATH, delay=0.4, times=50)
        task = DownloadFromContainerOperator(
            task_id="get", container_id=container, paths="*", target=tmp_path, parallel=2
        )
    before = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(TaskTimeoutError):
            task.execute(task_context(task))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5
    if direction == "in":
        assert {} == listed(container)
    else:
        assert not any(name.startswith(".") for name in leftovers(tmp_path))
        assert 0 < len(leftovers(tmp_path)) < 10


def test_many_files_in_parallel(container: str, server: LocalServer, tmp_path: Path) -> None:
    """Two hundred small files go in and out, four at a time, each complete."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(200):
        (source / f"{number}.txt").write_text(f"content of {number}")
    result, _ = upload(container, sources=f"{source}/*")
    assert 200 == len({*result.values()})
    written = download(container, paths="*.txt", target=target)
    assert 200 == len(written)
    assert {f"{number}.txt": f"content of {number}" for number in range(200)} == {
        path.name: path.read_text() for path in target.iterdir()
    }


def test_pace(container: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a task keep to the connection's requests a minute: the third of two waits."""
    fields = json.loads(os.environ["AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT"])
    fields["extra"]["requests_per_minute"] = 2
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
    texts = {f"{number}.txt": "x" for number in range(3)}
    task = UploadToContainerOperator(task_id="put", container_id=container, texts=texts)
    threading.Timer(2.0, task.on_kill).start()
    with pytest.raises(FileTransferError, match=r"the task was killed; 2 of 3 files were sent before"):
        task.execute(task_context(task))
    server.assert_requested("POST", FILES_PATH, times=2)


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


def test_lineage(
    container: str, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Airflow is told of the files and objects that were read and written."""
    from airflow.providers.common.compat.lineage import hook

    collector = HookLineageCollector()
    for name in ("airflow.sdk.lineage", "airflow.lineage.hook"):
        with suppress(ImportError, AttributeError):
            module = importlib.import_module(name)
            monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: collector)
    store.pipe_file("/bucket/a.csv", b"x")
    (tmp_path / "b.csv").write_text("y")
    upload(container, sources=["memory://bucket/a.csv", tmp_path / "b.csv"], texts={"c.csv": "z"})
    download(container, paths="a.csv", target=tmp_path / "out")
    download(container, paths="b.csv", target="memory://bucket/out")

    found = hook.get_hook_lineage_collector().collected_assets
    assert {"memory://bucket/a.csv", f"file://{tmp_path}/b.csv"} == {
        entry.asset.uri for entry in found.inputs
    }
    assert {f"file://{tmp_path}/out/a.csv", "memory://bucket/out/b.csv"} == {
        entry.asset.uri for entry in found.outputs
    }


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


DAG_SOURCE = """
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG
from airflow_containers.operators.container import container
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator

with DAG("files", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    with container() as box:
        put = UploadToContainerOperator(
            task_id="put",
            container_id=box,
            sources=["data/*.csv"],
            texts={"config.json": {"run": "{{ run_id }}"}},
        )
        get = DownloadFromContainerOperator(
            task_id="get",
            container_id=box,
            paths="{{ ti.xcom_pull('put').values() | list | tojson }}",
            target="TARGET/{{ dag.dag_id }}",
        )
        each = DownloadFromContainerOperator.partial(
            task_id="each", container_id=box, target="TARGET/each"
        ).expand(paths=["a.csv", "*.json"])
        put >> [get, each]
"""


def test_real_airflow(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path
) -> None:
    """In a DAG: sources beside the DAG file, templates, results by XCom, mapped tasks."""
    dags, target = tmp_path / "dags", tmp_path / "target"
    (dags / "data").mkdir(parents=True)
    for name in ("a.csv", "b.csv"):
        (dags / "data" / name).write_text(name)
    bundle = {
        "name": "files",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    file = dags / "files.py"
    file.write_text(DAG_SOURCE.replace("TARGET", str(target)))
    run = run_dag(load_dag(file), airflow_database)

    assert {"success"} == {*run.tasks.values()}
    assert {"data/a.csv", "data/b.csv", "config.json"} == run.xcoms("put")[-1].keys()
    assert ["data/a.csv", "data/b.csv", "config.json"] == [
        entry["source"] for entry in run.xcoms("put", "files")[-1]
    ]
    assert ["a.csv", "b.csv", "config.json"] == leftovers(target / "files")
    assert {"run": run.run_id} == json.loads((target / "files" / "config.json").read_text())
    assert 3 == len(run.xcoms("get")[-1])
    assert ["a.csv", "config.json"] == leftovers(target / "each")
    server.assert_nothing_left()
