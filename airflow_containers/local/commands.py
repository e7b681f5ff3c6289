"""Running commands in containers: a container, its network and its files, put together for one run."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.containers.models import Container, ContainerBackend
from airflow_containers.local.errors import ApiError, CommandsUnavailableError
from airflow_containers.local.responses.model import SkillNote
from airflow_containers.local.sandbox.commands import (
    SKILLS_DIR,
    Command,
    Mounts,
    Outcome,
    SandboxUnavailableError,
)
from airflow_containers.local.sandbox.runner import Sandbox
from airflow_containers.local.skills.front_matter import read_front_matter

if TYPE_CHECKING:
    import socket

    from airflow_containers.local.egress.gateway import EgressGateway, Serving

DEFAULT_TIMEOUT = 120.0
"""Seconds that a command gets when nobody says how long; the service publishes no figure."""

MAX_TIMEOUT = 1200.0
"""Seconds that a command gets at most: the idle time after which a container expires at the latest."""

_COMMAND_FILE = "/run/command"
_MAX_ARGUMENT = 100_000
"""Bytes of a command that go on the command line; Linux takes no argument over 128 KiB."""


class ContainerCommands:
    """Runs commands in the containers of one server.

    Both ways to run one count as activity of the container when they begin and when they end, and have the
    files that were written in the container's list when they return.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        gateway: EgressGateway,
        containers: ContainerBackend,
        container_files: ContainerFileBackend,
        blobs: Blobs,
    ) -> None:
        self._sandbox = sandbox
        self._gateway = gateway
        self._containers = containers
        self._container_files = container_files
        self._blobs = blobs
        self._starting: asyncio.Task[None] | None = None
        self._granted: set[str] = set()
        self._running: dict[str, int] = {}
        container_files.is_running = self.is_running
        containers.ended = self.end

    @property
    def problem(self) -> str | None:
        """Why no command can run here, or ``None``; known once :meth:`start` is through."""
        return self._sandbox.report.problem

    async def start(self) -> None:
        """Find out what this machine can isolate, once however often it is called."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        await self._sandbox.start()
        if self._sandbox.uid is not None:
            self._blobs.owner = (self._sandbox.uid, self._sandbox.uid)

    async def announce(self) -> None:
        """Say on standard error how commands are isolated, or why none can run."""
        await self.start()
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{self._sandbox.report.summary()}\n")
            sys.stderr.flush()

    async def stop(self) -> None:
        """End all commands, and what runs for them."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        await self._sandbox.stop()
        await self._gateway.close()

    async def isolation(self) -> dict[str, object]:
        """How commands are isolated here, or why none can run; for JSON."""
        await self.start()
        return self._sandbox.report.as_dict()

    async def check(self) -> None:
        """Refuse to run anything where commands cannot be isolated.

        :raises CommandsUnavailableError: with the reason, and what to install.
        """
        await self.start()
        if self.problem is not None:
            raise CommandsUnavailableError(self.problem)

    def is_running(self, container_id: str) -> bool:
        """Whether a command runs in a container."""
        return container_id in self._running

    async def shell(
        self,
        container_id: str,
        command: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it is the command's, not this call's
        max_output: int | None = None,
    ) -> Outcome:
        """Run a command with bash.

        :param timeout: seconds, at most :data:`MAX_TIMEOUT`; ``None`` for :data:`DEFAULT_TIMEOUT`.
        :param max_output: bytes that are kept of each of standard output and error; ``None`` for the
            server's limit.
        :raises CommandsUnavailableError: when commands cannot be isolated here.
        :raises ContainerNotFoundError: when there is no such container.
        :raises ContainerExpiredError: when it has expired.
        """
        return await self._run(container_id, ("bash", "-c"), ("bash",), command, timeout, max_output)

    async def python(
        self,
        container_id: str,
        code: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
        max_output: int | None = None,
    ) -> Outcome:
        """Run Python code in a new interpreter; parameters and errors are those of :meth:`shell`."""
        return await self._run(container_id, ("python3", "-c"), ("python3",), code, timeout, max_output)

    async def _run(
        self,
        container_id: str,
        direct: tuple[str, ...],
        from_file: tuple[str, ...],
        text: str,
        timeout: float | None,  # noqa: ASYNC109 - as above
        max_output: int | None,
    ) -> Outcome:
        await self.check()
        container = self._containers.use(container_id)
        if _has_network(container) and self._gateway.problem is not None:
            raise CommandsUnavailableError(self._gateway.problem)
        with self._counted(container_id), contextlib.ExitStack() as stack:
            read_only = dict(self._gateway.read_only_files()) if _has_network(container) else {}
            if len(text.encode()) <= _MAX_ARGUMENT and "\0" not in text:
                argv = (*direct, text)
            else:
                file = self._blobs.temporary()
                stack.callback(file.unlink, missing_ok=True)
                await asyncio.to_thread(_write, file, text)
                read_only[_COMMAND_FILE] = file
                argv = (*from_file, _COMMAND_FILE)
            outcome = await self._run_in(container, argv, read_only, timeout, max_output)
        await self._settle(container_id)
        return outcome

    async def _run_in(
        self,
        container: Container,
        argv: tuple[str, ...],
        read_only: dict[str, Path],
        timeout: float | None,  # noqa: ASYNC109 - as above
        max_output: int | None,
    ) -> Outcome:
        servings: list[Serving] = []

        def listen(listener: socket.socket) -> None:
            servings.append(self._gateway.serve(container.id, listener))

        # It may have gone since it was looked up; from here on, its end ends the command.
        self._containers.check(container.id)
        network = _has_network(container)
        if network:
            self._grant(container)
        try:
            return await self._sandbox.run(
                Command(
                    container_id=container.id,
                    argv=argv,
                    environment=self._gateway.environment(container.id) if network else {},
                    mounts=Mounts(
                        data=self._blobs.data_dir(container.id),
                        tmp=self._blobs.tmp_dir(container.id),
                        skills=self._blobs.skills_dir(container.id),
                        read_only=read_only,
                    ),
                    memory_bytes=int(container.memory_limit.removesuffix("g")) << 30,
                    timeout=min(DEFAULT_TIMEOUT if timeout is None else timeout, MAX_TIMEOUT),
                    max_output_bytes=max_output,
                    listen=listen if network else None,
                )
            )
        except SandboxUnavailableError as error:
            raise CommandsUnavailableError(str(error)) from None
        finally:
            for serving in servings:
                await serving.close()

    async def _settle(self, container_id: str) -> None:
        """Count the end of a command as activity and list what it wrote, if its container is still there."""
        with contextlib.suppress(ApiError):
            self._containers.use(container_id)
            await self._container_files.refresh(container_id)

    @contextlib.contextmanager
    def _counted(self, container_id: str) -> Iterator[None]:
        self._running[container_id] = self._running.get(container_id, 0) + 1
        try:
            yield
        finally:
            self._running[container_id] -= 1
            if not self._running[container_id]:
                del self._running[container_id]
            self._container_files.mark_dirty(container_id)

    def _grant(self, container: Container) -> None:
        """Let a container out to its domains, if that was not done when it was made: before a restart."""
        from airflow_containers.local.egress.gateway import DomainSecret

        if container.id in self._granted:
            return
        secrets = [
            DomainSecret(secret["domain"], secret["name"], None)
            for secret in container.requested.get("domain_secrets", ())
        ]
        self._gateway.grant(container.id, container.network_policy["allowed_domains"], secrets)
        self._granted.add(container.id)

    def begin(self, container: Container, request: dict[str, object]) -> None:
        """Take the values of a new container's domain secrets, which nothing else keeps."""
        from airflow_containers.local.egress.gateway import DomainSecret
        from airflow_containers.local.egress.secrets import SecretText

        policy = request.get("network_policy")
        if not isinstance(policy, dict) or policy["type"] != "allowlist":
            return
        secrets = [
            DomainSecret(secret["domain"], secret["name"], SecretText(secret["value"]))
            for secret in policy.get("domain_secrets", ())
        ]
        self._gateway.grant(container.id, policy["allowed_domains"], secrets)
        self._granted.add(container.id)

    def end(self, container_id: str, reason: str) -> None:
        """End what runs in a container that is over, and forget its secrets.

        :param reason: that outcomes give.
        """
        if container_id in self._running:
            self._sandbox.kill(container_id, reason)
        if container_id in self._granted:
            self._granted.discard(container_id)
            self._gateway.revoke(container_id)

    def end_all(self) -> None:
        """End what runs in any container."""
        for container_id in {*self._running, *self._granted}:
            self.end(container_id, "deleted")
        self._gateway.log.clear()

    def skills(self, container_id: str) -> tuple[SkillNote, ...]:
        """What the skills of a container say of themselves."""
        folder = self._blobs.skills_dir(container_id)
        if folder is None:
            return ()
        notes = []
        for place in sorted(folder.iterdir()):
            main = next((file for file in place.iterdir() if file.name.lower() == "skill.md"), None)
            if main is not None:
                front = read_front_matter(main.read_bytes(), place.name.rpartition("-")[0])
                notes.append(SkillNote(front.name, front.description, f"{SKILLS_DIR}/{place.name}"))
        return tuple(notes)


def _has_network(container: Container) -> bool:
    return bool(container.network_policy["type"] == "allowlist")


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", newline="")
    # Another user runs the command when the server is root.
    path.chmod(0o644)
