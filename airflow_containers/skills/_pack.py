"""From a folder to a zip, the same bytes on every machine."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from airflow_containers.api.bodies import reason
from airflow_containers.api.errors import LocalFileError
from airflow_containers.skills._contents import CHUNK_BYTES, Contents, FileContent
from airflow_containers.skills._errors import SkillChangedError
from airflow_containers.skills._folder import (
    SkillFile,
    SkillFolder,
    check_skill_folder,
    stamp,
    walked_again,
)
from airflow_containers.skills._limits import in_units

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip can hold."""

_UNIX: Final = 3
_AT_REST: Final = "pack the folder when nothing writes to it"


@dataclass(frozen=True, slots=True)
class PackedSkill:
    """A zip of a skill.

    :param name: the skill's name, which is the zip's top-level folder too.
    :param description: of the front matter.
    :param path: of the zip; ``None`` where it was packed into an open file.
    :param size: bytes of the zip.
    :param contents: names, executable bits and hashes of the files.
    """

    name: str
    description: str
    path: Path | None
    size: int
    contents: Contents

    @property
    def sha256(self) -> str:
        """A SHA-256 over names, executable bits and contents, not over the zip's bytes."""
        return self.contents.digest


def pack_skill(path: Path, target: Path | BinaryIO) -> PackedSkill:
    """Check a folder and pack it; holds less than 1 MiB in memory whatever its size.

    :param path: the folder that SKILL.md is in.
    :param target: a file to write, or an open one that can be read and sought. One that was made here is
        removed if packing fails.
    :raises SkillError: if the folder is no skill.
    :raises SkillChangedError: if a file changed while it was read.
    :raises LocalFileError: if the zip cannot be written, such as when the disk is full.
    """
    folder = check_skill_folder(path)
    try:
        if not isinstance(target, Path):
            return _packed(folder, target, None)
        with target.open("wb") as opened, _removed_on_failure(target):
            return _packed(folder, opened, target)
    except OSError as error:
        place = target.parent if isinstance(target, Path) else "the folder for temporary files"
        raise LocalFileError(
            f"{path}: the zip of {in_units(folder.zip_size)} could not be made ({reason(error)}); it needs "
            f"that much room in {place}"
        ) from None


@contextmanager
def _removed_on_failure(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Never a device or a pipe that somebody has named.
        if target.is_file():
            target.unlink()
        raise


def _packed(folder: SkillFolder, target: IO[bytes], path: Path | None) -> PackedSkill:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        contents = tuple(_add(archive, folder, file) for file in folder.files)
    if walked_again(folder) != folder.files:
        raise SkillChangedError(
            f"{folder.root}: files were added, removed or changed while it was packed; {_AT_REST}"
        )
    return PackedSkill(
        name=folder.name,
        description=folder.description,
        path=path,
        size=target.seek(0, os.SEEK_END),
        contents=Contents(contents),
    )


def _add(archive: zipfile.ZipFile, folder: SkillFolder, file: SkillFile) -> FileContent:
    entry = zipfile.ZipInfo(f"{folder.name}/{file.path}", _EPOCH)
    entry.create_system = _UNIX
    entry.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
    entry.file_size = file.size
    digest = hashlib.sha256()
    size = 0
    with _opened(folder, file) as source, archive.open(entry, "w") as target:
        while chunk := source.read(CHUNK_BYTES):
            size += len(chunk)
            if size > file.size:
                break
            digest.update(chunk)
            target.write(chunk)
        if size != file.size or stamp(os.fstat(source.fileno())) != file.stamp:
            raise _changed(folder, file)
    return FileContent(file.path, digest.hexdigest(), size, file.executable)


def _opened(folder: SkillFolder, file: SkillFile) -> BinaryIO:
    """Open a file that was looked at before, and make sure that it is that one: no link, pipe or other."""
    try:
        handle = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SkillChangedError(
            f"{folder.root}/{file.path}: it could be looked at and not opened ({error.strerror}); {_AT_REST}"
        ) from None
    opened = os.fdopen(handle, "rb", buffering=0)
    if stamp(os.fstat(handle)) != file.stamp:
        opened.close()
        raise _changed(folder, file)
    return opened


def _changed(folder: SkillFolder, file: SkillFile) -> SkillChangedError:
    return SkillChangedError(f"{folder.root}/{file.path}: it changed while it was packed; {_AT_REST}")
