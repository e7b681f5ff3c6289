"""Runs commands: the server's side of the launcher."""

from __future__ import annotations

from airflow_containers.local.sandbox.commands import Command, Limits, Outcome, SandboxUnavailableError
from airflow_containers.local.sandbox.host import HostReport


class Sandbox:
    """Runs the commands of all containers of one server.

    :param limits: of each container.
    :param cgroups: whether to use control groups where they can be.
    :param enabled: whether commands may run at all.
    :ivar report: what the machine isolates; says that it was not started before :meth:`start`.
    :ivar uid: owner that files in mounts should get when the server is root; ``None`` otherwise.
    """

    def __init__(self, *, limits: Limits = Limits(), cgroups: bool = True, enabled: bool = True) -> None:  # noqa: B008
        self.report = HostReport(problem="the sandbox was not started")
        self.uid: int | None = None

    async def start(self) -> None:
        """Start the launcher and inspect the host; the report says whether commands can run."""

    async def stop(self) -> None:
        """Kill everything; nothing is left."""

    async def run(self, command: Command) -> Outcome:
        """Run one command.

        :raises SandboxUnavailableError: when none can run.
        """
        raise SandboxUnavailableError(self.report.problem)

    def kill(self, container_id: str, reason: str = "deleted") -> None:
        """Kill all that runs for a container; nothing does any more on return.

        :param reason: goes into the outcomes.
        """
