"""Files that commands write, as the API lists, gives and forgets them."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.contents import ContentShrunkError, OpenContent
from airflow_containers.testing import LocalServer
from tests.support.skill_zip import skill_zip
from tests.unit.local.attack import SECRET, everything
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
