"""How the server looks at the folders that commands write into: beside other work, bounded, once for many."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.clock import Clock
from airflow_containers.local.container_files import written
from airflow_containers.local.container_files.exceptions import ContentNotFoundError
from airflow_containers.local.container_files.folder import DataFolder, Scan
from airflow_containers.local.container_files.latest import Latest
from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.containers.models import ContainerBackend, Quirks
from airflow_containers.local.contents import OpenContent
from airflow_containers.local.files.models import FileBackend
from airflow_containers.local.ids import Ids
from airflow_containers.local.store import Store
from tests.unit.local.attack import SERVERS, run_as


class Server:
    """The parts of a server that are about files, and one container."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = Store(tmp_path / "state")
        self.blobs, clock, ids = Blobs(self.store.path), Clock(), Ids(self.store)
        self.containers = ContainerBackend(self.store, self.blobs, clock, ids, Quirks())
        files = FileBackend(self.store, self.blobs, clock, ids)
        self.files = files
        self.backend = ContainerFileBackend(self.store, self.blobs, clock, ids, self.containers, files)
        self.id = self.containers.create({"name": "n"}).id
        self.data = self.blobs.data_dir(self.id)

    def write(self, name: str, content: bytes = b"written") -> None:
        """A command writes a file."""
        (self.data / name).write_bytes(content)

    async def upload(self) -> str:
        """Put a file there; returns its name."""
        from airflow_containers.local.blobs import Incoming
        from airflow_containers.local.contents import Content

        incoming = Incoming(self.blobs.temporary())
        incoming.feed(b"uploaded")
        await incoming.finish()
        file = self.backend.upload(self.id, "name", Content.of(incoming))
        return file.path.removeprefix("/mnt/data/")

    def names(self, files: object) -> list[str]:
        """Paths below the folder."""
        assert isinstance(files, list)
        return [file.path.removeprefix("/mnt/data/") for file in files]

    def listed(self) -> list[str]:
        """Paths of all files, the oldest first."""
        return self.names(self.backend.page(self.id, limit=100_000, order="asc")[0])

    def close(self) -> None:
        """Close the state."""
        self.store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server without a socket."""
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Scans say that they have begun, and go on when they may."""
    begun, may = threading.Event(), threading.Event()
    scan = DataFolder.scan

    def wait(folder: DataFolder) -> Scan:
        begun.set()
        assert may.wait(30)
        return scan(folder)

    monkeypatch.setattr(DataFolder, "scan", wait)
    return begun, may


async def test_which_files_are_new_or_changed(tmp_path: Path) -> None:
    """Each look tells of its own; a watch tells of all, also of those that somebody else's look found."""
    server = Server(tmp_path)
    server.write("old")
    uploaded = await server.upload()
    assert ["old"] == server.names(await server.backend.refresh(server.id))
    with server.backend.watch(server.id) as outer:
        server.write("a")
        await server.backend.refresh(server.id)
        with server.backend.watch(server.id) as inner:
            server.write("b")
            server.write("passing")
            await server.backend.refresh(server.id)
            (server.data / "passing").unlink()
            (server.data / "old").write_bytes(b"changed")
            server.data.joinpath(uploaded).chmod(0o600)
            os.utime(server.data / "a", ns=(1, 1))
            assert ["old", "a"] == server.names(await server.backend.refresh(server.id))
            assert [] == await server.backend.refresh(server.id)
            assert ["old", "a", "b"] == server.names(inner.files())
        assert ["old", "a", "b"] == server.names(outer.files())
    assert {} == server.backend._watches
    server.close()


async def test_an_upload_while_the_folder_is_looked_at(
    server: Server, held: tuple[threading.Event, threading.Event]
) -> None:
    """It is listed once, as the user's."""
    begun, may = held
    server.write("a")
    looking = asyncio.create_task(server.backend.refresh(server.id))
    await asyncio.to_thread(begun.wait)
    name = await server.upload()
    may.set()

    assert ["a"] == server.names(await looking)
    assert [name, "a"] == server.listed()
    assert [] == await server.backend.refresh(server.id)


@pytest.mark.parametrize("end", ["deleted", "expired"])
async def test_a_container_that_ends_while_its_folder_is_looked_at(
    server: Server, held: tuple[threading.Event, threading.Event], end: str
) -> None:
    """Nothing is listed for it, then or later."""
    begun, may = held
    server.write("a")
    looking = asyncio.create_task(server.backend.refresh(server.id))
    await asyncio.to_thread(begun.wait)
    if end == "deleted":
        server.containers.delete(server.id)
    else:
        server.store.execute("UPDATE containers SET last_active = last_active - 10000")
    may.set()

    assert ([], []) == (await looking, await server.backend.refresh(server.id))
    assert [] == server.store.execute("SELECT * FROM container_files").fetchall()
    assert [] == await server.backend.refresh("cntr_0")


