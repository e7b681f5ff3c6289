"""Places that a task reads files from and writes files to: the worker's disk, and Airflow's object stores."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE: Final = re.compile(r"((?:file|local)://(?:[^/@]*@)?)(.*)", re.IGNORECASE | re.DOTALL)
_LOCAL: Final = frozenset({"", "file", "local"})
_CHUNK: Final = 1 << 20


class StoreError(ValueError):
    """A URL leads to no store that Airflow knows here, or the store cannot do what is asked."""


def is_url(text: str) -> bool:
    """Whether a text is a URL, and no path on the worker."""
    return _URL.match(text) is not None


def check_url(url: str) -> None:
    """Check that the URL of a file on the worker's disk does not depend on where the worker was started.

    :raises StoreError: if it does.
    """
    found = _FILE.fullmatch(url)
    if found is not None and not found[2].startswith("/"):
        raise StoreError(f"{url} leads to no absolute path, expected three slashes: {found[1]}/{found[2]}")


@dataclass(frozen=True, slots=True)
class StorePath:
    """A file or folder in a store.

    :param fs: the store's file system, with its connection.
    :param path: the path in it.
    :param url: the same as a URL, for people.
    """

    fs: Any
    path: str
    url: str

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self.fs, posixpath.join(self.path, name), f"{self.url.rstrip('/')}/{name}")

    def size(self) -> int | None:
        """Return the file's size in bytes; ``None`` if the store does not tell it.

        :raises FileNotFoundError: if it is not there.
        :raises IsADirectoryError: if it is a folder.
        """
        return _size(self.url, self.fs.info(self.path))

    def glob(self, limit: int) -> list[tuple[StorePath, int | None]]:
        """Return the files that match, by path, with their sizes.

        :param limit: how many at most, and one more.
        :raises StoreError: if the store cannot look for patterns.
        """
        try:
            found = self.fs.glob(self.path, detail=True)
        except NotImplementedError:
            raise StoreError(f"{self.url}: this store has no lists, so it takes no pattern") from None
        files = ((path, info) for path, info in sorted(found.items()) if info.get("type") != "directory")
        return [
            (StorePath(self.fs, path, self.fs.unstrip_protocol(path)), info.get("size"))
            for path, info in itertools.islice(files, limit + 1)
        ]

    def open(self) -> BinaryIO:
        """Open the file for reading."""
        return cast("BinaryIO", self.fs.open(self.path, "rb"))

    def write(self, file: Path, check: Callable[[], None]) -> None:
        """Copy a file of the worker here. Where a store can, nothing appears before all of it is there.

        :param check: called between two pieces; what it raises ends the copying.
        """
        with contextlib.suppress(NotImplementedError):
            # Stores without folders have nothing to do here.
            self.fs.makedirs(posixpath.dirname(self.path), exist_ok=True)
        target = self.fs.open(self.path, "wb")
        try:
            with file.open("rb") as source:
                while piece := source.read(_CHUNK):
                    check()
                    target.write(piece)
            target.close()
        except BaseException:
            self._discard(target)
            raise

    def _discard(self, target: Any) -> None:
        """Give a half-written file up, so that nothing of it is there, now or when it is closed later."""
        if hasattr(target, "discard"):
            with contextlib.suppress(Exception):
                target.discard()
            with contextlib.suppress(Exception):
                target.closed = True
            return
        # A file that appears while it is written: what was there before went when it was opened.
        with contextlib.suppress(Exception):
            target.close()
        with contextlib.suppress(Exception):
            self.fs.rm_file(self.path)


def open_url(url: str) -> StorePath | Path:
    """Return where a URL leads: into a store, or to the worker's disk for ``file://``.

    Reads the store's connection, so it is for the running task.

    :raises StoreError: if no store of that kind is known here.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    check_url(url)
    try:
        path = ObjectStoragePath(url)
        if (path.protocol or "") in _LOCAL:
            return Path(path.path)
        return StorePath(path.fs, path.path, url)
    except (ImportError, ValueError, TypeError) as error:
        raise StoreError(
            f"{url}: {error}; expected the URL of a store whose provider is installed on the worker, such as "
            "s3://connection@bucket/path with apache-airflow-providers-amazon"
        ) from error


def report_lineage(task: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Tell Airflow's collector of lineage what was read and written.

    :param inputs: paths and URLs.
    :param outputs: paths and URLs.
    """
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector: Any = get_hook_lineage_collector()  # type: ignore[no-untyped-call, unused-ignore]
    for names, add in ((inputs, collector.add_input_asset), (outputs, collector.add_output_asset)):
        for name in names:
            add(context=task, uri=name if is_url(name) else Path(name).as_uri())


def _size(url: str, info: dict[str, Any]) -> int | None:
    if info.get("type") == "directory":
        raise IsADirectoryError(f"{url} is a folder")
    size = info.get("size")
    return size if isinstance(size, int) else None
