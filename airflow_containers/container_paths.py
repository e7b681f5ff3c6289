"""Paths of files in a container, and the names under which they come to the worker.

The service chooses a file's path: what was sent as ``report.csv`` is at
``/mnt/data/88e12fa445d32636f190a0b33daed6cb-report.csv``. So a file is looked for by the name that its author
knows, its **plain name**, as well as by its whole path.

What writes files into a container may be anybody's code, so a path from there says nothing about where a file
may go on the worker: only :func:`local_name` makes a name for it.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

ROOT: Final = "/mnt/data"
"""Where the service keeps a container's files, and where a relative path begins."""

MAX_NAME_BYTES: Final = 255
"""Bytes of a file's name in UTF-8 that the usual file systems take."""

NAMELESS: Final = "unnamed"
"""Name of a file whose path leaves nothing to make one of."""

_PREFIX: Final = re.compile(r"[0-9a-f]{32}-(?=.)", re.DOTALL)
_MEANS_PREFIX: Final = re.compile(r"\*-|\?{32}-|[0-9a-f]{8}")
"""How the last part of a pattern begins that speaks of the service's digits."""

_MAGIC: Final = re.compile(r"[*?\[]")
_REFUSED: Final = frozenset('<>:"|?*\\')
"""Characters with a meaning in paths of Windows, of which a folder may be mounted, or in URLs of stores."""

_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{device}{digit}" for device in ("com", "lpt") for digit in range(10)}
)
_MAX_EXTENSION_BYTES: Final = 32
_MAX_SHOWN: Final = 300
_BLANKS: Final = "".join(filter(str.isspace, map(chr, range(0x3001))))


class ListedFile(Protocol):
    """What is looked at of a file in a list of the service."""

    @property
    def path(self) -> str | None:
        """Where the service says the file is."""

    @property
    def created_at(self) -> int | None:
        """When it came into being, in seconds since 1970."""


FileT = TypeVar("FileT", bound=ListedFile)


def absolute(path: str) -> str:
    """Return an author's path from the root on: a relative one is below ``/mnt/data``."""
    return "/" + posixpath.normpath(posixpath.join(ROOT, path)).lstrip("/")


def plain_name(path: str) -> str:
    """Return the last part of a path without the 32 hexadecimal digits that the service puts in front."""
    name = path.rstrip("/").rpartition("/")[2]
    return _PREFIX.sub("", name, count=1)


def plain_path(path: str) -> str:
    """Return a path with its plain name: ``/mnt/data/report.csv``."""
    return path.rstrip("/").rpartition("/")[0] + "/" + plain_name(path)


def is_pattern(path: str) -> bool:
    """Whether a path has ``*``, ``?`` or ``[`` in it."""
    return _MAGIC.search(path) is not None


def find(files: Iterable[FileT], wanted_path: str) -> FileT | None:
    """Return the file that an author means by a path.

    A file at exactly that path comes first, then one in that folder with that plain name; of several the
    newest, and of those that are equally old the first.

    :param files: as the service lists them, newest first.
    :param wanted_path: the path, from ``/mnt/data`` on if it is relative.
    :returns: ``None`` if there is none.
    """
    wanted = absolute(wanted_path)
    exact: FileT | None = None
    plain: FileT | None = None
    for file in files:
        if file.path == wanted:
            exact = _newer(exact, file)
        elif file.path is not None and plain_path(file.path) == wanted:
            plain = _newer(plain, file)
    return plain if exact is None else exact


def paths_to_match(path: str, pattern: str) -> list[str]:
    """Return the paths by which a pattern may find a file: the plain one, and perhaps the whole.

    The service's digits are chance: ``a*.csv`` must not find one file in sixteen by them. So they are looked
    at only if the pattern's last part speaks of them: if it begins with ``*-``, with a ``?`` for each of the
    digits, or with eight of them.

    :param path: path of a file.
    :param pattern: the pattern, whole or its last part.
    """
    by_chance = _PREFIX.match(path.rpartition("/")[2]) and not _MEANS_PREFIX.match(pattern.rpartition("/")[2])
    return [plain_path(path)] if by_chance else [plain_path(path), path]