async def test_a_look_that_fails_is_made_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is told, and the list is brought up to date by the next one who asks."""
    server.write("a")
    server.backend.mark_dirty(server.id)
    with monkeypatch.context() as patched:
        patched.setattr(DataFolder, "scan", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await server.backend.catch_up(server.id)
    await server.backend.catch_up(server.id)

    assert ["a"] == server.listed()


async def test_more_files_than_are_listed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is one for all files of a container; those over it are counted, and listed once others go."""
    monkeypatch.setattr(written, "MAX_FILES", 5)
    name = await server.upload()
    for number in range(6):
        server.write(str(number))
    assert ["0", "1", "2", "3"] == server.names(await server.backend.refresh(server.id))
    assert {"more": 2} == server.backend.left_out(server.id)
    for gone in ("1", name):
        (server.data / gone).unlink()

    assert ["4", "5"] == server.names(await server.backend.refresh(server.id))
    assert (["0", "2", "3", "4", "5"], {}) == (server.listed(), server.backend.left_out(server.id))


async def test_a_hundred_thousand_files(server: Server) -> None:
    """Ten thousand are listed, in a bounded time, while others are served."""
    number = os.open(server.data, os.O_RDONLY)
    for index in range(100_000):
        os.close(os.open(f"f{index:06}", os.O_CREAT, 0o644, dir_fd=number))
    os.close(number)
    gaps: list[float] = []

    async def others() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - started)
            await asyncio.sleep(0.001)

    for expected in (10_000, 0):
        others_task = asyncio.create_task(others())
        started = time.monotonic()
        found = await server.backend.refresh(server.id)
        seconds = time.monotonic() - started
        others_task.cancel()
        assert expected == len(found)
        assert seconds < 20
        assert {"more"} <= server.backend.left_out(server.id).keys()
    assert len(gaps) > 20
    assert max(gaps) < 1


@pytest.mark.parametrize("who", SERVERS)
def test_a_file_that_the_server_may_not_read(who: str) -> None:
    """It is listed with its size; a plain user's server has no contents of it."""

    def work() -> None:
        server = Server(Path.cwd())
        server.write("f", b"12345")
        (server.data / "f").chmod(0)
        (file,) = asyncio.run(server.backend.refresh(server.id))
        assert 5 == file.bytes
        if who == "root":
            content = server.backend.content(server.id, file.id)
            assert isinstance(content, OpenContent)
            assert b"12345" == content.file.read()
        else:
            with pytest.raises(ContentNotFoundError):
                server.backend.content(server.id, file.id)
            (server.data / "f").chmod(0o600)
            content = server.backend.content(server.id, file.id)
            assert isinstance(content, OpenContent)
            content.file.close()
        (server.data / "f").chmod(0)
        (server.data / "closed" / "inner").mkdir(parents=True)
        (server.data / "closed" / "inner").chmod(0)
        (server.data / "closed").chmod(0)
        server.data.chmod(0)
        server.containers.delete(server.id)
        assert [[], []] == [server.blobs.names(name) for name in ("containers", "incoming")]

    # A database must be reached from the root, which a plain user cannot do for the folders of tests.
    with tempfile.TemporaryDirectory() as folder:
        run_as(who, Path(folder), work)


async def test_looks_that_overlap_are_shared() -> None:
    """One at a time for a key, and whoever asks gets one that began afterwards, with its error."""
    begun: list[str] = []
    gate = asyncio.Event()

    async def work(key: str) -> int:
        begun.append(key)
        number = len(begun)
        await gate.wait()
        if key == "bad":
            raise OSError
        return number

    latest = Latest(work)
    first = asyncio.create_task(latest("a"))
    await asyncio.sleep(0.01)
    later = [asyncio.create_task(latest("a")) for _ in range(5)]
    other, bad = asyncio.create_task(latest("b")), asyncio.create_task(latest("bad"))
    await asyncio.sleep(0.01)
    assert ["a", "b", "bad"] == begun
    later.pop().cancel()
    gate.set()

    assert (1, [4, 4, 4, 4], 2) == (await first, await asyncio.gather(*later), await other)
    with pytest.raises(OSError):  # noqa: PT011 - it has no message
        await bad
    assert 5 == await latest("a")
    await asyncio.sleep(0)
    assert ({}, {}) == (latest._current, latest._next)
