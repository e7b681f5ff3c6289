"""Downloads and uploads with odd servers, slow disks and tasks that are ended in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.api import (
    APIConnectionError,
    APITimeoutError,
    AsyncContainersClient,
    BytesSource,
    ClientOptions,
    ContainersClient,
    ContainersError,
    InvalidResponseError,
)
from airflow_containers.api.bodies import WatchedSource
from airflow_containers.api.endpoints import create_container_file
from airflow_containers.hooks._opened import OpenedFile
from tests.support.raw_server import Answer, Exchange, RawServer, abort, head, reply
from tests.support.transfer_faults import (
    CONTENT,
    DATA,
    SIZE,
    Call,
    Operation,
    call,
    call_async,
    call_sync,
    download,
    short_pauses,
    target,
)

RESUMABLE = {"etag": '"v1"', "accept-ranges": "bytes"}
ERROR = {"error": {"message": "File cfile_1 not found on container cntr_1", "type": "t", "code": None}}

# The fixtures that these tests take from there.
__all__ = ["call", "short_pauses", "target"]


def cut(headers: dict[str, str]) -> Answer:
    """The first million bytes, and an end."""
    return lambda exchange: exchange.send(head(200, {**RESUMABLE, **headers}) + DATA[:1_000_000])


def served(exchange: Exchange) -> None:
    """The whole content, or the rest that was asked for."""
    start = int(exchange.request.headers.get("range", "bytes=0-")[6:-1])
    headers = {"content-length": str(SIZE - start), **RESUMABLE}
    if start:
        headers["content-range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
    exchange.send(head(206 if start else 200, headers) + DATA[start:])


def part(count: int, content_range: str, *, length: bool = True) -> Answer:
    """Some bytes of the rest."""

    def answer(exchange: Exchange) -> None:
        start = int(exchange.request.headers["range"][6:-1])
        headers = {"content-range": content_range.format(start=start, last=start + count - 1), **RESUMABLE}
        if length:
            headers["content-length"] = str(count)
        exchange.send(head(206, headers) + DATA[start : start + count])

    return answer


class TestRests:
    """A rest is complete when the whole is, whatever the answer with it says of itself."""

    @pytest.mark.parametrize(
        "rest",
        [
            part(100_000, f"bytes {{start}}-{{last}}/{SIZE}"),
            part(100_000, "bytes {start}-{last}/1100000"),
            part(100_000, f"bytes {{start}}-{SIZE - 1}/{SIZE}", length=False),
            part(100_000, "bytes {start}-{last}/*"),
            part(100_000, f"bytes {{start}}-{{last}}/{'9' * 5000}"),
        ],
        ids=["less than asked for", "of a shorter file", "without a length", "of any file", "of no number"],
    )
    def test_half_a_rest(self, call: Call, target: Path, rest: Answer) -> None:
        """It is not taken for the end of the file; without a whole one there is none."""
        with RawServer(cut({"content-length": str(SIZE)}), rest, served) as server:
            call(server.base_url, download(target))
        assert DATA == target.read_bytes()
        assert ["range" in request.headers for request in server.requests] == [False, True, False]

    def test_a_rest_of_a_file_without_a_size(self, call: Call, target: Path) -> None:
        """Neither answer tells the size, so nobody could tell that all has come."""

        def chunked(exchange: Exchange) -> None:
            headers = {**RESUMABLE, "transfer-encoding": "chunked"}
            exchange.send(head(200, headers) + b"f4240\r\n" + DATA[:1_000_000] + b"\r\n")
            exchange.pause(0.05)

        with RawServer(chunked, part(100, "bytes {start}-{last}/*"), served) as server:
            call(server.base_url, download(target))
        assert DATA == target.read_bytes()

    @pytest.mark.parametrize("seed", range(40))
    def test_any_server(self, call: Call, target: Path, seed: int) -> None:
        """Whatever a server does, there is one version of the file as a whole, or what was there before."""
        world = OddServer(seed)
        if seed % 3 == 0:
            target.write_bytes(b"old")
        with RawServer(world) as server, contextlib.suppress(ContainersError):
            call(server.base_url, download(target), max_retries=seed % 4, timeout=5)
            assert target.read_bytes() in world.versions
            return
        assert (target.read_bytes() if target.exists() else b"old") == b"old"


class OddServer:
    """Breaks off, answers with parts and errors, and changes the file; each seed in another way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        size = self._random.choice([1, 1000, 65_536, 700_000, 1_500_000])
        self.versions = [self._random.randbytes(size + self._random.choice([0, 7])) for _ in range(3)]
        self._version = 0

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request."""
        chance = self._random.random
        if chance() < 0.15:
            self._version = min(2, self._version + 1)
        if chance() < 0.1:
            reply(self._random.choice([200, 404, 500, 503]), ERROR)(exchange)
            return
        data, etag = self.versions[self._version], f'"v{self._version}"'
        headers = {"etag": etag if chance() < 0.8 else f"W/{etag}", "accept-ranges": "bytes"}
        status, start, end = 200, 0, len(data)
        if exchange.request.headers.get("if-range") == etag:
            status, start = 206, int(exchange.request.headers["range"][6:-1])
            if start >= end:
                reply(416, ERROR)(exchange)
                return
            end = self._random.randint(start + 1, end) if chance() < 0.3 else end
            told = self._random.choice([len(data), len(data), "*"])
            headers["content-range"] = f"bytes {start}-{end - 1}/{told}"
        body = data[start:end]
        sent = len(body) if chance() < 0.4 else self._random.randint(0, len(body))
        if chance() < 0.6:
            exchange.send(head(status, {**headers, "content-length": str(len(body))}) + body[:sent])
        else:
            pieces = b"%x\r\n%b\r\n" % (sent, body[:sent]) if sent else b""
            last = b"0\r\n\r\n" if sent == len(body) else b""
            exchange.send(head(status, {**headers, "transfer-encoding": "chunked"}) + pieces + last)
        if sent < len(body) and chance() < 0.5:
            exchange.pause(0.005)
            abort(exchange.connection)


class TestEventLoop:
    """What a thread does for an event loop is done before anybody goes on."""

    def test_a_disk_that_stands_still(self, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The attempt ends, and the next one goes on where the disk is; no piece is lost or swapped."""
        write, calls = os.writev, []

        def slow(descriptor: int, pieces: list[bytes]) -> int:
            calls.append(len(pieces))
            if len(calls) == 1:
                time.sleep(1.5)
            return write(descriptor, pieces)

        monkeypatch.setattr(os, "writev", slow)
        with RawServer(served) as server:
            call_async(server.base_url, download(target), timeout=0.6)
        assert DATA == target.read_bytes()
        assert len(server.requests) > 1

    def test_a_source_that_stands_still(self) -> None:
        """It is too slow, and the error says so."""
        source = WatchedSource(BytesSource("a.bin", DATA), lambda: None, lambda _: time.sleep(2))
        upload = create_container_file("cntr_1", source)
        with (
            RawServer(reply(200, {"id": "cfile_1"})) as server,
            pytest.raises(APITimeoutError, match="nothing has moved"),
        ):
            call_async(server.base_url, lambda client: client.send(upload), timeout=0.7, max_retries=0)

    async def test_an_upload_that_is_cancelled_while_its_source_is_read(self) -> None:
        """It is cancelled, and the source is closed."""
        closed: list[bool] = []

        class Source(BytesSource):
            def open(self) -> Any:
                stream = super().open()
                read = stream.read

                class Slow:
                    def read(self, size: int) -> bytes:
                        time.sleep(0.4)
                        return read(size)

                    def close(self) -> None:
                        closed.append(True)

                return Slow()

        with RawServer(reply(200, {"id": "cfile_1"})) as server:
            async with AsyncContainersClient(
                ClientOptions(base_url=server.base_url, api_key="sk-1")
            ) as client:
                task = asyncio.create_task(
                    client.send(create_container_file("cntr_1", Source("a.bin", DATA)))
                )
                await asyncio.sleep(0.1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert [True] == closed

    @pytest.mark.parametrize("times", [1, 2])
    async def test_a_download_that_is_cancelled_while_it_is_written(
        self, target: Path, monkeypatch: pytest.MonkeyPatch, times: int
    ) -> None:
        """Nothing is left behind, also by the thread that was at it; a second cancel changes nothing."""
        write = os.writev
        writing = asyncio.Event()
        loop = asyncio.get_running_loop()
        done: list[int] = []

        def slow(descriptor: int, pieces: list[bytes]) -> int:
            loop.call_soon_threadsafe(writing.set)
            time.sleep(0.3)
            done.append(write(descriptor, pieces))
            return done[-1]

        monkeypatch.setattr(os, "writev", slow)
        with RawServer(served) as server:
            async with AsyncContainersClient(
                ClientOptions(base_url=server.base_url, api_key="sk-1")
            ) as client:
                task = asyncio.create_task(client.download(CONTENT, target))
                await writing.wait()
                for _ in range(times):
                    task.cancel()
                    await asyncio.sleep(0.05)
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert done
                count = len(done)
                await asyncio.sleep(0.4)
                assert count == len(done)
        assert [] == await asyncio.to_thread(lambda: list(target.parent.iterdir()))


def streamed(**arguments: Any) -> dict[Call, Operation]:
    """The content as a stream, with either client."""

    def whole(client: ContainersClient) -> Any:
        with client.stream(CONTENT, **arguments) as answer:
            return answer.size, b"".join(answer.pieces)

    async def awhole(client: AsyncContainersClient) -> Any:
        async with client.stream(CONTENT, **arguments) as answer:
            return answer.size, b"".join([piece async for piece in answer.pieces])

    return {call_sync: whole, call_async: awhole}


class TestStreams:
    """What is read without a file is the file as well."""

    @pytest.mark.parametrize("expected", [None, 5])
    def test_an_error_with_status_200(self, call: Call, expected: int | None) -> None:
        """Nobody reads it as the content; the message is told, without the key."""
        key = "sk-secret-0123456789"
        error = {"error": {"message": f"File not found. Key {key}"}}
        with (
            RawServer(reply(200, error)) as server,
            pytest.raises(InvalidResponseError, match="It says: File not found") as caught,
        ):
            call(server.base_url, streamed(expected_bytes=expected)[call], api_key=key)
        assert key not in str(caught.value)
        assert len(server.requests) == 3

    def test_an_error_that_passes(self, call: Call) -> None:
        """It is asked for again before anything is given out."""
        with RawServer(reply(200, ERROR), served) as server:
            assert (SIZE, DATA) == call(server.base_url, streamed()[call])

    @pytest.mark.parametrize("status", [201, 204, 206])
    def test_a_success_of_another_kind(self, call: Call, status: int) -> None:
        """It is not the file."""
        with (
            RawServer(reply(status, b"" if status == 204 else b"abc")) as server,
            pytest.raises(InvalidResponseError, match="none of a whole file"),
        ):
            call(server.base_url, streamed()[call], max_retries=0)

    @pytest.mark.parametrize(
        "content",
        [b"", b"{}", b"{", json.dumps([ERROR]).encode(), json.dumps({**ERROR, "a": 1}).encode()],
        ids=["empty", "object", "broken", "list", "more than an error"],
    )
    def test_json_that_is_no_error(self, call: Call, content: bytes) -> None:
        """Files may be JSON."""
        with RawServer(reply(200, content)) as server:
            assert (len(content), content) == call(server.base_url, streamed()[call])

    def test_a_long_json(self, call: Call) -> None:
        """It is given out from its start while it comes."""
        content = json.dumps({"error": {"message": "x" * 500_000}}).encode()
        with RawServer(reply(200, content)) as server:
            assert (len(content), content) == call(server.base_url, streamed()[call])

    def test_a_file_that_looks_like_an_error(self, call: Call) -> None:
        """The known size says that it is the file."""
        content = json.dumps(ERROR).encode()
        with RawServer(reply(200, content)) as server:
            operation = streamed(expected_bytes=len(content))[call]
            assert (len(content), content) == call(server.base_url, operation)

    def test_an_opened_file(self) -> None:
        """The hook's stream begins with what was looked at."""
        content = json.dumps(list(range(50_000))).encode()
        with (
            RawServer(reply(200, content)) as server,
            ContainersClient(ClientOptions(base_url=server.base_url, api_key="sk-1")) as client,
            OpenedFile(client.stream(CONTENT)) as opened,
        ):
            assert content[:10] == opened.read(10)
            assert content[10:] == opened.read()

    def test_an_opened_file_that_breaks_off(self) -> None:
        """It never ends: who has caught the error is told again."""
        with (
            RawServer(cut({"content-length": str(SIZE)})) as server,
            ContainersClient(ClientOptions(base_url=server.base_url, api_key="sk-1")) as client,
            OpenedFile(client.stream(CONTENT)) as opened,
        ):
            assert DATA[:900_000] == opened.read(900_000)
            for _ in range(3):
                with pytest.raises(APIConnectionError, match="broke"):
                    opened.read()

    def test_an_opened_file_that_is_closed_early(self) -> None:
        """The connection is given back, and the server need not send the rest."""
        noticed = threading.Event()

        def endless(exchange: Exchange) -> None:
            exchange.send(head(200))
            try:
                while not exchange.stopping.is_set():
                    exchange.send(DATA)
            except OSError:
                noticed.set()

        with (
            RawServer(endless) as server,
            ContainersClient(ClientOptions(base_url=server.base_url, api_key="sk-1")) as client,
        ):
            opened = OpenedFile(client.stream(CONTENT))
            opened.read(1)
            opened.close()
            assert noticed.wait(10)
