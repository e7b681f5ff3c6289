"""Where a download task writes to: a folder of the worker, or one in a store."""

from __future__ import annotations

import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_containers.container_paths import shown
from airflow_containers.operators._stores import StorePath, is_url, open_url
from airflow_containers.operators._transfers import FileTransferError, Limits, go_on

if TYPE_CHECKING:
    from airflow_containers.api import ContainerFile
    from airflow_containers.hooks.container import ContainerHook


@dataclass(frozen=True, slots=True)
class Download:
    """One file to fetch.

    :param file: the file, as the service describes it.
    :param name: what it is called where it is written.
    """

    file: ContainerFile
    name: str


class Target:
    """Writes files from a container; a context manager, for what it keeps on the worker meanwhile.

    :param hook: fetches them.
    :param container_id: the container.
    :param place: path of a folder of the worker, or URL of one in a store.
    :param limits: what the task may fetch; files of unknown size are counted while they come.
    :param stopped: set when the task ends.
    """

    def __init__(
        self,
        hook: ContainerHook,
        container_id: str,
        place: str,
        *,
        limits: Limits,
        stopped: threading.Event,
    ) -> None:
        self._hook = hook
        self._container_id = container_id
        self._limits = limits
        self._stopped = stopped
        self._stack = ExitStack()
        self._place = open_url(place) if is_url(place) else Path(place)

    def __enter__(self) -> Self:
        inside = None
        if isinstance(self._place, Path):
            try:
                self._place.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise FileTransferError(f"{self._place} is there and is no folder") from None
            # In the same file system, from where a file is moved in place in one step.
            inside = self._place
        temporary = tempfile.TemporaryDirectory(
            prefix=".airflow-containers-", dir=inside, ignore_cleanup_errors=True
        )
        self._folder = Path(self._stack.enter_context(temporary))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, download: Download) -> dict[str, Any]:
        """Fetch a file, check it, and put it where it belongs.

        :returns: ``path`` in the container, ``id``, ``target``, ``bytes`` and ``sha256``.
        """
        go_on(self._stopped)
        file, here = download.file, self._folder / download.name
        try:
            size, digest = self._fetch(file, here)
            if isinstance(self._place, StorePath):
                target = self._place / download.name
                target.write(here, lambda: go_on(self._stopped))
                written = target.url
            else:
                # A link that is there is replaced, and not followed.
                written = str(here.replace(self._place / download.name))
        finally:
            here.unlink(missing_ok=True)
        return {"path": file.path, "id": file.id, "target": written, "bytes": size, "sha256": digest}

    def _fetch(self, file: ContainerFile, here: Path) -> tuple[int, str]:
        from airflow_containers.api.endpoints import container_file_content
        from airflow_containers.hooks._progress import TransferLog

        named = _named(file)
        progress = TransferLog(self._hook.log, f"Fetching {named}", file.bytes)
        counted = 0

        def announced(size: int) -> None:
            if file.bytes is None:
                # Not counted yet: what is announced need not come.
                Limits(1, self._limits.bytes_left + counted).add(named, size)

        def reached(size: int) -> None:
            nonlocal counted
            go_on(self._stopped)
            if file.bytes is None and size > counted:
                self._limits.add(named, size - counted, files=0)
                counted = size
            progress.reached(size)

        call = container_file_content(self._container_id, file.id)
        downloaded = self._hook.get_conn().download(
            call, here, expected_bytes=file.bytes, progress=reached, on_size=announced
        )
        progress.end(downloaded.bytes)
        return downloaded.bytes, downloaded.sha256


def _named(file: ContainerFile) -> str:
    return f"{shown(file.path or 'a file without a path')} ({file.id})"
