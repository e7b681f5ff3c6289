"""What a command may do to the folder of its container, and who the server may be meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from airflow_containers.local.container_files.folder import DataFolder

NOBODY = 65534
SECRET = b"of the host"
SERVERS = ["a plain user", "root"] if os.geteuid() == 0 else ["a plain user"]
"""Who the server is; the folder is a plain user's in both cases."""

_SWAP = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
end = time.monotonic() + 60
while time.monotonic() < end and os.getppid() == int(sys.argv[1]):
    for a, b in zip(sys.argv[2::2], sys.argv[3::2]):
        libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2)
"""


def run_as(server: str, folder: Path, work: Callable[[], None]) -> None:
    """Do ``work`` as the server, in ``folder``, which is given to a plain user with all that is in it.

    Paths in ``work`` must be relative: a plain user cannot reach the folder from above.
    """
    if os.geteuid() != 0:
        with contextlib.chdir(folder):
            work()
        return
    subprocess.run(["/bin/chown", "-hR", f"{NOBODY}:{NOBODY}", "."], cwd=folder, check=True)
    child = os.fork()
    if not child:
        code = 1
        try:
            os.chdir(folder)
            if server != "root":
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the parent must not go on here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def swapping(folder: Path, *pairs: tuple[str, str]) -> Iterator[None]:
    """Exchange the names of each pair, over and over, in another process that is another user if it can."""
    names = [name for pair in pairs for name in pair]
    options = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    process = subprocess.Popen(
        ["/usr/bin/env", "python3", "-c", _SWAP, str(os.getpid()), *names],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        **options,  # type: ignore[call-overload]
    )
    try:
        yield
        assert process.poll() is None, "the attacker could not run"
    finally:
        process.kill()
        process.wait()


def can_exchange() -> bool:
    """Whether the C library exchanges two names in one step."""
    return hasattr(ctypes.CDLL(None), "renameat2")


def make_deep(folder: Path, levels: int, name: str = "d") -> int:
    """Make folders within folders; returns a descriptor of the deepest."""
    number = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=number)
        inner = os.open(name, os.O_RDONLY, dir_fd=number)
        os.close(number)
        number = inner
    return number


def wall(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of a container and a folder outside of it, with something to be found in it."""
    data, outside = tmp_path / "state" / "data", tmp_path / "outside"
    data.mkdir(parents=True)
    outside.mkdir()
    (outside / "f").write_bytes(SECRET)
    (outside / "inner").mkdir()
    (outside / "inner" / "f").write_bytes(SECRET)
    return data, outside


def everything(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder: path → contents, ``None`` for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def read_file(folder: DataFolder, path: str) -> bytes:
    """What is in a file, whose size is that of its stamp."""
    file, stamp = folder.open(path)
    with file:
        assert stamp.size == os.fstat(file.fileno()).st_size
        return file.read()
