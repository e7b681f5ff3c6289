"""What the hook does with files: those in containers, and those of the Files API."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_containers.container_paths import shown
from airflow_containers.hooks._opened import OpenedFile
from airflow_containers.hooks._progress import TransferLog
from airflow_containers.hooks._uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from airflow_containers.api import (
        ContainerFile,
        ContainerFilePage,
        ContainersClient,
        DeletedContainerFile,
        DeletedFile,
        Downloaded,
        File,
        FilePage,
    )
    from airflow_containers.api.bodies import Source
    from airflow_containers.api.endpoints import Call
    from airflow_containers.api.models import Content

    Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class FileSnapshot:
    """The files that a container had at one moment. Lists are cumulative, so this tells what is new.

    :param container_id: the container.
    :param file_ids: ids of the files that were there.
    """

    container_id: str
    file_ids: frozenset[str] = field(repr=False)

    def new_files(self, hook: FileMethods) -> list[ContainerFile]:
        """Return the files that are there now and were not then, oldest first.

        A file that was written again is a new one: it has another id.
        """
        listed = hook.iterate_container_files(self.container_id, order="asc")
        return [file for file in listed if file.id not in self.file_ids]


class FileMethods:
    """The hook's methods for files.

    Uploads are read while they are sent and downloads written while they arrive, so the size of a file costs
    no memory. The connection's ``timeout`` is how long nothing may move.
    """

    if TYPE_CHECKING:
        log: Any

        def get_conn(self) -> ContainersClient:
            """Return the client."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._files_known: set[str] = set()

    # Files in containers

    def upload_container_file(
        self, container_id: str, source: Source | Path | str, *, name: str | None = None
    ) -> ContainerFile:
        """Put a file into a container, once.

        The service chooses the path, see ``path`` of the answer: 32 hexadecimal digits come before the name.
        After an upload that was not answered the container is looked at: a file that was not there before,
        with that name and content, is taken for it; if there is none, it is sent again, up to ``max_retries``
        times.

        :param source: path of a file, or a :class:`~airflow_containers.api.bodies.Source`.
        :param name: name that the service is told; the source's own if left out.
        :raises AmbiguousUploadError: if nothing can be found out.
        :raises SourceChangedError: if somebody writes to the file meanwhile.
        :raises ContainerGoneError: if the container is not there.
        """
        whole = _as_source(source, name)
        progress = TransferLog(self.log, f"Uploading {shown(whole.name)} to {container_id}", whole.size)
        file = self._uploads().to_container(container_id, whole, progress)
        progress.end(whole.size)
        return file

    def copy_file_into_container(self, container_id: str, file_id: str) -> ContainerFile:
        """Put a file of the Files API into a container, once, as :meth:`upload_container_file` does.

        :raises ContainerFileNotFoundError: if there is no such file.
        :raises ContainerGoneError: if the container is not there.
        """
        return self._uploads().copy(container_id, file_id)

    def list_container_files(
        self,
        container_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
    ) -> ContainerFilePage:
        """Return one page of the files in a container. This touches it: the idle time starts again.

        :param after: id of the last file of the page before.
        :param limit: files on the page, 1 to 100; the service's default is 20.
        :param order: by time of creation; the service's default is ``desc``.
        """
        from airflow_containers.api import endpoints

        call = endpoints.list_container_files(container_id, after=after, limit=limit, order=order)
        page = self.get_conn().send(call)
        self._files_known.update(page.entry_ids)
        return page

    def iterate_container_files(
        self, container_id: str, *, order: Order | None = None
    ) -> Iterator[ContainerFile]:
        """Yield every file in a container, page after page. This touches it.

        :param order: by time of creation; the service's default is ``desc``.
        """
        from airflow_containers.api import endpoints

        call = endpoints.list_container_files(container_id, limit=endpoints.MAX_PAGE_SIZE, order=order)
        for page in self.get_conn().pages(call):
            self._files_known.update(page.entry_ids)
            yield from page.data

    def retrieve_container_file(self, container_id: str, file_id: str) -> ContainerFile:
        """Return what is known of a file.

        :raises ContainerFileNotFoundError: if there is no such file.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.retrieve_container_file(container_id, file_id))

    def delete_container_file(self, container_id: str, file_id: str) -> DeletedContainerFile:
        """Delete a file from a container.

        :raises ContainerFileNotFoundError: if there is no such file.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.delete_container_file(container_id, file_id))

    def download_container_file(
        self, container_id: str, file_id: str, target: Path, *, expected_bytes: int | None = None
    ) -> Downloaded:
        """Save a file from a container. The target is there whole or, after an error, as it was before.

        :param target: path of the file to be; its folder must be there. A name from the container is not to
            be trusted as a path: :func:`airflow_containers.container_paths.local_name` makes a safe one.
        :param expected_bytes: the size that the file must have, if known.
        :raises ContainerFileNotFoundError: if there is no such file, or it is listed and cannot be given out.
        :raises LocalFileError: if it cannot be written.
        """
        from airflow_containers.api import endpoints

        return self._download(
            endpoints.container_file_content(container_id, file_id), file_id, target, expected_bytes
        )

    def open_container_file(
        self, container_id: str, file_id: str, *, expected_bytes: int | None = None
    ) -> OpenedFile:
        """Return a stream of a file's content, to be read once from start to end, and to be closed.

        What breaks off on the way is an error, also from ``read``, and is not resumed.

        :param expected_bytes: size of the file, if known: a content of that size is no error of a gateway,
            whatever it looks like.
        :raises ContainerFileNotFoundError: if there is no such file.
        :raises InvalidResponseError: if what comes is not the file.
        """
        from airflow_containers.api import endpoints

        call = endpoints.container_file_content(container_id, file_id)
        return OpenedFile(self.get_conn().stream(call, expected_bytes=expected_bytes))

    def snapshot_container_files(self, container_id: str) -> FileSnapshot:
        """Return which files are in a container now, to ask later which are new. This touches it."""
        ids = frozenset(file.id for file in self.iterate_container_files(container_id))
        return FileSnapshot(container_id, ids)

    # Files of the Files API

    def upload_file(
        self,
        source: Source | Path | str,
        *,
        name: str | None = None,
        purpose: str = "user_data",
        expires_after: int | None = None,
    ) -> File:
        """Make a file of the Files API, once, as :meth:`upload_container_file` does.

        A file of more than 512 MiB is sent in parts of 64 MiB, with a checksum of the whole.

        :param source: path of a file, or a :class:`~airflow_containers.api.bodies.Source`, up to 8 GiB.
        :param name: name that the service is told; the source's own if left out.
        :param purpose: ``assistants``, ``batch``, ``fine-tune``, ``vision``, ``user_data`` or ``evals``.
        :param expires_after: seconds until the service deletes it, 3,600 to 2,592,000; never if left out.
        """
        whole = _as_source(source, name)
        progress = TransferLog(self.log, f"Uploading {shown(whole.name)}", whole.size)
        file = self._uploads().to_files(whole, purpose, expires_after, progress)
        progress.end(whole.size)
        return file

    def list_files(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        purpose: str | None = None,
    ) -> FilePage:
        """Return one page of the files of the Files API.

        :param after: id of the last file of the page before.
        :param limit: files on the page, 1 to 10,000, which is the service's default.
        :param order: by time of creation; the service's default is ``desc``.
        :param purpose: only files of that purpose.
        """
        from airflow_containers.api import endpoints

        call = endpoints.list_files(after=after, limit=limit, order=order, purpose=purpose)
        page = self.get_conn().send(call)
        self._files_known.update(page.entry_ids)
        return page

    def iterate_files(self, *, order: Order | None = None, purpose: str | None = None) -> Iterator[File]:
        """Yield every file of the Files API, page after page.

        :param order: by time of creation; the service's default is ``desc``.
        :param purpose: only files of that purpose.
        """
        from airflow_containers.api import endpoints

        for page in self.get_conn().pages(endpoints.list_files(limit=1000, order=order, purpose=purpose)):
            self._files_known.update(page.entry_ids)
            yield from page.data

    def retrieve_file(self, file_id: str) -> File:
        """Return what is known of a file of the Files API.

        :raises NotFoundError: if there is no such file.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.retrieve_file(file_id))

    def delete_file(self, file_id: str) -> DeletedFile:
        """Delete a file of the Files API. Copies in containers stay.

        :raises NotFoundError: if there is no such file.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.delete_file(file_id))

    def download_file(self, file_id: str, target: Path, *, expected_bytes: int | None = None) -> Downloaded:
        """Save a file of the Files API, as :meth:`download_container_file` does.

        :raises BadRequestError: if the service does not give out files of that purpose.
        """
        from airflow_containers.api import endpoints

        return self._download(endpoints.file_content(file_id), file_id, target, expected_bytes)

    def _uploads(self) -> Uploads:
        return Uploads(self.get_conn(), self.log, self._files_known)

    def _download(
        self, call: Call[Content], file_id: str, target: Path, expected_bytes: int | None
    ) -> Downloaded:
        progress = TransferLog(self.log, f"Downloading {file_id}", expected_bytes)
        downloaded = self.get_conn().download(
            call, Path(target), expected_bytes=expected_bytes, progress=progress.reached
        )
        progress.end(downloaded.bytes)
        return downloaded


def _as_source(source: Source | Path | str, name: str | None) -> Source:
    from airflow_containers.api.bodies import PathSource

    if isinstance(source, str | Path):
        return PathSource(source, name)
    return source if name is None else _Renamed(source, name)


class _Renamed:
    def __init__(self, source: Source, name: str) -> None:
        self.name = name
        self.size = source.size
        self._source = source

    def open(self) -> BinaryIO:
        return self._source.open()
