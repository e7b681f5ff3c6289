"""Transfers over real connections that break at any byte: nothing half written, and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.api import (
    APIConnectionError,
    APITimeoutError,
    AsyncContainersClient,
    AuthenticationError,
    BadRequestError,
    BytesSource,
    ClientOptions,
    ContainerFileNotFoundError,
    ContainerGoneError,
    ContainersClient,
    CreateContainerRequest,
    Downloaded,
    InvalidResponseError,
    LocalFileError,
    NotFoundError,
    PathSource,
    ServerError,
    SourceChangedError,
)
from airflow_containers.api.bodies import WatchedSource
from airflow_containers.api.endpoints import (
    container_file_content,
    create_container_file,
    list_container_files,
)
from airflow_containers.testing import LocalServer
from tests.support.raw_server import Answer, Exchange, RawServer, abort, head, reply

SIZE = 3_000_000
DATA = random.Random(20_261_124).randbytes(SIZE)
BIG = DATA * 8
"""More than the buffers of a connection hold, so that a reset is noticed before the end was sent."""

CONTENT = container_file_content("cntr_1", "cfile_1")
OFFSETS = [0, 1, 65_535, 65_536, *sorted(random.Random(7).sample(range(SIZE), 4)), SIZE - 1]
UPLOADED = reply(200, {"id": "cfile_1"})

Operation = Callable[[Any], Any]
Call = Callable[..., Any]


def call_sync(base_url: str, operation: Operation, **options: Any) -> Any:
    """One call with the client for plain code."""
    with ContainersClient(ClientOptions(base_url=base_url, **{"api_key": "sk-1", **options})) as client:
        return operation(client)


def call_async(base_url: str, operation: Operation, **options: Any) -> Any:
    """One call with the client for an event loop."""

    async def main() -> Any:
        options_ = ClientOptions(base_url=base_url, **{"api_key": "sk-1", **options})
        async with AsyncContainersClient(options_) as client:
            return await operation(client)

    return asyncio.run(main())


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """A call with either client."""
    function: Call = request.param
    return function


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.01)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where a download goes. In the end there is nothing beside it that a download has left."""
    folder = tmp_path / "folder"
    folder.mkdir()
    yield folder / "out.bin"
    assert {path.name for path in folder.iterdir()} <= {"out.bin"}


def download(target: Path, **arguments: Any) -> Operation:
    """The download of the file that a raw server has."""
    return lambda client: client.download(CONTENT, target, **arguments)


def cut(after: int, *, broken: bool, headers: dict[str, str] | None = None, data: bytes = DATA) -> Answer:
    """A content of which only the beginning comes; the connection is reset or closed then."""

    def answer(exchange: Exchange) -> None:
        exchange.send(head(200, {"content-length": str(len(data)), **(headers or {})}) + data[:after])
        if broken:
            exchange.pause(0.05)
            abort(exchange.connection)

    return answer


def served(headers: dict[str, str] | None = None, data: bytes = DATA) -> Answer:
    """The whole content."""
    return reply(200, data, {"content-type": "application/octet-stream", **(headers or {})})


RESUMABLE = {"etag": '"v1"', "accept-ranges": "bytes"}


