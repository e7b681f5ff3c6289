"""Uploads that are made once: what was not answered is looked for before it is sent again."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_containers import container_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_containers.api import AmbiguousUploadError, ContainerFile, ContainersClient, File, Upload
    from airflow_containers.api.bodies import Source
    from airflow_containers.api.endpoints import Call
    from airflow_containers.api.models import Content
    from airflow_containers.hooks._progress import TransferLog

FileT = TypeVar("FileT", "ContainerFile", "File")

CLOCK_ALLOWANCE: Final = 60
"""Seconds that the clocks of the worker and of the service may differ."""

PAUSES_BEFORE_LOOKS: Final = (0.0, 2.0)
"""Seconds before each look for a file whose upload was not answered: the service may still be at it."""


class Uploads:
    """Uploads by way of one client.

    :param client: what sends.
    :param log: where to tell what happens.
    :param known: ids of files that were seen before, none of which came of a lost upload; new ones are added.
    """

    def __init__(self, client: ContainersClient, log: Any, known: set[str]) -> None:
        self._client = client
        self._log = log
        self._known = known

    def to_container(self, container_id: str, source: Source, progress: TransferLog) -> ContainerFile:
        """Put a file into a container."""
        from airflow_containers.api import endpoints

        call = endpoints.create_container_file(container_id, _told(source, progress))
        return self._once(call, lambda since: self._lost_upload(container_id, source, since))

    def copy(self, container_id: str, file_id: str) -> ContainerFile:
        """Put a file of the Files API into a container."""
        from airflow_containers.api import endpoints

        return self._once(
            endpoints.copy_file_into_container(container_id, file_id),
            lambda since: self._lost_copy(container_id, file_id, since),
        )

    def to_files(
        self, source: Source, purpose: str, expires_after: int | None, progress: TransferLog
    ) -> File:
        """Make a file of the Files API."""
        from airflow_containers.api import endpoints, models

        if source.size > models.MAX_FILE_BYTES:
            return self._in_parts(source, purpose, expires_after, progress)
        told = _told(source, progress)
        call = endpoints.create_file(told, purpose=purpose, expires_after=expires_after)
        return self._once(call, lambda since: self._lost_file(source, purpose, since))

    def _once(self, call: Call[FileT], look: Callable[[float], FileT | None]) -> FileT:
        """Send an upload; where it is not known whether it was taken, look before it is sent again.

        :param look: finds the file that was made since a time, in seconds since 1970.
        """
        from airflow_containers.api import AmbiguousUploadError

        left = self._client.options.max_retries
        since = time.time() - CLOCK_ALLOWANCE
        while True:
            try:
                file = self._client.send(call)
            except AmbiguousUploadError as error:
                self._log.warning("%s; looking for it", error)
                found = self._looked(error, lambda: look(since))
                if found is not None:
                    self._log.info("It was uploaded: %s", found.id)
                    file = found
                elif left > 0:
                    left -= 1
                    self._log.warning("It is not there; uploading it again")
                    continue
                else:
                    raise
            self._known.add(file.id)
            return file

    def _looked(self, lost: AmbiguousUploadError, look: Callable[[], FileT | None]) -> FileT | None:
        """Look for what may have come of an upload.

        :raises AmbiguousUploadError: ``lost``, if it cannot be looked for.
        """
        from airflow_containers.api import (
            APIConnectionError,
            InvalidResponseError,
            RateLimitError,
            ServerError,
        )

        for pause in PAUSES_BEFORE_LOOKS:
            time.sleep(pause)
            try:
                found = look()
            except (APIConnectionError, InvalidResponseError, RateLimitError, ServerError) as error:
                self._log.warning("It cannot be looked for: %s", error)
                raise lost from None
            if found is not None:
                return found
        return None

    def _lost_upload(self, container_id: str, source: Source, since: float) -> ContainerFile | None:
        from airflow_containers.api import endpoints

        for file in self._new_container_files(container_id, source.name, (source.size, None), since):
            if self._has_content(endpoints.container_file_content(container_id, file.id), source):
                return file
        return None

    def _lost_copy(self, container_id: str, file_id: str, since: float) -> ContainerFile | None:
        from airflow_containers.api import endpoints

        original = self._client.send(endpoints.retrieve_file(file_id))
        if original.filename is None or original.bytes is None:
            return None
        # Not compared by content: the service copies, and does not give out files of every purpose.
        copies = self._new_container_files(container_id, original.filename, (original.bytes,), since)
        return next(iter(copies), None)

    def _lost_file(self, source: Source, purpose: str, since: float, *, compare: bool = True) -> File | None:
        from airflow_containers.api import endpoints

        call = endpoints.list_files(limit=100, order="desc", purpose=purpose)
        file: File
        for file in self._newest(call, since):
            if _same(file.filename, source.name) and file.bytes == source.size:
                if not compare or self._has_content(endpoints.file_content(file.id), source):
                    return file
                self._log.warning(
                    "File %s may have come of the upload; it cannot be told from its content", file.id
                )
        return None

    def _new_container_files(
        self, container_id: str, name: str, sizes: tuple[int | None, ...], since: float
    ) -> Iterator[ContainerFile]:
        """Yield the files that were not there before, have that name and one of the sizes, and are a user's.

        :param sizes: with ``None`` where files are compared by content: the service may not tell a size.
        """
        from airflow_containers.api import endpoints

        call = endpoints.list_container_files(container_id, limit=endpoints.MAX_PAGE_SIZE, order="desc")
        for file in self._newest(call, since):
            if _same(file.path, name) and file.bytes in sizes and file.source in ("user", None):
                yield file

    def _newest(self, call: Call[Any], since: float) -> Iterator[Any]:
        """Yield the entries of a list that are newer than a time, and that this hook has not seen before."""
        for page in self._client.pages(call):
            for entry in page.data:
                if entry.created_at is not None and entry.created_at < since:
                    return
                if entry.id not in self._known:
                    yield entry

    def _has_content(self, call: Call[Content], source: Source) -> bool:
        """Whether a file at the service has exactly the bytes of a source."""
        from airflow_containers.api import APIStatusError, InvalidResponseError
        from airflow_containers.api.bodies import read_whole

        theirs, ours = hashlib.sha256(), hashlib.sha256()
        try:
            with self._client.stream(call, expected_bytes=source.size) as streamed:
                if streamed.size not in (None, source.size):
                    return False
                for piece in streamed.pieces:
                    theirs.update(piece)
        except (APIStatusError, InvalidResponseError):
            return False
        for piece in read_whole(source):
            ours.update(piece)
        return theirs.digest() == ours.digest()

    def _in_parts(
        self, source: Source, purpose: str, expires_after: int | None, progress: TransferLog
    ) -> File:
        from airflow_containers.api import BadRequestError, endpoints

        begin = endpoints.create_upload(
            source.name, source.size, purpose=purpose, expires_after=expires_after
        )
        try:
            return self._one_in_parts(begin, source, purpose, progress)
        except BadRequestError as error:
            # A part whose answer was lost is there twice; whether the service counts it is not documented.
            self._log.warning("%s; beginning the upload anew, once", error)
            return self._one_in_parts(begin, source, purpose, progress)

    def _one_in_parts(self, begin: Call[Upload], source: Source, purpose: str, progress: TransferLog) -> File:
        from airflow_containers.api import ContainersError, InvalidResponseError, endpoints

        upload = self._client.send(begin)
        # By the service's own clock: only this upload can have made such a file since it began.
        since = upload.created_at if upload.created_at is not None else time.time() - CLOCK_ALLOWANCE

        def made() -> File | None:
            return self._lost_file(source, purpose, since, compare=False)

        try:
            part_ids, md5 = self._send_parts(upload.id, source, progress)
            file = self._completed(endpoints.complete_upload(upload.id, part_ids, md5=md5), made)
        except BaseException:
            try:
                self._client.send(endpoints.cancel_upload(upload.id))
            except ContainersError as error:
                self._log.warning("The upload ends by itself within an hour: %s", error)
            raise
        if file is None:
            raise InvalidResponseError(
                f"POST /uploads/{upload.id}/complete: the answer names no file, and none is listed; "
                "look for it in the list of files"
            )
        self._known.add(file.id)
        return file

    def _completed(self, call: Call[Any], made: Callable[[], File | None]) -> File | None:
        from airflow_containers.api import AmbiguousUploadError, APIStatusError

        client = self._client
        lost: AmbiguousUploadError | None = None
        for left in range(client.options.max_retries, -1, -1):
            try:
                answer: File | None = client.send(call).file
            except AmbiguousUploadError as error:
                self._log.warning("%s; looking for the file", error)
                answer, lost = self._looked(error, made), error
                if answer is None and left == 0:
                    raise
            except APIStatusError as error:
                if lost is None:
                    raise
                # What was completed cannot be completed again, so it may have been.
                self._log.warning("%s; looking for the file", error)
                answer = self._looked(lost, made)
                if answer is None:
                    raise lost from error
            else:
                return answer or made()
            if answer is not None:
                return answer
        return None

    def _send_parts(self, upload_id: str, source: Source, progress: TransferLog) -> tuple[list[str], str]:
        """Send all parts; returns their ids and the MD5 of the whole, which is made on the way."""
        from airflow_containers.api import endpoints, models
        from airflow_containers.api.bodies import PartOfSource, WatchedSource

        client = self._client
        done = hashlib.md5(usedforsecurity=False)
        part_ids = []
        for start in range(0, source.size, models.MAX_PART_BYTES):
            size = min(models.MAX_PART_BYTES, source.size - start)
            counted = _Counted(done, start, progress)
            part = WatchedSource(PartOfSource(source, start, size, "upload"), counted.begin, counted.add)
            part_ids.append(client.send(endpoints.add_upload_part(upload_id, part)).id)
            done = counted.digest
        return part_ids, done.hexdigest()


class _Counted:
    """The checksum and the progress of one part, which may be sent several times."""

    def __init__(self, before: Any, start: int, progress: TransferLog) -> None:
        self.digest = before.copy()
        self._before = before
        self._start = self._at = start
        self._progress = progress

    def begin(self) -> None:
        self.digest = self._before.copy()
        self._at = self._start

    def add(self, piece: bytes) -> None:
        self.digest.update(piece)
        self._at += len(piece)
        self._progress.reached(self._at)


def _told(source: Source, progress: TransferLog) -> Source:
    from airflow_containers.api.bodies import WatchedSource

    return WatchedSource(source, progress.begin, progress.add)


def _same(path: str | None, name: str) -> bool:
    """Whether a path at the service is that of a file that was sent by a name."""
    return path is not None and container_paths.plain_name(path) == container_paths.plain_name(name)
