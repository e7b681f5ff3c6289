"""Reading the server name from the first message of TLS."""

from __future__ import annotations

import contextlib
import itertools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.local.egress.client_hello import MAX_BYTES, HelloError, parse_client_hello


def hello_of(name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = hello_of("api.example.com")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["api.example.com", "API.Example.com", None])
def test_the_server_name_is_found(name: str | None, version: ssl.TLSVersion) -> None:
    """As OpenSSL sends it, or none."""
    hello = parse_client_hello(hello_of(name, version))
    assert hello is not None
    assert name == hello.server_name


@given(st.integers(0, len(HELLO) - 1))
def test_a_part_of_a_message_is_waited_for(size: int) -> None:
    """Wherever it is cut."""
    assert parse_client_hello(HELLO[:size]) is None


@given(st.lists(st.integers(1, len(HELLO) - 6), min_size=1, max_size=5))
def test_a_message_may_come_in_several_records(cuts: list[int]) -> None:
    """OpenSSL sends one, others may not."""
    body = HELLO[5:]
    places = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    records = b"".join(
        b"\x16\x03\x01" + (end - begin).to_bytes(2, "big") + body[begin:end]
        for begin, end in itertools.pairwise(places)
    )
    hello = parse_client_hello(records)
    assert hello is not None
    assert "api.example.com" == hello.server_name


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01\x00\x02\x02\x00",
        b"\x16\x02\x00",
    ],
)
def test_other_protocols_are_told_by_their_first_bytes(data: bytes) -> None:
    """HTTP, SSH, the TLS of 1995, an alert."""
    with pytest.raises(HelloError):
        parse_client_hello(data)


def test_more_than_one_message_is_refused() -> None:
    """What follows in the same record could be another name for somebody else."""
    longer = HELLO[5:] + b"\x01\x00\x00\x00"
    with pytest.raises(HelloError, match="more than"):
        parse_client_hello(b"\x16\x03\x01" + len(longer).to_bytes(2, "big") + longer)


def _extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def _hello(extensions: bytes, tail: bytes = b"") -> bytes:
    body = b"\x03\x03" + b"\0" * 32 + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += len(extensions).to_bytes(2, "big") + extensions + tail
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def _names(*names: bytes, kind: bytes = b"\0") -> bytes:
    entries = b"".join(kind + len(name).to_bytes(2, "big") + name for name in names)
    return _extension(0, len(entries).to_bytes(2, "big") + entries)


def test_the_hand_made_message_is_read() -> None:
    """So that the following ones fail for their reason only."""
    hello = parse_client_hello(_hello(_extension(5, b"x") + _names(b"a.example.com")))
    assert hello is not None
    assert "a.example.com" == hello.server_name


@pytest.mark.parametrize(
    "data",
    [
        _hello(_names(b"a.example.com", b"b.example.com")),
        _hello(_names(b"a.example.com") + _names(b"b.example.com")),
        _hello(_names(b"a.example.com", kind=b"\x01")),
        _hello(_names()),
        _hello(_names("ä.example.com".encode())),
        _hello(_names(b"a.example.com"), tail=b"x"),
        _hello(_names(b"a.example.com")[:-1]),
    ],
)
def test_ambiguous_names_are_refused(data: bytes) -> None:
    """Two names, the extension twice, another kind, none, bytes left over or missing."""
    with pytest.raises(HelloError):
        parse_client_hello(data)


def test_messages_are_bounded() -> None:
    """A long one is refused by its length already."""
    message = b"\x01" + (MAX_BYTES + 1).to_bytes(3, "big")
    with pytest.raises(HelloError, match="too long"):
        parse_client_hello(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)


@given(st.binary(max_size=200), st.integers(0, len(HELLO)))
def test_nothing_else_is_ever_raised(noise: bytes, at: int) -> None:
    """Noise in front, behind and inside is read, refused, or waited for."""
    for data in (noise, HELLO[:at] + noise + HELLO[at:], HELLO[:at] + noise):
        with contextlib.suppress(HelloError):
            parse_client_hello(data)
