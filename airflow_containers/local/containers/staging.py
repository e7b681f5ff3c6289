"""What a new container is given at its creation: Files that are copied in, and skills that are unpacked.

All of it is put together in a temporary folder first, so that a request that is refused leaves nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from airflow_containers.local.blobs import Blobs, put, remove_tree
from airflow_containers.local.container_files.exceptions import FileTooLargeError
from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.container_files.schemas import MAX_FILE_BYTES
from airflow_containers.local.contents import Content
from airflow_containers.local.errors import ApiError, InvalidRequestError
from airflow_containers.local.files.exceptions import UnknownFileReferenceError
from airflow_containers.local.files.models import File, FileBackend
from airflow_containers.local.skills.exceptions import (
    BadSkillError,
    InvalidSkillError,
    SkillNotFoundError,
    UnknownSkillReferenceError,
)
from airflow_containers.local.skills.front_matter import same_name
from airflow_containers.local.skills.models import SkillBackend, SkillVersion
from airflow_containers.local.skills.unpack import Budget, unpack

_CURATED = "openai-"
"""Skills of the service itself have such ids. They are not here, so nothing is unpacked for them."""

_INLINE_VERSION = "inline"


class Staged:
    """What waits in a temporary folder for its container."""

    def __init__(self, blobs: Blobs, container_files: ContainerFileBackend) -> None:
        self.files: list[tuple[File, Content]] = []
        self.is_empty = True
        self._folder = blobs.temporary()
        self._blobs = blobs
        self._container_files = container_files

    @property
    def folder(self) -> Path:
        """The temporary folder, made when it is first asked for."""
        if self.is_empty:
            self._folder.mkdir(mode=0o700)
            self.is_empty = False
        return self._folder

    async def discard(self) -> None:
        """Remove what was not installed."""
        if not self.is_empty:
            await asyncio.to_thread(remove_tree, self._folder)

    def install(self, container_id: str) -> None:
        """Move everything into a container; call it in the transaction that makes the container."""
        for file, content in self.files:
            path = self._container_files.choose_path(file.filename)
            self._container_files.insert(container_id, path, "user", content)
        skills = self._folder / "skills"
        if skills.exists():
            put(skills, self._blobs.container(container_id) / "skills")


class Stager:
    """Prepares what new containers are given."""

    def __init__(
        self, blobs: Blobs, files: FileBackend, container_files: ContainerFileBackend, skills: SkillBackend
    ) -> None:
        self._blobs = blobs
        self._files = files
        self._container_files = container_files
        self._skills = skills

    def has_work(self, request: dict[str, Any]) -> bool:
        """Whether a checked request gives the container anything that is here."""
        if "file_ids" not in request and "skills" not in request:
            return False
        return bool(request.get("file_ids")) or any(
            skill["type"] == "inline"
            or not skill["skill_id"].startswith(_CURATED)
            or self._skills.exists(skill["skill_id"])
            for skill in request.get("skills", ())
        )

    @contextlib.asynccontextmanager
    async def staged(self, request: dict[str, Any]) -> AsyncIterator[Staged]:
        """Copy the Files and unpack the skills of a checked request; what is not installed is removed.

        :raises UnknownFileReferenceError: when there is no such File.
        :raises UnknownSkillReferenceError: when there is no such skill, or it has no such version.
        :raises InvalidSkillError: when an inline skill breaks a rule.
        """
        staged = Staged(self._blobs, self._container_files)
        try:
            for index, file_id in enumerate(request.get("file_ids", ())):
                await self._copy(staged, f"file_ids[{index}]", file_id)
            budget = Budget()
            for index, skill in enumerate(request.get("skills", ())):
                await self._unpack(staged, f"skills[{index}]", skill, budget)
            yield staged
        finally:
            await staged.discard()

    async def _copy(self, staged: Staged, param: str, file_id: str) -> None:
        file = self._files.refer(param, file_id)
        if file.bytes > MAX_FILE_BYTES:
            raise FileTooLargeError(param, file.bytes, MAX_FILE_BYTES)
        target = staged.folder / f"file-{len(staged.files)}"
        try:
            await asyncio.to_thread(shutil.copyfile, self._blobs.file(file_id), target)
        except FileNotFoundError:
            # It was deleted in the meantime.
            raise UnknownFileReferenceError(param, file_id) from None
        staged.files.append((file, Content(target, file.bytes, file.sha256)))

    async def _unpack(self, staged: Staged, param: str, skill: dict[str, Any], budget: Budget) -> None:
        version = None if skill["type"] == "inline" else self._refer(param, skill)
        if skill["type"] != "inline" and version is None:
            return
        target = staged.folder / "unpacked"
        target.mkdir()
        if version is None:
            field = f"{param}.source.data"
            name = await asyncio.to_thread(_unpack_inline, skill, field, target, budget)
            label = f"{name}-{_INLINE_VERSION}"
        else:
            try:
                with self._skills.content(version).path.open("rb") as source:
                    await asyncio.to_thread(_unpack, source, param, target, budget)
            except FileNotFoundError:
                # It was deleted in the meantime.
                raise UnknownSkillReferenceError(
                    f"{param}.skill_id", SkillNotFoundError(version.skill_id)
                ) from None
            label = f"{version.name}-{version.version}"
        await asyncio.to_thread(_open_to_all, target)
        place = staged.folder / "skills" / label
        if place.exists():
            raise InvalidRequestError(
                f"Invalid '{param}': a skill with this name and version is already in the list.",
                param=param,
                code="invalid_value",
            )
        put(target, place)
        place.parent.chmod(0o755)

    def _refer(self, param: str, skill: dict[str, Any]) -> SkillVersion | None:
        skill_id = skill["skill_id"]
        try:
            return self._skills.find_version(skill_id, skill.get("version"))
        except SkillNotFoundError as error:
            if skill_id.startswith(_CURATED):
                return None
            raise UnknownSkillReferenceError(f"{param}.skill_id", error) from None
        except ApiError as error:
            raise UnknownSkillReferenceError(f"{param}.version", error) from None


def _unpack_inline(skill: dict[str, Any], param: str, target: Path, budget: Budget) -> str:
    content = io.BytesIO(base64.b64decode(skill["source"]["data"]))
    name = _unpack(content, param, target, budget)
    if not same_name(name, skill["name"]):
        owner = param.removesuffix(".source.data")
        raise InvalidRequestError(
            f"Invalid '{owner}.name': not the name in the front matter of SKILL.md, '{name}'.",
            param=f"{owner}.name",
            code="invalid_value",
        )
    return name


def _open_to_all(folder: Path) -> None:
    """Let everybody read a skill, whatever the server's umask: another user may run what uses it."""
    for place, _, files in os.walk(folder):
        Path(place).chmod(0o755)
        for file in (Path(place, name) for name in files):
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _unpack(source: BinaryIO, param: str, target: Path, budget: Budget) -> str:
    try:
        return unpack(source, target, budget).name
    except BadSkillError as error:
        raise InvalidSkillError(param, error) from None
