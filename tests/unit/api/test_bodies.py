"""Bodies that are read while they are sent: exact lengths, and the bytes that httpx makes of a form."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_containers.api import InvalidRequestError, LocalFileError, SourceChangedError
from airflow_containers.api.bodies import (
    CHUNK_BYTES,
    Body,
    BytesSource,
    JsonBody,
    MultipartBody,
    PartOfSource,
    PathSource,
    WatchedSource,
    gathered,
    guess_content_type,
    read_whole,
)

BOUNDARY = "0123456789abcdef"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
contents = st.one_of(
    st.binary(max_size=200),
    st.integers(CHUNK_BYTES - 2, 2 * CHUNK_BYTES + 2).map(lambda size: b"\x07" * size),
)


class Liar:
    """A source that yields another number of bytes than it says, a few at a time."""

    name = "liar.bin"

    def __init__(self, size: int, data: bytes, step: int = 1 << 30) -> None:
        self.size = size
        self._data = data
        self._step = step
        self.opened: list[io.BytesIO] = []

    def open(self) -> BinaryIO:
        """A stream with short reads."""
        step = self._step

        class Short(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(min(step, size if size is not None and size >= 0 else step))

        self.opened.append(Short(self._data))
        return self.opened[-1]


class TestMultipart:
    """A form with files."""

    @given(
        st.lists(st.tuples(names, texts), max_size=3),
        st.lists(st.tuples(names, names, contents), min_size=1, max_size=3),
    )
    def test_it_is_what_httpx_sends(
        self, fields: list[tuple[str, str]], files: list[tuple[str, str, bytes]]
    ) -> None:
        """Byte for byte, with any names: quotes, line breaks, backslashes and slashes among them."""
        fields = list(dict(fields).items())
        request = httpx.Request(
            "POST",
            "https://api.example.com",
            data=dict(fields),
            files=[(part, (name, data, guess_content_type(name))) for part, name, data in files],
            headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
        body = MultipartBody(
            fields,
            [(part, BytesSource(name, data), guess_content_type(name)) for part, name, data in files],
            boundary=BOUNDARY,
        )
        assert request.read() == b"".join(body.chunks())
        assert request.headers["content-length"] == str(body.length)
        assert request.headers["content-type"] == body.content_type

    @given(st.lists(contents, max_size=4))
    def test_its_length_is_exact_and_its_pieces_are_small(self, data: list[bytes]) -> None:
        """Each time it is asked for, and none of more than 1 MiB."""
        body = MultipartBody(files=[("files[]", BytesSource("a/b", each), "text/plain") for each in data])
        for _ in range(2):
            pieces = list(body.chunks())
            assert body.length == sum(map(len, pieces))
            assert all(0 < len(piece) <= 1 << 20 for piece in pieces)
        assert isinstance(body, Body)

    def test_small_parts_are_one_piece(self) -> None:
        """A small upload is one system call, not five."""
        assert 1 == len(list(MultipartBody([("a", "b")], [("f", BytesSource("n", b"x"), "t")]).chunks()))

    def test_boundaries_are_new(self) -> None:
        """Nobody can know the boundary and put it into a file."""
        assert 100 == len({MultipartBody().content_type for _ in range(100)})


class TestReading:
    """A source that is not what it was."""

    @given(
        st.integers(0, 3 * CHUNK_BYTES) | st.sampled_from([CHUNK_BYTES, 2 * CHUNK_BYTES]),
        st.integers(-3, 3),
        st.sampled_from([1 << 30, CHUNK_BYTES // 3]),
    )
    @example(CHUNK_BYTES, 1, 1 << 30)
    @example(2 * CHUNK_BYTES, 1, 1 << 30)
    def test_a_change_of_size_is_found_before_the_end(self, size: int, change: int, step: int) -> None:
        """What was given out until then is never as much as was announced."""
        source = Liar(size, bytes(max(0, size + change)), step)
        sent: list[int] = []
        if max(0, size + change) == size:
            sent.extend(map(len, read_whole(source)))
            assert size == sum(sent)
        else:
            with pytest.raises(SourceChangedError, match=r"liar\.bin: it had") as caught:
                sent.extend(map(len, read_whole(source)))
            assert caught.value.retryable
            assert sum(sent) < size or not size
        assert [True] == [stream.closed for stream in source.opened]

    def test_it_is_closed_when_nobody_wants_the_rest(self) -> None:
        """A connection that breaks leaves no open file."""
        source = Liar(10 * CHUNK_BYTES, bytes(10 * CHUNK_BYTES))
        pieces = read_whole(source)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert source.opened[0].closed

    def test_a_file_that_went_away(self, tmp_path: Path) -> None:
        """The error names the file."""
        (tmp_path / "a.csv").write_bytes(b"1")
        source = PathSource(tmp_path / "a.csv")
        (tmp_path / "a.csv").unlink()
        with pytest.raises(LocalFileError, match=r"a\.csv: it cannot be read \(no such file"):
            list(read_whole(source))


class TestSources:
    """What can be sent."""

    def test_a_path(self, tmp_path: Path) -> None:
        """Name and size are the file's, and another name can be given."""
        path = tmp_path / "a b.csv"
        path.write_bytes(b"1,2")
        source = PathSource(path)
        assert ("a b.csv", 3) == (source.name, source.size)
        assert "x/y.csv" == PathSource(str(path), "x/y.csv").name
        assert [b"1,2"] == list(read_whole(source)) == list(read_whole(source))

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        """A folder and a missing file are refused at once."""
        with pytest.raises(InvalidRequestError, match="no regular file"):
            PathSource(tmp_path)
        with pytest.raises(LocalFileError, match="no such file"):
            PathSource(tmp_path / "none")

    @pytest.mark.parametrize("name", ["", "a\ud800"])
    def test_a_name_that_cannot_be_sent(self, name: str) -> None:
        """It is refused before a request is begun."""
        with pytest.raises(InvalidRequestError, match="name: "):
            BytesSource(name, b"")

    @given(st.binary(max_size=500), st.integers(1, 100))
    def test_parts_make_the_whole(self, data: bytes, size: int) -> None:
        """Cut anywhere, nothing is lost or sent twice."""
        whole = BytesSource("n", data)
        starts = range(0, len(data), size)
        parts = [PartOfSource(whole, start, min(size, len(data) - start), "upload") for start in starts]
        assert data == b"".join(itertools.chain.from_iterable(read_whole(part) for part in parts))

    def test_the_last_part_notices_growth(self) -> None:
        """The others cannot: their end is inside of the file."""
        whole = Liar(10, b"x" * 11)
        assert b"xxxxx" == b"".join(read_whole(PartOfSource(whole, 0, 5, "upload")))
        with pytest.raises(SourceChangedError):
            list(read_whole(PartOfSource(whole, 5, 5, "upload")))

    def test_watching(self) -> None:
        """Every byte is seen, and each new beginning."""
        seen: list[bytes] = []
        source = WatchedSource(BytesSource("n", b"abc"), seen.clear, seen.append)
        for _ in range(2):
            assert [b"abc"] == list(read_whole(source))
            assert b"abc" == b"".join(seen)


@given(st.lists(st.binary(max_size=50)), st.sampled_from([1, CHUNK_BYTES // 2, CHUNK_BYTES]))
def test_gathering_changes_no_byte(pieces: list[bytes], times: int) -> None:
    """Only where pieces end."""
    larger = [piece * (times if index % 3 == 0 else 1) for index, piece in enumerate(pieces[:6])]
    assert b"".join(larger) == b"".join(gathered(larger))


@given(st.integers(0, 3 * CHUNK_BYTES))
def test_json_in_pieces(size: int) -> None:
    """Large JSON is cut as well."""
    data = b"7" * size

    def pieces() -> Iterator[bytes]:
        yield from JsonBody(data).chunks()

    assert data == b"".join(pieces())
    assert all(len(piece) <= CHUNK_BYTES for piece in pieces())
