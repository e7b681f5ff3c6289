"""OpenAI's own package against the local server: container files, Files, Uploads and skills, all methods."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.support.skill_zip import inline_skill, skill_md, skill_zip

DATA = random.Random(7).randbytes(3_000_000)


@pytest.fixture(scope="module")
def process() -> Iterator[LocalServer]:
    """One server for this module."""
    with LocalServer(api_key="sk-right") as server:
        yield server


@pytest.fixture
def server(process: LocalServer) -> LocalServer:
    """That server, emptied."""
    process.reset()
    return process


@pytest.fixture
def client(server: LocalServer) -> Iterator[openai.OpenAI]:
    """The package's client, which never retries."""
    with openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(server: LocalServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The package's asynchronous client, which never retries."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


def _message(caught: pytest.ExceptionInfo[openai.APIStatusError]) -> str:
    message: str = caught.value.body["message"]  # type: ignore[index]
    return message


def test_container_files(client: openai.OpenAI) -> None:
    """Create by upload and from a File, list, retrieve, read, delete."""
    container = client.containers.create(name="n").id
    files = client.containers.files
    uploaded = files.create(container, file=("folder/report.csv", DATA))
    source = client.files.create(file=("x y.json", b"{}"), purpose="user_data")
    copied = files.create(container, file_id=source.id)

    assert ("container.file", container, len(DATA), "user") == (
        uploaded.object,
        uploaded.container_id,
        uploaded.bytes,
        uploaded.source,
    )
    folder, _, name = uploaded.path.rpartition("/")
    assert ("/mnt/data", "-report.csv") == (folder, name[32:])
    assert int(name[:32], 16) >= 0
    assert copied.path.endswith("-x y.json")
    assert copied.id.startswith("cfile_")
    assert [copied.id, uploaded.id] == [file.id for file in files.list(container)]
    assert [uploaded.id, copied.id] == [file.id for file in files.list(container, limit=1, order="asc")]
    assert uploaded.to_dict() == files.retrieve(uploaded.id, container_id=container).to_dict()
    assert DATA == files.content.retrieve(uploaded.id, container_id=container).read()
    client.files.delete(source.id)
    assert b"{}" == files.content.retrieve(copied.id, container_id=container).read()
    files.delete(uploaded.id, container_id=container)
    for call in (files.retrieve, files.content.retrieve, files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(uploaded.id, container_id=container)
        assert "File not found." == _message(caught)


async def test_container_files_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    """The same calls, asynchronously."""
    container = (await async_client.containers.create(name="n")).id
    files = async_client.containers.files
    uploaded = await files.create(container, file=("report.csv", DATA))
    source = await async_client.files.create(file=("x.json", b"{}"), purpose="assistants")
    copied = await files.create(container, file_id=source.id)

    assert [copied.id, uploaded.id] == [file.id async for file in files.list(container, limit=1)]
    assert uploaded.id == (await files.retrieve(uploaded.id, container_id=container)).id
    content = await files.content.retrieve(uploaded.id, container_id=container)
    assert DATA == content.read()
    await files.delete(uploaded.id, container_id=container)
    with pytest.raises(openai.NotFoundError):
        await files.retrieve(uploaded.id, container_id=container)


def test_files(client: openai.OpenAI) -> None:
    """Create with and without an expiry, list by purpose, retrieve, read, delete."""
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    first = client.files.create(file=("a.csv", DATA), purpose="user_data", expires_after=expiry)
    second = client.files.create(file=("b.jsonl", b"{}\n"), purpose="fine-tune")

    assert ("file", "a.csv", "user_data", len(DATA), "processed") == (
        first.object,
        first.filename,
        first.purpose,
        first.bytes,
        first.status,
    )
    assert (first.created_at + 3600, None) == (first.expires_at, second.expires_at)
    assert [second.id, first.id] == [file.id for file in client.files.list(limit=1)]
    assert [first.id] == [file.id for file in client.files.list(purpose="user_data")]
    assert first.to_dict() == client.files.retrieve(first.id).to_dict()
    assert DATA == client.files.content(first.id).read()
    assert client.files.wait_for_processing(first.id).id == first.id
    deleted = client.files.delete(first.id)
    assert (first.id, "file", True) == (deleted.id, deleted.object, deleted.deleted)
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.content(first.id)
    assert f"No such File object: {first.id}" == _message(caught)


async def test_files_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    """The same calls, asynchronously."""
    file = await async_client.files.create(file=io.BytesIO(DATA), purpose="user_data")

    assert [file.id] == [each.id async for each in async_client.files.list()]
    assert file.id == (await async_client.files.retrieve(file.id)).id
    assert DATA == (await async_client.files.content(file.id)).read()
    assert (await async_client.files.delete(file.id)).deleted


def test_uploads(client: openai.OpenAI, tmp_path: Path) -> None:
    """Parts in another order than they came, a checksum, cancel, and the package's own chunking."""
    create: Any = {"filename": "big.bin", "mime_type": "application/octet-stream", "purpose": "user_data"}
    upload = client.uploads.create(bytes=len(DATA), **create)
    end = client.uploads.parts.create(upload.id, data=DATA[2_000_000:])
    start = client.uploads.parts.create(upload.id, data=DATA[:2_000_000])
    done = client.uploads.complete(upload.id, part_ids=[start.id, end.id], md5=hashlib.md5(DATA).hexdigest())

    assert ("pending", 3600) == (upload.status, upload.expires_at - upload.created_at)
    assert ("upload.part", upload.id) == (start.object, start.upload_id)
    assert done.file is not None
    assert ("completed", "big.bin", len(DATA)) == (done.status, done.file.filename, done.file.bytes)
    assert DATA == client.files.content(done.file.id).read()
    cancelled = client.uploads.cancel(client.uploads.create(bytes=1, **create).id)
    assert ("cancelled", None) == (cancelled.status, cancelled.file)
    path = tmp_path / "chunked.bin"
    path.write_bytes(DATA)
    chunked = client.uploads.upload_file_chunked(
        file=path, mime_type="application/octet-stream", purpose="user_data", part_size=1_000_000
    )
    assert chunked.file is not None
    assert DATA == client.files.content(chunked.file.id).read()


async def test_uploads_asynchronously(async_client: openai.AsyncOpenAI, tmp_path: Path) -> None:
    """The same calls, asynchronously."""
    uploads = async_client.uploads
    create: Any = {"filename": "big.bin", "mime_type": "text/plain", "purpose": "assistants"}
    upload = await uploads.create(bytes=5, **create)
    part = await uploads.parts.create(upload.id, data=b"12345")
    done = await uploads.complete(upload.id, part_ids=[part.id])

    assert done.file is not None
    assert b"12345" == (await async_client.files.content(done.file.id)).read()
    assert "cancelled" == (await uploads.cancel((await uploads.create(bytes=5, **create)).id)).status
    path = tmp_path / "chunked.bin"
    path.write_bytes(DATA)
    chunked = await uploads.upload_file_chunked(
        file=path, mime_type="text/plain", purpose="user_data", part_size=1_000_000
    )
    assert "completed" == chunked.status


def _names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_skills(client: openai.OpenAI) -> None:
    """Create from a zip, a version from a folder, set the default, read, list, delete."""
    skills = client.skills
    packed = skill_zip("basic-math", "first")
    skill = skills.create(files=("skill.zip", packed, "application/zip"))
    folder = [("basic_math/SKILL.md", skill_md("basic-math", "second")), ("basic_math/a/b.txt", b"x")]
    version = skills.versions.create(skill.id, files=folder)

    assert ("basic-math", "first", "1", "1") == (
        skill.name,
        skill.description,
        skill.default_version,
        skill.latest_version,
    )
    assert ("2", "second", skill.id) == (version.version, version.description, version.skill_id)
    assert ("1", "2") == (
        skills.retrieve(skill.id).default_version,
        skills.retrieve(skill.id).latest_version,
    )
    assert packed == skills.content.retrieve(skill.id).read()
    assert packed == skills.versions.content.retrieve("1", skill_id=skill.id).read()
    content = skills.versions.content.retrieve("2", skill_id=skill.id).read()
    assert ["basic_math/SKILL.md", "basic_math/a/b.txt"] == _names(content)
    updated = skills.update(skill.id, default_version="2")
    assert ("2", "second") == (updated.default_version, updated.description)
    third = skills.versions.create(skill.id, files=("skill.zip", packed), default=True)
    assert "3" == third.version == skills.retrieve(skill.id).default_version
    versions = skills.versions.list(skill.id, limit=1)
    assert ["3", "2", "1"] == [each.version for each in versions]
    assert version.to_dict() == skills.versions.retrieve("2", skill_id=skill.id).to_dict()
    with pytest.raises(openai.BadRequestError, match="default version"):
        skills.versions.delete("3", skill_id=skill.id)
    deleted = skills.versions.delete("2", skill_id=skill.id)
    assert ("2", True, "skill.version.deleted") == (deleted.version, deleted.deleted, deleted.object)
    other = skills.create(files=("skill.zip", skill_zip("other")))
    assert [other.id, skill.id] == [each.id for each in skills.list(limit=1)]
    gone = skills.delete(skill.id)
    assert (skill.id, True, "skill.deleted") == (gone.id, gone.deleted, gone.object)
    with pytest.raises(openai.NotFoundError):
        skills.versions.list(skill.id)
    skills.versions.delete("1", skill_id=other.id)
    assert [] == skills.list().data


async def test_skills_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    """The same calls, asynchronously."""
    skills = async_client.skills
    skill = await skills.create(files=[("s/SKILL.md", skill_md())])
    version = await skills.versions.create(skill.id, files=("s.zip", skill_zip()), default=True)

    assert skill.id == (await skills.retrieve(skill.id)).id
    assert [skill.id] == [each.id async for each in skills.list()]
    assert [version.id] == [each.id for each in (await skills.versions.list(skill.id, limit=1)).data]
    assert "2" == (await skills.versions.retrieve("2", skill_id=skill.id)).version
    assert ["s/SKILL.md"] == _names((await skills.content.retrieve(skill.id)).read())
    content = await skills.versions.content.retrieve("2", skill_id=skill.id)
    assert skill_zip() == content.read()
    assert "1" == (await skills.update(skill.id, default_version="1")).default_version
    assert (await skills.versions.delete("2", skill_id=skill.id)).deleted
    assert (await skills.delete(skill.id)).deleted


def test_a_container_is_given_files_and_skills(server: LocalServer, client: openai.OpenAI) -> None:
    """Files are copied in under other ids; skills of all forms are unpacked for the container."""
    file = client.files.create(file=("in.csv", DATA), purpose="user_data")
    skill = client.skills.create(files=("s.zip", skill_zip("report", run=b"#!/bin/sh\n")))
    client.skills.versions.create(skill.id, files=("s.zip", skill_zip("report")))
    container = client.containers.create(
        name="n",
        file_ids=[file.id],
        skills=[
            {"type": "skill_reference", "skill_id": skill.id},
            {"type": "skill_reference", "skill_id": skill.id, "version": "latest"},
            inline_skill("clean"),  # type: ignore[list-item]
        ],
    )

    (copied,) = client.containers.files.list(container.id)
    assert DATA == client.containers.files.content.retrieve(copied.id, container_id=container.id).read()
    assert copied.path.endswith("-in.csv")
    assert ["clean-inline", "report-1", "report-2"] == server.containers()[0]["skills"]
    folder = server.state_dir / "containers" / container.id / "skills"
    assert b"#!/bin/sh\n" == (folder / "report-1" / "run").read_bytes()
    assert skill_md("clean") == (folder / "clean-inline" / "SKILL.md").read_bytes()
    client.containers.delete(container.id)
    assert not (server.state_dir / "containers" / container.id).exists()
