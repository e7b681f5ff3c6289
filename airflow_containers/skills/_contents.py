"""What a skill consists of, so that two of them can be compared: names, executable bits and contents."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from airflow_containers.skills._errors import SkillError
from airflow_containers.skills._limits import MAX_FILE_BYTES, MAX_FILES, MAX_ZIP_BYTES, in_units

CHUNK_BYTES: Final = 256 * 1024
_UNIX: Final = 3
_LOST_MODES: Final = (0, 0o600)
"""What libraries write for a file of whose permissions they were told nothing; zipfile the second."""

_MAX_SHOWN: Final = 5
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_DIRECTORY_BYTES: Final = 2 * 1024 * 1024
"""Of the zip's directory, which is read as a whole before anything of it can be looked at."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """One file.

    :param path: below the skill's folder.
    :param sha256: of its content, as hexadecimal digits.
    :param size: bytes.
    :param executable: ``None`` where it is not known: not every program keeps permissions in a zip.
    """

    path: str
    sha256: str
    size: int
    executable: bool | None


@dataclass(frozen=True, slots=True)
class Contents:
    """All files of a skill, in the order of their paths' bytes."""

    files: tuple[FileContent, ...]

    @property
    def digest(self) -> str:
        """A SHA-256 over names, executable bits and contents, as hexadecimal digits."""
        rows = [[file.path, file.executable, file.sha256] for file in self.files]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()

    def difference(self, other: Contents) -> str | None:
        """Say in which files ``other`` differs; ``None`` if it does not.

        An executable bit that one of the two does not know is no difference.
        """
        mine = {file.path: file for file in self.files}
        theirs = {file.path: file for file in other.files}
        changed = [path for path in mine.keys() & theirs.keys() if _differ(mine[path], theirs[path])]
        parts = [
            _listed(list(theirs.keys() - mine.keys()), "new"),
            _listed(changed, "changed"),
            _listed(list(mine.keys() - theirs.keys()), "removed"),
        ]
        return ", ".join(part for part in parts if part) or None


def read_zip(path: Path) -> Contents:
    """Return what a zip of a skill consists of, with or without a top-level folder; nothing is unpacked.

    :raises SkillError: if it is no zip, or more than a skill may be.
    """
    try:
        with _File(path) as file, zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_bounds(path, entries)
            top = _common_folder([entry.filename for entry in entries])
            # A service that packs anew may lose the permissions; then nothing is known of them.
            kept = any(stat.S_IMODE(entry.external_attr >> 16) not in _LOST_MODES for entry in entries)
            files = [_content(archive, entry, top, kept=kept) for entry in entries]
    except OSError as error:
        raise SkillError(f"{path}: it cannot be read ({error.strerror})") from None
    except SkillError:
        raise
    except Exception as error:  # noqa: BLE001 - of a broken zip, `zipfile` raises many kinds of errors
        raise SkillError(f"{path}: it is no zip that can be read ({type(error).__name__})") from None
    return Contents(tuple(sorted(files, key=lambda file: file.path.encode("utf-8", "surrogatepass"))))


class _File(io.FileIO):
    """A zip that is read in pieces: only a directory that is too long would be read in one."""

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override, unused-ignore]
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile
        return super().read(-1 if size is None else size)


def _check_bounds(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES:
        raise SkillError(f"{path}: the zip has {len(entries)} files, expected at most {MAX_FILES}")
    if sum(entry.file_size for entry in entries) > MAX_FILES * MAX_FILE_BYTES:
        raise SkillError(f"{path}: its files have more bytes than a skill may have")
    for entry in entries:
        if entry.compress_type not in _METHODS:
            raise SkillError(
                f"{path}: {entry.filename[:200]!r} is compressed by another method than Deflate, which no "
                "skill is"
            )
        if entry.file_size > MAX_FILE_BYTES:
            raise SkillError(
                f"{path}: {entry.filename[:200]!r} has {in_units(entry.file_size)}, expected at most "
                f"{in_units(MAX_FILE_BYTES)}"
            )
    if path.stat().st_size > 2 * MAX_ZIP_BYTES:
        raise SkillError(f"{path}: the zip has {in_units(path.stat().st_size)}, which no skill has")


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, top: str, *, kept: bool) -> FileContent:
    digest = hashlib.sha256()
    with archive.open(entry) as opened:
        # A zip bomb's file ends at the size that its entry names; zipfile reads no further.
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    known = kept and entry.create_system == _UNIX
    executable = bool(entry.external_attr >> 16 & stat.S_IXUSR) if known else None
    return FileContent(entry.filename.removeprefix(top), digest.hexdigest(), entry.file_size, executable)


def _common_folder(names: list[str]) -> str:
    """Return the one top-level folder with its slash, or nothing if there is none."""
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _differ(one: FileContent, other: FileContent) -> bool:
    known = one.executable is not None and other.executable is not None
    return one.sha256 != other.sha256 or (known and one.executable != other.executable)


def _listed(paths: list[str], what: str) -> str:
    if not paths:
        return ""
    shown = ", ".join(sorted(paths)[:_MAX_SHOWN])
    rest = f" and {len(paths) - _MAX_SHOWN} more" if len(paths) > _MAX_SHOWN else ""
    return f"{what}: {shown}{rest}"
