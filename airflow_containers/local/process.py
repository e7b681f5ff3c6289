"""The local server in a process of its own, with its admin endpoints as methods.

Standard library only: importing this costs next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlencode, urlsplit

from airflow_containers.local import API_KEY_VARIABLE
from airflow_containers.local.records import CommandResult, JournalEntry

_READY = "listening on "
_STDERR_SHOWN = 2000
_ADMIN_TIMEOUT = 30.0
_LONGEST_COMMAND = 1200.0
"""Seconds, the longest that the server lets any command run."""


class LocalServerError(RuntimeError):
    """The server did not start, has ended, or refused an admin request."""


class LocalServer:
    """Starts, steers and stops one local server.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. Should this process end without that,
    even by SIGKILL, the server ends by itself and removes a temporary state directory.

    :param state_dir: directory of its state; ``None`` makes a temporary one that is removed by :meth:`stop`.
    :param api_key: the only key that it accepts; ``None`` accepts any key.
    :param port: TCP port on 127.0.0.1; 0 picks a free one, which is kept by :meth:`restart`.
    :param start_timeout: seconds that it may take to get ready.
    :param options: further options of ``airflow-containers serve``, such as ``["--max-disk", "100m"]``.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str] | None = None,
        *,
        api_key: str | None = None,
        port: int = 0,
        start_timeout: float = 30.0,
        options: Sequence[str] = (),
    ) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._state_dir = None if state_dir is None else Path(state_dir)
        self._api_key = api_key
        self._port = port
        self._start_timeout = start_timeout
        self._options = tuple(options)
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[bytes] | None = None
        self._base_url = ""

    def __repr__(self) -> str:
        return f"<LocalServer {self._base_url or 'not started'}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT/v1``: what a client takes as its base URL."""
        if not self._base_url:
            raise LocalServerError("the local server was not started; call start() first")
        return self._base_url

    @property
    def api_key(self) -> str:
        """A key that the server accepts."""
        return self._api_key if self._api_key is not None else "sk-local"

    @property
    def state_dir(self) -> Path:
        """The directory of its state."""
        if self._state_dir is None:
            raise LocalServerError("the local server was not started; call start() first")
        return self._state_dir

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def stderr(self) -> str:
        """What the process wrote to its standard error so far."""
        if self._stderr is None:
            return ""
        # The process writes through the same open file, so its position must not move.
        number = self._stderr.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")

    def start(self) -> Self:
        """Start the process and wait until it accepts connections.

        :raises LocalServerError: when it ends or is not ready in time; with what it wrote. Nothing is left
            then but a state directory that was given.
        """
        if self.pid is not None:
            raise LocalServerError("the local server is running already")
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self) -> None:
        if self._state_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="airflow-containers-")
            self._state_dir = Path(self._temporary.name)
        self._discard_stderr()
        # It has no name, so nothing is left of it however this process ends.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - outlives this call
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", "airflow_containers.cli", "serve", "--host", "127.0.0.1"),
                *("--port", str(self._port), "--state-dir", str(self._state_dir)),
                *("--until-eof", "keep" if self._temporary is None else "discard"),
                *self._options,
            ],
            # Never written to: the kernel closes it when this process ends, and the server notices.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=self._environment(),
        )
        line = self._first_line(self._process)
        if not line.startswith(_READY):
            self.kill()
            shown = self.stderr.strip()[-_STDERR_SHOWN:]
            problem = "ended before it was ready" if line == "" else "was not ready in time"
            raise LocalServerError(f"the local server {problem}: {shown or 'it wrote nothing'}")
        self._base_url = line.removeprefix(_READY).strip()
        self._port = urlsplit(self._base_url).port or self._port

    def stop(self) -> None:
        """End the process in good order and remove a temporary state directory."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()
        self._discard_stderr()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
            self._state_dir = None

    def kill(self) -> None:
        """End the process at once (SIGKILL); its state directory stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._reap()

    def restart(self) -> Self:
        """Start again on the same port and state, ending the process first if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._reap()
        return self.start()

    def reset(self) -> None:
        """Empty the server: containers, journal, faults, quirks, seed; the clock shows true time again."""
        self._admin("POST", "reset")

    def seed(self, seed: int) -> None:
        """Make ids repeatable: the same seed gives the same ids in the same order."""
        self._admin("POST", "seed", {"seed": seed})

    def advance_clock(self, seconds: float) -> None:
        """Push the server's clock forward by ``seconds`` (0 or more)."""
        self._admin("POST", "clock", {"advance": seconds})

    def order_fault(self, **order: Any) -> str:
        """Order a fault for the next matching requests; the documentation has the table of fields.

        For example ``order_fault(method="POST", path="/v1/containers", status=500, when="after")``.

        :returns: the id of the order.
        :raises LocalServerError: when the order makes no sense; with the reason.
        """
        return str(self._admin("POST", "faults", order)["id"])

    def faults(self) -> list[dict[str, Any]]:
        """All fault orders with how many requests they hit and still wait for."""
        data: list[dict[str, Any]] = self._admin("GET", "faults")["data"]
        return data

    def clear_faults(self) -> None:
        """Forget all fault orders."""
        self._admin("DELETE", "faults")

    def quirks(
        self,
        *,
        ghost_seconds: float | None = None,
        visibility_delay_seconds: float | None = None,
        ranges: bool | None = None,
    ) -> None:
        """Turn oddities of the hosted service on or off; see the documentation.

        :param ghost_seconds: how long deleted containers stay in lists.
        :param visibility_delay_seconds: how long new containers are missing from lists.
        :param ranges: whether contents have an ``ETag`` and may be asked for in parts (on by default).
        """
        values = {
            "ghost_seconds": ghost_seconds,
            "visibility_delay_seconds": visibility_delay_seconds,
            "ranges": ranges,
        }
        self._admin("POST", "quirks", {key: value for key, value in values.items() if value is not None})

    def add_container_file(
        self,
        container_id: str,
        path: str,
        data: bytes | Path | None,
        source: str = "assistant",
        *,
        null_bytes: bool = False,
    ) -> dict[str, Any]:
        """Put a file into a container at any path, as a command in it would; this is no activity.

        :param path: as lists will show it, such as ``/mnt/data/report.csv``; it may be an odd one. An entry
            with the same path gives way.
        :param data: the contents, or a local file of them; ``None`` for an entry that is listed with
            ``bytes`` null and whose contents are not found.
        :param null_bytes: lists show ``bytes`` as null although there are contents.
        :returns: the file in the API's shape.
        :raises LocalServerError: when the container is not there, or has expired.
        """
        query = {"path": path, "source": source}
        if data is None:
            query["no_content"] = "true"
        if null_bytes:
            query["null_bytes"] = "true"
        return self._admin("POST", f"containers/{container_id}/files?{urlencode(query)}", data or b"")

    def add_file(
        self, file_id: str, data: bytes | Path = b"", *, filename: str = "file", purpose: str = "user_data"
    ) -> dict[str, Any]:
        """Put a File under an id of your choice, for what refers to it literally; returns its API shape."""
        query = urlencode({"filename": filename, "purpose": purpose})
        return self._admin("POST", f"files/{file_id}?{query}", data)

    def add_skill(self, skill_id: str, zip: bytes | Path | None = None) -> dict[str, Any]:  # noqa: A002
        """Put a skill under an id of your choice, or one more version of it; returns its API shape.

        :param zip: the skill; ``None`` makes one that says nothing.
        :raises LocalServerError: when the zip is no skill; with the reason.
        """
        return self._admin("POST", f"skills/{skill_id}", _bare_skill(skill_id) if zip is None else zip)

    def run(
        self, container_id: str, command: str, *, timeout: float | None = None, max_output: int | None = None
    ) -> CommandResult:
        """Run a command in a container with bash, without a model in between; it counts as activity.

        :param timeout: seconds that it may take; ``None`` for the server's default.
        :param max_output: bytes that are kept of each of standard output and error; ``None`` for the
            server's limit.
        :raises LocalServerError: when the container is not there or has expired, or no command can run on
            this machine; with the reason.
        """
        order = {"command": command, "timeout": timeout, "max_output": max_output}
        answer = self._admin(
            "POST",
            f"containers/{container_id}/commands",
            {key: value for key, value in order.items() if value is not None},
            # The server ends the command; this only keeps a server that hangs from hanging the test.
            wait=(_LONGEST_COMMAND if timeout is None else timeout) + _ADMIN_TIMEOUT,
        )
        return CommandResult(**{name: answer[name] for name in CommandResult.__slots__})

    def egress(self, container_id: str | None = None, *, since: int | None = None) -> list[dict[str, Any]]:
        """What containers sent to domains, or tried to, oldest first.

        :param container_id: only of this container.
        :param since: only those after the entry with this id.
        """
        filters = {"container_id": container_id, "since": since}
        query = urlencode({key: value for key, value in filters.items() if value is not None})
        data: list[dict[str, Any]] = self._admin("GET", f"egress?{query}")["data"]
        return data

    def clear_egress(self) -> None:
        """Forget what containers sent."""
        self._admin("DELETE", "egress")

    def isolation(self) -> dict[str, Any]:
        """How the server isolates commands; ``problem`` says why none can run, ``None`` if they can."""
        return self._admin("GET", "isolation")

    def requests(
        self,
        method: str | None = None,
        path: str | None = None,
        *,
        status: int | None = None,
        name: str | None = None,
        since: int | None = None,
    ) -> list[JournalEntry]:
        """Requests that the server got, oldest first.

        :param method: only this HTTP method.
        :param path: only this path, or a glob such as ``/v1/containers/*``.
        :param status: only those answered so.
        :param name: only those with this container name in the body, or in the query of a list.
        :param since: only those after the entry with this id.
        """
        filters = {"method": method, "path": path, "status": status, "name": name, "since": since}
        query = urlencode({key: value for key, value in filters.items() if value is not None})
        return [JournalEntry(**entry) for entry in self._admin("GET", f"journal?{query}")["data"]]

    def clear_requests(self) -> None:
        """Empty the journal."""
        self._admin("DELETE", "journal")

    def containers(self) -> list[dict[str, Any]]:
        """Every container that was ever made, oldest first, in the API's shape and with more.

        ``status`` is ``running``, ``expired`` or ``deleted``; ``requested`` has what the API never shows:
        file ids, skills, and the domains and names of secrets. ``skills`` are the folders of those that are
        unpacked for it, ``<name>-<version>``.
        """
        data: list[dict[str, Any]] = self._admin("GET", "containers")["data"]
        return data

    def alive(self) -> list[dict[str, Any]]:
        """Containers that are neither deleted nor expired."""
        return [container for container in self.containers() if container["status"] == "running"]

    def assert_requested(
        self,
        method: str,
        path: str,
        *,
        times: int | None = None,
        status: int | None = None,
        name: str | None = None,
    ) -> list[JournalEntry]:
        """Assert that a request was made, and return all that match.

        :param times: how often exactly; ``None`` for at least once.
        :raises AssertionError: with the whole journal in its message.
        """
        found = self.requests(method, path, status=status, name=name)
        if len(found) == times if times is not None else found:
            return found
        wanted = "at least once" if times is None else f"{times} time{'' if times == 1 else 's'}"
        extra = "".join(
            f" {key}={value!r}" for key, value in (("status", status), ("name", name)) if value is not None
        )
        journal = "".join(f"\n  {entry}" for entry in self.requests()) or " nothing"
        raise AssertionError(
            f"expected {method} {path}{extra} {wanted}, got {len(found)}. The server got:{journal}"
        )

    def assert_nothing_left(self) -> None:
        """Assert that every container was deleted or has expired.

        :raises AssertionError: naming those that are still there.
        """
        left = self.alive()
        if left:
            shown = "".join(f"\n  {container['id']} name={container['name']!r}" for container in left)
            plural = "container is" if len(left) == 1 else "containers are"
            raise AssertionError(f"expected no running container, {len(left)} {plural} left:{shown}")

    def _admin(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | bytes | Path | None = None,
        *,
        wait: float = _ADMIN_TIMEOUT,
    ) -> dict[str, Any]:
        from http.client import HTTPConnection, HTTPException

        target = urlsplit(self.base_url)
        connection = HTTPConnection(target.hostname or "127.0.0.1", target.port, timeout=wait)
        try:
            headers = {"authorization": f"Bearer {self.api_key}", "content-type": "application/json"}
            with contextlib.ExitStack() as files:
                content: str | bytes | IO[bytes] | None = None
                if isinstance(body, Path):
                    headers["content-length"] = str(body.stat().st_size)
                    content = files.enter_context(body.open("rb"))
                elif body is not None:
                    content = body if isinstance(body, bytes) else json.dumps(body)
                connection.request(method, f"/_local/{path}", content, headers)
            answer = connection.getresponse()
            payload: dict[str, Any] = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise LocalServerError(f"the local server does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise LocalServerError(f"the local server refused: {payload['error']['message']}")
        return payload

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop(API_KEY_VARIABLE, None)
        if self._api_key is not None:
            environment[API_KEY_VARIABLE] = self._api_key
        root = Path(__file__).resolve().parents[2]
        if root.name not in ("site-packages", "dist-packages"):
            # A checkout that is on this process's path is not on that of a new one.
            known = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else str(root)
        return environment

    def _first_line(self, process: subprocess.Popen[str]) -> str:
        """The first line, ``""`` when the process ended, ``"?"`` when the time is up."""
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(
            target=lambda: lines.put(process.stdout.readline() if process.stdout else ""), daemon=True
        ).start()
        try:
            return lines.get(timeout=self._start_timeout)
        except queue.Empty:
            return "?"

    def _reap(self) -> None:
        if self._process is None:
            return
        self._process.wait()
        # Not before it has ended: after a signal the state is kept, at the end of input it may not be.
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _discard_stderr(self) -> None:
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None


def _bare_skill(skill_id: str) -> bytes:
    import io
    import zipfile

    name = "-".join(re.findall("[a-z0-9]+", skill_id.lower())) or "skill"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}/SKILL.md", f"---\nname: {name}\ndescription: A skill for tests.\n---\n")
    return content.getvalue()
