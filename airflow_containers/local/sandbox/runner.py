"""Runs commands: the server's side of the launcher."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

from airflow_containers.local.sandbox import channel
from airflow_containers.local.sandbox.bubblewrap import Sources
from airflow_containers.local.sandbox.commands import Command, Limits, Outcome, SandboxUnavailableError
from airflow_containers.local.sandbox.host import HostReport, Preparation, prepare, try_out, user_of_commands
from airflow_containers.local.sandbox.output import Output
from airflow_containers.local.sandbox.spare import STAGE, Settings

_START_TIME = 30
_KILL_TIME = 3.0
_KILLED = 137
_NOT_FOUND = 127
_LIMITS = Limits()
_NEVER_RAN = {"signal": 9, "exit_code": None, "memory": False, "reason": None}


class _Run:
    """A command that was given to the launcher.

    :param command: it.
    :param limit: bytes kept of each output.
    :param uid: that it runs as, if not the server's.
    """

    def __init__(self, command: Command, limit: int, uid: int | None) -> None:
        self.command = command
        self.stdout = Output(limit, uid)
        self.stderr = Output(limit, uid)
        self.ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.reason: str | None = None
        self.is_ordered = False

    def close(self) -> None:
        """Read no more."""
        self.stdout.close()
        self.stderr.close()

    def end(self, message: dict[str, Any]) -> None:
        """Take what the launcher says of its end."""
        if not self.ended.done():
            self.ended.set_result(message)


class Sandbox:
    """Runs the commands of all containers of one server.

    :param limits: of each container.
    :param cgroups: whether to use control groups where they can be.
    :param enabled: whether commands may run at all.
    :ivar report: what the machine isolates; says that it was not started before :meth:`start`.
    :ivar uid: owner that files in mounts should get when the server is root; ``None`` otherwise.
    """

    def __init__(self, *, limits: Limits = _LIMITS, cgroups: bool = True, enabled: bool = True) -> None:
        self.report = HostReport(problem="the sandbox was not started")
        self.uid = user_of_commands()
        self._limits = limits
        self._cgroups = cgroups
        self._is_enabled = enabled
        self._preparation: Preparation | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._control: socket.socket | None = None
        self._hello: asyncio.Future[dict[str, Any]] | None = None
        self._runs: dict[int, _Run] = {}
        self._last = 0
        self._sending: set[asyncio.Future[None]] = set()
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start the launcher and inspect the host; the report says whether commands can run."""
        self._preparation = preparation = await asyncio.to_thread(prepare, enabled=self._is_enabled)
        self.report = preparation.report
        if self.report.problem is not None:
            return
        try:
            hello = await self._ensure_launcher()
            notes = (*self.report.notes, *hello["notes"])
            self.report = dataclasses.replace(
                self.report, memory=hello["memory"], processes=hello["processes"], notes=notes
            )
            self.report = await try_out(self, self.report)
        except SandboxUnavailableError as error:
            self.report = dataclasses.replace(self.report, problem=str(error))
        if self.report.problem is not None:
            await self.stop()

    async def stop(self) -> None:
        """Kill everything; nothing is left."""
        process = self._process
        if process is None:
            return
        for run in self._runs.values():
            run.reason = run.reason or "stopped"
        if self._channel is not None:
            with contextlib.suppress(OSError):
                channel.send(self._channel, {"op": "stop"})
        try:
            await asyncio.to_thread(process.wait, _KILL_TIME * 2)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._read()
        self._lose_launcher()

    async def run(self, command: Command) -> Outcome:
        """Run one command.

        :param command: it.
        :returns: what came out, when nothing of it runs any more.
        :raises SandboxUnavailableError: when none can run.
        """
        if self.report.problem is not None:
            raise SandboxUnavailableError(self.report.problem)
        start = time.monotonic()
        limit = self._limits.output_bytes
        if command.max_output_bytes is not None:
            limit = min(limit, command.max_output_bytes)
        self._last += 1
        number = self._last
        run = _Run(command, limit, self.uid)
        self._runs[number] = run
        loop = asyncio.get_running_loop()
        timer = loop.call_later(command.timeout, self._end, number, "timeout")
        try:
            # Without a pause where it can be: `kill` is for what was ordered before it.
            if self._hello is None or not self._hello.done():
                await self._ensure_launcher()
            if run.reason is None:
                await self._order(number, run)
            else:
                run.end(_NEVER_RAN)
            message = await asyncio.shield(run.ended)
            stdout, stdout_truncated = run.stdout.finish()
            stderr, stderr_truncated = run.stderr.finish()
        except BaseException:
            # The caller goes, or nothing can run.
            self._end(number, "cancelled")
            if run.is_ordered:
                # When it has gone, nothing of the command runs any more.
                await asyncio.wait([run.ended], timeout=_KILL_TIME)
            raise
        finally:
            timer.cancel()
            run.close()
            self._runs.pop(number, None)
        ended, exit_code, reason = _judge(run, message, stderr)
        return Outcome(
            stdout=stdout,
            stderr=stderr,
            exit_code=exit_code,
            ended=ended,
            stdout_truncated=stdout_truncated,
            stderr_truncated=stderr_truncated,
            reason=reason,
            seconds=time.monotonic() - start,
        )

    def kill(self, container_id: str, reason: str = "deleted") -> None:
        """Kill all that runs for a container; nothing does any more on return.

        :param container_id: of the container.
        :param reason: goes into the outcomes.
        """
        runs = [run for run in self._runs.values() if run.command.container_id == container_id]
        for run in runs:
            run.reason = run.reason or reason
        if not runs or self._control is None:
            return
        try:
            channel.send(self._control, {"container": container_id})
            channel.receive(self._control)
        except OSError:
            # It does not answer, or is gone: with it goes all that it started.
            if self._process is not None:
                self._process.kill()

    def _end(self, number: int, reason: str) -> None:
        run = self._runs.get(number)
        if run is None or run.ended.done():
            return
        run.reason = run.reason or reason
        if self._channel is not None:
            sending = asyncio.ensure_future(self._send({"op": "end", "id": number}))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(
        self, message: dict[str, Any], fds: tuple[int, ...] = (), run: _Run | None = None
    ) -> None:
        while self._channel is not None:
            if run is not None and run.reason is not None:
                # It was killed while it waited here.
                run.end(_NEVER_RAN)
                return
            try:
                channel.send(self._channel, message, fds)
            except BlockingIOError:
                await asyncio.sleep(0.002)
            except OSError:
                # Its end is read elsewhere.
                return
            else:
                return

    async def _order(self, number: int, run: _Run) -> None:
        if self._preparation is None:
            raise SandboxUnavailableError("the sandbox was not started")
        command = run.command
        mounts = command.mounts
        outside = [str(mounts.data), str(mounts.tmp)]
        if mounts.skills is not None:
            outside.append(str(mounts.skills))
        outside += [str(path) for path in mounts.read_only.values()]
        stage: list[str] = []
        places = outside
        if self.uid is not None:
            stage = [*outside, *self._preparation.stage]
            places = [f"{STAGE}/{index}" for index in range(len(outside))]
        first_file = len(places) - len(mounts.read_only)
        sources = Sources(
            places[0],
            places[1],
            places[2] if mounts.skills is not None else None,
            dict(zip(mounts.read_only, places[first_file:], strict=True)),
        )
        recipe = self._preparation.recipe(len(outside))
        options = recipe.options(sources, command.environment, shares_network=command.listen is not None)
        payload = {
            "argv": command.argv,
            "options": "".join(f"{option}\0" for option in options),
            "files": recipe.files,
            "stage": stage,
        }
        order = {
            "op": "run",
            "id": number,
            "container": command.container_id,
            "memory": command.memory_bytes,
            "listen": command.listen is not None,
            "folders": outside[:2],
        }
        fds = [channel.in_memory(json.dumps(payload).encode())]
        try:
            fds.append(
                channel.in_memory(command.stdin) if command.stdin else os.open(os.devnull, os.O_RDONLY)
            )
            run.is_ordered = True
            await self._send(order, (*fds, run.stdout.writer, run.stderr.writer), run)
        finally:
            run.stdout.close_writer()
            run.stderr.close_writer()
            for fd in fds:
                os.close(fd)

    async def _ensure_launcher(self) -> dict[str, Any]:
        async with self._starting:
            hello = self._hello or self._start_launcher()
            try:
                return await asyncio.wait_for(asyncio.shield(hello), _START_TIME)
            except TimeoutError:
                raise SandboxUnavailableError("the process that starts commands did not answer") from None

    def _start_launcher(self) -> asyncio.Future[dict[str, Any]]:
        if self._preparation is None or self._preparation.bubblewrap is None:
            raise SandboxUnavailableError("the sandbox was not started")
        libraries = self._preparation.bubblewrap.libraries if self.uid is not None else None
        settings = Settings(
            server=os.getpid(),
            uid=self.uid,
            program=self._preparation.bubblewrap.path,
            libraries=str(libraries) if libraries else None,
            filter=self._preparation.filter.hex() if self._preparation.filter else None,
            unbounded_filter=(
                self._preparation.unbounded_filter.hex() if self._preparation.unbounded_filter else None
            ),
            cgroups=self._cgroups,
            processes=self._limits.processes,
            open_files=self._limits.open_files,
            disk_bytes=self._limits.disk_bytes,
        )
        ours, theirs = channel.pair()
        control, their_control = channel.pair()
        fds = (theirs.fileno(), their_control.fileno())
        root = str(Path(__file__).resolve().parents[3])
        code = (
            f"import sys; sys.path.insert(0, {root!r}); "
            "from airflow_containers.local.sandbox.launcher import main; main(*sys.argv[1:])"
        )
        arguments = [*map(str, fds), json.dumps(dataclasses.asdict(settings))]
        # Nothing of the server's environment: it may have keys, and what is started there must not.
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-c", code, *arguments],
                pass_fds=fds,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            control.close()
            raise SandboxUnavailableError(f"the process that starts commands cannot run: {error}") from error
        finally:
            theirs.close()
            their_control.close()
        ours.setblocking(False)
        control.settimeout(_KILL_TIME)
        self._channel, self._control = ours, control
        loop = asyncio.get_running_loop()
        self._hello = hello = loop.create_future()
        loop.add_reader(ours.fileno(), self._read)
        return hello

    def _read(self) -> None:
        while self._channel is not None:
            try:
                received = channel.receive(self._channel)
            except BlockingIOError:
                return
            if received is None:
                self._lose_launcher()
                return
            message, fds = received
            if self._hello is not None and not self._hello.done():
                self._hello.set_result(message)
                continue
            run = self._runs.get(message["id"])
            if message["event"] == "listening":
                listener = socket.socket(fileno=fds[0])
                if run is None or run.command.listen is None or run.ended.done():
                    listener.close()
                else:
                    run.command.listen(listener)
            elif run is not None:
                run.end(message)

    def _lose_launcher(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None and self._process.poll() is None:
            # It has no channel any more, so it is about to end.
            self._process.wait()
        self._process = None
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(
                SandboxUnavailableError("the process that starts commands ended at once")
            )
            self._hello.exception()
        self._hello = None
        for run in self._runs.values():
            run.reason = run.reason or "launcher"
            run.end(_NEVER_RAN)


def _judge(
    run: _Run, message: dict[str, Any], stderr: bytes
) -> tuple[Literal["exit", "timeout", "killed"], int | None, str | None]:
    reason = run.reason or message["reason"]
    exit_code = message["exit_code"]
    if message["signal"] is not None and reason is not None:
        return ("timeout", None, reason) if reason == "timeout" else ("killed", _KILLED, reason)
    if message["memory"]:
        has_died = message["signal"] is not None or exit_code is None or exit_code == _KILLED
        return ("killed", _KILLED, "memory") if has_died else ("exit", exit_code, "memory")
    if message["signal"] is not None:
        return "killed", _KILLED, None
    if "error" in message:
        raise SandboxUnavailableError(f"the sandbox could not be made: {message['error']}")
    if exit_code is None and stderr.startswith(b"bwrap: execvp "):
        return "exit", _NOT_FOUND, None
    if exit_code is None:
        text = stderr.decode(errors="replace").strip() or "it said nothing"
        raise SandboxUnavailableError(f"the sandbox could not be made: {text}")
    return "exit", exit_code, None
