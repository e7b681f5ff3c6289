"""Files into a container, with the local server over a real socket."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from fsspec.implementations.memory import MemoryFileSystem

from airflow_containers.container_paths import plain_name
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._transfers import FileTransferError
from airflow_containers.operators.files import UploadToContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context
from tests.support.file_operators import (
    FILES_PATH,
    container,
    content,
    download,
    leftovers,
    listed,
    server,
    store,
    upload,
)

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["container", "server", "store"]


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
