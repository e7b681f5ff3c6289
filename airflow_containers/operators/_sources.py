"""What an upload task has to send, found and measured before the first byte."""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_containers.container_paths import is_pattern, plain_name
from airflow_containers.operators._stores import StoreError, StorePath, is_url, open_url
from airflow_containers.operators._transfers import FileTransferError, Limits, TransfersStoppedError, go_on

if TYPE_CHECKING:
    from airflow_containers.api.bodies import Source

    _Found = tuple[str, Source, str]
    """What an author calls a file, its content, and where it is."""

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to put into a container.

    :param label: what the author calls it: a path, a URL, the name of a text, or a file's id.
    :param source: its content; ``None`` for a file of the Files API.
    :param location: the path or URL it is read from; ``None`` for one that is from nowhere.
    """

    label: str
    source: Source | None
    location: str | None = None


class Sources:
    """Finds the files of an upload task; a context manager, for what it may have to copy to the worker.

    :param limits: what the task may send.
    :param folder: where relative paths begin.
    :param stopped: set when the task ends; reading then fails.
    :param tolerate: called with a message for a source that matches nothing; may raise.
    """

    def __init__(
        self, limits: Limits, folder: Path, stopped: threading.Event, tolerate: Callable[[str], None]
    ) -> None:
        self._limits = limits
        self._folder = folder
        self._stopped = stopped
        self._tolerate = tolerate
        self._stack = ExitStack()
        self._temporary: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(
        self, sources: Sequence[str], texts: Mapping[str, bytes], file_ids: Sequence[str]
    ) -> list[Upload]:
        """Return what there is to send.

        :param sources: paths, patterns and URLs; what several of them match is sent once.
        :param texts: contents by name.
        :param file_ids: ids of the Files API.
        :raises LimitError: if it is too much.
        :raises FileTransferError: if a source cannot be read.
        """
        from airflow_containers.api.bodies import BytesSource

        found: dict[str, Upload] = {}
        for source in sources:
            with _named(source):
                for label, file, location in self._each(source):
                    if label not in found:
                        self._limits.add(label, file.size)
                        found[label] = Upload(label, self._stoppable(file), location)
        for name, content in texts.items():
            self._limits.add(name, len(content))
            self._put(found, Upload(name, self._stoppable(BytesSource(name, content))))
        for file_id in dict.fromkeys(file_ids):
            self._limits.add(file_id)
            self._put(found, Upload(file_id, None))
        return list(found.values())

    def _stoppable(self, source: Source) -> Source:
        """Return a source that can be read only until the task ends."""
        from airflow_containers.api.bodies import WatchedSource

        return WatchedSource(source, lambda: go_on(self._stopped), lambda _: go_on(self._stopped))

    def _put(self, found: dict[str, Upload], upload: Upload) -> None:
        if upload.label in found:
            raise AirflowFailException(
                f"{upload.label!r} is given twice, among sources, texts and file_ids; the result is a "
                "mapping with one entry for each, so give one of them another name"
            )
        found[upload.label] = upload

    def _each(self, source: str) -> Iterator[_Found]:
        place = open_url(source) if is_url(source) else self._folder / source
        if isinstance(place, StorePath):
            return self._in_store(source, place)
        return self._on_disk(source, place)

    def _on_disk(self, source: str, place: Path) -> Iterator[_Found]:
        from airflow_containers.api.bodies import PathSource

        if place.is_file():
            yield source, PathSource(place), str(place)
            return
        if place.is_dir():
            raise FileTransferError(
                f"{source} is a folder, expected a file or a pattern: {source.rstrip('/')}/* for what is in "
                f"it, {source.rstrip('/')}/**/* for what is below it as well"
            )
        if place.exists():
            raise FileTransferError(f"{source} is no regular file, and is not read")
        # Not `Path.glob`, which takes no absolute pattern and shows hidden files.
        every = glob.iglob(self._pattern(source, place), recursive=True)  # noqa: PTH207
        matches = (path for path in every if Path(path).is_file())
        paths = sorted(itertools.islice(matches, self._limits.max_files + 1)) if is_pattern(source) else []
        if not paths:
            self._tolerate(f"{source} {_missing(source)} on the worker{_shown_folder(source, place)}")
        for path in paths:
            yield self._label(source, path), PathSource(Path(path)), path

    def _pattern(self, source: str, place: Path) -> str:
        """Return what to look for: signs in the name of the DAG's folder are no part of the pattern."""
        if is_url(source) or Path(source).is_absolute():
            return str(place)
        return str(Path(glob.escape(str(self._folder)), source))

    def _label(self, pattern: str, path: str) -> str:
        """Return a path as somebody who wrote this pattern would write it."""
        if is_url(pattern):
            return f"file://{path}"
        return path if Path(pattern).is_absolute() else os.path.relpath(path, self._folder)

    def _in_store(self, source: str, place: StorePath) -> Iterator[_Found]:
        try:
            # A name may look like a pattern; then it counts as a name.
            yield source, self._of_store(place, place.size()), place.url
            return
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise FileTransferError(
                f"{source} is a folder, expected a file or a pattern such as {source.rstrip('/')}/*"
            ) from None
        matches = place.glob(self._limits.max_files) if is_pattern(place.path) else []
        if not matches:
            self._tolerate(f"{source} {_missing(source)} in the store")
        for path, size in matches:
            yield path.url, self._of_store(path, size), path.url

    def _of_store(self, place: StorePath, size: int | None) -> Source:
        if size is None:
            return self._copied(place)
        return _StoreSource(_name_of(place), size, place)

    def _copied(self, place: StorePath) -> Source:
        """Copy a file whose size the store does not tell to the worker: a request has to say its length."""
        from airflow_containers.api.bodies import PathSource

        if self._temporary is None:
            self._temporary = Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="airflow-containers-"))
            )
        copy = self._temporary / str(len(list(self._temporary.iterdir())))
        copied = Limits(1, self._limits.bytes_left)
        with place.open() as source, copy.open("xb") as target:
            while piece := source.read(_CHUNK):
                go_on(self._stopped)
                copied.add(place.url, len(piece), files=0)
                target.write(piece)
        return PathSource(copy, _name_of(place))


@dataclass(frozen=True, slots=True)
class _StoreSource:
    """A file in a store, read from there as it is sent."""

    name: str
    size: int
    place: StorePath

    def open(self) -> BinaryIO:
        return self.place.open()


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Say which source it was that a disk or a store has given an error for."""
    from airflow_containers.api.errors import ContainersError

    try:
        yield
    except (AirflowException, ContainersError, StoreError, TransfersStoppedError):
        raise
    except Exception as error:
        raise FileTransferError(f"{source}: {type(error).__name__}: {error}") from error


def _name_of(place: StorePath) -> str:
    """Return what to call a file of a store; one of another container without the digits of its service."""
    name = posixpath.basename(place.path)
    return plain_name(name) if getattr(place.fs, "protocol", None) == "openai-container" else name


def _missing(source: str) -> str:
    return "matches no file" if is_pattern(source) else "is not there"


def _shown_folder(source: str, place: Path) -> str:
    return "" if is_url(source) or Path(source).is_absolute() else f" (looked for at {place})"
