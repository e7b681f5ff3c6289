"""Uploads over real connections that break at any byte: nothing half made, and nothing twice."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.api import (
    APIConnectionError,
    BadRequestError,
    BytesSource,
    ContainerGoneError,
    PathSource,
    SourceChangedError,
)
from airflow_containers.api.bodies import WatchedSource
from airflow_containers.api.endpoints import create_container_file
from airflow_containers.testing import LocalServer
from tests.support.raw_server import RawServer, head
from tests.support.transfer_faults import DATA, OFFSETS, SIZE, Call, World, call, short_pauses

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["call", "short_pauses"]

BIG = DATA * 8
"""More than the buffers of a connection hold, so that a reset is noticed before the end was sent."""


class TestUploadsThatBreak:
    """Against the local server, which has a file only if it got all of it."""

    @pytest.fixture
    def world(self, containers_server: LocalServer, call: Call) -> World:
        """A container on the local server."""
        return World(containers_server, call)

    @pytest.mark.parametrize("offset", [0, 1, 200, 65_536, *OFFSETS[4:8]])
    def test_one_that_is_repeated(self, world: World, offset: int) -> None:
        """What was reset before its end cannot have made a file, so it is sent again, from the start."""
        world.server.order_fault(method="POST", path="*/files", reset_reading_after=offset, times=2)
        assert len(BIG) == world.upload(BytesSource("a.bin", BIG)).bytes
        assert [hashlib.sha256(BIG).hexdigest()] == world.contents()

    def test_one_that_never_comes_through(self, world: World) -> None:
        """It ends, and there is nothing."""
        world.server.order_fault(method="POST", path="*/files", reset_reading_after=100_000, times=9)
        with pytest.raises(APIConnectionError):
            world.upload(BytesSource("a.bin", BIG))
        assert [] == world.contents()

    @pytest.mark.parametrize("size", [0, 1_000_000, SIZE + 1])
    def test_a_file_that_changes_its_size(self, world: World, tmp_path: Path, size: int) -> None:
        """Cut or appended to after its first piece: nothing is made of it, and it is not tried again."""
        path = tmp_path / "a.bin"
        path.write_bytes(DATA)
        pieces: list[int] = []

        def change(piece: bytes) -> None:
            pieces.append(len(piece))
            if len(pieces) == 1:
                path.write_bytes(DATA[:size].ljust(size, b"x"))

        source = WatchedSource(PathSource(path), lambda: None, change)
        with pytest.raises(SourceChangedError, match=r"a\.bin: it had 3000000 bytes"):
            world.upload(source)
        assert [] == world.contents()
        assert sum(pieces) <= SIZE + 1

    def test_a_container_that_expires_half_way(self, world: World) -> None:
        """The upload is repeated after a reset, and finds the container gone."""
        moved: list[bytes] = []

        def expire(piece: bytes) -> None:
            if not moved:
                world.server.advance_clock(21 * 60)
            moved.append(piece)

        world.server.order_fault(method="POST", path="*/files", reset_reading_after=500_000, times=1)
        with pytest.raises(ContainerGoneError):
            world.upload(WatchedSource(BytesSource("a.bin", BIG), lambda: None, expire))

    def test_a_refusal_in_the_middle(self, call: Call) -> None:
        """A server that answers before it has read all is heard."""
        refuse = answer_early(413, b'{"error": {"message": "Too large."}}')
        with RawServer(before=refuse) as server, pytest.raises(BadRequestError, match="HTTP 413: Too large"):
            call(
                server.base_url,
                lambda client: client.send(create_container_file("cntr_1", BytesSource("a.bin", BIG))),
            )


def answer_early(status: int, body: bytes) -> Callable[[Any], None]:
    """A server that answers as soon as a request has begun, and reads the rest for nothing."""

    def answer(connection: Any) -> None:
        connection.settimeout(10)
        connection.recv(65_536)
        connection.sendall(head(status, {"content-length": str(len(body))}) + body)
        connection.shutdown(1)
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass
        connection.close()

    return answer
