"""Files that commands write, as the API lists, gives and forgets them."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.clock import Clock
from airflow_containers.local.container_files import written
from airflow_containers.local.container_files.exceptions import ContentNotFoundError
from airflow_containers.local.container_files.folder import DataFolder, Scan
from airflow_containers.local.container_files.latest import Latest
from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.containers.models import ContainerBackend, Quirks
from airflow_containers.local.contents import ContentShrunkError, OpenContent
from airflow_containers.local.files.models import FileBackend
from airflow_containers.local.ids import Ids
from airflow_containers.local.store import Store
from airflow_containers.testing import LocalServer
from tests.support.skill_zip import skill_zip
from tests.unit.local.attack import SECRET, SERVERS, everything, run_as
from tests.unit.local.conftest import Driver
from tests.unit.local.forms import contents, make_container, part, post, state_of, upload_file


class Commands:
    """Stands for what runs in containers: writes into their folders, and tells when it has."""

    def __init__(self, call: Driver) -> None:
        self.call = call
        self.container = make_container(call)
        self.backend: ContainerFileBackend = call.app._services.commands._container_files
        self.data = call.app._services.blobs.data_dir(self.container)
        self.path = f"/v1/containers/{self.container}/files"

    def done(self) -> None:
        """A command has ended."""
        self.backend.mark_dirty(self.container)

    def write(self, name: str, content: bytes = b"written") -> None:
        """A command writes a file."""
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.done()

    def listed(self) -> dict[str, tuple[str, int, str]]:
        """Path below the folder → id, size and source of each file of the list."""
        files = self.call("GET", f"{self.path}?limit=100&order=asc").json["data"]
        return {
            file["path"].removeprefix("/mnt/data/"): (file["id"], file["bytes"], file["source"])
            for file in files
        }

    def content(self, file_id: str) -> tuple[int, bytes, str]:
        """Status, body and tag of an answer with contents."""
        answer = self.call("GET", f"{self.path}/{file_id}/content")
        return answer.status, answer.body, answer.headers.get("etag", "")


@pytest.fixture
def commands(call: Driver) -> Commands:
    """A container in which commands run."""
    return Commands(call)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is no container's business, with a secret."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "f").write_bytes(SECRET)
    return folder


def test_what_a_command_writes(commands: Commands) -> None:
    """It is in the list with its path and size, made by the assistant, and can be downloaded in parts."""
    commands.write("out/report.csv", b"0123456789")
    commands.write("größe\n漢字", b"")
    listed = commands.listed()
    file_id, *rest = listed["out/report.csv"]

    assert ["größe\n漢字", "out/report.csv"] == list(listed)
    assert [10, "assistant"] == rest
    status, body, etag = commands.content(file_id)
    assert (200, b"0123456789") == (status, body)
    assert etag
    part_of = commands.call(
        "GET", f"{commands.path}/{file_id}/content", headers={"range": "bytes=3-5", "if-range": etag}
    )
    assert (206, b"345") == (part_of.status, part_of.body)
    beyond = commands.call("GET", f"{commands.path}/{file_id}/content", headers={"range": "bytes=10-"})
    assert 416 == beyond.status
    fields = commands.call("GET", f"{commands.path}/{file_id}").json
    assert {"id", "object", "created_at", "bytes", "container_id", "path", "source"} == fields.keys()


def test_when_the_folder_is_looked_at(commands: Commands) -> None:
    """After a command and while one runs, and not otherwise."""
    commands.write("a")
    assert {"a"} == commands.listed().keys()
    (commands.data / "b").write_bytes(b"b")
    assert {"a"} == commands.listed().keys()
    commands.backend.is_running = lambda container_id: container_id == commands.container
    assert {"a", "b"} == commands.listed().keys()
    (commands.data / "a").unlink()
    assert {"b"} == commands.listed().keys()
    commands.backend.is_running = lambda _: False
    (commands.data / "b").unlink()
    assert {"b"} == commands.listed().keys()


def test_a_file_that_is_written_to_again(commands: Commands) -> None:
    """It keeps its entry; its size is the new one, and what a client has of it does not go on."""
    uploaded = upload_file(commands.call, commands.container, b"uploaded", "u")
    name = uploaded["path"].removeprefix("/mnt/data/")
    commands.write("f", b"one")
    before = commands.listed()
    tags = {path: commands.content(before[path][0])[2] for path in before}
    commands.write("f", b"three")
    commands.write(name, b"UPLOADED")
    after = commands.listed()

    assert (before["f"][0], 5, "assistant") == after["f"]
    assert (uploaded["id"], 8, "user") == after[name]
    for path, body in (("f", b"three"), (name, b"UPLOADED")):
        status, content, tag = commands.content(after[path][0])
        assert (200, body) == (status, content)
        assert tag != tags[path]
        resumed = commands.call(
            "GET",
            f"{commands.path}/{after[path][0]}/content",
            headers={"range": "bytes=1-", "if-range": tags[path]},
        )
        assert (200, body) == (resumed.status, resumed.body)


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


def test_files_that_are_gone(commands: Commands, outside: Path) -> None:
    """A file that is deleted, moved, or gives way to something else is in no list any more."""
    names = ["deleted", "moved", "folder", "link", "fifo"]
    for name in names:
        commands.write(name)
    ids = {name: commands.listed()[name][0] for name in names}
    for name in ("deleted", "folder", "link", "fifo"):
        (commands.data / name).unlink()
    (commands.data / "folder").mkdir()
    (commands.data / "link").symlink_to(outside / "f")
    os.mkfifo(commands.data / "fifo")
    (commands.data / "moved").rename(commands.data / "there")
    commands.done()

    assert ["there"] == list(commands.listed())
    assert {404} == {commands.content(file_id)[0] for file_id in ids.values()}
    assert {"links": 1, "special": 1} == commands.backend.left_out(commands.container)


def test_what_is_there_when_the_bytes_are_asked_for(commands: Commands, outside: Path) -> None:
    """A file that has become a link since the list is read by nobody, and deleted without its target."""
    for name in ("f", "folder/f"):
        commands.write(name)
    ids = commands.listed()
    (commands.data / "f").unlink()
    (commands.data / "f").symlink_to(outside / "f")
    (commands.data / "folder").rename(commands.data / "other")
    (commands.data / "folder").symlink_to(outside)
    before = everything(outside)
    for name, (file_id, _, _) in ids.items():
        status, body, _ = commands.content(file_id)
        assert (404, True) == (status, b"not found on container" in body), name
        assert 200 == commands.call("DELETE", f"{commands.path}/{file_id}").status
        assert 404 == commands.content(file_id)[0]

    assert before == everything(outside)
    assert (commands.data / "f").is_symlink()


def test_putting_files_where_commands_have_put_links(commands: Commands, outside: Path) -> None:
    """They are listed and can be read, wherever they are; nothing is written through a link."""
    (commands.data / "folder").symlink_to(outside)
    (commands.data / "f").symlink_to(outside / "f")
    before = everything(outside)
    admin = f"/_local/containers/{commands.container}/files"
    for name in ("folder/f", "folder/new", "f"):
        answer = commands.call("POST", f"{admin}?path={quote(f'/mnt/data/{name}')}", content=name.encode())
        assert 200 == answer.status
        assert (200, name.encode()) == commands.content(answer.json["id"])[:2]

    assert before == everything(outside)
    assert b"f" == (commands.data / "f").read_bytes()
    assert not (commands.data / "f").is_symlink()


def test_deleting_takes_files_and_containers(commands: Commands, outside: Path) -> None:
    """What commands wrote goes with its entry, and all of it with the container, links without their ends."""
    commands.write("a")
    commands.write("b/c", bytes(100_000))
    (commands.data / "link").symlink_to(outside)
    for file_id, _, _ in commands.listed().values():
        assert 200 == commands.call("DELETE", f"{commands.path}/{file_id}").status
    assert (["f"], {"b", "link"}) == (
        [path.name for path in outside.iterdir()],
        {path.name for path in commands.data.iterdir()},
    )
    commands.write("b/d")
    (commands.data / "b").chmod(0)
    commands.call("DELETE", f"/v1/containers/{commands.container}")

    assert [] == contents(commands.call)
    assert SECRET == (outside / "f").read_bytes()
    assert 404 == commands.call("GET", commands.path).status


def test_a_sparse_file(commands: Commands) -> None:
    """One of four tebibytes is listed at once, and begins at once."""
    commands.write("sparse", b"head")
    os.truncate(commands.data / "sparse", 4 << 40)
    started = time.monotonic()
    file_id, size, _ = commands.listed()["sparse"]
    answer = commands.call("GET", f"{commands.path}/{file_id}/content", headers={"range": "bytes=0-9"})

    assert (4 << 40, b"head" + bytes(6)) == (size, answer.body)
    assert f"bytes 0-9/{4 << 40}" == answer.headers["content-range"]
    assert time.monotonic() - started < 5


def test_a_restart(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """Entries stay as they are; what a command wrote before the server was killed is found."""
    first = make_app(tmp_path / "s")
    commands = Commands(first)
    uploaded = upload_file(first, commands.container, b"uploaded")
    tag = commands.content(uploaded["id"])[2]
    commands.write("a")
    before = commands.listed()
    commands.write("late")
    first.app.close()
    commands.call = make_app(tmp_path / "s")

    after = commands.listed()
    assert before == {name: after[name] for name in before}
    assert {*before, "late"} == after.keys()
    assert tag == commands.content(uploaded["id"])[2]


def test_the_same_seed_gives_the_same_ids(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """Files of one command are listed in the order of their names, and have the same ids each time."""
    made = []
    for number in range(2):
        call = make_app(tmp_path / str(number))
        call("POST", "/_local/seed", {"seed": 7})
        commands = Commands(call)
        for name in ("b", "c/a", "a") if number else ("a", "b", "c/a"):
            commands.write(name)
        made.append(commands.listed())

    assert made[0] == made[1]
    assert ["a", "b", "c/a"] == list(made[0])


def test_a_plain_container_costs_no_disk(call: Driver) -> None:
    """Nothing is made for a container before there is something to put into it."""
    container = make_container(call)
    assert [] == call("GET", f"/v1/containers/{container}/files").json["data"]

    assert not (state_of(call) / "containers").exists()


def test_skills_can_be_read_by_whoever_runs_commands(call: Driver) -> None:
    """Whatever the server's umask is."""
    before = os.umask(0o077)
    try:
        skill = post(call, "/v1/skills", part("files", skill_zip(), "s.zip")).json["id"]
        body = {"name": "n", "skills": [{"type": "skill_reference", "skill_id": skill}]}
        container = call("POST", "/v1/containers", body).json["id"]
    finally:
        os.umask(before)
    folder = call.app._services.blobs.skills_dir(container)

    assert folder is not None
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert {0o755, 0o644} == modes


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


