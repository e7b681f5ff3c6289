"""Domain secrets on the wire: where they go, where they never go, and that none comes back."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import urllib.parse
from pathlib import Path

import httpx
import pytest

from airflow_containers.local.egress.gateway import DomainSecret, SecretText
from airflow_containers.local.egress.secrets import MAX_VALUE
from tests.support.egress import Container, World, read_request

API, OTHER = "api.example.com", "other.example.com"
SECRET = 'Xk9/value+of "the" secret-Q2'
TOKEN = "tok_4f9c1d7e8a2b5630"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what came, in the form that the path names."""
    while (request := await read_request(reader)) is not None:
        head, _, _ = request.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        form = lines[0].split(" ")[1].strip("/")
        value = next(line.partition(": ")[2] for line in lines if line.lower().startswith("x-key:"))
        value = value.encode("latin-1").decode()
        text = {
            "plain": value,
            "json": json.dumps({"headers": {"X-Key": value}}),
            "percent": urllib.parse.quote(value, safe=""),
            "base64": base64.b64encode(f"user:{value}".encode()).decode(),
        }.get(form, value)
        body = text.encode()
        if form == "gzip":
            body = gzip.compress(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        elif form == "headers":
            quoted = urllib.parse.quote(value, safe="")
            writer.write(
                f"HTTP/1.1 302 {value}\r\nLocation: /x?k={quoted}\r\nSet-Cookie: k={value}\r\n".encode()
            )
            writer.write(b"Content-Length: 0\r\n\r\n")
        elif form == "chunks":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Key\r\n\r\n")
            for at in range(len(body)):
                writer.write(b"1\r\n" + body[at : at + 1] + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(b"0\r\nX-Key: " + body + b"\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def start(world: World, value: str | None = SECRET) -> Container:
    """A domain that echoes, and a container that has a secret for it."""
    await world.domain(API, echo)
    return world.container([API, OTHER], [(API, "KEY", value)])


def assert_hidden(text: bytes, value: str = SECRET) -> None:
    """No form of the value is in what a container got."""
    for form in (
        value,
        json.dumps(value)[1:-1],
        urllib.parse.quote(value, safe=""),
        base64.b64encode(value.encode()).decode()[:-4],
        base64.b64encode(f"user:{value}".encode()).decode()[8:-4],
    ):
        assert form.encode() not in text


@pytest.mark.parametrize("form", ["plain", "json", "percent", "base64", "headers", "chunks"])
async def test_an_echoed_secret_does_not_come_back(world: World, form: str) -> None:
    """In the body, in headers and the status line, in pieces, in trailers."""
    box = await start(world)
    key = box.placeholder("KEY")
    request = f"GET /{form} HTTP/1.1\r\nHost: {API}\r\nX-Key: {key}\r\nConnection: close\r\n\r\n"
    answer = await box.inside(API, request.encode())
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 302"))
    assert b"*****" in answer.replace(b"\r\n1\r\n", b"")
    joined = answer.replace(b"\r\n1\r\n", b"")
    assert_hidden(answer)
    assert_hidden(joined)
    assert ("KEY",) == box.entry.secrets


async def test_a_compressed_answer_is_refused(world: World) -> None:
    """Nobody can look into it, and none was asked for."""
    box = await start(world)
    async with box.client() as client:
        answer = await client.get(f"https://{API}/gzip", headers={"X-Key": box.placeholder("KEY")})
    assert 502 == answer.status_code
    assert "compressed" in answer.text
    assert_hidden(answer.content)


async def test_secrets_go_into_headers_only(world: World) -> None:
    """In the address and in the body, the placeholder stays."""
    domain = await world.domain(API)
    box = world.container([API], [(API, "KEY", TOKEN), (API, "SECOND", "another-value")])
    key, second = box.placeholder("KEY"), box.placeholder("SECOND")
    async with box.client() as client:
        headers = {"Authorization": f"Bearer {key}", "X-Two": f"{second};{key}", "Range": "bytes=0-9"}
        await client.post(f"https://{API}/{key}?k={key}", content=key.encode(), headers=headers)
    assert f"Bearer {TOKEN}" == domain.header("authorization")
    assert f"another-value;{TOKEN}" == domain.header("x-two")
    assert "identity" == domain.header("accept-encoding")
    assert domain.header("range") is None
    assert f"POST /{key}?k={key} HTTP/1.1" == domain.heads[0].split("\r\n")[0]
    assert domain.requests[0].endswith(key.encode())
    assert ("KEY", "SECOND") == box.entry.secrets


@pytest.mark.parametrize("place", ["user", "password", "both"])
async def test_basic_authorization_has_the_value_inside(world: World, place: str) -> None:
    """Where the client has encoded the placeholder; also with characters that no header could have."""
    domain = await world.domain(API)
    box = world.container([API], [(API, "KEY", "line\nbreak é")])
    key = box.placeholder("KEY")
    user, password = (key if place != "password" else "me"), (key if place != "user" else "pw")
    async with box.client(auth=(user, password)) as client:
        assert 200 == (await client.get(f"https://{API}/")).status_code
    expected = f"{user}:{password}".replace(key, "line\nbreak é")
    scheme, encoded = str(domain.header("authorization")).split(" ")
    assert ("Basic", expected) == (scheme, base64.b64decode(encoded).decode())


async def test_two_domains_have_values_of_their_own(world: World) -> None:
    """One name, one placeholder, two values; and none goes to a third domain."""
    third = "third.example.com"
    domains = [await world.domain(host) for host in (API, OTHER, third)]
    box = world.container(
        [API, OTHER, third],
        [
            (API, "KEY", "value-for-api"),
            (OTHER, "KEY", "value-for-other"),
            (third, "MINE", "value-for-third"),
        ],
    )
    key = box.placeholder("KEY")
    async with box.client(headers={"X-Key": key}) as client:
        for domain in domains:
            assert 200 == (await client.get(f"https://{domain.host}/")).status_code
    assert ["value-for-api", "value-for-other", key] == [domain.header("x-key") for domain in domains]
    assert () == box.entry.secrets
    assert "secret of another domain" in str(box.entry.reason)


async def test_a_domain_without_secrets_gets_the_placeholder(world: World) -> None:
    """In a tunnel and in clear text; it is of no use to it."""
    plain, secure = await world.domain(OTHER, tls=False), await world.domain(OTHER)
    box = await start(world)
    key = box.placeholder("KEY")
    async with box.client(headers={"X-Key": key}) as client:
        await client.get(f"http://{OTHER}/")
        await client.get(f"https://{OTHER}/")
    assert [key, key] == [plain.header("x-key"), secure.header("x-key")]


async def test_no_secret_goes_out_in_clear_text(world: World) -> None:
    """To its own domain either: the answer says to use HTTPS."""
    domain = await world.domain(API, tls=False)
    box = world.container([API], [(API, "KEY", SECRET)])
    async with box.client() as client:
        refused = await client.get(f"http://{API}/", headers={"X-Key": box.placeholder("KEY")})
        assert "ok" == (await client.get(f"http://{API}/")).text
    assert 403 == refused.status_code
    assert f"https://{API}" in refused.text
    assert 1 == len(domain.requests)


@pytest.mark.parametrize(
    "value", ["a\r\nX-Injected: yes", "a\nb", "a\0b", "a\x7fb", "x" * (MAX_VALUE + 1)], ids=repr
)
async def test_values_that_no_header_can_have_are_refused(world: World, value: str) -> None:
    """They would be a second header, or the end of all."""
    domain = await world.domain(API)
    box = world.container([API], [(API, "KEY", value)])
    async with box.client() as client:
        answer = await client.get(f"https://{API}/", headers={"X-Key": box.placeholder("KEY")})
    assert 502 == answer.status_code
    assert "$KEY" in answer.text
    assert value not in answer.text
    assert [] == domain.requests


async def test_a_lost_value_is_said(world: World) -> None:
    """With the placeholder of now, and with one from before the restart."""
    domain = await world.domain(API)
    box = world.container([API], [(API, "KEY", None)])
    async with box.client() as client:
        for key in (box.placeholder("KEY"), "placeholder-" + "0" * 32):
            answer = await client.get(f"https://{API}/", headers={"X-Key": key})
            assert 502 == answer.status_code
            assert "restarted" in answer.text
        assert 200 == (await client.get(f"https://{API}/")).status_code
    assert 1 == len(domain.requests)


async def test_hop_by_hop_headers_stay_behind(world: World) -> None:
    """Those for the proxy, and those that the client names."""
    domain = await world.domain(API)
    box = world.container([API], [(API, "KEY", TOKEN)])
    gone = {
        "Proxy-Authorization": "Basic eDp5",
        "Proxy-Connection": "keep-alive",
        "TE": "trailers",
        "Upgrade": "h2c",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
    }
    async with box.client() as client:
        headers = {**gone, "Connection": "X-Hop, Upgrade", "X-Kept": "2"}
        assert 200 == (await client.get(f"https://{API}/", headers=headers)).status_code
    assert [None] * len(gone) == [domain.header(name) for name in gone]
    assert "2" == domain.header("x-kept")


async def test_websockets_are_refused_where_they_would_be_seen_through(world: World) -> None:
    """With the reason, instead of an answer that no client understands."""
    await world.domain(API)
    box = world.container([API], [(API, "KEY", TOKEN)])
    async with box.client() as client:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        answer = await client.get(f"https://{API}/", headers=headers)
    assert (501, True) == (answer.status_code, "WebSocket" in answer.text)


async def test_a_protocol_that_changes_unasked_is_refused(world: World) -> None:
    """Nothing could be looked through after it."""
    await world.domain(API, answer=b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n")
    box = world.container([API], [(API, "KEY", TOKEN)])
    async with box.client() as client:
        assert 502 == (await client.get(f"https://{API}/")).status_code


async def test_the_value_is_nowhere(world: World, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Neither in files, logs and variables, nor in what objects say of themselves."""
    box = await start(world, TOKEN)
    key = box.placeholder("KEY")
    async with box.client() as client:
        for form in ("plain", "gzip", "headers", "none\\"):
            await client.get(f"https://{API}/{form}", headers={"X-Key": key})
    grant = world.gateway._grants[box.name]
    shown = [repr(entry) + json.dumps(entry.as_json()) for entry in world.gateway.log.entries()] + [
        json.dumps(box.environment),
        repr(grant.secrets),
        repr(grant.patterns()),
        repr(vars(grant)),
    ]
    shown += [
        repr(DomainSecret(API, "KEY", SecretText(TOKEN))),
        str(SecretText(TOKEN)),
        f"{SecretText(TOKEN)}",
    ]
    shown += [repr(grant.secrets.fill(API, [(b"x", key.encode())], encrypted=True))]
    shown += capfd.readouterr()
    assert [] == [text for text in shown if TOKEN in text]
    for path in tmp_path.rglob("*"):  # noqa: ASYNC240 - nobody waits
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes()
            assert b"PRIVATE KEY" not in path.read_bytes() or path.name == "internet.pem"
    files = [path.name for path in (tmp_path / "egress").iterdir()]
    assert ["ca-bundle.pem"] == files


async def test_placeholders_cannot_be_guessed(world: World) -> None:
    """Each container has others, and each grant."""
    keys = set()
    for name in ("a", "b", "a"):
        keys.add(world.container([API], [(API, "KEY", TOKEN)], name=name).placeholder("KEY"))
    assert 3 == len(keys)
    assert all(len(key) >= 44 and TOKEN not in key for key in keys)


async def test_a_bad_certificate_is_said(world: World) -> None:
    """Of an unknown authority, and for another name; the secret does not go out."""
    import trustme

    for host, options in ((API, {"ca": trustme.CA()}), (OTHER, {"certificate_of": "evil.example.com"})):
        domain = await world.domain(host, **options)  # type: ignore[arg-type]
        box = world.container([host], [(host, "KEY", TOKEN)])
        async with box.client() as client:
            answer = await client.get(f"https://{host}/", headers={"X-Key": box.placeholder("KEY")})
        assert 502 == answer.status_code
        assert "certificate" in answer.text.lower()
        assert "--egress-ca" in answer.text
        assert [] == domain.requests
        assert 502 == box.entry.status


async def test_the_first_connection_offers_http_1_only(world: World) -> None:
    """A client that would rather have HTTP/2 takes it."""
    await world.domain(API)
    box = world.container([API], [(API, "KEY", TOKEN)])
    _, writer = await box.tls(API, alpn=["h2", "http/1.1"])
    assert "http/1.1" == writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    answer = await box.inside(API, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 505 ")


async def test_a_client_that_does_not_trust_the_proxy_is_noted(world: World) -> None:
    """The log says which variable has the certificates."""
    await world.domain(API)
    box = world.container([API], [(API, "KEY", TOKEN)])
    async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{box.port}", trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://{API}/")
    for _ in range(100):
        if box.entry.reason:
            break
        await asyncio.sleep(0.01)
    assert "$SSL_CERT_FILE" in str(box.entry.reason)
