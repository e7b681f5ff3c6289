"""Our end of a transfer: what is kept of an answer, and what counts as progress."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import (
    AmbiguousUploadError,
    BytesSource,
    ClientOptions,
    Downloaded,
    LocalFileError,
    SourceChangedError,
)
from airflow_containers.api._answers import Failure, RawAnswer
from airflow_containers.api._exchange import Attempt, Exchange, Pause
from airflow_containers.api.endpoints import create_container_file
from airflow_containers.api.retry import NoAnswer, Sent, Tried
from airflow_containers.api.transfers import Receiving, Sending, UnusableAnswerError

RESUMABLE = {"etag": '"v1"', "accept-ranges": "bytes"}


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    """A download that is begun, of which nothing stays."""
    made = Receiving(tmp_path / "out", None, None)
    made.open()
    yield made
    made.discard()
    made.discard()
    assert {path.name for path in tmp_path.iterdir()} <= {"out"}


def arrive(receiving: Receiving, *pieces: bytes) -> None:
    """What a client does with the pieces of an answer."""
    for piece in pieces:
        receiving.write(receiving.take(piece) or [])
    receiving.write(receiving.rest())


class TestReceiving:
    """A file that arrives."""

    @given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 20))
    def test_any_pieces_in_two_attempts(
        self, tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], cut: int
    ) -> None:
        """Resumed after any of them, the file is their sum."""
        whole = b"".join(pieces)
        receiving = Receiving(tmp_path_factory.mktemp("d") / "out", len(whole), None)
        receiving.open()
        assert receiving.begins(200, {"content-length": str(len(whole)), **RESUMABLE})
        arrive(receiving, *pieces[:cut])
        headers = receiving.resume_headers()
        if headers:
            start = len(b"".join(pieces[:cut]))
            assert {"range": f"bytes={start}-", "if-range": '"v1"'} == headers
            assert receiving.begins(
                206,
                {
                    "content-length": str(len(whole) - start),
                    "content-range": f"bytes {start}-{len(whole) - 1}/*",
                },
            )
        else:
            assert receiving.begins(200, {})
            arrive(receiving, *pieces[:cut])
        arrive(receiving, *pieces[cut:])
        receiving.check()
        downloaded = receiving.commit()
        assert whole == downloaded.path.read_bytes()
        assert hashlib.sha256(whole).hexdigest() == downloaded.sha256
        assert ["out"] == [path.name for path in downloaded.path.parent.iterdir()]

    @pytest.mark.parametrize("status", [100, 199, 300, 304, 404, 500])
    def test_an_error_changes_nothing(self, receiving: Receiving, status: int) -> None:
        """No byte of it is a byte of the file, and what was there can still be resumed."""
        receiving.begins(200, RESUMABLE)
        arrive(receiving, b"abc")
        assert not receiving.begins(status, {"content-length": "5"})
        assert 3 == receiving.received
        assert "bytes=3-" == receiving.resume_headers()["range"]

    @pytest.mark.parametrize("status", [201, 202, 204, 206, 207])
    def test_a_success_of_another_kind(self, receiving: Receiving, status: int) -> None:
        """It is not the file."""
        with pytest.raises(UnusableAnswerError):
            receiving.begins(status, {})

    @pytest.mark.parametrize("value", ["bytes 2-9/10", "bytes */10", "3-9/10", "bytes 3-9", ""])
    def test_a_rest_of_another_place(self, receiving: Receiving, value: str) -> None:
        """It is refused, and the next attempt asks for all."""
        receiving.begins(200, RESUMABLE)
        arrive(receiving, b"abc")
        with pytest.raises(UnusableAnswerError):
            receiving.begins(206, {"content-range": value})
        assert {} == receiving.resume_headers()

    def test_many_tiny_pieces(self, receiving: Receiving) -> None:
        """More than the system writes at a time."""
        receiving.begins(200, {})
        arrive(receiving, *[b"x"] * 5000)
        assert 5000 == receiving.commit().path.stat().st_size

    def test_a_shorter_second_attempt_leaves_nothing_of_the_first(self, receiving: Receiving) -> None:
        """From the start means from the start."""
        receiving.begins(200, {})
        arrive(receiving, b"long ago")
        receiving.begins(200, {})
        arrive(receiving, b"new")
        assert b"new" == receiving.commit().path.read_bytes()

    @pytest.mark.parametrize("part", [1, 7, 1000])
    def test_a_disk_that_takes_little_at_a_time(
        self, receiving: Receiving, monkeypatch: pytest.MonkeyPatch, part: int
    ) -> None:
        """What it did not take is given to it again."""
        write = os.write
        monkeypatch.setattr(os, "writev", lambda handle, pieces: write(handle, b"".join(pieces)[:part]))
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:part]))
        receiving.begins(200, {"content-length": "3000"})
        arrive(receiving, b"abc" * 500, b"def" * 500)
        receiving.check()
        assert b"abc" * 500 + b"def" * 500 == receiving.commit().path.read_bytes()


class TestDownloaded:
    """The checksum, which is made when somebody asks."""

    def test_it_is_made_once(self, tmp_path: Path) -> None:
        """A file that is moved on keeps it."""
        (tmp_path / "a").write_bytes(b"abc")
        downloaded = Downloaded(tmp_path / "a", 3)
        first = downloaded.sha256
        (tmp_path / "a").unlink()
        assert hashlib.sha256(b"abc").hexdigest() == first == downloaded.sha256

    def test_another_file_by_now(self, tmp_path: Path) -> None:
        """Its checksum would be a lie."""
        (tmp_path / "a").write_bytes(b"abcd")
        with pytest.raises(LocalFileError, match="it has 4 bytes now, and had 3"):
            _ = Downloaded(tmp_path / "a", 3).sha256
        with pytest.raises(LocalFileError, match="no such file"):
            _ = Downloaded(tmp_path / "b", 3).sha256


class Odd:
    """A body whose length is wrong."""

    content_type = "text/plain"

    def __init__(self, length: int, *pieces: bytes) -> None:
        self.length = length
        self._pieces = pieces

    def chunks(self) -> Iterator[bytes]:
        """The pieces."""
        yield from self._pieces


class TestSending:
    """A body that leaves."""

    def test_it_knows_when_all_is_gone(self) -> None:
        """And begins again for every attempt."""
        sending = Sending(Odd(4, b"ab", b"cd"))
        for _ in range(2):
            put_off: list[int] = []
            sending.begin(lambda put_off=put_off: put_off.append(1))  # type: ignore[misc]
            assert not sending.whole
            assert [False, True] == [sending.whole for _ in sending.pieces()]
            assert [1] == put_off

    @pytest.mark.parametrize("body", [Odd(3, b"ab"), Odd(3, b"ab", b"cd"), Odd(0, b"a"), Odd(1)])
    def test_a_body_that_is_wrong_about_itself(self, body: Odd) -> None:
        """The request is not finished, whoever has made the body."""
        sending = Sending(body)
        sending.begin(lambda: None)
        with pytest.raises(SourceChangedError):
            list(sending.pieces())


class TestHalfARequest:
    """An answer that came before all of the body was sent."""

    def test_a_success_is_none(self) -> None:
        """A truncated upload is an error, whatever a server says of it, and is not blindly repeated."""
        attempt, steps = half_sent()
        with pytest.raises(AmbiguousUploadError, match="HTTP 200 before all of the body was sent"):
            steps.send(RawAnswer(200, {}, b'{"id": "cfile_1"}'))
        assert not attempt.sending.whole

    @pytest.mark.parametrize(
        "result",
        [
            RawAnswer(503, {}, b""),
            RawAnswer(409, {}, b""),
            Failure(NoAnswer(Sent.PERHAPS), "the connection broke"),
        ],
    )
    def test_a_failure_is_sure(self, result: Any) -> None:
        """Nothing can have been made, so it is sent again although it makes a file."""
        _, steps = half_sent()
        assert isinstance(steps.send(result), Pause)
        assert isinstance(steps.send(None), Attempt)


def half_sent() -> tuple[Any, Any]:
    """The upload of a file of which one piece was sent."""
    exchange = Exchange(ClientOptions(api_key="sk-1"))
    steps = exchange.steps(create_container_file("cntr_1", BytesSource("a", bytes(1_000_000))))
    attempt: Any = next(steps)
    attempt.sending.begin(lambda: None)
    next(attempt.sending.pieces())
    return attempt, steps


class TestTried:
    """What counts against a transfer."""

    @given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans(), st.integers(0, 1000)), max_size=30))
    def test_attempts_without_progress_in_a_row(self, attempts: list[tuple[float, bool, int]]) -> None:
        """Those since the file was last longer than ever; the time that moved something is not counted."""
        tried = Tried()
        furthest = in_a_row = 0
        for seconds, moved, reached in attempts:
            tried = tried.after(seconds=seconds, moved=moved, reached=reached)
            in_a_row = 1 if reached > furthest else in_a_row + 1
            furthest = max(furthest, reached)
            assert (in_a_row, furthest) == (tried.attempts, tried.furthest)
        assert sum(seconds for seconds, moved, _ in attempts if moved) == pytest.approx(tried.moving)

    def test_what_does_not_resume_counts_every_attempt(self) -> None:
        """An upload begins at the start each time."""
        tried = Tried()
        for number in range(1, 4):
            tried = tried.after(seconds=1, moved=True, reached=0)
            assert number == tried.attempts
