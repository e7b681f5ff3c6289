"""Operators that put files into a container and take files out of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, BaseOperator

from airflow_containers.container_paths import shown
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.links import ContainerLink
from airflow_containers.operators._errors import fail_if_final
from airflow_containers.operators._file_arguments import (
    as_entries,
    as_target,
    as_texts,
    check_common,
    check_some_given,
    is_open,
)
from airflow_containers.operators._literals import without_path_objects

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_containers.api import ContainerFile
    from airflow_containers.operators._sources import Upload
    from airflow_containers.operators._targets import Download
    from airflow_containers.operators._transfers import Budget, Limits

IfNothingMatches = Literal["fail", "skip", "ignore"]
Entries = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

DEFAULT_MAX_FILES: Final = 1000
DEFAULT_MAX_BYTES: Final = 4 << 30
DEFAULT_PARALLEL: Final = 4

_UPLOAD_FIELDS = ("sources", "texts", "file_ids")
_DOWNLOAD_FIELDS = ("paths", "file_ids")
_SOURCE = (
    "the path of a file on the worker, a pattern such as 'data/*.csv', or a URL such as 's3://bucket/a.csv'"
)
_FILE_ID = "the id of a file of the Files API, such as 'file-123'"
_PATH = "a path in the container, such as 'report.csv', or a pattern such as 'out/*.csv'"
_CONTAINER_FILE_ID = "the id of a file in the container, such as 'cfile_123'"
_TAKE_BACK_WITHIN: Final = 600.0
_KILLED_TAKE_BACK_WITHIN: Final = 1.5
_LINES: Final = 20


class _FileOperator(BaseOperator):
    """What both have in common: the container, the limits, and an end when the task is killed."""

    operator_extra_links = (ContainerLink(),)
    ui_color = "#eef0e4"

    container_id: str
    max_files: int
    max_bytes: int
    if_nothing_matches: IfNothingMatches
    parallel: int
    conn_id: str
    _stopped: threading.Event | None = None
    _killed = False

    @cached_property
    def hook(self) -> ContainerHook:
        """The hook for :attr:`conn_id`; it reads the connection on first use."""
        return ContainerHook(self.conn_id)

    def on_kill(self) -> None:
        """Begin no further transfer, and end those under way at their next piece."""
        # Airflow 3 lets a task go on after this, and kills it 5 seconds later.
        self._killed = True
        if self._stopped is not None:
            self._stopped.set()

    def _begin(self, context: Context, hook: ContainerHook) -> threading.Event:
        """Prepare for a try, and read the connection in this thread, before others use it."""
        self._stopped = threading.Event()
        if self._killed:
            self._stopped.set()
        ContainerLink.persist(context, hook.dashboard_url(self.container_id))
        hook.get_conn()
        return self._stopped

    def _nothing(self, message: str) -> None:
        """Fail for a path or pattern that matches nothing, unless that was said to be fine."""
        from airflow_containers.operators._transfers import FileTransferError

        if self.if_nothing_matches == "fail":
            raise FileTransferError(f"{message}; if_nothing_matches='skip' or 'ignore' allows that")
        self.log.info("%s", message)

    def _check_found(self, found: Sequence[Any]) -> None:
        if not found and self.if_nothing_matches == "skip":
            raise AirflowSkipException(f"Task {self.task_id!r}: there is no file to transfer")
        if not found:
            self._nothing("there is no file to transfer")

    def _tell(self, lines: Collection[str], what: str, seconds: float, size: int) -> None:
        from airflow_containers.operators._transfers import size_text

        for line in lines if len(lines) <= _LINES else ():
            self.log.info("%s", line)
        self.log.info("%s %d file(s), %s, in %.1f s", what, len(lines), size_text(size), seconds)


class UploadToContainerOperator(_FileOperator):
    """Put files into a container, and return where each of them is there.

    The service chooses the path: ``report.csv`` becomes ``/mnt/data/<32 hexadecimal digits>-report.csv``. So
    the result is a mapping of each file, as it is called in the arguments, to its path; a file that a
    pattern has found is called by its own path or URL. The XCom ``files`` has one mapping for each, with
    ``source``, ``id``, ``path`` and ``bytes``.

    All or nothing: everything is found and measured before the first byte is sent, and what a failed try has
    sent is deleted again, so a retry begins anew. The message names what could not be deleted. After a worker
    that died at once, files of that try may be left beside those of the next; the result has the right ones.

    Files are sent as they are read, from the disk or from the store, without being held in memory.

    :param container_id: the container's id, usually ``create.output``. (templated)
    :param sources: what to send: paths on the worker, patterns (``data/*.csv``, ``data/**/*.csv``), or URLs
        for Airflow's ``ObjectStoragePath`` (``s3://connection@bucket/key``), patterns among them where the
        store can list. A relative path begins at the folder of the DAG file. One, or a list. (templated)
    :param texts: files to write from the DAG itself, by name: a text is sent as it is, anything else as JSON.
        Airflow shows them in its UI, so no secrets. (templated)
    :param file_ids: ids of files of the Files API; the service copies them by itself. (templated)
    :param max_files: files at most (default 1000).
    :param max_bytes: bytes at most of all files together (default 4 GiB), without those of ``file_ids``,
        which do not come through the worker.
    :param if_nothing_matches: what to do with a source that matches no file: ``fail`` (default), ``skip`` the
        task if nothing is left to send, or ``ignore`` it.
    :param parallel: files sent at the same time, 1 to 32 (default 4). The task keeps to the connection's
        ``requests_per_minute``, with one request for each file.
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = ("container_id", *_UPLOAD_FIELDS, "conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(_UPLOAD_FIELDS, "json")

    def __init__(
        self,
        *,
        container_id: str,
        sources: Entries | None = None,
        texts: Mapping[str, Any] | str | None = None,
        file_ids: Sequence[str] | str | None = None,
        max_files: int = DEFAULT_MAX_FILES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        if_nothing_matches: IfNothingMatches = "fail",
        parallel: int = DEFAULT_PARALLEL,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.container_id = container_id
        self.sources = without_path_objects(sources)
        self.texts = texts
        self.file_ids = file_ids
        self.max_files = max_files
        self.max_bytes = max_bytes
        self.if_nothing_matches = if_nothing_matches
        self.parallel = parallel
        self.conn_id = conn_id
        check_common(self, literal=True)
        check_some_given(self, _UPLOAD_FIELDS)
        self._given(literal=True)

    def _given(self, *, literal: bool) -> tuple[list[str], dict[str, bytes], list[str]]:
        return (
            as_entries(self.task_id, "sources", self.sources, _SOURCE, literal=literal),
            as_texts(self.task_id, self.texts, literal=literal),
            as_entries(self.task_id, "file_ids", self.file_ids, _FILE_ID, literal=literal),
        )

    def execute(self, context: Context) -> dict[str, str | None]:
        """Send the files.

        :returns: the path in the container of each, by what the arguments call it.
        :raises AirflowFailException: for what a retry cannot mend: a wrong argument, key or connection, more
            than the limits allow, a container that is gone.
        :raises FileTransferError: for what it may mend: a source that is not there (yet), a store or a
            service that cannot be reached.
        """
        from airflow_containers.operators._sources import Sources
        from airflow_containers.operators._stores import report_lineage
        from airflow_containers.operators._transfers import Limits, named_errors

        ContainerLink.persist(context, None)
        check_common(self, literal=False)
        sources, texts, file_ids = self._given(literal=False)
        has_dag = self.has_dag()  # type: ignore[no-untyped-call, unused-ignore]
        folder = Path(self.dag.folder) if has_dag else Path.cwd()
        limits = Limits(self.max_files, self.max_bytes)
        with fail_if_final(self.task_id), named_errors(self.task_id), self.hook as hook:
            stopped = self._begin(context, hook)
            with Sources(limits, folder, stopped, self._nothing) as found:
                uploads = found.find(sources, texts, file_ids)
                self._check_found(uploads)
                files = self._send(hook, stopped, uploads)
        report_lineage(self, [location for upload in uploads if (location := upload.location)], [])
        sent = list(zip((upload.label for upload in uploads), files, strict=True))
        described = [
            {"source": label, "id": file.id, "path": file.path, "bytes": file.bytes} for label, file in sent
        ]
        context["ti"].xcom_push(key="files", value=described)
        return {label: file.path for label, file in sent}

    def _send(
        self, hook: ContainerHook, stopped: threading.Event, uploads: Sequence[Upload]
    ) -> list[ContainerFile]:
        from airflow_containers.operators._transfers import (
            Budget,
            TransferFailure,
            Transfers,
            failed_task,
            some,
        )

        budget = Budget(hook.get_options().requests_per_minute)

        def send(upload: Upload) -> ContainerFile:
            budget.turn(stopped)
            if upload.source is None:
                return hook.copy_file_into_container(self.container_id, upload.label)
            return hook.upload_container_file(self.container_id, upload.source)

        started = time.monotonic()
        transfers = Transfers(send, parallel=self.parallel, stopped=stopped)
        try:
            files = transfers.run(uploads)
            _check_paths(uploads, files)
        except BaseException as error:
            killed = self._killed or not isinstance(error, Exception)
            told = self._take_back(hook, budget, [file for _, file in transfers.done], killed=killed)
            before = some(f"{upload.label} ({shown(file.path or '')})" for upload, file in transfers.done)
            told = f"{len(transfers.done)} of {len(uploads)} files were sent before: {before or 'none'}{told}"
            if isinstance(error, TransferFailure):
                failed: Upload = error.item
                made = failed_task(failed.label, error, told)
                raise made from made.__cause__
            self.log.warning("%s", told)
            raise
        self._tell(
            [
                f"{upload.label} is at {shown(file.path or '')}"
                for upload, file in zip(uploads, files, strict=True)
            ],
            "Sent",
            time.monotonic() - started,
            sum(file.bytes or 0 for file in files),
        )
        return files

    def _take_back(
        self, hook: ContainerHook, budget: Budget, files: Sequence[ContainerFile], *, killed: bool
    ) -> str:
        """Delete what a failed try has sent, and say what is left."""
        from airflow_containers.api.errors import ContainerGoneError, NotFoundError
        from airflow_containers.operators._transfers import TransferFailure, Transfers, some

        given_up, gone = threading.Event(), threading.Event()

        def delete(file: ContainerFile) -> None:
            if not killed:
                budget.turn(given_up)
            try:
                hook.delete_container_file(self.container_id, file.id)
            except ContainerGoneError:
                gone.set()
                given_up.set()
            except NotFoundError:
                pass

        if not files:
            return ""
        timer = threading.Timer(_KILLED_TAKE_BACK_WITHIN if killed else _TAKE_BACK_WITHIN, given_up.set)
        timer.daemon = True
        timer.start()
        deletes = Transfers(delete, parallel=self.parallel, stopped=given_up)
        try:
            deletes.run(files)
        except TransferFailure as failure:
            if not gone.is_set():
                self.log.warning("Deleting what was sent has ended: %s", failure)
        finally:
            timer.cancel()
        if gone.is_set():
            return "; the container is gone, and they with it"
        deleted = {file.id for file, _ in deletes.done}
        left = [f"{shown(file.path or '')} ({file.id})" for file in files if file.id not in deleted]
        if not left:
            return "; they are deleted again"
        return f"; of these are still in the container, beside what a later try sends: {some(left)}"


class DownloadFromContainerOperator(_FileOperator):
    """Fetch files from a container, and return what was written.

    The result is a list with one mapping for each file: ``path`` in the container, ``id``, ``target`` (the
    path or URL it was written to), ``bytes`` and ``sha256``.

    A file is written under its plain name, without the prefix that the service puts in front, directly into
    ``target``, whatever its folder in the container is. Names from a container are not trusted: none leads
    out of the target, characters that some system refuses become ``_``, and of two that are the same, also in
    other capitals, the second gets a number (``report-2.csv``). A file that is there is replaced, so a retry
    writes the same names again; a link that is there is replaced as well, and never followed.

    Every file is complete or not there: it comes to a temporary file first, is checked, and is then moved in
    place. For a store the temporary file is on the worker, one for each parallel transfer, and is copied from
    there.

    :param container_id: the container's id, usually ``create.output``. (templated)
    :param paths: what to fetch: paths in the container or patterns (``*``, ``?``, ``[…]``, ``**``), matched
        against the plain name (and the service's digits only if the pattern begins with ``*-``, a ``?`` for
        each, or eight of them); relative ones begin at ``/mnt/data``. A path means the newest file there, a
        pattern all that match. One, or a list. (templated)
    :param file_ids: ids of files in the container (``cfile_…``). (templated)
    :param target: absolute path of a folder on the worker, made if it is not there, or a URL for Airflow's
        ``ObjectStoragePath`` (``s3://connection@bucket/folder``). (templated)
    :param max_files: files at most (default 1000).
    :param max_bytes: bytes at most of all files together (default 4 GiB); checked before the first byte for
        files whose size the service tells, and while they come for the others.
    :param if_nothing_matches: what to do with a path or pattern that matches no file: ``fail`` (default),
        ``skip`` the task if nothing is left to fetch, or ``ignore`` it.
    :param parallel: files fetched at the same time, 1 to 32 (default 4). The task keeps to the connection's
        ``requests_per_minute``, with one request for each file and one for each 100 in the list.
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = ("container_id", *_DOWNLOAD_FIELDS, "target", "conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(_DOWNLOAD_FIELDS, "json")

    def __init__(
        self,
        *,
        container_id: str,
        target: str | os.PathLike[str],
        paths: Sequence[str] | str | None = None,
        file_ids: Sequence[str] | str | None = None,
        max_files: int = DEFAULT_MAX_FILES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        if_nothing_matches: IfNothingMatches = "fail",
        parallel: int = DEFAULT_PARALLEL,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.container_id = container_id
        self.target = without_path_objects(target)
        self.paths = paths
        self.file_ids = file_ids
        self.max_files = max_files
        self.max_bytes = max_bytes
        self.if_nothing_matches = if_nothing_matches
        self.parallel = parallel
        self.conn_id = conn_id
        check_common(self, literal=True)
        check_some_given(self, _DOWNLOAD_FIELDS)
        self._given(literal=True)

    def _given(self, *, literal: bool) -> tuple[list[str], list[str], str]:
        target = "" if literal and is_open(self.target) else as_target(self.task_id, self.target)
        return (
            as_entries(self.task_id, "paths", self.paths, _PATH, literal=literal),
            as_entries(self.task_id, "file_ids", self.file_ids, _CONTAINER_FILE_ID, literal=literal),
            target,
        )

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Fetch the files.

        :returns: a mapping for each file that was written.
        :raises AirflowFailException: for what a retry cannot mend: a wrong argument, key or connection, more
            than the limits allow, a container that is gone, a listed file without content.
        :raises FileTransferError: for what it may mend: a file that is not there (yet), a full disk, a store
            or a service that cannot be reached.
        """
        from airflow_containers.operators._stores import report_lineage
        from airflow_containers.operators._targets import Target
        from airflow_containers.operators._transfers import Budget, Limits, named_errors

        ContainerLink.persist(context, None)
        check_common(self, literal=False)
        paths, file_ids, target = self._given(literal=False)
        limits = Limits(self.max_files, self.max_bytes)
        with fail_if_final(self.task_id), named_errors(self.task_id), self.hook as hook:
            stopped = self._begin(context, hook)
            budget = Budget(hook.get_options().requests_per_minute)
            downloads = self._choose(hook, lambda: budget.turn(stopped), limits, paths, file_ids)
            self._check_found(downloads)
            with Target(hook, self.container_id, target, limits=limits, stopped=stopped) as place:

                def take(download: Download) -> dict[str, Any]:
                    budget.turn(stopped)
                    return place.take(download)

                written = self._fetch(take, stopped, downloads)
        report_lineage(self, [], [entry["target"] for entry in written])
        return written

    def _choose(
        self,
        hook: ContainerHook,
        turn: Callable[[], None],
        limits: Limits,
        paths: Sequence[str],
        file_ids: Sequence[str],
    ) -> list[Download]:
        """Return the files to fetch, with the names they get, in the order of the arguments."""
        from airflow_containers.container_paths import is_pattern, local_name, select
        from airflow_containers.operators._targets import Download

        chosen: dict[str, ContainerFile] = {}
        if paths:
            listed = self._list(hook, turn)
            for path in paths:
                found = select(listed, path)
                if not found:
                    what = "matches no file" if is_pattern(path) else "is not there"
                    self._nothing(f"{path} {what} in container {self.container_id}, which has {len(listed)}")
                chosen.update({file.id: file for file in found})
        for file_id in file_ids:
            if file_id not in chosen:
                turn()
                chosen[file_id] = hook.retrieve_container_file(self.container_id, file_id)
        taken: set[str] = set()
        downloads = []
        for file in chosen.values():
            limits.add(shown(file.path or file.id), file.bytes or 0)
            downloads.append(Download(file, local_name(file.path or file.id, taken)))
        return downloads

    def _list(self, hook: ContainerHook, turn: Callable[[], None]) -> list[ContainerFile]:
        from airflow_containers.api.endpoints import MAX_PAGE_SIZE

        turn()
        listed = []
        for file in hook.iterate_container_files(self.container_id, order="desc"):
            listed.append(file)
            if len(listed) % MAX_PAGE_SIZE == 0:
                turn()
        return listed

    def _fetch(
        self,
        take: Callable[[Download], dict[str, Any]],
        stopped: threading.Event,
        downloads: Sequence[Download],
    ) -> list[dict[str, Any]]:
        from airflow_containers.operators._transfers import TransferFailure, Transfers, failed_task, some

        started = time.monotonic()
        transfers = Transfers(take, parallel=self.parallel, stopped=stopped)
        try:
            written = transfers.run(downloads)
        except BaseException as error:
            names = some(entry["target"] for _, entry in transfers.done) or "none"
            told = f"{len(transfers.done)} of {len(downloads)} files were written, each complete: {names}"
            if isinstance(error, TransferFailure):
                failed: Download = error.item
                made = failed_task(shown(failed.file.path or failed.file.id), error, told)
                raise made from made.__cause__
            self.log.warning("%s", told)
            raise
        self._tell(
            [f"{shown(entry['path'] or entry['id'])} is at {entry['target']}" for entry in written],
            "Fetched",
            time.monotonic() - started,
            sum(entry["bytes"] for entry in written),
        )
        return written


def _check_paths(uploads: Sequence[Upload], files: Sequence[ContainerFile]) -> None:
    """Check that no file has taken the place of another."""
    seen: dict[str, str] = {}
    for upload, file in zip(uploads, files, strict=True):
        if file.path is None:
            continue
        if file.path in seen:
            raise AirflowFailException(
                f"the service has put {seen[file.path]} and {upload.label} at the same path {file.path}; "
                "give them names of their own"
            )
        seen[file.path] = upload.label
