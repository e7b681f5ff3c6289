"""A folder as a skill: which files belong to it, and what is wrong with them."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from airflow_containers.skills._errors import SkillError
from airflow_containers.skills._front_matter import FrontMatter, read_front_matter
from airflow_containers.skills._limits import (
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_FRONT_MATTER_BYTES,
    MAX_NAME_LENGTH,
    MAX_PART_BYTES,
    MAX_PATH_BYTES,
    MAX_ZIP_BYTES,
    in_units,
)

IGNORED_NAMES: Final = frozenset(
    {
        ".airflowignore",
        ".DS_Store",
        ".git",
        ".gitattributes",
        ".gitignore",
        ".hg",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        "Thumbs.db",
        "__pycache__",
    }
)
"""Files and folders that are never packed: caches, and what belongs to a version control or to Airflow."""

IGNORED_ENDINGS: Final = (".pyc", ".pyo", ".swp", "~")
IGNORED_BEGINNINGS: Final = ("..", "._", ".#")
"""``..data`` and its like come with a ConfigMap that Kubernetes mounts: the files beside them are links to
what is in them."""

_ODD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MAX_PROBLEMS: Final = 50
_ENTRY_BYTES: Final = 30 + 46
"""Of a stored file in a zip, beside its content and twice its name (APPNOTE 4.3.7 and 4.3.12)."""

_END_BYTES: Final = 22
"""Of the record that ends a zip (APPNOTE 4.3.16)."""


@dataclass(frozen=True, slots=True)
class SkillFile:
    """A file of a skill.

    :param path: below the folder, with ``/`` between its parts.
    :param source: where its content is; another place than ``path`` says for a link.
    :param size: bytes.
    :param executable: whether its owner may execute it.
    :param stamp: what changes when the file does: device, inode, size and time of change in nanoseconds.
    """

    path: str
    source: Path = field(repr=False)
    size: int
    executable: bool
    stamp: tuple[int, int, int, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SkillFolder:
    """A folder that is a skill.

    :param name: of the front matter; the zip's top-level folder gets it, whatever the folder's own name is.
    :param description: of the front matter.
    :param files: all that is packed, in the order of their paths' bytes.
    :param root: the folder.
    """

    name: str
    description: str
    files: tuple[SkillFile, ...] = field(repr=False)
    root: Path

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def zip_size(self) -> int:
        """Bytes of the zip."""
        return _zip_size(self.name, self.files)


def check_skill_folder(path: Path) -> SkillFolder:
    """Return the folder as a skill. Reads SKILL.md's start, and of every other file the status only.

    :raises SkillError: if it is none; its ``problems`` are all that was found.
    """
    walk = _Walk(path)
    files = walk.files()
    front_matter, main_problems = _main_file(path, files)
    problems = [*walk.problems, *main_problems]
    # Of the longest name there can be, where the name is not known.
    name = front_matter.name if front_matter else "x" * MAX_NAME_LENGTH
    problems += _path_problems(name, files)
    size = _zip_size(name, files)
    if size > MAX_ZIP_BYTES:
        biggest = max(files, key=lambda file: file.size)
        problems.append(
            f"{path}: the zip would have {in_units(size)}, expected at most {in_units(MAX_ZIP_BYTES)}; the "
            f"biggest file is {biggest.path} ({in_units(biggest.size)}). Files are stored as they are: keep "
            "big ones compressed, or upload them to the container instead"
        )
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"{path}: and {len(problems) - _MAX_PROBLEMS} more problems"]
    if front_matter is None or problems:
        raise SkillError(*problems)
    return SkillFolder(front_matter.name, front_matter.description, tuple(files), path)


def walked_again(folder: SkillFolder) -> tuple[SkillFile, ...]:
    """Return the files as they are now, to see whether any was added, removed or changed."""
    return tuple(_Walk(folder.root).files())


class _Walk:
    """Finds the files below a folder, and collects what is wrong with them."""

    def __init__(self, root: Path) -> None:
        self.problems: list[str] = []
        self._root = root
        self._entries = 0

    def files(self) -> list[SkillFile]:
        """Return the files in the order of their paths' bytes."""
        try:
            self._real_root = self._root.resolve(strict=True)
            if not self._real_root.is_dir():
                raise SkillError(f"{self._root}: it is a file, expected the folder that SKILL.md is in")
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, SkillError):
                raise
            raise SkillError(f"{self._root}: {_missing(error)}") from None
        found = sorted(self._below(self._real_root, ""), key=lambda file: os.fsencode(file.path))
        if len(found) > MAX_FILES:
            self.problems.append(
                f"{self._root}: it has more than {MAX_FILES} files, and a skill may have {MAX_FILES}; remove "
                "some, or put them into an archive"
            )
        return found

    def _below(self, folder: Path, prefix: str) -> Iterator[SkillFile]:
        try:
            with os.scandir(folder) as entries:
                names = sorted((entry for entry in entries if not _is_ignored(entry.name)), key=_by_bytes)
        except OSError as error:
            self.problems.append(f"{self._shown(prefix)}: it cannot be read ({error.strerror})")
            return
        self._entries += len(names)
        if self._entries > MAX_ENTRIES:
            raise SkillError(
                f"{self._root}: it has more than {MAX_ENTRIES} files and folders, and a skill may have "
                f"{MAX_FILES} files; is it the right folder?"
            )
        for entry in names:
            path = f"{prefix}{entry.name}"
            problem = _odd_name(entry.name)
            if problem:
                self.problems.append(f"{self._shown(path)}: {problem}")
            elif entry.is_dir(follow_symlinks=False):
                yield from self._below(folder / entry.name, f"{path}/")
            else:
                yield from self._file(folder / entry.name, path)

    def _file(self, place: Path, path: str) -> Iterator[SkillFile]:
        try:
            status = place.lstat()
            if stat.S_ISLNK(status.st_mode):
                place = place.resolve(strict=True)
                if not place.is_relative_to(self._real_root):
                    self._add(path, "it is a link out of the folder; put a copy of the file in its place")
                    return
                status = place.lstat()
                if stat.S_ISDIR(status.st_mode):
                    self._add(path, "it is a link to a folder; only links to files are followed")
                    return
        except (OSError, RuntimeError) as error:
            self._add(path, f"it cannot be looked at ({_reason(error)}); remove it if it is a broken link")
            return
        if not stat.S_ISREG(status.st_mode):
            self._add(path, "it is no file, folder or link (a socket, pipe or device); remove it")
            return
        if status.st_size > MAX_FILE_BYTES:
            self._add(
                path,
                f"it has {in_units(status.st_size)}, expected at most {in_units(MAX_FILE_BYTES)}; split it, "
                "or upload it to the container instead",
            )
        if not os.access(place, os.R_OK):
            self._add(path, "it cannot be read; change its permissions")
        yield SkillFile(
            path=path,
            source=place,
            size=status.st_size,
            executable=bool(status.st_mode & stat.S_IXUSR),
            stamp=stamp(status),
        )

    def _add(self, path: str, problem: str) -> None:
        self.problems.append(f"{self._shown(path)}: {problem}")

    def _shown(self, path: str) -> str:
        """Return a path for a message: with the folder in front, and printable whatever its name is."""
        text = f"{self._root}/{path}".rstrip("/")
        return text if text.isprintable() else ascii(text)


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what changes when a file does."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _by_bytes(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _is_ignored(name: str) -> bool:
    return name in IGNORED_NAMES or name.endswith(IGNORED_ENDINGS) or name.startswith(IGNORED_BEGINNINGS)


