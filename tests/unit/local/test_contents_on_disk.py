"""What is on disk: after a restart, a reset, an expiry; and what the journal keeps of it."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_containers.local import blobs as module
from airflow_containers.local.blobs import Blobs, Incoming, remove_tree
from airflow_containers.local.store import SCHEMA_VERSION
from tests.support.skill_zip import skill_md, skill_zip
from tests.unit.local.conftest import Driver
from tests.unit.local.forms import (
    contents,
    make_container,
    make_upload,
    part,
    post,
    upload_file,
)


def test_the_journal_has_names_and_sizes_alone(call: Driver) -> None:
    """Fields and files of a form are told, contents never."""
    container = make_container(call)
    upload_file(call, container, b"canary", "folder/a.csv")
    post(call, "/v1/skills", part("files[]", skill_md(description="canary"), "s/SKILL.md"))
    post(call, "/v1/files", part("purpose", b"user_data"), part("file", b"canary" * 3, "b"))
    call("POST", f"/_local/containers/{container}/files?path=x", content=b"canary")

    answer = call("GET", "/_local/journal")
    assert [
        {"name": "n"},
        {"file": {"filename": "folder/a.csv", "bytes": 6}},
        {"files[]": [{"filename": "s/SKILL.md", "bytes": len(skill_md(description="canary"))}]},
        {"purpose": "user_data", "file": {"filename": "b", "bytes": 18}},
    ] == [entry["body"] for entry in answer.json["data"]]
    assert b"canary" not in answer.body


def test_reset_empties_the_disk(call: Driver) -> None:
    """Contents of all kinds go."""
    container = make_container(call)
    upload_file(call, container)
    post(call, "/v1/files", part("purpose", b"user_data"), part("file", b"x", "x"))
    post(call, "/v1/skills", part("files", skill_zip(), "s.zip"))
    post(call, f"/v1/uploads/{make_upload(call, 5)}/parts", part("data", b"1", "x"))
    assert 4 == len(contents(call))
    call("POST", "/_local/reset")

    assert [] == contents(call)
    assert [] == call("GET", "/v1/files").json["data"]


def test_a_restart_keeps_contents_and_removes_what_nobody_owns(
    make_app: Callable[..., Driver], tmp_path: Path
) -> None:
    """Contents are there again; what a crash has left of requests, containers and Files is not."""
    first = make_app(tmp_path / "s")
    container = make_container(first)
    file = upload_file(first, container, b"kept")
    skill = post(first, "/v1/skills", part("files", skill_zip(), "s.zip")).json["id"]
    first.app.close()
    for name in (
        "incoming/half",
        "files/file-gone",
        "containers/cntr_gone/data/x",
        "uploads/u/p",
        f"skills/{skill}/9.zip",
    ):
        path = tmp_path / "s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
    second = make_app(tmp_path / "s")

    path = f"/v1/containers/{container}/files/{file['id']}"
    assert file == second("GET", path).json
    assert b"kept" == second("GET", f"{path}/content").body
    assert skill_zip() == second("GET", f"/v1/skills/{skill}/content").body
    assert 2 == len(contents(second))


def test_what_has_expired_meanwhile_is_gone_after_a_start(
    make_app: Callable[..., Driver], tmp_path: Path
) -> None:
    """Nobody has to ask for it."""
    first = make_app(tmp_path / "s")
    upload_file(first, make_container(first))
    first.app._store.execute("UPDATE containers SET last_active = last_active - 1200")
    first.app.close()

    assert [] == contents(make_app(tmp_path / "s"))


def test_state_of_the_first_version_is_opened(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """Containers of a server without files are there, and take files now."""
    state = tmp_path / "s"
    first = make_app(state)
    container = make_container(first)
    first.app.close()
    with sqlite3.connect(state / "state.db") as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in {"meta", "containers"}:
                db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    second = make_app(state)

    assert container == second("GET", f"/v1/containers/{container}").json["id"]
    assert 4 == upload_file(second, container)["bytes"]
    assert (SCHEMA_VERSION,) == second.app._store.execute("PRAGMA user_version").fetchone()


def test_the_same_seed_gives_the_same_ids_of_files(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """Ids and paths repeat from one server to the next, and never within one."""
    made = []
    for number in range(2):
        call = make_app(tmp_path / str(number))
        call("POST", "/_local/seed", {"seed": 7})
        container = make_container(call)
        files = [upload_file(call, container) for _ in range(2)]
        made.append([(file["id"], file["path"]) for file in files])
        call("POST", "/_local/seed", {"seed": 7})
        assert upload_file(call, container)["id"] not in {file["id"] for file in files}

    assert made[0] == made[1]
    assert 2 == len(set(made[0]))


@pytest.mark.parametrize("name", ["files/..", "skills/..", "files/a b", "skills/ü", f"skills/{'x' * 65}"])
def test_ids_of_tests_name_no_other_place(call: Driver, name: str) -> None:
    """An id that tests choose becomes a name on disk, so it must be one."""
    answer = call("POST", f"/_local/{name}", content=skill_zip())

    assert 400 == answer.status
    assert [] == contents(call)


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_a_full_disk(
    call: Driver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """What cannot be written is a 500; nothing is half there, and the next one works."""
    container = make_container(call)
    with monkeypatch.context() as patched:
        patched.setattr(Incoming, "_write", _no_space)
        answer = post(call, f"/v1/containers/{container}/files", part("file", b"x" * size, "x"), chunks=9)

    assert (500, "server_error") == (answer.status, answer.error["type"])
    assert "OSError in POST" in capsys.readouterr().err
    assert ([], []) == (call("GET", f"/v1/containers/{container}/files").json["data"], contents(call))
    assert size == upload_file(call, container, b"x" * size)["bytes"]


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_much_is_removed_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are served meanwhile; it is out of its place at once, and whoever waits sees it gone."""
    blobs, gate, threads = Blobs(tmp_path), threading.Event(), set[int]()

    def slowly(path: Path) -> None:
        threads.add(threading.get_ident())
        assert gate.wait(10)
        remove_tree(path)

    monkeypatch.setattr(module, "remove_tree", slowly)
    for name in ("cntr_1", "cntr_2"):
        (blobs.container(name) / "data").mkdir(parents=True)
        (blobs.container(name) / "data" / "x").write_bytes(b"x")
        blobs.remove(blobs.container(name))
    settled = asyncio.create_task(blobs.settled())
    await asyncio.sleep(0.05)
    assert ([], False) == (blobs.names("containers"), settled.done())
    gate.set()
    await settled

    assert [] == blobs.names("incoming")
    assert 1 == len(threads - {threading.get_ident()})
    assert threading.get_ident() not in threads


