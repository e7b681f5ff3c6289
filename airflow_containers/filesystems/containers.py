"""A container as a file system.

``ObjectStoragePath("openai-container://conn_id@cntr_…/mnt/data/report.csv")`` comes here, and so does every
other user of fsspec, with paths such as ``openai-container://cntr_…/mnt/data/report.csv``.

The service decides where a file goes: what is written as ``/mnt/data/report.csv`` lands at
``/mnt/data/<32 hexadecimal digits>-report.csv``. Reading, stat and delete find it by either path; lists show
the service's. What the API has no call for (rename, append, empty folders, links, times) is refused with the
reason.
"""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from fsspec.callbacks import DEFAULT_CALLBACK  # type: ignore[import-untyped]
from fsspec.compression import compr  # type: ignore[import-untyped]
from fsspec.core import get_compression  # type: ignore[import-untyped]
from fsspec.utils import glob_translate, isfilelike, stringify_path  # type: ignore[import-untyped]

from airflow_containers import container_paths
from airflow_containers.filesystems import _errors
from airflow_containers.filesystems._files import CHUNK, ContainerReader, ContainerWriter, TextWriter
from airflow_containers.filesystems._refusals import Refusals
from airflow_containers.filesystems._service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_containers.api.bodies import Source

SCHEME = "openai-container"

schemes = [SCHEME]
"""What Airflow registers :func:`get_fs` for."""


