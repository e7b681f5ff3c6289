"""Messages between the server, the launcher and its children: JSON, with descriptors beside it."""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

_MAX_MESSAGE = 64 << 10
_MAX_FDS = 8


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart and tell when the other end is gone."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send a message.

    :raises BlockingIOError: when the other end is slow, and this one does not wait.
    """
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([json.dumps(message).encode()], rights, socket.MSG_NOSIGNAL)


def receive(channel: socket.socket, flags: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """Receive a message and its descriptors, which are then the caller's to close.

    :returns: ``None`` when the other end is gone.
    :raises BlockingIOError: when there is no message, and this end does not wait.
    """
    fds = array.array("i")
    space = socket.CMSG_SPACE(_MAX_FDS * fds.itemsize)
    try:
        data, rights, _, _ = channel.recvmsg(_MAX_MESSAGE, space, flags | socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    for level, kind, content in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    return message, list(fds)


def has_ended(channel: socket.socket) -> bool:
    """Whether the other end is gone, without waiting."""
    try:
        return not channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def in_memory(content: bytes) -> int:
    """Make a descriptor to read what is too long for a message."""
    fd = os.memfd_create("sandbox")
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
