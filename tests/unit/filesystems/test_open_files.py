"""What is written is uploaded once it is whole, or not at all."""

from __future__ import annotations

import gc
import gzip
import os
from typing import Any

import pytest
from fsspec.compression import compr
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api.bodies import Source, read_whole
from airflow_containers.filesystems._files import ContainerWriter, TextWriter


class Uploads:
    """Takes uploads, reading each source as a request does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.done: list[tuple[str, bytes]] = []
        self.error = error

    def __call__(self, source: Source) -> None:
        """Take one."""
        if self.error is not None:
            raise self.error
        content = b"".join(read_whole(source))
        # A request is sent again from the start.
        assert content == b"".join(read_whole(source))
        self.done.append((source.name, content))


class Broken(BaseException):
    """What ends a block, as the end of a task's time does."""


def _write_and_fail(file: Any, data: Any) -> None:
    file.write(data)
    raise Broken


def test_closing_uploads() -> None:
    """Everything that was written is in one upload, under the name it was opened with."""
    uploads = Uploads()

    with ContainerWriter(uploads, "report.csv") as file:
        assert 2 == file.write(b"a,")
        assert 2 == file.write(memoryview(b"b\n"))
        assert [] == uploads.done

    assert [("report.csv", b"a,b\n")] == uploads.done
    file.close()
    assert 1 == len(uploads.done)


def test_a_block_that_fails_uploads_nothing() -> None:
    """Half a file is none."""
    uploads = Uploads()

    file = ContainerWriter(uploads, "report.csv")

    with pytest.raises(Broken), file:
        _write_and_fail(file, b"half")

    assert file.closed
    assert [] == uploads.done


def test_a_block_of_text_that_fails_uploads_nothing() -> None:
    """Text that is held back does not get through either."""
    uploads = Uploads()

    file = TextWriter(ContainerWriter(uploads, "report.csv"))

    with pytest.raises(Broken), file:
        _write_and_fail(file, "half")

    assert file.closed
    assert [] == uploads.done


def test_text_is_encoded_as_asked() -> None:
    """Encoding and line ends are those of the caller."""
    uploads = Uploads()

    with TextWriter(ContainerWriter(uploads, "a"), encoding="utf-16-le", newline="\r\n") as file:
        file.write("ä\n")

    assert [("a", "ä\r\n".encode("utf-16-le"))] == uploads.done


@pytest.mark.parametrize("wrap", [lambda writer: writer, TextWriter], ids=["bytes", "text"])
def test_a_file_that_nobody_closed_is_not_uploaded(wrap: Any) -> None:
    """It may be half written: who knows why nobody closed it."""
    uploads = Uploads()
    file = wrap(ContainerWriter(uploads, "report.csv"))
    file.write("half" if wrap is TextWriter else b"half")

    with pytest.warns(ResourceWarning, match=r"report\.csv was never closed"):
        del file
    gc.collect()

    assert [] == uploads.done


def test_a_failed_upload_is_raised_and_not_repeated() -> None:
    """The file is closed all the same, and its bytes are gone from the disk."""
    file = ContainerWriter(Uploads(OSError("no route")), "report.csv")
    file.write(b"x")
    descriptor = file._temporary.fileno()

    with pytest.raises(OSError, match="no route"):
        file.close()

    assert file.closed
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_position_may_be_moved() -> None:
    """Formats that patch their header at the end can be written."""
    uploads = Uploads()

    with ContainerWriter(uploads, "a") as file:
        assert file.seekable()
        file.write(b"????body")
        assert 0 == file.seek(0)
        file.write(b"HEAD")
        file.seek(0, os.SEEK_END)
        assert 8 == file.tell()
        file.write(b"tail!")
        file.truncate(12)

    assert [("a", b"HEADbodytail")] == uploads.done


def test_what_is_compressed_is_whole() -> None:
    """The end of a compressed stream is written before the upload."""
    uploads = Uploads()

    with ContainerWriter(uploads, "a.gz", compress=lambda file: compr["gzip"](file, mode="w")) as file:
        assert not file.seekable()
        file.write(b"x" * 100_000)

    ((name, content),) = uploads.done
    assert ("a.gz", b"x" * 100_000) == (name, gzip.decompress(content))


def test_a_closed_file_takes_nothing() -> None:
    """As with any other file."""
    file = ContainerWriter(Uploads(), "a")
    file.close()

    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")


def test_a_transaction_decides_about_the_upload() -> None:
    """Without autocommit, closing uploads nothing."""
    uploads = Uploads()
    kept, dropped = (ContainerWriter(uploads, name, autocommit=False) for name in ("kept", "dropped"))
    for file in kept, dropped:
        file.write(b"x")
        file.close()
    assert [] == uploads.done

    kept.commit()
    dropped.discard()

    assert [("kept", b"x")] == uploads.done


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_pieces_come_out_in_order(pieces: list[bytes]) -> None:
    """How the writer is called does not matter."""
    uploads = Uploads()
    with ContainerWriter(uploads, "a") as file:
        for piece in pieces:
            file.write(piece)

    assert [("a", b"".join(pieces))] == uploads.done