async def test_who_is_told_that_something_is_gone_may_look(
    make_app: Callable[..., Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a deletion comes after the last byte has gone, however long that takes."""

    def slowly(path: Path) -> None:
        time.sleep(0.1)
        remove_tree(path)

    transport = httpx.ASGITransport(make_app(tmp_path / "s").app)
    headers = {"authorization": "Bearer any"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        path = f"/v1/containers/{(await client.post('/v1/containers', json={'name': 'n'})).json()['id']}"
        await client.post(f"{path}/files", files={"file": ("x", b"x")})
        monkeypatch.setattr(module, "remove_tree", slowly)
        assert 200 == (await client.delete(path)).status_code

    folder = tmp_path / "s"
    assert [[], []] == [list((folder / name).iterdir()) for name in ("containers", "incoming")]


async def test_a_request_that_is_cancelled_twice(tmp_path: Path) -> None:
    """A server that ends waits for nobody, and leaves no temporary file either."""
    blobs = Blobs(tmp_path)
    incoming = Incoming(blobs.temporary())
    incoming.feed(bytes(1_000_000))
    await incoming.flush()
    task = asyncio.create_task(incoming.discard())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()

    assert [] == blobs.names("incoming")


async def test_a_request_that_is_cancelled_before_its_file_is_there(tmp_path: Path) -> None:
    """A temporary file that a thread makes after it was removed is removed as well."""
    opening, may_open = threading.Event(), threading.Event()

    class SlowPath(type(tmp_path)):  # type: ignore[misc]
        def open(self, *args: Any, **kwargs: Any) -> Any:
            opening.set()
            assert may_open.wait(10)
            return super().open(*args, **kwargs)

    blobs = Blobs(tmp_path)
    incoming = Incoming(SlowPath(blobs.temporary()))
    incoming.feed(bytes(1_000_000))
    await incoming.flush()
    task = asyncio.create_task(incoming.discard())
    assert await asyncio.to_thread(opening.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_open.set()
    await asyncio.get_running_loop().shutdown_default_executor()

    assert [] == blobs.names("incoming")