def rest(exchange: Exchange) -> None:
    """The part that was asked for."""
    start = int(exchange.request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    headers = {
        "content-range": f"bytes {start}-{SIZE - 1}/{SIZE}",
        "content-length": str(SIZE - start),
        **RESUMABLE,
    }
    exchange.send(head(206, headers) + DATA[start:])


class TestDownloadsThatBreak:
    """Reset or truncated: resumed or repeated, and complete or not there."""

    @pytest.mark.parametrize("broken", [True, False], ids=["reset", "truncated"])
    @pytest.mark.parametrize("offset", OFFSETS)
    def test_one_that_is_resumed(self, call: Call, target: Path, offset: int, broken: bool) -> None:
        """Only the rest is asked for, and only of the same version."""
        with RawServer(cut(offset, broken=broken, headers=RESUMABLE), rest_or_all) as server:
            downloaded = call(server.base_url, download(target, expected_bytes=SIZE))
        assert DATA == target.read_bytes()
        assert (target, SIZE) == (downloaded.path, downloaded.bytes)
        assert hashlib.sha256(DATA).hexdigest() == downloaded.sha256
        first, second = server.requests
        assert "range" not in first.headers
        assert "identity" == first.headers["accept-encoding"]
        if "range" in second.headers:
            assert '"v1"' == second.headers["if-range"]
            # What a reset destroys on its way was not received; what was is not asked for again.
            assert 0 < int(second.headers["range"][6:-1]) <= offset

    @pytest.mark.parametrize("offset", OFFSETS)
    @pytest.mark.parametrize("headers", [{}, {"etag": 'W/"v1"', "accept-ranges": "bytes"}, {"etag": '"v1"'}])
    def test_one_that_is_repeated(
        self, call: Call, target: Path, offset: int, headers: dict[str, str]
    ) -> None:
        """Where the server offers nothing, or a version that is only alike."""
        with RawServer(cut(offset, broken=False, headers=headers), served()) as server:
            call(server.base_url, download(target))
        assert DATA == target.read_bytes()
        assert all("range" not in request.headers for request in server.requests)

    def test_another_version_begins_anew(self, call: Call, target: Path) -> None:
        """The server answers with the whole, and nothing of the old one stays."""
        new = DATA[::-1][: SIZE // 2]
        with RawServer(cut(SIZE - 5, broken=False, headers=RESUMABLE), served(data=new)) as server:
            call(server.base_url, download(target))
        assert new == target.read_bytes()

    @pytest.mark.parametrize(
        "answer",
        [
            reply(206, DATA[5:], {"content-range": f"bytes 5-{SIZE - 1}/{SIZE}"}),
            reply(206, DATA[5:]),
            reply(416, {"error": {"message": "m"}}),
        ],
        ids=["another part", "an unnamed part", "no such part"],
    )
    def test_a_wrong_rest_begins_anew(self, call: Call, target: Path, answer: Answer) -> None:
        """What does not fit is not appended."""
        with RawServer(cut(1_000_000, broken=False, headers=RESUMABLE), answer, served()) as server:
            call(server.base_url, download(target))
        assert DATA == target.read_bytes()
        assert "range" not in server.requests[2].headers

    def test_a_part_that_nobody_asked_for(self, call: Call, target: Path) -> None:
        """It is not the file."""
        with RawServer(reply(206, DATA, RESUMABLE)) as server, pytest.raises(InvalidResponseError):
            call(server.base_url, download(target))
        assert not target.exists()

    def test_one_that_always_comes_further_is_never_given_up(self, call: Call, target: Path) -> None:
        """Attempts count from the last progress on."""

        def some(exchange: Exchange) -> None:
            start = int(exchange.request.headers.get("range", "bytes=0-")[6:-1])
            headers = {**RESUMABLE, "content-length": str(SIZE - start)}
            if start:
                headers["content-range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
            exchange.send(head(206 if start else 200, headers) + DATA[start : start + 300_000])

        with RawServer(some) as server:
            call(server.base_url, download(target), max_retries=1)
        assert DATA == target.read_bytes()
        assert 10 == len(server.requests)

    def test_one_that_does_not_is(self, call: Call, target: Path) -> None:
        """As often as the options say; what was there before stays."""
        target.write_bytes(b"old")
        with RawServer(cut(1000, broken=False)) as server, pytest.raises(APIConnectionError, match="broke"):
            call(server.base_url, download(target), max_retries=2)
        assert b"old" == target.read_bytes()
        assert 3 == len(server.requests)

    @pytest.mark.parametrize("framing", [{}, {"transfer-encoding": "chunked"}], ids=["close", "chunked"])
    def test_without_a_length_the_known_size_tells(
        self, call: Call, target: Path, framing: dict[str, str]
    ) -> None:
        """An end is no end if bytes are missing; the next attempt has all."""

        def short(exchange: Exchange) -> None:
            part = DATA[:1000]
            chunked = b"3e8\r\n" + part + b"\r\n0\r\n\r\n"
            exchange.send(head(200, framing) + (chunked if framing else part))

        with RawServer(short, served()) as server:
            call(server.base_url, download(target, expected_bytes=SIZE))
        assert DATA == target.read_bytes()


def rest_or_all(exchange: Exchange) -> None:
    """What was asked for, of a server that can resume."""
    (rest if "range" in exchange.request.headers else served(RESUMABLE))(exchange)


class TestWhatIsNotTheFile:
    """Nothing of an error is ever saved."""

    @pytest.mark.parametrize(
        ("status", "message", "kind"),
        [
            (404, "File not found.", ContainerFileNotFoundError),
            (404, "File cfile_1 not found on container cntr_1", ContainerFileNotFoundError),
            (404, "Container with id 'cntr_1' not found.", ContainerGoneError),
            (400, "Container is expired.", ContainerGoneError),
            (404, "Invalid URL (GET /v1/containers/cntr_1/files/cfile_1/content)", NotFoundError),
            (401, "Incorrect API key provided.", AuthenticationError),
            (400, "Not allowed to download files of purpose: user_data", BadRequestError),
            (500, "The server had an error", ServerError),
        ],
    )
    def test_an_error_status(
        self, call: Call, target: Path, status: int, message: str, kind: type[Exception]
    ) -> None:
        """It is read as an error, and the target is what it was."""
        target.write_bytes(b"old")
        answer = reply(status, {"error": {"message": message}})
        with RawServer(answer) as server, pytest.raises(kind, match=message[:12]) as caught:
            call(server.base_url, download(target))
        assert kind is type(caught.value)
        assert b"old" == target.read_bytes()

    def test_an_error_between_two_parts(self, call: Call, target: Path) -> None:
        """A gateway's page is not put into the middle of a file."""
        page = reply(502, b"<html><title>Bad Gateway</title></html>", {"content-type": "text/html"})
        with RawServer(cut(1_000_000, broken=False, headers=RESUMABLE), page, rest) as server:
            call(server.base_url, download(target, expected_bytes=SIZE))
        assert DATA == target.read_bytes()

    def test_an_error_with_status_200(self, call: Call, target: Path) -> None:
        """Gateways were seen to do so; it is told by its shape where the size is not known."""
        error = reply(200, {"error": {"message": "File not found.", "code": None}})
        with RawServer(error) as server, pytest.raises(InvalidResponseError, match="an error in its body"):
            call(server.base_url, download(target))
        assert not target.exists()

    def test_a_file_that_looks_like_an_error(self, call: Call, target: Path) -> None:
        """Somebody may well keep answers in files: the known size, or another content type, says so."""
        body = json.dumps({"error": {"message": "m"}}).encode()
        with RawServer(reply(200, body), served(data=body)) as server:
            call(server.base_url, download(target, expected_bytes=len(body)))
            assert body == target.read_bytes()
            call(server.base_url, download(target))
        assert body == target.read_bytes()

    @pytest.mark.parametrize("expected", [0, 1, SIZE - 1, SIZE + 1])
    def test_another_size_than_is_known(self, call: Call, target: Path, expected: int) -> None:
        """It is refused before a byte is written."""
        with RawServer(served()) as server, pytest.raises(InvalidResponseError, match=f"{expected} were"):
            call(server.base_url, download(target, expected_bytes=expected))
        assert not target.exists()

    def test_more_than_is_known_without_a_length(self, call: Call, target: Path) -> None:
        """An endless answer ends where the file should."""

        def endless(exchange: Exchange) -> None:
            exchange.send(head(200))
            with contextlib.suppress(OSError):
                while not exchange.stopping.is_set():
                    exchange.send(DATA)

        with RawServer(endless) as server, pytest.raises(InvalidResponseError, match="more than the 10"):
            call(server.base_url, download(target, expected_bytes=10), max_retries=0)
        assert not target.exists()

    def test_a_compressed_answer(self, call: Call, target: Path) -> None:
        """A gateway that compresses all the same is understood."""
        packed = reply(200, gzip.compress(DATA[:5000]), {"content-encoding": "gzip"})
        with RawServer(packed) as server:
            call(server.base_url, download(target, expected_bytes=5000))
        assert DATA[:5000] == target.read_bytes()

    def test_an_empty_file(self, call: Call, target: Path) -> None:
        """No bytes are a file too."""
        with RawServer(served(data=b"")) as server:
            assert 0 == call(server.base_url, download(target, expected_bytes=0)).bytes
        assert b"" == target.read_bytes()


class TestTime:
    """The timeout is how long nothing may move."""

    def test_a_slow_download_that_moves(self, call: Call, target: Path) -> None:
        """It may take longer than the timeout as a whole."""

        def slow(exchange: Exchange) -> None:
            exchange.send(head(200, {"content-length": "10"}))
            for _ in range(10):
                exchange.send(b"x")
                exchange.pause(0.1)

        with RawServer(slow) as server:
            call(server.base_url, download(target), timeout=0.5, max_retries=0)
        assert b"x" * 10 == target.read_bytes()

    def test_a_download_that_stands_still(self, call: Call, target: Path) -> None:
        """It ends, and the error says why."""

        def stuck(exchange: Exchange) -> None:
            exchange.send(head(200, {"content-length": "10"}) + b"x")
            exchange.pause(20)

        with (
            RawServer(stuck) as server,
            pytest.raises(APITimeoutError, match=r"nothing has moved for 0\.3 s"),
        ):
            call(server.base_url, download(target), timeout=0.3, max_retries=0)
        assert not target.exists()

    def test_a_slow_upload_that_moves(self, call: Call) -> None:
        """The source takes its time, piece by piece."""
        source = WatchedSource(
            BytesSource("a.bin", DATA[:1_500_000]), lambda: None, lambda _: time.sleep(0.15)
        )
        with RawServer(UPLOADED) as server:
            uploaded = call(
                server.base_url,
                lambda client: client.send(create_container_file("cntr_1", source)),
                timeout=0.5,
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


class World:
    """A container, and one client to work on it with."""

    def __init__(self, server: LocalServer, call: Call) -> None:
        self.server = server
        self._call = call
        self.container_id: str = self.run(
            lambda client: client.create(CreateContainerRequest(name="world"))
        ).id

    def run(self, operation: Operation) -> Any:
        """One operation."""
        return self._call(self.server.base_url, operation, api_key=self.server.api_key)

    def upload(self, source: Any) -> Any:
        """Send a source."""
        return self.run(lambda client: client.send(create_container_file(self.container_id, source)))

    def download(self, file_id: str, target: Path, **arguments: Any) -> Downloaded:
        """Fetch a file."""
        content = container_file_content(self.container_id, file_id)
        fetched: Downloaded = self.run(lambda client: client.download(content, target, **arguments))
        return fetched

    def contents(self) -> list[str]:
        """SHA-256 of each file."""
        with ContainersClient(
            ClientOptions(api_key=self.server.api_key, base_url=self.server.base_url)
        ) as client:
            digests = []
            for file in client.send(list_container_files(self.container_id)).data:
                with client.stream(container_file_content(self.container_id, file.id)) as streamed:
                    digests.append(hashlib.sha256(b"".join(streamed.pieces)).hexdigest())
        return digests


class TestDownloadsFromTheLocalServer:
    """The same with a server that knows the API."""

    @pytest.fixture
    def world(self, containers_server: LocalServer, call: Call) -> World:
        """A container on the local server."""
        return World(containers_server, call)

    @pytest.mark.parametrize("ranges", [True, False])
    @pytest.mark.parametrize("fault", ["reset_after", "truncate"])
    @pytest.mark.parametrize("offset", OFFSETS[3:6])
    def test_a_break_at_any_byte(
        self, world: World, target: Path, offset: int, fault: str, ranges: bool
    ) -> None:
        """Resumed or repeated."""
        world.server.quirks(ranges=ranges)
        file = world.server.add_container_file(world.container_id, "/mnt/data/a.bin", DATA)
        world.server.order_fault(method="GET", path="*/content", times=1, **{fault: offset})
        assert SIZE == world.download(file["id"], target, expected_bytes=SIZE).bytes
        assert DATA == target.read_bytes()

    def test_the_container_expires_half_way(self, world: World, target: Path) -> None:
        """The rest cannot come any more: the error says what happened, and nothing is there."""
        file = world.server.add_container_file(world.container_id, "/mnt/data/a.bin", DATA)
        world.server.order_fault(method="GET", path="*/content", times=1, reset_after=2_000_000)
        done: list[int] = []

        def expire(received: int) -> None:
            if not done:
                world.server.advance_clock(21 * 60)
            done.append(received)

        with pytest.raises(ContainerGoneError):
            world.download(file["id"], target, progress=expire)
        assert done
        assert not target.exists()

    def test_a_listed_file_that_is_not_there(self, world: World, target: Path) -> None:
        """A 404 about a file that the list has, with several paths in one and no size."""
        path = "/mnt/data/a.csv/mnt/data/b.csv"
        world.server.add_container_file(world.container_id, path, None)
        (entry,) = world.run(lambda client: client.send(list_container_files(world.container_id))).data
        assert (path, None) == (entry.path, entry.bytes)
        with pytest.raises(ContainerFileNotFoundError, match="a list may name files that are not"):
            world.download(entry.id, target)
        assert not target.exists()

    def test_a_file_whose_size_is_null(self, world: World, target: Path) -> None:
        """It comes as a whole all the same: the answer's length is what counts."""
        file = world.server.add_container_file(world.container_id, "/mnt/data/a", DATA, null_bytes=True)
        assert file["bytes"] is None
        world.server.order_fault(method="GET", path="*/content", times=1, truncate=12_345)
        assert SIZE == world.download(file["id"], target, expected_bytes=file["bytes"]).bytes
        assert DATA == target.read_bytes()


class TestStreams:
    """Reading without a file."""

    def test_a_break_is_an_error(self) -> None:
        """What came before is given out, and the end is no end."""
        with (
            RawServer(cut(100_000, broken=False)) as server,
            ContainersClient(ClientOptions(api_key="sk-1", base_url=server.base_url)) as client,
            client.stream(CONTENT) as streamed,
        ):
            assert SIZE == streamed.size
            got = bytearray()

            def read() -> None:
                for piece in streamed.pieces:
                    got.extend(piece)

            with pytest.raises(APIConnectionError, match="broke"):
                read()
        assert DATA[:100_000] == got

    async def test_a_break_is_one_on_an_event_loop_too(self) -> None:
        """As above."""
        options = {"api_key": "sk-1"}
        with RawServer(cut(100_000, broken=False)) as server:
            async with (
                AsyncContainersClient(ClientOptions(base_url=server.base_url, **options)) as client,
                client.stream(CONTENT) as streamed,
            ):
                got = bytearray()

                async def read() -> None:
                    async for piece in streamed.pieces:
                        got.extend(piece)

                with pytest.raises(APIConnectionError, match="broke"):
                    await read()
        assert DATA[:100_000] == got

    def test_an_error_is_told_at_the_start(self) -> None:
        """And one that passes is tried again before anything is given out."""
        with (
            RawServer(reply(503), reply(404, {"error": {"message": "File not found."}})) as server,
            ContainersClient(ClientOptions(api_key="sk-1", base_url=server.base_url)) as client,
            pytest.raises(ContainerFileNotFoundError),
            client.stream(CONTENT),
        ):
            pytest.fail("there is no such file")
        assert 2 == len(server.requests)

    async def test_a_cancelled_download_leaves_nothing(self, target: Path) -> None:
        """A task that is ended in the middle cleans up."""

        def stuck(exchange: Exchange) -> None:
            exchange.send(head(200, {"content-length": str(SIZE)}) + DATA[:2_000_000])
            exchange.pause(20)

        with RawServer(stuck) as server:
            async with AsyncContainersClient(
                ClientOptions(api_key="sk-1", base_url=server.base_url)
            ) as client:
                begun = asyncio.Event()
                loop = asyncio.get_running_loop()
                task = asyncio.create_task(
                    client.download(
                        CONTENT, target, progress=lambda _: loop.call_soon_threadsafe(begun.set) and None
                    )
                )
                await begun.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert not await asyncio.to_thread(target.exists)
