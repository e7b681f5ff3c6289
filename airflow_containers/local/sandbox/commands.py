"""What a command is, what bounds it, and what comes out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

PROXY_PORT = 3128
"""Of the listener on 127.0.0.1 in a sandbox that has a way out."""

DATA_DIR = "/mnt/data"
TMP_DIR = "/tmp"  # noqa: S108 - of the sandbox, a folder of its own
SKILLS_DIR = "/home/oai/skills"

_NOTHING: Mapping[str, Path] = MappingProxyType({})


class SandboxUnavailableError(Exception):
    """No command can run; the message says why and what to install."""


@dataclass(frozen=True)
class Limits:
    """What one container may use, beside its memory.

    :ivar processes: at one time, threads included.
    :ivar open_files: of one process.
    :ivar disk_bytes: below ``/mnt/data`` and ``/tmp`` together.
    :ivar output_bytes: kept of each of stdout and stderr; the rest is read and dropped.
    """

    processes: int = 512
    open_files: int = 1024
    disk_bytes: int = 4 << 30
    output_bytes: int = 10 << 20


@dataclass(frozen=True)
class Mounts:
    """Folders and files of the machine that a sandbox has.

    :ivar data: at ``/mnt/data``, to read and write.
    :ivar tmp: at ``/tmp``, to read and write.
    :ivar skills: at ``/home/oai/skills``, to read.
    :ivar read_only: further files, by their path inside.
    """

    data: Path
    tmp: Path
    skills: Path | None = None
    read_only: Mapping[str, Path] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True)
class Command:
    """One command of a container.

    :ivar container_id: commands of one container share its memory and its processes' limit.
    :ivar argv: the program, looked up in the sandbox's ``PATH``, and its arguments.
    :ivar environment: beside what every sandbox has, such as ``PATH`` and ``HOME``.
    :ivar memory_bytes: of all that the container runs.
    :ivar timeout: seconds until it is killed.
    :ivar max_output_bytes: kept of each of stdout and stderr, when less than the limit.
    :ivar listen: makes a TCP listener on 127.0.0.1:3128 inside, and is called with it in the server's loop;
        whoever gets it closes it.
    :ivar stdin: what the command reads from standard input.
    """

    container_id: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Mounts
    memory_bytes: int
    timeout: float
    max_output_bytes: int | None = None
    listen: Callable[[socket.socket], None] | None = None
    stdin: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What came out of a command.

    :ivar stdout: as much as is kept of it.
    :ivar stderr: as much as is kept of it.
    :ivar exit_code: ``None`` after a time-out; 137 when it was killed.
    :ivar ended: ``exit`` by itself, ``timeout`` or ``killed``.
    :ivar stdout_truncated: whether there was more.
    :ivar stderr_truncated: whether there was more.
    :ivar reason: why it was killed: ``memory``, ``disk``, ``deleted`` or another word given to ``kill``,
        ``stopped`` with the server. ``memory`` with ``exit`` when only a part of the command was.
    :ivar seconds: from the call to the end.
    """

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    ended: Literal["exit", "timeout", "killed"]
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    reason: str | None = None
    seconds: float = 0.0
