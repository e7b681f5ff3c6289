"""Skills of the local server over real connections: limits, bombs, what a container is given."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_containers.testing import LocalServer, LocalServerError
from tests.support.skill_zip import inline_skill, make_zip, skill_md, skill_zip


@pytest.fixture(scope="module")
def process() -> Iterator[LocalServer]:
    """One server for this module."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def server(process: LocalServer) -> LocalServer:
    """That server, emptied."""
    process.reset()
    return process


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    """A client for it."""
    headers = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def _contents(server: LocalServer) -> list[Path]:
    folders = [server.state_dir / name for name in ("containers", "skills", "incoming")]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def _create(client: httpx.Client, zipped: bytes) -> httpx.Response:
    return client.post("/skills", files={"files": ("s.zip", zipped, "application/zip")})


def _upload_folder(client: httpx.Client, files: dict[str, bytes]) -> httpx.Response:
    parts: Any = [("files[]", (name, data)) for name, data in files.items()]
    return client.post("/skills", files=parts)


def _reference(skill_id: str, **more: str) -> dict[str, str]:
    return {"type": "skill_reference", "skill_id": skill_id, **more}


def test_a_folder_becomes_the_same_zip_on_every_server(client: httpx.Client) -> None:
    """Files in any order give the same bytes, with the paths as they were sent."""
    files = {"s/SKILL.md": skill_md(), "s/b/größe.txt": b"2" * 100_000, "s/a.txt": b"1"}
    first = _upload_folder(client, files).json()
    second = _upload_folder(client, dict(reversed(files.items()))).json()

    zips = [client.get(f"/skills/{skill['id']}/content") for skill in (first, second)]
    assert zips[0].content == zips[1].content
    assert "application/zip" == zips[0].headers["content-type"]
    with zipfile.ZipFile(io.BytesIO(zips[0].content)) as archive:
        assert files == {name: archive.read(name) for name in archive.namelist()}
    part = client.get(f"/skills/{first['id']}/content", headers={"range": "bytes=0-3"})
    assert (206, b"PK\x03\x04") == (part.status_code, part.content)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"SKILL.md": skill_md()}, "'SKILL.md' is not in a folder"),
        ({"s/SKILL.md": skill_md(), "t/x": b""}, "'t/x' is outside of the folder 's'"),
        ({"s/SKILL.md": skill_md(), "s/../x": b""}, "has the part '..'"),
        ({"s/SKILL.md": skill_md(), "s/a": b"", "s/A": b""}, "file names have no case"),
        ({"s/x": b""}, "there is no SKILL.md"),
        ({"s/SKILL.md": skill_md("t")}, "is not that of its folder"),
        (
            {"s/SKILL.md": skill_md(), "s/x": b"x" * (25 << 20) + b"x"},
            "file too large. Expected at most 26214400",
        ),
        ({"s/SKILL.md": skill_md()} | {f"s/{number}": b"" for number in range(500)}, "too many files"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_folders_that_are_refused(
    server: LocalServer, client: httpx.Client, files: dict[str, bytes], message: str
) -> None:
    """Each is a 400 that says why, and leaves nothing on disk."""
    answer = _upload_folder(client, files)

    assert 400 == answer.status_code
    assert message in answer.json()["error"]["message"]
    assert [] == _contents(server)


def test_the_largest_folder(server: LocalServer, client: httpx.Client) -> None:
    """500 files, one of them of 25 MiB, are taken and unpacked for a container."""
    files = {"s/SKILL.md": skill_md(), "s/big": b"x" * (25 << 20)}
    skill = _upload_folder(client, files | {f"s/{number}": b"" for number in range(498)}).json()
    container = client.post("/containers", json={"name": "n", "skills": [_reference(skill["id"])]}).json()

    folder = server.state_dir / "containers" / container["id"] / "skills" / "s-1"
    assert (500, 25 << 20) == (len(list(folder.iterdir())), (folder / "big").stat().st_size)


@pytest.mark.parametrize(
    ("zipped", "message"),
    [
        (b"", "not a zip: its end is missing"),
        (b"PK", "not a zip: its end is missing"),
        (skill_zip()[:-30], "not a zip: its end is missing"),
        (make_zip({"s/SKILL.md": skill_md(), "s/a/skill.md": b""}), "there are 2 files SKILL.md"),
        (skill_zip(zeros=bytes((25 << 20) + 1)), "'s/zeros' is too large. Expected at most 26214400 bytes"),
        (skill_zip(**{f"z{number}": bytes(25 << 20) for number in range(21)}), "too many bytes"),
        (bytes((50 << 20) + 1), "file too large. Expected at most 52428800 bytes"),
    ],
    ids=["empty", "two bytes", "cut", "two", "large file", "bomb", "large zip"],
)
def test_zips_that_are_refused(
    server: LocalServer, client: httpx.Client, zipped: bytes, message: str
) -> None:
    """As a skill, as a version, and inline in a create call: a 400 with the reason, and nothing stays."""
    kept = _create(client, skill_zip()).json()["id"]
    before = _contents(server)
    answers = [
        _create(client, zipped),
        client.post(f"/skills/{kept}/versions", files={"files": ("s.zip", zipped)}),
    ]
    if 0 < len(zipped) <= 50 << 20:
        body = {"name": "n", "skills": [_reference(kept), inline_skill(data=zipped)]}
        answers.append(client.post("/containers", json=body))
        assert "skills[1].source.data" == answers[-1].json()["error"]["param"]
    for answer in answers:
        assert 400 == answer.status_code
        assert message in answer.json()["error"]["message"]
    assert before == _contents(server)
    assert [] == server.containers()
    assert [] == list((server.state_dir / "incoming").iterdir())


def test_a_bomb_holds_up_nobody(server: LocalServer, client: httpx.Client) -> None:
    """While one is unpacked up to its bound, others get their answers."""
    bomb = skill_zip(**{f"z{number}": bytes(25 << 20) for number in range(21)})
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(_create, client, bomb)
        slowest = 0.0
        count = 0
        while not refused.done():
            started = time.monotonic()
            client.get("/containers")
            slowest = max(slowest, time.monotonic() - started)
            count += 1
    assert 400 == refused.result().status_code
    assert count > 3
    assert slowest < 1


@pytest.mark.parametrize(
    ("skill", "param", "message"),
    [
        (_reference("skill_x"), "skills[0].skill_id", "Skill with id 'skill_x' not found."),
        (
            _reference("skill_mine", version="3"),
            "skills[0].version",
            "Version '3' of skill 'skill_mine' not",
        ),
        (_reference("skill_mine", version="9" * 40), "skills[0].version", "not found"),
        (inline_skill("s") | {"name": "other"}, "skills[0].name", "not the name in the front matter"),
    ],
)
def test_skills_that_a_create_call_refuses(
    server: LocalServer, client: httpx.Client, skill: dict[str, Any], param: str, message: str
) -> None:
    """What is referred to must be there; field and reason are named, and no container is made."""
    for _ in range(2):
        server.add_skill("skill_mine")
    answer = client.post("/containers", json={"name": "n", "skills": [skill]})

    assert (400, param) == (answer.status_code, answer.json()["error"]["param"])
    assert message in answer.json()["error"]["message"]
    assert [] == server.containers()


def test_the_same_skill_twice(server: LocalServer, client: httpx.Client) -> None:
    """Two versions are two folders; the same one twice is refused."""
    for _ in range(2):
        server.add_skill("skill_mine")
    both = [_reference("skill_mine"), _reference("skill_mine", version="latest")]
    client.post("/containers", json={"name": "n", "skills": both})
    assert ["skill-mine-1", "skill-mine-2"] == server.containers()[0]["skills"]
    body = {"name": "n", "skills": [*both, _reference("skill_mine", version="1")]}
    answer = client.post("/containers", json=body)

    assert (400, "skills[2]") == (answer.status_code, answer.json()["error"]["param"])


def test_skills_of_the_service_are_known_by_their_ids(server: LocalServer, client: httpx.Client) -> None:
    """They are accepted without contents, unless a test puts some there."""
    body = {"name": "n", "skills": [_reference("openai-spreadsheets", version="2")]}
    assert 200 == client.post("/containers", json=body).status_code
    server.add_skill("openai-spreadsheets")
    answer = client.post("/containers", json=body)
    assert (400, "skills[0].version") == (answer.status_code, answer.json()["error"]["param"])
    server.add_skill("openai-spreadsheets", skill_zip("spreadsheets"))
    assert 200 == client.post("/containers", json=body).status_code

    assert [[], ["spreadsheets-2"]] == [row["skills"] for row in server.containers()]
    with pytest.raises(LocalServerError, match="not a zip"):
        server.add_skill("openai-spreadsheets", b"no zip")


def test_versions(server: LocalServer, client: httpx.Client) -> None:
    """Numbers are never used again; the default goes last, and the skill with it."""
    skill = _create(client, skill_zip(description="one")).json()["id"]
    path = f"/skills/{skill}/versions"

    def add(description: str, **fields: str) -> Any:
        zipped = skill_zip(description=f"'{description}'")
        return client.post(path, files={"files": ("s.zip", zipped)}, data=fields).json()

    assert ["2", "3"] == [add("2")["version"], add("3")["version"]]
    assert 200 == client.delete(f"{path}/3").status_code
    shown = client.get(f"/skills/{skill}").json()
    assert ("2", "1") == (shown["latest_version"], shown["default_version"])
    assert "4" == add("4", default="true")["version"]
    refused = client.delete(f"{path}/4")
    assert (400, "Version '4' is the default version of this skill.") == (
        refused.status_code,
        refused.json()["error"]["message"].partition(" Set")[0],
    )
    for wrong in ("3", "5", "latest", "x", "-1", "9" * 40, "²"):
        assert 404 == client.get(f"{path}/{wrong}").status_code
        assert 404 == client.get(f"{path}/{wrong}/content").status_code
    answer = client.post(f"/skills/{skill}", json={"default_version": 2})
    assert (400, "default_version", "invalid_type") == (
        answer.status_code,
        answer.json()["error"]["param"],
        answer.json()["error"]["code"],
    )
    assert 404 == client.post(f"/skills/{skill}", json={"default_version": "3"}).status_code
    assert "2" == client.post(f"/skills/{skill}", json={"default_version": "2"}).json()["default_version"]
    assert ["4", "2", "1"] == [version["version"] for version in client.get(path).json()["data"]]
    assert "default" == add("5", default="yes")["error"]["param"]
    for version in ("4", "1", "2"):
        assert 200 == client.delete(f"{path}/{version}").status_code
    assert 404 == client.get(f"/skills/{skill}").status_code
    assert ([], []) == (client.get("/skills").json()["data"], _contents(server))


def test_a_deleted_skill_stays_in_containers(server: LocalServer, client: httpx.Client) -> None:
    """What a container was given is its own."""
    skill = _create(client, skill_zip()).json()["id"]
    client.post("/containers", json={"name": "n", "skills": [_reference(skill)]})
    assert 200 == client.delete(f"/skills/{skill}").status_code

    assert ["SKILL.md"] == [path.name for path in _contents(server)]
    server.advance_clock(1200)
    assert [] == _contents(server)


def test_forms_that_are_neither_a_zip_nor_a_folder(client: httpx.Client) -> None:
    """Both at once, none, and a JSON body are refused."""
    both: Any = [("files", ("s.zip", skill_zip())), ("files[]", ("s/SKILL.md", skill_md()))]
    empty = {"content-type": "multipart/form-data; boundary=b"}
    answers = [
        client.post("/skills", files=both),
        client.post("/skills", files={"file": ("s.zip", skill_zip())}),
        client.post("/skills", content=b"--b--\r\n", headers=empty),
        client.post("/skills", json={"files": "x"}),
    ]
    assert [
        "Invalid 'files': give either one zip as 'files' or the files of a folder as 'files[]'.",
        "Unknown parameter: 'file'.",
        "Missing required parameter: 'files'.",
        "Unsupported content type: 'application/json'",
    ] == [answer.json()["error"]["message"].partition(". This API")[0] for answer in answers]
    assert {400} == {answer.status_code for answer in answers}