def _odd_name(name: str) -> str | None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    if size > MAX_PART_BYTES:
        return f"its name has {size} bytes, expected at most {MAX_PART_BYTES}; rename it"
    if any(unicodedata.category(character) in _ODD_CATEGORIES for character in name):
        return "its name has a control character or an invisible one; rename it"
    return (
        "its name has a backslash, which some programs take for a folder; rename it" if "\\" in name else None
    )


def _path_problems(name: str, files: list[SkillFile]) -> Iterator[str]:
    spellings: dict[str, str] = {}
    for file in files:
        size = len(f"{name}/{file.path}".encode())
        if size > MAX_PATH_BYTES:
            yield (
                f"{file.path[:60]}…: its path has {size} bytes with the skill's name in front, expected at "
                f"most {MAX_PATH_BYTES}; use fewer or shorter folders"
            )
        parts = file.path.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            other = spellings.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if other != path:
                yield (
                    f"{file.path}: its name is that of {other} on a system that tells no upper from lower "
                    "case, or one way to write an accent from another; rename one"
                )
                break


def _main_file(root: Path, files: list[SkillFile]) -> tuple[FrontMatter | None, list[str]]:
    """Return the front matter of the one SKILL.md, or what is wrong with it."""
    found = [file for file in files if file.path.rpartition("/")[2].lower() == "skill.md"]
    if not found:
        return None, [
            f"{root}: it has no SKILL.md; add one, with a name and a description in its front matter"
        ]
    if len(found) > 1:
        places = ", ".join(file.path for file in found[:5])
        return None, [f"{root}: it has {len(found)} files SKILL.md ({places}), expected exactly one"]
    (main,) = found
    if "/" in main.path:
        problem = (
            f"{root}: SKILL.md is in {main.path.rpartition('/')[0]}, expected in the folder itself; "
            "give that folder as the skill, or move the file"
        )
        return None, [problem]
    try:
        with main.source.open("rb") as opened:
            start = opened.read(MAX_FRONT_MATTER_BYTES)
        return read_front_matter(start, f"{root}/{main.path}"), []
    except SkillError as error:
        return None, list(error.problems)
    except OSError as error:
        return None, [f"{root}/{main.path}: it cannot be read ({_reason(error)})"]


def _zip_size(name: str, files: tuple[SkillFile, ...] | list[SkillFile]) -> int:
    names = sum(len(f"{name}/{file.path}".encode()) for file in files)
    return sum(file.size for file in files) + 2 * names + _ENTRY_BYTES * len(files) + _END_BYTES


def _missing(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such folder; check the path"
    return f"it cannot be looked at ({_reason(error)})"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
