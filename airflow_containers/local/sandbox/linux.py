"""Calls of the kernel that Python has no function for. Standard library only: the launcher uses it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
from pathlib import Path

NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000

_BIND, _REC, _SLAVE, _NOSUID, _NODEV, _NOEXEC = 4096, 16384, 1 << 19, 2, 4, 8
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38
_JOIN_SESSION_KEYRING = 1
_CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220, "riscv64": 220}
_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
_FLAGS_OF_INTERFACE = (0x8913, 0x8914)
_UP = 1

# Keeps the interpreter's lock: the copy of this process that `clone` makes must have it.
_libc = ctypes.PyDLL(None, use_errno=True)


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known."""
    return platform.system() == "Linux" and platform.machine() in _CLONE_NUMBERS


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def clone(namespaces: int) -> int:
    """Fork into new namespaces; the child is the first process of a new pid namespace.

    :returns: the child's number, 0 in the child.
    """
    number = _CLONE_NUMBERS[platform.machine()]
    flags = ctypes.c_long(namespaces | signal.SIGCHLD)
    return _check(_libc.syscall(ctypes.c_long(number), flags, None, None, None, None), "clone")


def unshare(namespaces: int) -> None:
    """Leave the namespaces of the parent."""
    _check(_libc.unshare(namespaces), "unshare")


def map_user(uid: int, gid: int) -> None:
    """In a new user namespace: keep this user, and know no other."""
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        Path("/proc/self", name).write_text(content, encoding="ascii")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*arguments), f"mount {target}")


def mounts_stay_here() -> None:
    """In a new mount namespace: what is mounted from now on is not seen outside."""
    _mount("none", "/", "", _REC | _SLAVE)


def mount_tmpfs(target: str) -> None:
    """Mount a small folder in memory that everybody may pass."""
    _mount("sandbox", target, "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")


def bind(fd: int, target: str) -> None:
    """Mount what a descriptor stands for."""
    _mount(f"/proc/self/fd/{fd}", target, "", _BIND)


def become(uid: int, gid: int) -> None:
    """Leave root for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # The change took the files of /proc/self away from this process, and it has maps to write there.
    _check(_libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0), "prctl")


def no_new_privileges() -> None:
    """No program gains any from now on, whatever bits its file has."""
    _check(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _check(_libc.prctl(_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")


def leave_keyring() -> None:
    """Take an empty session keyring, where the kernel has any."""
    number = _KEYCTL_NUMBERS[platform.machine()]
    _libc.syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION_KEYRING), None, None, None, None)


def loopback_up() -> None:
    """In a new network namespace: let 127.0.0.1 be reached."""
    read, write = _FLAGS_OF_INTERFACE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, read, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", request)[1]
        fcntl.ioctl(any_socket, write, struct.pack("16sh22x", b"lo", flags | _UP))


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor from 3 on that is not to be kept."""
    low = 3
    for fd in sorted(keep):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
