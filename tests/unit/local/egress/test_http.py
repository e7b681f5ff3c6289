"""HTTP through the proxy: framing, bodies, connections that are kept or end."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from airflow_containers.local.egress.bounds import Bounds
from tests.support.egress import World, read_request, world_in

API, OTHER = "api.example.com", "other.example.com"
TOKEN = "tok_4f9c1d7e8a2b5630"


def request(method: str = "GET", extra: str = "", path: str = "/") -> bytes:
    """A request in clear text."""
    return f"{method} http://{API}{path} HTTP/1.1\r\nHost: {API}\r\n{extra}\r\n".encode()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_answers_without_body_have_none(world: World, method: str, answer: bytes, scheme: str) -> None:
    """And the next request on the connection gets its own answer."""
    domain = await world.domain(API, tls=scheme == "https", answer=answer)
    box = world.container([API], [(API, "KEY", TOKEN)])
    async with box.client() as client:
        for _ in range(2):
            got = await client.request(method, f"{scheme}://{API}/")
            assert b"" == got.content
            assert int(answer.split(b" ")[1]) == got.status_code
    assert (2, 1) == (len(domain.requests), domain.connections)


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    """With bodies in between."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (got := await read_request(reader)) is not None:
            body = got.split(b" ")[1] + got.partition(b"\r\n\r\n")[2]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    await world.domain(API, answer, tls=False)
    box = world.container([API])
    sent = (
        request("POST", "Content-Length: 3\r\n", "/1")
        + b"abc"
        + request(path="/2")
        + request("POST", "Transfer-Encoding: chunked\r\n", "/3")
        + b"1\r\nx\r\n2\r\nyz\r\n0\r\n\r\n"
        + request(path="/4", extra="Connection: close\r\n")
    )
    bodies = [
        part.partition(b"\r\n\r\n")[2] for part in (await box.raw(sent)).split(b"HTTP/1.1 200 OK\r\n")[1:]
    ]
    assert [b"/1abc", b"/2", b"/3xyz", b"/4"] == bodies


