"""Moves files once with one client, in a new process, and prints what that took as JSON.

Usage: _transfer_once.py hook|httpx|openai upload|download|many|skill BASE_URL FILE BYTES_OR_COUNT

The file is what is sent; what arrives is written beside it. For ``many`` the last argument is how many times
the file is sent and received, by :data:`THREADS` threads.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _sink import CONTAINER_ID

THREADS = 8
WARM_UP_BYTES = 64 * 1024

SKILL = {"type": "inline", "name": "big-skill", "description": "A skill that is as large as it may be"}


class HookSide:
    """The hook."""

    def __init__(self, base_url: str) -> None:
        from airflow_containers.hooks.container import ContainerHook

        self._hook = ContainerHook()
        assert self._hook.get_options().base_url == base_url

    def upload(self, file: Path) -> None:
        """Send a file into a container."""
        self._hook.upload_container_file(CONTAINER_ID, file)

    def download(self, size: int, target: Path) -> None:
        """Save a file of a container."""
        self._hook.download_container_file(CONTAINER_ID, f"cfile_{size}", target)

    def skill(self, zipped: Path) -> None:
        """Create a container with a zip in the request."""
        from airflow_containers.api import CreateContainerRequest
        from airflow_containers.api.bodies import PathSource
        from airflow_containers.api.inline_zips import SkillZip

        data = SkillZip(PathSource(zipped), "0" * 64)
        skill = {**SKILL, "source": {"data": data}}
        self._hook.create_container(CreateContainerRequest.model_validate({"name": "a", "skills": [skill]}))


class HttpxSide:
    """Bare httpx, as one would write it by hand: streamed in both directions."""

    def __init__(self, base_url: str) -> None:
        import httpx

        self._http = httpx.Client(headers={"authorization": "Bearer sk-local"}, timeout=60)
        self._url = f"{base_url}/containers"

    def upload(self, file: Path) -> None:
        """Send a file into a container."""
        with file.open("rb") as opened:
            answer = self._http.post(f"{self._url}/{CONTAINER_ID}/files", files={"file": (file.name, opened)})
        answer.raise_for_status().json()

    def download(self, size: int, target: Path) -> None:
        """Save a file of a container."""
        url = f"{self._url}/{CONTAINER_ID}/files/cfile_{size}/content"
        with self._http.stream("GET", url) as answer, target.open("wb") as opened:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                opened.write(piece)

    def skill(self, zipped: Path) -> None:
        """Create a container with a zip in the request."""
        source = {"type": "base64", "media_type": "application/zip", "data": _text(zipped)}
        body = {"name": "a", "skills": [{**SKILL, "source": source}]}
        self._http.post(self._url, json=body).raise_for_status().json()


class OpenAISide:
    """The ``openai`` package, streamed where it can."""

    def __init__(self, base_url: str) -> None:
        import openai

        self._containers = openai.OpenAI(api_key="sk-local", base_url=base_url).containers

    def upload(self, file: Path) -> None:
        """Send a file into a container."""
        with file.open("rb") as opened:
            self._containers.files.create(CONTAINER_ID, file=opened)

    def download(self, size: int, target: Path) -> None:
        """Save a file of a container."""
        content = self._containers.files.content.with_streaming_response
        with content.retrieve(f"cfile_{size}", container_id=CONTAINER_ID) as answer:
            answer.stream_to_file(target)

    def skill(self, zipped: Path) -> None:
        """Create a container with a zip in the request."""
        source: Any = {"type": "base64", "media_type": "application/zip", "data": _text(zipped)}
        skill: Any = {**SKILL, "source": source}
        self._containers.create(name="a", skills=[skill])


SIDES: dict[str, Callable[[str], Any]] = {"hook": HookSide, "httpx": HttpxSide, "openai": OpenAISide}


def main() -> None:
    """Run one side."""
    name, operation, base_url, file_name, number = sys.argv[1:6]
    file = Path(file_name)
    side = SIDES[name](base_url)
    logging.disable(logging.INFO)
    _warm_up(side, operation, file)
    before = _forget_peak()
    started = time.perf_counter()
    _run(side, operation, file, int(number))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "mebibytes": _peak() - before}))


def _warm_up(side: Any, operation: str, file: Path) -> None:
    """Do it once with little: what is imported and opened at the first time is not what is measured."""
    with _beside(file, "warm") as small:
        small.write_bytes(bytes(WARM_UP_BYTES))
        _run(side, operation, small, 1 if operation == "many" else WARM_UP_BYTES)


def _run(side: Any, operation: str, file: Path, number: int) -> None:
    if operation == "download":
        with _beside(file, "received") as target:
            side.download(number, target)
            assert number == target.stat().st_size
    elif operation == "many":
        _move_many(side, file, number)
    else:
        getattr(side, operation)(file)


def _move_many(side: Any, file: Path, count: int) -> None:
    size = file.stat().st_size

    def both(index: int) -> None:
        side.upload(file)
        with _beside(file, f"received-{index}") as target:
            side.download(size, target)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(both, range(count)))


@contextlib.contextmanager
def _beside(file: Path, ending: str) -> Any:
    path = file.with_name(f"{file.name}.{ending}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _text(zipped: Path) -> str:
    return base64.b64encode(zipped.read_bytes()).decode()


def _forget_peak() -> float:
    # Linux sets the peak back to what is resident now; imports may have taken more for a moment.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