def get_fs(
    conn_id: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> ContainerFileSystem:
    """Return the file system for a connection. Airflow calls this where a path is made; nothing is read yet.

    :param conn_id: id of the connection; ``None`` for ``openai_containers_default``.
    :param storage_options: further arguments of :class:`ContainerFileSystem`.
    """
    return ContainerFileSystem(**{**(storage_options or {}), "conn_id": conn_id})


class ContainerFileSystem(Refusals):
    """The files of containers, by paths that begin with a container's id.

    The connection is read on first use, not before. An instance may be used by several threads, survives a
    fork, and is pickled as its ``conn_id``.

    Every operation asks the service for the list of the container's files, which is what keeps names and
    sizes true; one call that works on many files (get, put, rm, glob, find) asks once.

    Errors are those of :mod:`airflow_containers.api.errors`, except that a missing file or container is a
    :class:`FileNotFoundError`. What the API cannot do raises :class:`NotImplementedError`.

    :param conn_id: id of the Airflow connection; ``None`` for ``openai_containers_default``.
    """

    protocol: ClassVar[str] = SCHEME
    cachable = False
    root_marker = ""

    def __init__(self, conn_id: str | None = None, **storage_options: Any) -> None:
        super().__init__(**storage_options)
        self.conn_id = conn_id
        self._service = Service(conn_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContainerFileSystem) and self.conn_id == other.conn_id

    def __hash__(self) -> int:
        return hash((type(self), self.conn_id))

    @property
    def fsid(self) -> str:
        """What two instances for the same connection have in common."""
        return f"{SCHEME}-{self.conn_id or 'default'}"

    # Paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = stringify_path(path)
        for separator in "://", "::":
            if text.startswith(SCHEME + separator):
                container, slash, rest = text.removeprefix(SCHEME + separator).partition("/")
                text = container.rpartition("@")[2] + slash + rest
                break
        return text.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        netloc = path.removeprefix(f"{SCHEME}://").partition("/")[0]
        conn_id, at, _ = netloc.rpartition("@")
        return {"conn_id": conn_id} if at and conn_id else {}

    def _split(self, path: Any) -> tuple[str, str]:
        """Return the container's id and the path in it, from ``/`` on, of a path that names a container."""
        container_id, _, rest = self._strip_protocol(path).partition("/")
        # Without a container's id the scheme comes out of a path as its first part as well.
        if container_id == f"{SCHEME}:" and rest.lstrip("/").partition("/")[0] not in {"", "mnt"}:
            raise ValueError(
                f"{path!r} was made before this Airflow knew the scheme {SCHEME}; up to Airflow 3.1 put "
                "`import airflow_containers.filesystems.paths` before it"
            )
        if container_id in {"", f"{SCHEME}:"} or container_paths.is_pattern(container_id):
            raise ValueError(
                f"{path!r} names no container; a path is {SCHEME}://conn_id@cntr_…/mnt/data/report.csv. If "
                "the id comes from another task, that one has returned none"
            )
        return container_id, container_paths.absolute(f"/{rest}")

    # Looking

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:  # noqa: ARG002 - fsspec's
        """List a folder. Names are the service's, with its 32 digits; ``plain_name`` has them without.

        :raises FileNotFoundError: if there is nothing at that path, or the container is gone.
        """
        container_id, inner = self._split(path)
        tree = self._service.tree(container_id)
        file = tree.find(inner)
        if file is None and not tree.is_folder(inner):
            raise _errors.missing(f"{container_id}{inner}")
        found = tree.children(inner) if file is None else [tree.info(inner)]
        return found if detail else [info["name"] for info in found if info]

    def info(self, path: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002 - fsspec's
        """Return what is known of a file or folder.

        For a file: ``name`` (the path with the service's name), ``size`` (bytes; ``None`` where the service
        does not say), ``plain_name``, ``created`` and ``mtime`` (when the service took note of it, in seconds
        since 1970), ``ino`` (the file's id) and ``source`` (``user`` or ``assistant``).

        :raises FileNotFoundError: if there is nothing at that path, or the container is gone.
        """
        if not self._strip_protocol(path):
            return {"name": "", "size": 0, "type": "directory"}
        container_id, inner = self._split(path)
        info = self._service.tree(container_id).info(inner)
        if info is None:
            raise _errors.missing(f"{container_id}{inner}")
        return info

    def exists(self, path: Any, **kwargs: Any) -> bool:
        """Return whether there is a file or folder. Errors other than a missing one are raised."""
        return self._type(path, **kwargs) is not None

    def isfile(self, path: Any) -> bool:
        """Return whether there is a file. Errors other than a missing one are raised."""
        return self._type(path) == "file"

    def isdir(self, path: Any) -> bool:
        """Return whether there is a folder. Errors other than a missing one are raised."""
        return self._type(path) == "directory"

    def _type(self, path: Any, **kwargs: Any) -> str | None:
        try:
            return str(self.info(path, **kwargs)["type"])
        except FileNotFoundError:
            return None

    def created(self, path: Any) -> datetime:
        """Return when the service took note of a file.

        :raises NotImplementedError: for a folder, which has no time.
        """
        seconds = self.info(path).get("created")
        if seconds is None:
            _errors.refuse(f"The service does not say when {path} was made", "Only files have a time")
        return datetime.fromtimestamp(seconds, UTC)

    def find(self, path: Any, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any) -> Any:
        """Return all files below a path, as fsspec does, from one list of the service.

        :raises FileNotFoundError: if the container is gone; a missing folder has no files.
        """
        container_id, _ = self._split(path)
        with self._service.one_list():
            self._service.tree(container_id)
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, **kwargs)

    def glob(self, path: Any, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """Return what matches a pattern by its plain name, or by the service's if the pattern means that.

        It does if its last part begins with ``*-``, with a ``?`` for each of the 32 digits, or with eight of
        them; else chance in the digits would decide what ``a*.csv`` finds.

        Patterns are fsspec's: ``*``, ``?`` and ``[…]`` inside of one part, ``**`` for any number of parts.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        detail = kwargs.pop("detail", False)
        folders_only = stringify_path(path).endswith("/")
        pattern = self._strip_protocol(path)
        with self._service.one_list():
            if container_paths.is_pattern(pattern):
                found = self._matching(pattern, maxdepth, folders_only=folders_only)
            else:
                found = {pattern: self.info(pattern)} if self.exists(pattern) else {}
        return found if detail else list(found)

    def _matching(
        self, pattern: str, maxdepth: int | None, *, folders_only: bool
    ) -> dict[str, dict[str, Any]]:
        container_id, _ = self._split(pattern)
        matches = re.compile(glob_translate(pattern + ("/" if folders_only else ""))).match
        slash = "/" if folders_only or pattern.endswith("/**") else ""
        deepest = None
        if maxdepth is not None and "**" in pattern:
            deepest = pattern[: pattern.index("**")].count("/") + maxdepth

        found = {}
        for info in self._service.tree(container_id).below("/"):
            name = info["name"]
            if deepest is not None and name.count("/") + 1 > deepest:
                continue
            is_folder = info["type"] == "directory"
            names = [name + slash] if is_folder else container_paths.paths_to_match(name, pattern)
            if any(map(matches, names)):
                found[name] = info
        return dict(sorted(found.items()))

    def expand_path(self, path: Any, *args: Any, **kwargs: Any) -> list[str]:
        """Return the paths that a path, a pattern or a list of them stands for, as fsspec does.

        A file whose own name looks like a pattern is that file alone: whoever names files in a container must
        not decide which others are deleted with it.
        """
        if isinstance(path, (str, os.PathLike)) and container_paths.is_pattern(self._strip_protocol(path)):
            container_id, inner = self._split(path)
            if self._service.tree(container_id).find(inner) is not None:
                kwargs["assume_literal"] = True
                return list(super().expand_path([path], *args, **kwargs))
        return list(super().expand_path(path, *args, **kwargs))

    # Reading

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file, as fsspec does; modes are ``r``, ``w`` and ``x``, with ``b`` or ``t``.

        What is written is uploaded when the file is closed, and not at all if the ``with`` block fails. It
        replaces what was found by that path before; only after the upload, so that something is always there.

        :raises FileNotFoundError: when reading, if there is no such file; if the container is gone.
        :raises FileExistsError: with ``x``, if there is such a file.
        :raises IsADirectoryError: if it is a folder.
        :raises NotImplementedError: for ``a`` and ``+``, and for a path that the service would not use.
        """
        kind = mode.replace("t", "").replace("b", "")
        if kind == "r":
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        if kind not in {"w", "x"}:
            _errors.refuse(
                f"Mode {mode!r} is not possible: a file in a container cannot be changed, only replaced",
                "Read it, and write the whole of it with mode 'w'",
            )
        writer = self._writer(path, compression, exclusive=kind == "x", **kwargs)
        if "b" in mode:
            return writer
        options = {name: kwargs[name] for name in ("encoding", "errors", "newline") if name in kwargs}
        return TextWriter(writer, **options)

    def _open(self, path: Any, mode: str = "rb", **kwargs: Any) -> ContainerReader:  # noqa: ARG002 - fsspec's
        container_id, inner = self._split(path)
        file = self._service.file(container_id, inner)
        return ContainerReader(self._service.hook(), container_id, file, f"{container_id}{inner}")

    def get_file(
        self, rpath: Any, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Download one file. It comes under a temporary name first, so half a file never has its name."""
        if outfile is not None or isfilelike(lpath):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **kwargs)
            return
        container_id, inner = self._split(rpath)
        with self._service.one_list():
            if self.isdir(rpath):
                Path(lpath).mkdir(parents=True, exist_ok=True)
                return
            file = self._service.file(container_id, inner)
        target = Path(lpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        callback.set_size(file.bytes)
        done = self._service.call(
            f"{container_id}{inner}", lambda hook: hook.download_container_file(container_id, file.id, target)
        )
        callback.relative_update(done.bytes)

    def get(self, *args: Any, **kwargs: Any) -> None:
        """Download files, as fsspec does, from one list of the service."""
        with self._service.one_list():
            super().get(*args, **kwargs)

    def cat(self, *args: Any, **kwargs: Any) -> Any:
        """Return contents of files, as fsspec does, from one list of the service."""
        with self._service.one_list():
            return super().cat(*args, **kwargs)

    # Writing

    def put_file(
        self,
        lpath: Any,
        rpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **kwargs: Any,  # noqa: ARG002 - fsspec's
    ) -> None:
        """Upload one file; it replaces what was found by that path before."""
        from airflow_containers.api.bodies import PathSource

        path = Path(lpath)
        if path.is_dir():
            self.makedirs(rpath, exist_ok=True)
            return
        container_id, inner = self._split(rpath)
        source = PathSource(path, name=inner.rpartition("/")[2])
        callback.set_size(source.size)
        with self._service.one_list():
            self._service.upload(container_id, inner, source, exclusive=mode == "create")
        callback.relative_update(source.size)

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Upload files, as fsspec does, with one list of the service."""
        with self._service.one_list():
            super().put(*args, **kwargs)

    def pipe_file(
        self,
        path: Any,
        value: bytes,
        mode: str = "overwrite",
        **kwargs: Any,  # noqa: ARG002 - fsspec's
    ) -> None:
        """Upload bytes; they replace what was found by that path before."""
        from airflow_containers.api.bodies import BytesSource

        container_id, inner = self._split(path)
        source = BytesSource(inner.rpartition("/")[2], bytes(value))
        with self._service.one_list():
            self._service.upload(container_id, inner, source, exclusive=mode == "create")

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Copy one file, in the same or to another container, by way of the worker.

        A copy to the name that the service has given the original gets the plain name: otherwise each copy
        of a folder would add another 32 digits.
        """
        with self._service.one_list():
            info = self.info(path1)
            if info["type"] == "directory":
                self.makedirs(path2, exist_ok=True)
                return
            target = self._strip_protocol(path2)
            if info["name"].rpartition("/")[2] == target.rpartition("/")[2]:
                target = container_paths.plain_path(target)
            with self.open(target, "wb", **kwargs) as copy, self.open(path1, "rb") as source:
                shutil.copyfileobj(source, copy, CHUNK)

    def copy(self, *args: Any, **kwargs: Any) -> None:
        """Copy files, as fsspec does, with one list of the service."""
        with self._service.one_list():
            super().copy(*args, **kwargs)

    def _writer(
        self,
        path: Any,
        compression: str | None,
        *,
        exclusive: bool,
        autocommit: bool | None = None,
        **kwargs: Any,  # noqa: ARG002 - fsspec's
    ) -> ContainerWriter:
        container_id, inner = self._split(path)
        self._service.check_target(container_id, inner, exclusive=exclusive)
        codec = get_compression(inner, compression)

        def send(source: Source) -> None:
            with self._service.one_list():
                self._service.upload(container_id, inner, source, exclusive=exclusive)

        def compress(file: IO[bytes]) -> IO[bytes]:
            wrapped: IO[bytes] = compr[codec](file, mode="w")
            return wrapped

        commits = not self._intrans if autocommit is None else autocommit
        writer = ContainerWriter(
            send, inner.rpartition("/")[2], compress=compress if codec else None, autocommit=commits
        )
        if not commits:
            self.transaction.files.append(writer)
        return writer

    # Deleting

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files, and with ``recursive`` all that is in folders. The container itself stays.

        A file at exactly that path is deleted alone. If there is none, every file is that was written as it:
        for ``report.csv`` all that were uploaded by that name.

        :raises FileNotFoundError: if there is no such file, or the container is gone.
        :raises IsADirectoryError: for a folder, without ``recursive``.
        """
        with self._service.one_list():
            paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
            files = [each for each in paths if not self.isdir(each)]
            if len(files) < len(paths) and not recursive:
                raise _errors.is_folder(f"{path} (recursive=True deletes all that is in it)")
            for each in reversed(files):
                self.rm_file(each)

    def rm_file(self, path: Any) -> None:
        """Delete what is at a path or, if nothing is, every file that was written as it.

        :raises FileNotFoundError: if there is no such file, or the container is gone.
        """
        with self._service.one_list():
            self._service.delete_at(*self._split(path))

    _rm = rm_file
