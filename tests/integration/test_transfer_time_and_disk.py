"""Transfers over real connections that are slow, and downloads that the worker's disk does not take."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_containers.api import APITimeoutError, BytesSource, LocalFileError
from airflow_containers.api.bodies import WatchedSource
from airflow_containers.api.endpoints import create_container_file
from tests.support.raw_server import Exchange, RawServer, head, reply
from tests.support.transfer_faults import DATA, Call, call, download, served, short_pauses, target

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["call", "short_pauses", "target"]

UPLOADED = reply(200, {"id": "cfile_1"})


class TestTime:
    """The timeout is how long nothing may move."""

    def test_a_slow_download_that_moves(self, call: Call, target: Path) -> None:
        """It may take longer than the timeout as a whole."""

        def slow(exchange: Exchange) -> None:
            exchange.send(head(200, {"content-length": "15"}))
            for _ in range(15):
                exchange.send(b"x")
                exchange.pause(0.1)

        with RawServer(slow) as server:
            call(server.base_url, download(target), timeout=1, max_retries=0)
        assert b"x" * 15 == target.read_bytes()

    def test_a_download_that_stands_still(self, call: Call, target: Path) -> None:
        """It ends, and the error says why."""

        def stuck(exchange: Exchange) -> None:
            exchange.send(head(200, {"content-length": "10"}) + b"x")
            exchange.pause(20)

        with (
            RawServer(stuck) as server,
            pytest.raises(APITimeoutError, match=r"nothing has moved for 1 s"),
        ):
            call(server.base_url, download(target), timeout=1, max_retries=0)
        assert not target.exists()

    def test_a_slow_upload_that_moves(self, call: Call) -> None:
        """The source takes its time, piece by piece."""
        source = WatchedSource(
            BytesSource("a.bin", DATA[:1_500_000]), lambda: None, lambda _: time.sleep(0.3)
        )
        with RawServer(UPLOADED) as server:
            uploaded = call(
                server.base_url,
                lambda client: client.send(create_container_file("cntr_1", source)),
                timeout=1,
                max_retries=0,
            )
        assert "cfile_1" == uploaded.id
        assert DATA[:1_500_000] in server.requests[0].body


class TestDisk:
    """The worker's own trouble."""

    def test_a_full_disk(self, call: Call, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says so, and the space is given back."""
        left = 1_000_000

        def writev(descriptor: int, pieces: list[bytes]) -> int:
            return write(descriptor, b"".join(pieces))

        def write(descriptor: int, data: bytes) -> int:
            nonlocal left
            if not left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # A disk takes what fits before it refuses.
            written = os.pwrite(descriptor, data[:left], os.lseek(descriptor, 0, os.SEEK_END))
            left -= written
            return written

        monkeypatch.setattr(os, "writev", writev)
        monkeypatch.setattr(os, "write", write)
        full = pytest.raises(LocalFileError, match=r"after 1000000 bytes \(no space left on device\)")
        with RawServer(served()) as server, full as caught:
            call(server.base_url, download(target))
        assert caught.value.retryable
        assert not target.exists()
        assert 1 == len(server.requests)

    def test_a_bounded_file_size(self, target: Path) -> None:
        """A limit of the process is a full disk of another kind."""
        script = (
            "import resource, sys\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))\n"
            "from pathlib import Path\n"
            "from airflow_containers.api import ClientOptions, ContainersClient, LocalFileError\n"
            "from airflow_containers.api.endpoints import container_file_content\n"
            "with ContainersClient(ClientOptions(api_key='sk-1', base_url=sys.argv[1])) as client:\n"
            "    try:\n"
            "        client.download(container_file_content('cntr_1', 'cfile_1'), Path(sys.argv[2]))\n"
            "    except LocalFileError as error:\n"
            "        print(error)\n"
        )
        with RawServer(served()) as server:
            done = subprocess.run(
                [sys.executable, "-c", script, server.base_url, str(target)],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
        assert "cannot be written after 1500000 bytes (file too large); nothing of it was kept" in done.stdout

    def test_a_folder_that_is_not_there(self, call: Call, tmp_path: Path) -> None:
        """Nothing is asked for that cannot be kept."""
        with RawServer(served()) as server, pytest.raises(LocalFileError, match="no such file or directory"):
            call(server.base_url, download(tmp_path / "none" / "out.bin"))
        assert [] == server.requests

    def test_a_target_that_is_a_folder(self, call: Call, tmp_path: Path) -> None:
        """It is not replaced."""
        (tmp_path / "out.bin").mkdir()
        with RawServer(served()) as server, pytest.raises(LocalFileError, match="is a directory"):
            call(server.base_url, download(tmp_path / "out.bin"))
        assert ["out.bin"] == [path.name for path in tmp_path.iterdir()]

    def test_a_watcher_that_has_had_enough(self, call: Call, target: Path) -> None:
        """What it raises comes out as it is, and nothing stays."""

        def enough(received: int) -> None:
            raise KeyboardInterrupt(received)

        with RawServer(served()) as server, pytest.raises(KeyboardInterrupt):
            call(server.base_url, download(target, progress=enough))
        assert not target.exists()

    def test_the_mode_is_that_of_any_new_file(self, call: Call, target: Path) -> None:
        """Others may read the result where the umask lets them."""
        plain = target.parent.parent / "plain"
        plain.touch()
        with RawServer(served()) as server:
            call(server.base_url, download(target))
        assert plain.stat().st_mode == target.stat().st_mode
