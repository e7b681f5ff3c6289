"""Tunnels, and the end of it all: with the command, the container, the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_containers.local.egress.bounds import Bounds
from airflow_containers.local.egress.gateway import CA_BUNDLE, PROXY_PORT
from airflow_containers.local.egress.log import MAX_ENTRIES, EgressLog
from tests.support.egress import CONTAINER, Container, World, read_request, world_in

API = "api.example.com"
TOKEN = "tok_4f9c1d7e8a2b5630"


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer without end."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4\r\nmore\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def begin(box: Container) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request to it."""
    reader, writer = await box.tls(API)
    writer.write(f"GET / HTTP/1.1\r\nHost: {API}\r\nX-Key: {box.environment.get('KEY')}\r\n\r\n".encode())
    await reader.readuntil(b"more")
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still comes, until the end."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except OSError:
        return b""


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize("way", ["revoke", "serving", "gateway"])
async def test_transfers_end_with_what_let_them_out(world: World, way: str, secret: bool) -> None:
    """With the container, its command or the server, in the middle of a body."""
    await world.domain(API, endless)
    box = world.container([API], [(API, "KEY", TOKEN)] if secret else [])
    reader, writer = await begin(box)
    grant = world.gateway._grants[box.name]
    if way == "revoke":
        world.gateway.revoke(box.name)
    elif way == "serving":
        await box.serving.close()
    else:
        await world.gateway.close()
    assert not (await ended(reader)).endswith(b"0\r\n\r\n")
    await box.serving.close()
    assert set() == grant.streams
    assert 0 == grant.connections
    assert ([] if way != "serving" or not secret else [TOKEN]) == grant.secrets.values()
    assert "ended with the command" == box.entry.reason
    with pytest.raises(OSError):  # noqa: PT011 - reset or refused, as it comes
        await box.open()
    writer.close()


async def test_a_container_may_have_several_commands(world: World) -> None:
    """The end of one leaves the other alone."""
    await world.domain(API, endless)
    first = world.container([API])
    second = world.serve()
    reader, writer = await begin(second)
    await first.serving.close()
    assert b"more" in await reader.readuntil(b"more")
    writer.close()


async def test_nothing_is_served_without_a_grant(world: World) -> None:
    """Neither before nor after; and to revoke twice is fine."""
    with pytest.raises(KeyError):
        world.serve("unknown")
    with pytest.raises(KeyError):
        world.gateway.environment("unknown")
    world.gateway.revoke("unknown")
    world.container([API])
    world.gateway.revoke(CONTAINER)
    world.gateway.revoke(CONTAINER)
    with pytest.raises(KeyError):
        world.serve()


async def test_the_environment_names_proxy_and_certificates(world: World) -> None:
    """For the tools of the image; the bundle has the authorities of all three."""
    box = world.container([API], [(API, "KEY", TOKEN)])
    environment = box.environment
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        assert proxy == environment[name]
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS"):
        assert CA_BUNDLE == environment[name]
    assert environment["KEY"].startswith("placeholder-")
    ((inside, outside),) = world.gateway.read_only_files().items()
    assert CA_BUNDLE == inside
    assert world.ca.cert_pem.bytes().strip() in outside.read_bytes()
    assert 0o644 == outside.stat().st_mode & 0o777


async def test_the_folder_goes_with_the_gateway(world: World) -> None:
    """It has nothing that is of use later."""
    world.gateway.read_only_files()
    assert (world.folder / "egress").is_dir()
    await world.gateway.close()
    assert not (world.folder / "egress").exists()


async def test_tunnels_carry_both_ways_and_close_one_at_a_time(world: World) -> None:
    """TLS from end to end: the proxy shows no certificate of its own, and changes nothing."""
    await world.domain(API)
    box = world.container([API])
    reader, writer = await box.tls(API)
    issuer = dict(part[0] for part in writer.get_extra_info("peercert")["issuer"])
    assert "airflow" not in issuer["organizationName"]
    writer.write(b"GET / HTTP/1.1\r\nHost: anything\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()
    await asyncio.sleep(0.1)
    assert (200, None, True) == (box.entry.status, box.entry.reason, box.entry.allowed)
    assert box.entry.bytes_sent > 200
    assert box.entry.bytes_received > 500


async def test_an_idle_tunnel_ends(tmp_path: Path) -> None:
    """After its time, with a note."""
    async with world_in(tmp_path, Bounds(tunnel_idle=0.2)) as world:
        await world.domain(API)
        box = world.container([API])
        reader, writer = await box.tls(API)
        assert b"" == await ended(reader)
        assert "without a byte" in str(box.entry.reason)
        writer.close()


async def test_a_client_that_begins_no_tls_is_sent_away(tmp_path: Path) -> None:
    """Protocols in which the server speaks first get no word."""
    async with world_in(tmp_path, Bounds(head=0.2)) as world:
        await world.domain(API)
        box = world.container([API])
        answer = await box.raw(f"CONNECT {API}:443 HTTP/1.1\r\n\r\n".encode())
        assert answer.endswith(b"\r\n\r\n")
        assert "Only TLS" in str(box.entry.reason)


def test_the_log_keeps_the_latest() -> None:
    """Counts what it forgot, filters, and goes on counting when cleared."""
    log = EgressLog()
    for number in range(MAX_ENTRIES + 5):
        log.add(0.0, str(number % 2), "GET", "h" * 999, 80, allowed=True)
    assert (MAX_ENTRIES, 5) == (len(log), log.dropped)
    assert 253 == len(log.entries()[0].host)
    assert MAX_ENTRIES // 2 == len(log.entries("1"))
    assert [MAX_ENTRIES + 4, MAX_ENTRIES + 5] == [entry.id for entry in log.entries(since=MAX_ENTRIES + 3)]
    assert MAX_ENTRIES == log.clear()
    assert MAX_ENTRIES + 6 == log.add(0.0, "x", "GET", "h", None, allowed=False).id


def test_importing_the_gateway_is_cheap() -> None:
    """What only a proxy at work needs is not imported before."""
    code = (
        "import sys; import airflow_containers.local.egress.gateway\n"
        "print([name for name in ('h11', 'trustme', 'cryptography', 'httpx') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == shown.stdout.strip()