async def test_a_connection_may_go_to_one_host_after_another(world: World) -> None:
    """As long as each is on the list."""
    first = await world.domain(API, tls=False, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
    second = await world.domain(OTHER, tls=False, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb")
    box = world.container([API, OTHER])
    other = f"GET http://{OTHER}/ HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\n\r\n".encode()
    answer = await box.raw(request() + other)
    assert [b"a", b"b"] == [part[-1:] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert (1, 1) == (len(first.requests), len(second.requests))


@pytest.mark.parametrize("tls", [True, False])
async def test_old_servers_end_the_body_with_the_connection(world: World, tls: bool) -> None:
    """To a client of today it comes in chunks; each request gets a new connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        await writer.drain()

    domain = await world.domain(API, answer, tls=tls)
    box = world.container([API], [(API, "KEY", TOKEN)])
    async with box.client() as client:
        for _ in range(2):
            got = await client.get(f"{'https' if tls else 'http'}://{API}/")
            assert (b"all of it", "chunked") == (got.content, got.headers["transfer-encoding"])
    assert 2 == domain.connections


async def test_old_clients_get_the_body_as_it_is(world: World) -> None:
    """Without chunks and trailers, until the connection ends."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
    await world.domain(API, tls=False, answer=chunked)
    box = world.container([API])
    answer = await box.raw(f"GET http://{API}/ HTTP/1.0\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"abc" == body
    assert b"chunked" not in head
    assert b"connection: close" in head.lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (300 << 10),
    ],
    ids=lambda answer: repr(answer[:40]),
)
async def test_bad_answers_are_told_from_good_ones(world: World, answer: bytes) -> None:
    """Nothing, half a head, no HTTP, two lengths, a coding that nobody knows, a head without end."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    await world.domain(API, send, tls=False)
    box = world.container([API])
    async with box.client() as client:
        assert 502 == (await client.get(f"http://{API}/")).status_code
    assert (502, True) == (box.entry.status, box.entry.allowed)


@pytest.mark.parametrize("head", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_is_cut_off_is_seen_to_be(world: World, head: bytes) -> None:
    """The client does not take it for the whole."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n5\r\nhello\r\n"[: 11 if b"chunk" in head else 5])
        await writer.drain()

    await world.domain(API, send)
    box = world.container([API], [(API, "KEY", TOKEN)])
    async with box.client() as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get(f"https://{API}/")
    assert "incomplete" in str(box.entry.reason)


async def test_a_client_may_wait_before_it_sends_its_body(world: World) -> None:
    """The proxy tells it to go on, once it has let the request through; the domain is not asked."""
    domain = await world.domain(API, tls=False)
    box = world.container([API])
    reader, writer = await box.open()
    writer.write(request("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n"))
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == (await reader.readuntil(b"\r\n\r\n")).replace(
        b" \r\n", b"\r\n"
    )
    writer.write(b"hello")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert domain.requests[0].endswith(b"hello")
    assert domain.header("expect") is None
    refused = await box.raw(
        b"POST http://evil.com/ HTTP/1.1\r\nHost: evil.com\r\n"
        b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    assert refused.startswith(b"HTTP/1.1 403 ")


async def test_hints_before_the_answer_are_left_out(world: World) -> None:
    """They have headers that nobody waits for."""
    await world.domain(
        API,
        tls=False,
        answer=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    answer = await world.container([API]).raw(request(extra="Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_client_may_end_its_side_first(world: World) -> None:
    """Its request is whole, so it gets its answer."""
    await world.domain(API, tls=False)
    answer = await world.container([API]).raw(request(), end=True)
    assert answer.endswith(b"ok")


async def test_an_answer_may_come_before_the_request_is_whole(world: World) -> None:
    """It is passed on, and the connection ends."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()
        await reader.read()

    await world.domain(API, refuse, tls=False)
    answer = await world.container([API]).raw(request("POST", "Content-Length: 1000000\r\n") + b"x" * 1000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"big")
    assert b"connection: close" in answer.lower()


async def test_trailers_of_a_request_go_on(world: World) -> None:
    """But for those that would be something else."""
    domain = await world.domain(API, tls=False)
    sent = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: evil.com\r\n\r\n"
    extra = "Transfer-Encoding: chunked\r\nConnection: close\r\n"
    await world.container([API]).raw(request("PUT", extra) + sent)
    assert domain.requests[0].endswith(b"abc\r\n\r\nX-Sum: 1\r\n")


@pytest.mark.parametrize("secret", [True, False])
async def test_big_bodies_take_no_memory(world: World, secret: bool) -> None:
    """48 MiB up in chunks, and as much down, while a few MiB are in use."""
    size, piece = 48 << 20, os.urandom(1 << 20)
    received = 0

    async def swap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        while length := int(await reader.readline(), 16):
            received += len(await reader.readexactly(length))
            await reader.readline()
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    await world.domain(API, swap, tls=secret)
    box = world.container([API], [(API, "KEY", TOKEN)] if secret else [])
    url = f"{'https' if secret else 'http'}://{API}/"
    async with box.client() as client:
        await client.get("http://x.example.com/")
        tracemalloc.start()
        try:
            async with client.stream("POST", url, content=body()) as answer:
                got = 0
                async for part in answer.aiter_raw():
                    got += len(part)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (size, size) == (received, got)
    assert peak < 16 << 20
    assert box.entry.bytes_sent > size
    assert box.entry.bytes_received > size


async def test_a_silent_domain_is_given_up(tmp_path: Path) -> None:
    """After a time without a byte, with an answer that says so."""

    async def sleep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with world_in(tmp_path, Bounds(idle=0.2)) as world:
        await world.domain(API, sleep, tls=False)
        answer = await world.container([API]).raw(request())
        assert answer.startswith(b"HTTP/1.1 504 ")


async def test_a_closed_port_and_no_tls_are_said(world: World) -> None:
    """As bad gateways, each with its reason."""
    world.connect_to[API, 443] = ("127.0.0.1", 9)
    box = world.container([API])
    answer = await box.raw(f"CONNECT {API}:443 HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 Cannot connect\r\n")
    assert b"refused" in answer

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        await writer.drain()

    plain = await world.domain(OTHER, greet, tls=False)
    world.connect_to[OTHER, 443] = ("127.0.0.1", plain.port)
    box = world.container([OTHER], [(OTHER, "KEY", TOKEN)])
    async with box.client() as client:
        got = await client.get(f"https://{OTHER}/")
    assert 502 == got.status_code
    assert "TLS" in got.text


async def test_a_kept_connection_that_has_ended_is_made_anew(world: World) -> None:
    """The domain closes after each answer; the client notices nothing."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    domain = await world.domain(API, once, tls=False)
    box = world.container([API])
    reader, writer = await box.open()
    for _ in range(3):
        writer.write(request())
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.05)
    writer.close()
    assert 3 == domain.connections
