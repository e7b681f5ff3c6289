"""A folder as an inline skill of a create request, by way of a file that no crash leaves behind."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from airflow_containers.api.inline_zips import SkillZip
from airflow_containers.api.models import InlineSkill, InlineSkillSource
from airflow_containers.skills._pack import pack_skill


@contextmanager
def packed_inline(folder: Path) -> Iterator[InlineSkill]:
    """Pack a folder into a temporary file, for as long as the block lasts.

    ::

        with packed_inline(Path("skills/report")) as skill:
            client.create(CreateContainerRequest(name="report", skills=[skill]))

    The file has no name where the system can make such a one, so it is gone with the process whatever ends
    that.

    :raises SkillError: if the folder is no skill.
    :raises LocalFileError: if the zip cannot be written, such as when the disk is full.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    try:
        packed = pack_skill(folder, file)  # type: ignore[arg-type, unused-ignore]
        source = _OpenFile(f"{packed.name}.zip", packed.size, file.fileno())
        zipped = SkillZip(source, packed.sha256)
        yield InlineSkill(
            name=packed.name, description=packed.description, source=InlineSkillSource(data=zipped)
        )
    finally:
        # On a full disk closing fails as writing did, and that was told.
        with suppress(OSError):
            file.close()


class _OpenFile:
    """An open file that can be read from its start as often as one likes; see ``Source``."""

    def __init__(self, name: str, size: int, handle: int) -> None:
        self.name = name
        self.size = size
        self._handle = handle

    def open(self) -> BinaryIO:
        """Return a reader with a position of its own."""
        return io.BufferedReader(_Reader(self._handle), buffer_size=64 * 1024)


class _Reader(io.RawIOBase):
    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = os.preadv(self._handle, [buffer], self._position)
        self._position += size
        return size
