"""The paths of a skill: checked one by one as they come, then all together.

Everything here is untrusted: a path must be safe on every system, mean the same on every file system, and no
two may be taken for one another.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from airflow_containers.local.skills.exceptions import BadSkillError
from airflow_containers.local.skills.limits import MAX_FILES, MAX_FOLDERS, MAX_NAME_BYTES, MAX_PATH_BYTES

SKILL_FILE = "SKILL.md"
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(slots=True)
class SkillTree:
    """The paths of one skill so far.

    :ivar folder: the single top-level folder, once there is a path.
    :ivar files: paths of files, with that folder.
    """

    folder: str = ""
    files: list[str] = field(default_factory=list)
    _folders: set[str] = field(default_factory=set)
    _spellings: dict[str, str] = field(default_factory=dict)

    def add_file(self, path: str) -> None:
        """Take the path of a file.

        :raises BadSkillError: when it breaks a rule.
        """
        parts = _split(path)
        if len(parts) == 1:
            raise BadSkillError(
                f"{show(path)} is not in a folder. Expected all files inside one single top-level folder."
            )
        self._add_folders(parts[:-1], path)
        known = self._spellings.setdefault(_fold(path), path)
        if path in self._folders or path in self.files:
            raise BadSkillError(f"the path {show(path)} is there twice.")
        if known != path:
            raise _collision(known, path)
        self.files.append(path)
        if len(self.files) > MAX_FILES:
            raise BadSkillError(f"too many files. Expected at most {MAX_FILES}.")

    def add_folder(self, path: str) -> None:
        """Take the path of a folder, with or without a slash at its end.

        :raises BadSkillError: when it breaks a rule.
        """
        self._add_folders(_split(path.removesuffix("/")), path)

    def _add_folders(self, parts: list[str], path: str) -> None:
        self.folder = self.folder or parts[0]
        if parts[0] != self.folder:
            raise BadSkillError(
                f"{show(path)} is outside of the folder {show(self.folder)}. "
                "Expected all files inside one single top-level folder."
            )
        for end in range(1, len(parts) + 1):
            folder = "/".join(parts[:end])
            if folder in self._folders:
                continue
            known = self._spellings.setdefault(_fold(folder), folder)
            if known != folder:
                raise _collision(known, folder)
            if folder in self.files:
                raise BadSkillError(
                    f"{show(folder)} is a file, and a folder of {show(path)} at the same time."
                )
            self._folders.add(folder)
            if len(self._folders) > MAX_FOLDERS:
                raise BadSkillError(f"too many folders. Expected at most {MAX_FOLDERS}.")

    def find_skill_file(self) -> str:
        """The path of the one SKILL.md, whatever its case.

        :raises BadSkillError: when there is none, more than one, or it is not at the top.
        """
        found = [path for path in self.files if path.rpartition("/")[2].lower() == SKILL_FILE.lower()]
        if not found:
            where = f" in the folder {show(self.folder)}" if self.folder else ""
            raise BadSkillError(f"there is no {SKILL_FILE}. Expected exactly one{where}.")
        if len(found) > 1:
            names = ", ".join(show(path) for path in found[:5])
            raise BadSkillError(f"there are {len(found)} files {SKILL_FILE}: {names}. Expected exactly one.")
        if found[0].count("/") != 1:
            raise BadSkillError(
                f"{show(found[0])} is not directly in the top-level folder. "
                f"Expected it at {show(f'{self.folder}/{SKILL_FILE}')}."
            )
        return found[0]


def show(path: str) -> str:
    """A path for a message, cut and quoted."""
    return repr(path if len(path) <= 100 else f"{path[:100]}…")


def _split(path: str) -> list[str]:
    problem = _problem(path)
    if problem is not None:
        raise BadSkillError(f"the path {show(path)} {problem}.")
    return path.split("/")


def _problem(path: str) -> str | None:
    if "\\" in path:
        return "has a backslash; use slashes"
    if path.startswith("/"):
        return "is absolute"
    if _DRIVE.match(path):
        return "begins with a drive letter"
    if _CONTROL.search(path):
        return "has a control character"
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        return "has characters that no text has"
    if len(raw) > MAX_PATH_BYTES:
        return f"is too long. Expected at most {MAX_PATH_BYTES} bytes"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return f"has the part {part!r}, which is no name"
        if len(part.encode()) > MAX_NAME_BYTES:
            return f"has a name that is too long. Expected at most {MAX_NAME_BYTES} bytes"
    return None


def _fold(path: str) -> str:
    # Twice, as folding may undo the normal form; file systems that fold compare so.
    folded = unicodedata.normalize("NFC", path).casefold()
    return unicodedata.normalize("NFC", folded).casefold()


def _collision(known: str, path: str) -> BadSkillError:
    return BadSkillError(
        f"the paths {show(known)} and {show(path)} are the same where file names have no case."
    )
