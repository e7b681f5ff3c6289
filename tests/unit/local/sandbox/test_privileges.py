from __future__ import annotations

import platform

import pytest

from tests.support.sandbox_driver import Driver

NUMBERS = {
    "x86_64": {
        "add_key": 248, "keyctl": 250, "request_key": 249, "ptrace": 101, "process_vm_readv": 310, "bpf": 321,
        "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "mount": 165, "umount2": 166,
        "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "open_by_handle_at": 304,
        "name_to_handle_at": 303, "kexec_load": 246, "init_module": 175, "finit_module": 313, "reboot": 169,
        "settimeofday": 164, "clock_settime": 227, "sethostname": 170, "syslog": 103, "acct": 163,
        "swapon": 167,
        "quotactl": 179, "iopl": 172, "fsopen": 430, "open_tree": 428, "move_mount": 429,
        "mount_setattr": 442,
        "fanotify_init": 300, "pidfd_getfd": 438, "kcmp": 312,
    },
    "aarch64": {
        "add_key": 217, "keyctl": 219, "request_key": 218, "ptrace": 117, "process_vm_readv": 270, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425, "mount": 40, "umount2": 39,
        "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "open_by_handle_at": 265, "reboot": 142,
    },
}[platform.machine()]  # fmt: skip

CALL = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""