def glob_files(files: Iterable[FileT], pattern: str) -> list[FileT]:
    """Return the files that a pattern finds by :func:`paths_to_match`, in the order given.

    ``*``, ``?`` and ``[…]`` match inside of one part of a path, capitals count, and ``**`` stands for any
    number of parts. A long name costs no more than its length times that of the pattern.

    :param pattern: the pattern, from ``/mnt/data`` on if it is relative.
    """
    wanted = absolute(pattern).split("/")
    return [
        file
        for file in files
        if file.path is not None
        and any(_matches(path.split("/"), wanted) for path in paths_to_match(file.path, wanted[-1]))
    ]


def select(files: Sequence[FileT], path: str) -> list[FileT]:
    """Return what a path or pattern means: the newest file there, or all that match.

    A file that is called like the pattern comes first. Of files with one and the same path the newest counts.

    :param files: as the service lists them, newest first.
    """
    found = find(files, path)
    if found is not None:
        return [found]
    if not is_pattern(path):
        return []
    newest: dict[str | None, FileT] = {}
    for file in glob_files(files, path):
        newest[file.path] = _newer(newest.get(file.path), file)
    return list(newest.values())


def local_name(path: str, taken: set[str]) -> str:
    """Return a name that a file from a container may have on the worker, or in a store.

    It is made of the plain name and is one part of a path, never a path: not ``.`` or ``..``, without
    slashes, control characters, characters that are invisible or turn the direction of writing, the
    separators and names of devices that other systems know, and of at most 255 bytes. A name that differs
    from an earlier one in capitals or in its Unicode form only counts as the same, and gets a number.

    :param path: the file's path in the container, or whatever is there instead.
    :param taken: keys of the names that were given before; the new one's is put in.
    """
    name = "".join("_" if _is_refused(character) else character for character in plain_name(path))
    name = name.lstrip(_BLANKS).rstrip(f"{_BLANKS}.")
    if not name.strip(f"{_BLANKS}._"):
        name = NAMELESS
    if _key(name).partition(".")[0].rstrip() in _DEVICES:
        name = f"_{name}"
    stem, extension = posixpath.splitext(name)
    if len(extension.encode()) > _MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    number = 1
    while True:
        ending = extension if number == 1 else f"-{number}{extension}"
        # A cut may leave a space or a dot at the end, which no extension follows.
        found = (_cut(stem, MAX_NAME_BYTES - len(ending.encode())) + ending).rstrip(f"{_BLANKS}.")
        if _key(found) not in taken:
            taken.add(_key(found))
            return found
        number += 1


def shown(path: str) -> str:
    """Return a path for a message or a log: one line, without what a terminal obeys, and not too long.

    :param path: a path, of a container or made from one.
    """
    text = path if path.isprintable() else repr(path)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _newer(found: FileT | None, file: FileT) -> FileT:
    return file if found is None or (file.created_at or 0) > (found.created_at or 0) else found


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path's parts match a pattern's. A ``**`` takes as few as it can: one way back is enough."""
    at = wanted = 0
    back: tuple[int, int] | None = None
    while at < len(parts):
        if wanted < len(pattern) and pattern[wanted] == "**":
            back, wanted = (at, wanted + 1), wanted + 1
        elif wanted < len(pattern) and fnmatch.fnmatchcase(parts[at], pattern[wanted]):
            at, wanted = at + 1, wanted + 1
        elif back is not None:
            at, wanted = back[0] + 1, back[1]
            back = (at, wanted)
        else:
            return False
    return all(part == "**" for part in pattern[wanted:])


def _is_refused(character: str) -> bool:
    return character == "/" or character in _REFUSED or unicodedata.category(character) in _REFUSED_CATEGORIES


def _key(name: str) -> str:
    """Return what two names have in common that a file system may take for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _cut(text: str, size: int) -> str:
    """Return as much of a text as fits into ``size`` bytes."""
    return text.encode()[:size].decode(errors="ignore")
