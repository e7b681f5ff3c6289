"""Downloads over real connections that break at any byte: nothing half written."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
from pathlib import Path

import pytest

from airflow_containers.api import (
    APIConnectionError,
    AsyncContainersClient,
    AuthenticationError,
    BadRequestError,
    ClientOptions,
    ContainerFileNotFoundError,
    ContainerGoneError,
    ContainersClient,
    InvalidResponseError,
    NotFoundError,
    ServerError,
)
from airflow_containers.api.endpoints import list_container_files
from airflow_containers.testing import LocalServer
from tests.support.raw_server import Answer, Exchange, RawServer, abort, head, reply
from tests.support.transfer_faults import (
    CONTENT,
    DATA,
    OFFSETS,
    SIZE,
    Call,
    World,
    call,
    download,
    served,
    short_pauses,
    target,
)

# The fixtures of these tests: pytest finds them by their names in this file.
__all__ = ["call", "short_pauses", "target"]

RESUMABLE = {"etag": '"v1"', "accept-ranges": "bytes"}


def cut(after: int, *, broken: bool, headers: dict[str, str] | None = None, data: bytes = DATA) -> Answer:
    """A content of which only the beginning comes; the connection is reset or closed then."""

    def answer(exchange: Exchange) -> None:
        exchange.send(head(200, {"content-length": str(len(data)), **(headers or {})}) + data[:after])
        if broken:
            exchange.pause(0.05)
            abort(exchange.connection)

    return answer


def rest(exchange: Exchange) -> None:
    """The part that was asked for."""
    start = int(exchange.request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    headers = {
        "content-range": f"bytes {start}-{SIZE - 1}/{SIZE}",
        "content-length": str(SIZE - start),
        **RESUMABLE,
    }
    exchange.send(head(206, headers) + DATA[start:])


def rest_or_all(exchange: Exchange) -> None:
    """What was asked for, of a server that can resume."""
    (rest if "range" in exchange.request.headers else served(RESUMABLE))(exchange)


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
