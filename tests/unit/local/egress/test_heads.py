"""Reading the heads of requests, with no leniency."""

from __future__ import annotations

import asyncio
import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.local.egress.heads import MAX_FIELDS, MAX_HEAD, RequestReader, check_head
from airflow_containers.local.egress.refusals import Refusal

START = b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"

BAD = {
    "both lengths": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
    "two codings": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 501),
    "list of lengths": (b"Content-Length: 5, 5\r\n", 400),
    "signed length": (b"Content-Length: +5\r\n", 400),
    "no length": (b"Content-Length:\r\n", 400),
    "other coding": (b"Transfer-Encoding: gzip, chunked\r\n", 501),
    "hidden coding": (b"Transfer-Encoding: \x0bchunked\r\n", 400),
    "coding with space": (b"Transfer-Encoding : chunked\r\n", 400),
    "bare LF": (b"X: a\nY: b\r\n", 400),
    "bare CR": (b"X: a\rY: b\r\n", 400),
    "NUL": (b"X: a\x00b\r\n", 400),
    "obs-fold": (b"X: a\r\n b\r\n", 400),
    "obs-fold by tab": (b"X: a\r\n\tb\r\n", 400),
    "no colon": (b"X\r\n", 400),
    "no name": (b": x\r\n", 400),
    "space in name": (b"X Y: z\r\n", 400),
    "too many": (b"X: y\r\n" * (MAX_FIELDS + 1), 431),
}


@pytest.mark.parametrize(("fields", "status"), BAD.values(), ids=BAD)
def test_ambiguous_heads_are_refused(fields: bytes, status: int) -> None:
    """Whatever two readers could take differently."""
    with pytest.raises(Refusal) as caught:
        check_head(START + fields + b"\r\n")
    assert status == caught.value.status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/2.0", 400),
        (b"GET /", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"", 400),
        (b"PRI * HTTP/2.0", 505),
    ],
)
def test_odd_request_lines_are_refused(line: bytes, status: int) -> None:
    """Spaces, other versions, other characters."""
    with pytest.raises(Refusal) as caught:
        check_head(line + b"\r\n\r\n")
    assert status == caught.value.status


def test_old_http_has_no_chunks() -> None:
    """HTTP/1.0 with a Transfer-Encoding is a way to smuggle."""
    with pytest.raises(Refusal):
        check_head(b"POST http://a.b/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")


FIELD_LINES = st.lists(
    st.binary(max_size=12)
    | st.sampled_from((b"Host: a.b", b"Content-Length: 3", b"Transfer-Encoding: chunked")),
    max_size=6,
)


@given(FIELD_LINES)
def test_what_passes_is_read_alike_by_another_parser(fields: list[bytes]) -> None:
    """Any head is refused, or h11 finds the same number of headers in it, or refuses it itself."""
    head = b"\r\n".join([b"GET http://a.b/ HTTP/1.1", *fields]) + b"\r\n\r\n"
    if head.index(b"\r\n\r\n") != len(head) - 4:
        return
    try:
        check_head(head)
    except Refusal:
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(head)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError:
        return
    assert isinstance(event, h11.Request)
    assert len(fields) == len(event.headers)
    assert b"" == parser.trailing_data[0]


class Pieces:
    """A stream that gives what it was given."""

    def __init__(self, *pieces: bytes, hang: bool = False) -> None:
        self.pieces = list(pieces)
        self.hang = hang

    async def read(self, limit: int = 0) -> bytes:
        """The next piece."""
        if not self.pieces and self.hang:
            await asyncio.sleep(30)
        return self.pieces.pop(0) if self.pieces else b""

    async def write(self, data: bytes) -> None:
        """Nobody listens."""

    async def end(self) -> None:
        """As above."""


@given(st.lists(st.integers(1, 90), max_size=6))
def test_heads_come_in_any_pieces(cuts: list[int]) -> None:
    """Two requests and a body behind them are found wherever they are cut."""
    whole = START + b"\r\n" + b"GET http://b.example.com/ HTTP/1.1\r\n\r\n" + b"rest"
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]

    async def read() -> tuple[bytes | None, bytes | None, bytes]:
        reader = RequestReader(Pieces(*pieces))
        first, second = await reader.head(5, 5), await reader.head(5, 5)
        return first, second, reader.buffer + b"".join(reader.stream.pieces)  # type: ignore[attr-defined]

    expected = (START + b"\r\n", b"GET http://b.example.com/ HTTP/1.1\r\n\r\n", b"rest")
    assert expected == asyncio.run(read())


async def test_empty_lines_before_a_request_are_skipped() -> None:
    """Careless clients send one after a body."""
    reader = RequestReader(Pieces(b"\r\n\r\n" + START + b"\r\n"))
    assert START + b"\r\n" == await reader.head(5, 5)


@pytest.mark.parametrize("piece", [b"x" * (MAX_HEAD + 1), START + b"X: " + b"y" * MAX_HEAD])
async def test_heads_are_bounded(piece: bytes) -> None:
    """In one line or in many."""
    with pytest.raises(Refusal) as caught:
        await RequestReader(Pieces(piece)).head(5, 5)
    assert 431 == caught.value.status


async def test_half_a_head_is_not_waited_for_long() -> None:
    """Who sends slowly is told so; who sends nothing is not."""
    with pytest.raises(Refusal) as caught:
        await RequestReader(Pieces(START, hang=True)).head(0.05, 5)
    assert 408 == caught.value.status
    assert await RequestReader(Pieces(hang=True)).head(5, 0.05) is None
    assert await RequestReader(Pieces(START)).head(5, 5) is None


async def test_bare_line_feeds_are_refused_before_the_head_ends() -> None:
    """A head that ends in two of them would be waited for in vain."""
    with pytest.raises(Refusal) as caught:
        await RequestReader(Pieces(b"GET / HTTP/1.1\nHost: a\n\n", hang=True)).head(5, 5)
    assert 400 == caught.value.status
