"""Open files: one that is read from a container, and one that is uploaded when it is closed."""

from __future__ import annotations

import functools
import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from airflow_containers.api.bodies import Source
    from airflow_containers.api.models import ContainerFile
    from airflow_containers.hooks.container import ContainerHook

CHUNK = 1024 * 1024
"""Bytes that are read ahead, and the size of the pieces in which data is moved."""


class ContainerReader(io.BufferedReader):
    """A file of a container, open for reading.

    What is read from front to back is streamed, with up to 1 MiB read ahead. The first step back, or to the
    end, downloads the whole file into a temporary file without a name, and reading goes on there.

    :param hook: the hook of the container's connection.
    :param container_id: the container.
    :param file: the file, as it was listed.
    :param path: the file system's path of it.
    """

    def __init__(self, hook: ContainerHook, container_id: str, file: ContainerFile, path: str) -> None:
        self._content = _Content(hook, container_id, file, path)
        self.path = path
        super().__init__(self._content, CHUNK)

    @property
    def size(self) -> int:
        """Bytes of the file. Asks for the content if the service has listed it without a size."""
        return self._content.size


class _Content(io.RawIOBase):
    def __init__(self, hook: ContainerHook, container_id: str, file: ContainerFile, path: str) -> None:
        from airflow_containers.filesystems._gone import file_errors

        super().__init__()
        self._hook = hook
        self._container_id = container_id
        self._file = file
        self._path = path
        self._file_errors = functools.partial(file_errors, path)
        self._position = 0
        self._stream: BinaryIO | None = None
        self._streamed = 0
        self._copy: IO[bytes] | None = None

    @property
    def size(self) -> int:
        """What the content's answer says, else what the list said, else what a download shows."""
        if self._copy is None:
            known: int | None = getattr(self._stream, "size", None)
            known = self._file.bytes if known is None else known
            if known is None:
                known = getattr(self._open_stream(), "size", None)
            if known is not None:
                return known
        return os.fstat(self._local_copy().fileno()).st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            # Not by the listed size: what looks for the end of a file cannot do with one that is old.
            offset += os.fstat(self._local_copy().fileno()).st_size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence is {whence}; it must be 0, 1 or 2")
        if offset < 0:
            raise OSError(22, "There is nothing before the start of a file", self._path)
        self._position = offset
        return offset

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        pieces = []
        while piece := self._read(CHUNK):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        try:
            for file in (self._stream, self._copy):
                if file is not None:
                    file.close()
        finally:
            self._stream = self._copy = None
            super().close()

    def _read(self, size: int) -> bytes:
        if self.closed:
            raise ValueError("The file is closed")
        if self._copy is None and self._position >= self._streamed:
            with self._file_errors():
                data = self._read_stream(size)
        else:
            copy = self._local_copy()
            copy.seek(self._position)
            data = copy.read(size)
        self._position += len(data)
        return data

    def _read_stream(self, size: int) -> bytes:
        stream = self._open_stream()
        while self._streamed < self._position:
            skipped = stream.read(min(CHUNK, self._position - self._streamed))
            if not skipped:
                return b""
            self._streamed += len(skipped)
        data = stream.read(size)
        self._streamed += len(data)
        return data

    def _open_stream(self) -> BinaryIO:
        if self._stream is None:
            with self._file_errors():
                self._stream = self._hook.open_container_file(
                    self._container_id, self._file.id, expected_bytes=self._file.bytes
                )
        return self._stream

    def _local_copy(self) -> IO[bytes]:
        if self._copy is None:
            if self._stream is not None:
                self._stream.close()
            with tempfile.TemporaryDirectory(prefix="airflow-containers-") as folder:
                target = Path(folder, "content")
                with self._file_errors():
                    self._hook.download_container_file(self._container_id, self._file.id, target)
                # The open file outlives its name, and nothing is left even if the process is killed now.
                self._copy = target.open("rb")
        return self._copy


class ContainerWriter(io.BufferedIOBase):
    """A file that is uploaded when it is closed, and not at all if its ``with`` block fails.

    What is written goes into a temporary file without a name, so it can be of any size, and may seek.

    :param send: uploads what was written.
    :param name: name to upload it as.
    :param compress: wraps the temporary file; ``None`` to upload what is written.
    :param autocommit: ``False`` uploads on :meth:`commit` instead, as transactions of fsspec do.
    """

    def __init__(
        self,
        send: Callable[[Source], None],
        name: str,
        *,
        compress: Callable[[IO[bytes]], IO[bytes]] | None = None,
        autocommit: bool = True,
    ) -> None:
        super().__init__()
        self._open = False  # until there is a file
        self._send = send
        self._name = name
        self._autocommit = autocommit
        self._temporary = tempfile.TemporaryFile(prefix="airflow-containers-")  # noqa: SIM115 - see close
        self._sink = self._temporary if compress is None else compress(self._temporary)
        self._open = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        self.abandon()

    @property
    def name(self) -> str:
        """The name that it is uploaded as."""
        return self._name

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return not self._open

    def readable(self) -> bool:
        """Return False: what was written comes back after the upload only."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Whether the position may be moved, which it may not in compressed data."""
        return self._sink is self._temporary

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes; they are kept on the worker's disk until the file is closed."""
        self._check_open()
        self._sink.write(data)
        return memoryview(data).nbytes

    def tell(self) -> int:
        """Return the position, in bytes before compression."""
        self._check_open()
        return self._sink.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position."""
        self._check_open()
        if not self.seekable():
            raise io.UnsupportedOperation("Compressed data is written from front to back")
        return self._sink.seek(offset, whence)

    def truncate(self, size: int | None = None, /) -> int:
        """Cut what was written."""
        self._check_open()
        if not self.seekable():
            raise io.UnsupportedOperation("Compressed data is written from front to back")
        return self._sink.truncate(size)

    def flush(self) -> None:
        """Do nothing: the upload begins when the file is closed."""

    def close(self) -> None:
        """Upload what was written, unless it was given up.

        :raises ContainersError: if the upload fails.
        """
        if not self._open:
            return
        self._open = False
        try:
            if self._sink is not self._temporary:
                self._sink.close()
            if self._autocommit:
                self.commit()
        except BaseException:
            self._temporary.close()
            raise

    def commit(self) -> None:
        """Upload what was written."""
        with self._temporary:
            self._temporary.flush()
            self._send(_Written(self._name, self._temporary.fileno()))

    def discard(self) -> None:
        """Give up what was written; nothing is uploaded."""
        self._open = False
        self._temporary.close()

    def abandon(self) -> None:
        """Give up what nobody can close any more, with a warning; nothing is uploaded."""
        if self._open:
            text = f"{self._name} was never closed, so it was not uploaded"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            self.discard()

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("The file is closed")


class TextWriter(io.TextIOWrapper):
    """Text that is uploaded when it is closed, and not at all if its ``with`` block fails."""

    def __init__(self, writer: ContainerWriter, **options: Any) -> None:
        self._writer = writer
        super().__init__(writer, **options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # Without its file the text that is held back goes nowhere.
            self._writer.discard()
        self.close()

    def __del__(self) -> None:
        self._writer.abandon()


class _Written:
    """What was written into a temporary file, as a source of an upload."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    def open(self) -> BinaryIO:
        """Return the bytes from the start; each reader has a position of its own."""
        return _Pieces(self._descriptor)  # type: ignore[return-value]


class _Pieces(io.RawIOBase):
    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._descriptor, len(view), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
