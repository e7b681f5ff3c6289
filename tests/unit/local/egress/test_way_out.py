"""Ways out that are none: each is tried, and refused with the reason."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from airflow_containers.local.egress.gateway import EgressGateway
from airflow_containers.local.egress.options import EgressOptions
from airflow_containers.local.egress.resolving import is_public
from tests.support.egress import World, world_in

API, OTHER = "api.example.com", "other.example.com"
SECRET = "Xk9-value-of-the-secret-Q2"

ADDRESSES = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "169.254.169.254",
    "10.0.0.1",
)


def connect_to(authority: str, headers: str = "") -> bytes:
    """A CONNECT request."""
    return f"CONNECT {authority} HTTP/1.1\r\n{headers}\r\n".encode()


@pytest.mark.parametrize(
    "host", [OTHER, "example.com", "x.api.example.com", "api.example.com.evil.com", "localhost"]
)
async def test_a_domain_off_the_list_is_refused(world: World, host: str) -> None:
    """By CONNECT and in clear text; the answer says what to add, and nothing is resolved."""
    await world.domain(host, tls=False)
    box = world.container([API])
    for request in (
        connect_to(f"{host}:443"),
        f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(),
    ):
        answer = (await box.raw(request)).decode()
        assert answer.startswith("HTTP/1.1 403 Host not in allowed_domains\r\n")
        assert f'"{host}" in network_policy.allowed_domains' in answer
        assert (host, False, 403) == (box.entry.host, box.entry.allowed, box.entry.status)
    assert [] == world.asked


@pytest.mark.parametrize("address", ADDRESSES)
async def test_addresses_are_refused(world: World, address: str) -> None:
    """In every form that a resolver would read as one."""
    box = world.container([API])
    for request in (
        connect_to(f"{address}:443"),
        f"GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n\r\n".encode(),
    ):
        answer = await box.raw(request)
        assert answer.startswith(b"HTTP/1.1 403 IP addresses not allowed\r\n")
        assert box.entry.reason is not None
    assert [] == world.asked


@pytest.mark.parametrize("port", [22, 25, 80, 8443])
async def test_other_ports_are_refused(world: World, port: int) -> None:
    """Of an allowed domain, too, unless the operator has named them."""
    await world.domain(API)
    box = world.container([API])
    answer = (await box.raw(connect_to(f"{API}:{port}"))).decode()
    assert answer.startswith("HTTP/1.1 403 Port not allowed\r\n")
    assert f"--connect-to {API}:{port}:ADDRESS:PORT" in answer
    request = f"GET http://{API}:{port + 1}/ HTTP/1.1\r\nHost: {API}:{port + 1}\r\n\r\n"
    assert (await box.raw(request.encode())).startswith(b"HTTP/1.1 403 Port not allowed\r\n")


async def test_the_operator_may_name_other_ports(world: World) -> None:
    """With --connect-to, for TLS and in clear text."""
    await world.domain(API, port=8443)
    await world.domain(API, port=8080, tls=False)
    box = world.container([API])
    async with box.client() as client:
        assert "ok" == (await client.get(f"https://{API}:8443/")).text
        assert "ok" == (await client.get(f"http://{API}:8080/")).text


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1%eth0"],
        ["fd00::1"],
        ["0.0.0.0"],
        ["93.184.215.14", "127.0.0.1"],
        ["192.168.1.1", "93.184.215.14"],
    ],
)
async def test_names_that_lead_inside_are_refused(world: World, addresses: list[str]) -> None:
    """Also when a public address is with them."""
    world.answers[API] = [addresses]
    box = world.container([API], [(API, "TOKEN", SECRET)])
    answer = await box.raw(connect_to(f"{API}:443"))
    assert answer.startswith(b"HTTP/1.1 403 Address not public\r\n")
    assert all(address.encode() not in answer for address in addresses)
    plain = await box.raw(f"GET http://{API}/ HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
    assert plain.startswith(b"HTTP/1.1 403 Address not public\r\n")


async def test_a_name_is_resolved_once(world: World) -> None:
    """A second answer, which leads inside, is never asked for."""
    world.answers[API] = [["93.184.215.14"], ["127.0.0.1"]]
    world.container([API])
    grant = world.gateway._grants["cntr_" + "0" * 48]
    for port in (443, 443, 80):
        assert (("93.184.215.14", port),) == await grant.addresses(API, port)
    assert [API] == world.asked


async def test_the_operator_may_allow_private_addresses(tmp_path: Path) -> None:
    """But not those of no server, or of many."""
    async with world_in(tmp_path, allow_private=True) as world:
        world.container([API, OTHER])
        grant = world.gateway._grants["cntr_" + "0" * 48]
        world.answers[API] = [["10.0.0.1", "::1"]]
        assert (("10.0.0.1", 80), ("::1", 80)) == await grant.addresses(API, 80)
        world.answers[OTHER] = [["224.0.0.1"]]
        with pytest.raises(Exception, match="not public"):
            await grant.addresses(OTHER, 80)


def test_public_addresses_are_public() -> None:
    """So that the others are not refused for another reason."""
    assert all(map(is_public, ("93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1")))
    assert not any(map(is_public, ("224.0.0.1", "ff02::1", "255.255.255.255", "2001:db8::1", "x", "")))


async def test_a_name_without_address_is_said(world: World) -> None:
    """As a bad gateway; it may have one later."""
    box = world.container([API])
    answer = await box.raw(connect_to(f"{API}:443"))
    assert answer.startswith(b"HTTP/1.1 502 Name not resolved\r\n")
    world.answers[API] = [["127.0.0.1"]]
    assert b"Address not public" in await box.raw(connect_to(f"{API}:443"))


async def test_redirects_are_not_followed(world: World) -> None:
    """The client follows, and is refused then."""
    moved = f"HTTP/1.1 302 Found\r\nLocation: https://{OTHER}/\r\nContent-Length: 0\r\n\r\n".encode()
    await world.domain(API, tls=False, answer=moved)
    other = await world.domain(OTHER)
    box = world.container([API])
    async with box.client(follow_redirects=True) as client:
        with pytest.raises(Exception, match="403"):
            await client.get(f"http://{API}/")
    assert [] == other.requests


@pytest.mark.parametrize("host", [OTHER, f"{API}, {OTHER}", f"{API}:81", "", "127.0.0.1", f"a@{API}"])
async def test_the_host_header_has_to_agree(world: World, host: str) -> None:
    """In clear text, in CONNECT, and inside of TLS."""
    plain, secure = await world.domain(API, tls=False), await world.domain(API)
    await world.domain(OTHER)
    box = world.container([API, OTHER], [(API, "TOKEN", SECRET)])
    header = f"Host: {host}\r\n"
    differs = b"HTTP/1.1 403 Host header differs\r\n"
    assert (await box.raw(f"GET http://{API}/ HTTP/1.1\r\n{header}\r\n".encode())).startswith(differs)
    assert (await box.raw(connect_to(f"{API}:443", header))).startswith(differs)
    assert (await box.inside(API, f"GET / HTTP/1.1\r\n{header}\r\n".encode())).startswith(differs)
    assert [] == plain.requests + secure.requests


async def test_two_hosts_and_no_host_are_refused(world: World) -> None:
    """One reader would take the first, another the last."""
    await world.domain(API, tls=False)
    box = world.container([API])
    two = f"GET http://{API}/ HTTP/1.1\r\nHost: {API}\r\nHost: {OTHER}\r\n\r\n".encode()
    assert (await box.raw(two)).startswith(b"HTTP/1.1 400 ")
    assert (await box.raw(f"GET http://{API}/ HTTP/1.1\r\n\r\n".encode())).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize("name", [OTHER, None, "evil.com", "127.0.0.1"])
async def test_the_server_name_has_to_agree(world: World, name: str | None, secret: bool) -> None:
    """Another one, or none at all: TLS does not begin, with a secret and without."""
    domain = await world.domain(API)
    await world.domain(OTHER)
    box = world.container([API, OTHER], [(API, "TOKEN", SECRET)] if secret else [])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await box.tls(API, server_name=name)
    refused = [entry for entry in box.entries if not entry.allowed]
    assert 1 == len(refused)
    assert "SNI" in str(refused[0].reason)
    assert [] == domain.requests


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\0" * 9])
async def test_only_tls_goes_through_connect(world: World, data: bytes, secret: bool) -> None:
    """Clear text is not passed on; also when it comes at once with the request."""
    got: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    world.connect_to[API, 443] = ("127.0.0.1", server.sockets[0].getsockname()[1])
    box = world.container([API], [(API, "TOKEN", SECRET)] if secret else [])
    answer = await box.raw(connect_to(f"{API}:443") + data)
    server.close()
    established, _, rest = answer.partition(b"\r\n\r\n")
    assert established.startswith(b"HTTP/1.1 200 ")
    assert b"Only TLS may go through CONNECT" in rest
    assert b"" == b"".join(got)
    assert not box.entry.allowed


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"GET https://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"GET ftp://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"GET http://user:pw@api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"GET http://api.example.com:80:80/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"GET http://evil.com\\@api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"CONNECT api.example.com HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443/ HTTP/1.1\r\n\r\n",
        b"CONNECT http://api.example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET http://api.example.com/ HTTP/1.1\nHost: api.example.com\n\n",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    ],
)
async def test_odd_requests_are_refused(world: World, request_: bytes) -> None:
    """Each in one way, with nothing passed on."""
    domain = await world.domain(API, tls=False)
    box = world.container([API])
    assert (await box.raw(request_)).startswith(b"HTTP/1.1 400 ")
    assert [] == domain.requests
    assert 400 == box.entry.status


async def test_a_second_request_may_not_go_elsewhere(world: World) -> None:
    """On a connection that is kept, each request is looked at."""
    first, second = await world.domain(API, tls=False), await world.domain(OTHER, tls=False)
    box = world.container([API])
    requests = b"".join(
        f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for host in (API, OTHER)
    )
    answer = await box.raw(requests)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 403 Host not in allowed_domains" in answer
    assert (1, 0) == (len(first.requests), len(second.requests))


async def test_containers_have_lists_of_their_own(world: World) -> None:
    """What one may reach, the other may not."""
    await world.domain(API, tls=False)
    world.container([API], name="a")
    box = world.container([OTHER], name="b")
    answer = await box.raw(f"GET http://{API}/ HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 Host not in allowed_domains")
    assert [] == world.gateway.log.entries("a")


async def test_smuggled_requests_stay_bodies(world: World) -> None:
    """What looks like a second request in a body reaches the domain as a body."""
    domain = await world.domain(API, tls=False)
    box = world.container([API])
    inner = b"GET /admin HTTP/1.1\r\nHost: evil.com\r\n\r\n"
    head = f"POST http://{API}/ HTTP/1.1\r\nHost: {API}\r\nConnection: content-length, close\r\n"
    await box.raw(head.encode() + b"Content-Length: %d\r\n\r\n" % len(inner) + inner)
    chunks = b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)
    await box.raw(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert [inner, inner] == [request.partition(b"\r\n\r\n")[2] for request in domain.requests]


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """One too many is told so; with one less, there is room again."""
    from airflow_containers.local.egress.bounds import Bounds

    async with world_in(tmp_path, Bounds(connections=2, head=0.3)) as world:
        await world.domain(API, tls=False)
        box = world.container([API])
        kept = [await box.open() for _ in range(2)]
        for _, writer in kept:
            writer.write(b"GET")
        await asyncio.sleep(0.05)
        assert (await box.raw(b"GET")).startswith(b"HTTP/1.1 503 Too many connections")
        # The slow ones are sent away in time.
        assert b"408" in (await kept[0][0].read())
        kept[0][1].close()
        await asyncio.sleep(0.05)
        answer = await box.raw(f"GET http://{API}/ HTTP/1.0\r\nHost: {API}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200")
        kept[1][1].close()


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_flood_of_connections_takes_few_descriptors(tmp_path: Path) -> None:
    """Those over the bound that are told so linger, and are bounded too; the others are closed at once."""
    from airflow_containers.local.egress.bounds import Bounds

    async with world_in(tmp_path, Bounds(connections=2)) as world:
        box = world.container([API])
        before = descriptors()
        opened = [await box.open() for _ in range(100)]
        await asyncio.sleep(0.1)
        # This side has one for each.
        assert descriptors() - before - len(opened) <= 2 + 16
        for _, writer in opened:
            writer.close()
        await asyncio.sleep(0.1)
        assert (await box.raw(b"x\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_the_system_resolver_finds_localhost(tmp_path: Path) -> None:
    """And is refused for what it finds, unless the operator has named it."""
    options = EgressOptions(connect_to={(API, 443): ("localhost", 1)})
    gateway = EgressGateway(tmp_path / "egress", options, lambda: 0.0)
    found = await gateway._resolver.named("localhost", 1)
    assert set(found) <= {("127.0.0.1", 1), ("::1", 1)}
    assert found