def test_no_capabilities(server: Driver) -> None:
    """All sets of capabilities are empty, and no program can gain privileges."""
    outcome = server.run("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    fields = dict(line.split(":\t") for line in outcome.stdout.decode().splitlines())
    assert {"0000000000000000"} == {value for name, value in fields.items() if name.startswith("Cap")}
    assert "1" == fields["NoNewPrivs"]
    assert ("2" if server.report["seccomp"] else "0") == fields["Seccomp"]


def test_setuid_programs(server: Driver) -> None:
    """A program with the setuid bit, of the system or one's own, runs as the same user."""
    outcome = server.run(
        "cp /usr/bin/id /mnt/data/id; chmod 6755 /mnt/data/id; /mnt/data/id -u; /mnt/data/id -ru;"
        "su -c id </dev/null; sudo -n id; mount /tmp; newgrp </dev/null; id -u"
    )
    assert b"1000\n1000\n1000\n" == outcome.stdout


def test_other_users(server: Driver) -> None:
    """No other user or group can be become, nor a file be given to one."""
    code = """
import os
for name, arguments in [
    ("setuid", (0,)), ("setgid", (0,)), ("setresuid", (0, 0, 0)), ("setgroups", ([0],)), ("setuid", (65534,)),
    ("chown", ("/mnt/data", 0, 0)), ("chroot", ("/tmp",)),
]:
    try: getattr(os, name)(*arguments); print("DONE", name)
    except OSError: pass
print(os.getresuid(), os.getgroups())
"""
    outcome = server.python(code)
    assert b"DONE" not in outcome.stdout
    assert outcome.stdout.startswith(b"(1000, 1000, 1000)")


@pytest.mark.parametrize(
    "options",
    [
        "-r true",
        "-U true",
        "-n true",
        "-m true",
        "-rm mount -t tmpfs x /mnt",
        "-rp --fork true",
        "-C true",
        "-i true",
    ],
)
def test_namespaces(server: Driver, options: str) -> None:
    """No namespace can be made, so none in which one is root or mounts something."""
    outcome = server.run(f"unshare {options} && echo MADE")
    assert b"" == outcome.stdout
    assert b"unshare failed" in outcome.stderr


@pytest.mark.parametrize(
    "flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_clone_into_namespaces(server: Driver, flag: int) -> None:
    """Neither `clone` nor `clone3` makes a process in a new namespace."""
    number = 56 if platform.machine() == "x86_64" else 220
    code = f"""{CALL}
import os, struct
print(call({number}, {flag | 17}, 0, 0, 0, 0))
arguments = ctypes.create_string_buffer(struct.pack("11Q", {flag}, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0))
print(call(435, ctypes.addressof(arguments), 88))
"""
    assert b"EPERM\nENOSYS\n" == server.python(code).stdout


@pytest.mark.parametrize("name", NUMBERS)
def test_system_calls(server: Driver, name: str) -> None:
    """Calls that reach keys, other processes or the kernel's depths are refused."""
    assert b"EPERM\n" == server.python(f"{CALL}\nprint(call({NUMBERS[name]}, 0, 0, 0, 0, 0))").stdout


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the only machine with other tables of system calls"
)
@pytest.mark.parametrize("number", [0x40000000 + 39, 0x40000000 + 101])
def test_calls_by_another_table(server: Driver, number: int) -> None:
    """The filter cannot be gone round with the numbers of x32."""
    outcome = server.python(f"{CALL}\nprint(call({number}, 0, 0, 0, 0))")
    assert b"" == outcome.stdout or outcome.stdout in {b"ENOSYS\n", b"EPERM\n"}


def test_ordinary_calls(server: Driver) -> None:
    """What programs need is not refused: threads, processes, timers, memory, pipes, watches, ptys."""
    code = """
import concurrent.futures, multiprocessing
import os, pty, select, signal, socket, subprocess, tempfile, threading, mmap
print(list(concurrent.futures.ThreadPoolExecutor(4).map(abs, [-1, -2])))
with concurrent.futures.ProcessPoolExecutor(2) as pool: print(list(pool.map(abs, [-3, -4])))
signal.setitimer(signal.ITIMER_REAL, 60); mmap.mmap(-1, 1 << 20); select.epoll(); os.eventfd(0)
os.memfd_create("x")
os.close(pty.openpty()[0]); a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1))
print(socket.if_nameindex())
with tempfile.NamedTemporaryFile() as f: os.setxattr(f.name, "user.x", b"y")
print(subprocess.run(["sh", "-c", "echo sub"], capture_output=True).stdout)
"""
    outcome = server.python(code)
    assert b"[1, 2]\n[3, 4]\nb'x'\n[(1, 'lo')]\nb'sub\\n'\n" == outcome.stdout, outcome.stderr


def test_terminal(server: Driver) -> None:
    """There is no terminal, and no keys can be put into one."""
    code = """
import fcntl, os, pty, termios
try: os.open("/dev/tty", os.O_RDWR)
except OSError as error: print(error.strerror)
main, other = pty.openpty()
for request in (0x5412, 0x541C, 0x5412 | 1 << 32):
    for fd in (0, 1, main, other):
        try: fcntl.ioctl(fd, request & 0xFFFFFFFF, b"x"); print("DONE")
        except OSError as error: pass
print(os.getsid(0) == os.getpid(), os.isatty(0))
"""
    outcome = server.python(code)
    assert outcome.stdout.startswith(b"No such device or address")
    assert b"DONE" not in outcome.stdout


def test_trace(server: Driver) -> None:
    """No process can be traced, also not the sandbox's first one, and its memory cannot be read."""
    code = f"""{CALL}
print(call({NUMBERS["ptrace"]}, 16, 1, 0, 0))
for name in ("mem", "maps", "auxv"):
    try: print(len(open("/proc/1/" + name, "rb").read(10)))
    except OSError as error: print(name, error.strerror)
"""
    outcome = server.python(code)
    assert outcome.stdout.startswith(b"EPERM\n")
    assert b"mem" in outcome.stdout


def test_mounts_stay(server: Driver) -> None:
    """A read-only mount cannot be made writable, nor something be mounted over it."""
    outcome = server.run(
        "mount -o remount,rw / ; mount -o remount,rw /usr; mount --bind /tmp /usr;"
        " umount /usr; umount -l /proc;"
        "mount -t proc proc /tmp; mount -t sysfs sys /tmp; mount -t tmpfs x /tmp;"
        " fusermount -u /tmp; echo x > /usr/x || echo kept"
    )
    assert b"kept\n" == outcome.stdout
