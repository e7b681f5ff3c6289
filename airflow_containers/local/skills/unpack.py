"""Takes the zip of a skill apart. The zip is untrusted: nothing in it is believed before it is checked.

Nothing is written outside of the target folder, only plain files and folders are made, and what is unpacked
is counted while it is, whatever the zip says of its sizes.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airflow_containers.local.skills.exceptions import BadSkillError
from airflow_containers.local.skills.front_matter import FrontMatter, read_front_matter
from airflow_containers.local.skills.limits import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_FOLDERS,
    MAX_FRONT_MATTER_BYTES,
    MAX_UNPACKED_BYTES,
    MAX_ZIP_BYTES,
)
from airflow_containers.local.skills.tree import SkillTree, show

_END = b"PK\x05\x06"
_END_BYTES = 22
_END64 = b"PK\x06\x07"
_END64_BYTES = 20
_MAX_COMMENT_BYTES = 65536
"""One more than there can be, as `zipfile` looks so far back."""

_MAX_DIRECTORY_BYTES = 2 << 20
"""Of the zip's directory, which is read into memory before anything can be checked."""

_PIECE_BYTES = 256 << 10
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@dataclass(slots=True)
class Budget:
    """Bytes that may still be unpacked."""

    left: int = MAX_UNPACKED_BYTES

    def take(self, size: int) -> None:
        """Use ``size`` bytes.

        :raises BadSkillError: when there are not as many left.
        """
        self.left -= size
        if self.left < 0:
            raise BadSkillError(f"too many bytes. Expected at most {MAX_UNPACKED_BYTES} once it is unpacked.")


def unpack(source: BinaryIO, target: Path, budget: Budget | None = None) -> FrontMatter:
    """Unpack a skill, without its top-level folder, and check it.

    :param source: the zip, seekable.
    :param target: an empty folder; what is in it after an error is for the caller to remove.
    :param budget: shared by the skills of one container.
    :raises BadSkillError: when the zip or the skill breaks a rule.
    """
    _check_size(source)
    try:
        with zipfile.ZipFile(source) as archive:
            return _unpack(archive, target, budget or Budget())
    except BadSkillError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
        raise BadSkillError(f"not a zip that can be read: {error}.") from None
    except (NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        # What `zipfile` raises for features it does not have and for fields that make no sense.
        raise BadSkillError(f"not a zip that can be read ({type(error).__name__}).") from None


def _check_size(source: BinaryIO) -> None:
    """Refuse a zip that is too long, or whose directory is, before the directory is read."""
    size = source.seek(0, os.SEEK_END)
    if size > MAX_ZIP_BYTES:
        raise BadSkillError(f"zip too large. Expected at most {MAX_ZIP_BYTES} bytes, but got {size}.")
    length = min(size, _END_BYTES + _MAX_COMMENT_BYTES + _END64_BYTES)
    source.seek(size - length)
    tail = source.read(length)
    source.seek(0)
    # The same two places, in the same order, in which `zipfile` looks for the end of the directory.
    start = len(tail) - _END_BYTES
    if start < 0 or tail[start : start + 4] != _END or tail[-2:] != b"\0\0":
        start = tail.rfind(_END)
    if start < 0 or len(tail) - start < _END_BYTES:
        raise BadSkillError("not a zip: its end is missing.")
    if tail[max(start - _END64_BYTES, 0) : start].startswith(_END64):
        raise BadSkillError("a zip in the Zip64 format. Expected one without, as no skill is so large.")
    entries, directory = struct.unpack_from("<HI", tail, start + 10)
    if entries > MAX_FILES + MAX_FOLDERS or directory > _MAX_DIRECTORY_BYTES:
        raise BadSkillError(f"too many entries in the zip. Expected at most {MAX_FILES} files.")


def _unpack(archive: zipfile.ZipFile, target: Path, budget: Budget) -> FrontMatter:
    tree = SkillTree()
    files: list[zipfile.ZipInfo] = []
    for info in archive.infolist():
        if _is_folder(info):
            tree.add_folder(info.orig_filename)
        else:
            _check_file(info)
            tree.add_file(info.orig_filename)
            files.append(info)
    skill_file = tree.find_skill_file()
    folder = f"{tree.folder}/"
    head = b""
    for info in files:
        path = target / info.orig_filename.removeprefix(folder)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        start = _write(archive, info, path, budget)
        if info.orig_filename == skill_file:
            head = start
    return read_front_matter(head, tree.folder)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    if name.endswith("/"):
        if kind not in {0, stat.S_IFDIR}:
            raise BadSkillError(f"{show(name)} is neither a file nor a folder.")
        if info.file_size:
            raise BadSkillError(f"{show(name)} is a folder, but has contents.")
        return True
    if kind == stat.S_IFLNK:
        raise BadSkillError(f"{show(name)} is a link. Expected files and folders only.")
    if kind not in {0, stat.S_IFREG}:
        raise BadSkillError(f"{show(name)} is neither a file nor a folder.")
    return False


def _check_file(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    if info.flag_bits & _ENCRYPTED:
        raise BadSkillError(f"{show(name)} is encrypted.")
    if info.compress_type not in _METHODS:
        raise BadSkillError(f"{show(name)} is compressed by another method than Deflate.")
    if info.file_size > MAX_FILE_BYTES:
        raise _too_large(name)


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, budget: Budget) -> bytes:
    """Unpack one file; returns its first bytes."""
    mode = 0o755 if (info.external_attr >> 16) & 0o100 else 0o644
    # Never through a link and never over another file, whatever the checks have missed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    head = b""
    size = 0
    with archive.open(info) as packed, os.fdopen(os.open(path, flags, mode), "wb") as out:
        while piece := packed.read(_PIECE_BYTES):
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise _too_large(info.orig_filename)
            budget.take(len(piece))
            if len(head) < 2 * MAX_FRONT_MATTER_BYTES:
                head += piece[: 2 * MAX_FRONT_MATTER_BYTES]
            out.write(piece)
    return head


def _too_large(name: str) -> BadSkillError:
    return BadSkillError(f"{show(name)} is too large. Expected at most {MAX_FILE_BYTES} bytes.")