def test_a_file_that_shrinks_without_a_connection_to_cut(commands: Commands) -> None:
    """Under a server that hands over no connection, the answer fails rather than end too early."""
    commands.write("f", b"0123456789")
    file_id = commands.listed()["f"][0]
    content = commands.backend.content(commands.container, file_id)
    assert isinstance(content, OpenContent)
    os.truncate(commands.data / "f", 4)
    with pytest.raises(ContentShrunkError, match="6 bytes are missing"):
        asyncio.run(_send(content))
    assert content.file.closed


async def _send(content: OpenContent) -> None:
    from airflow_containers.local.contents import FileAnswer

    async def nothing(_message: object = None) -> None:
        pass

    answer = FileAnswer(content.file, 0, content.size, 200, {})
    await answer({"type": "http"}, nothing, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1000, 30_000_000])
def test_files_that_change_while_they_are_sent(size: int) -> None:
    """One that grows is sent as long as it was; one that shrinks ends with its connection, and no other."""
    with LocalServer() as server:
        headers = {"authorization": "Bearer x"}
        with httpx.Client(base_url=server.base_url, headers=headers, timeout=60, trust_env=False) as client:
            container = client.post("/containers", json={"name": "n"}).json()["id"]
            file = client.post(f"/containers/{container}/files", files={"file": ("a", b"x" * size)}).json()
            url = f"/containers/{container}/files/{file['id']}/content"
            path = server.state_dir / "containers" / container / "data" / file["path"].rpartition("/")[2]
            with client.stream("GET", url) as answer:
                path.open("ab").write(b"more")
                assert size == sum(len(piece) for piece in answer.iter_raw())
            assert size + 4 == len(client.get(url).content)
            if size > 1_000_000:
                with client.stream("GET", url) as answer:
                    os.truncate(path, 1000)
                    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                        list(answer.iter_raw())
                    assert str(size + 4) == answer.headers["content-length"]
                assert b"x" * 1000 == client.get(url).content
        assert not [line for line in server.stderr.splitlines() if not line.startswith("commands")]
