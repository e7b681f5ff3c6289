"""What the file system asks the service, and the list of files that it keeps during one call."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from airflow_containers import container_paths
from airflow_containers.filesystems import _errors
from airflow_containers.filesystems._tree import FileTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_containers.api.bodies import Source
    from airflow_containers.api.models import ContainerFile
    from airflow_containers.hooks.container import ContainerHook

ResultT = TypeVar("ResultT")


class Service:
    """The files of containers by way of one connection, for several threads, and on both sides of a fork.

    :param conn_id: id of the connection; ``None`` for the default. It is read on first use.
    """

    def __init__(self, conn_id: str | None) -> None:
        self._conn_id = conn_id
        self._hook: ContainerHook | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._kept = threading.local()

    def hook(self) -> ContainerHook:
        """Return the hook of the connection, with a client of this process."""
        from airflow_containers.hooks.container import ContainerHook

        if self._pid != os.getpid():
            # The parent may have been holding the lock at the time of the fork.
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            if self._hook is None:
                self._hook = ContainerHook(self._conn_id or ContainerHook.default_conn_name)
            # Under the lock, so that two threads do not make a client each.
            self._hook.get_conn()
        return self._hook

    def call(self, path: str, call: Callable[[ContainerHook], ResultT]) -> ResultT:
        """Ask the service.

        :param path: the path that is worked with, for the text of an error.
        :raises FileNotFoundError: if the file or the container is not there.
        """
        from airflow_containers.filesystems._gone import file_errors

        with file_errors(path):
            return call(self.hook())

    def tree(self, container_id: str) -> FileTree:
        """Return the files of a container, as the service lists them."""
        kept: dict[str, FileTree] | None = getattr(self._kept, "trees", None)
        if kept is not None and container_id in kept:
            return kept[container_id]
        tree = self.call(
            container_id, lambda hook: FileTree(container_id, hook.iterate_container_files(container_id))
        )
        if kept is not None:
            kept[container_id] = tree
        return tree

    @contextmanager
    def one_list(self) -> Iterator[None]:
        """Ask for the list of each container once in this block and thread, and keep it up to date."""
        if getattr(self._kept, "trees", None) is not None:
            yield
            return
        self._kept.trees = {}
        try:
            yield
        finally:
            self._kept.trees = None

    def file(self, container_id: str, path: str) -> ContainerFile:
        """Return the file that is at a path, or was written as it.

        :raises FileNotFoundError: if there is none.
        :raises IsADirectoryError: if it is a folder.
        """
        tree = self.tree(container_id)
        file = tree.find(path)
        if file is None:
            full = container_id + path
            raise _errors.is_folder(full) if tree.is_folder(path) else _errors.missing(full)
        return file

    def check_target(self, container_id: str, path: str, *, exclusive: bool) -> None:
        """Check that a path can be written to, before anything is kept or sent.

        :param exclusive: whether there must be no such file.
        """
        tree = self.tree(container_id)
        old = tree.find(path)
        full = container_id + path
        if old is None and tree.is_folder(path):
            raise _errors.is_folder(full)
        if old is not None and exclusive:
            raise _errors.is_there(full, "file")
        folder, _, name = path.rpartition("/")
        if folder != container_paths.ROOT:
            root = container_id + container_paths.ROOT
            _errors.refuse(
                f"{full} cannot be written: the service puts what is sent to it directly into "
                f"{container_paths.ROOT}",
                f"Write to {root}/{name}; for a tree of folders send an archive, and unpack it with a "
                "command in the container",
            )

    def upload(self, container_id: str, path: str, source: Source, *, exclusive: bool = False) -> None:
        """Upload, and then delete what was found by that path before.

        :raises OSError: if the service has put the file where its name does not lead.
        """
        self.check_target(container_id, path, exclusive=exclusive)
        full = container_id + path
        tree = self.tree(container_id)
        old = tree.all_at(path)
        file = self.call(full, lambda hook: hook.upload_container_file(container_id, source))
        if container_paths.find([file], path) is None:
            raise OSError(
                f"{full} was uploaded, and the service has put it at {file.path!r} ({file.id}), where it is "
                "not found by that name. What was there before is still there"
            )
        tree.add(file)
        for each in old:
            self.delete(container_id, each)
            tree.discard(each.id)

    def delete_at(self, container_id: str, path: str) -> None:
        """Delete what is at a path or, if nothing is, every file that was written as it.

        :raises FileNotFoundError: if there is none.
        """
        tree = self.tree(container_id)
        files = tree.meant_by(path)
        if not files:
            raise _errors.missing(container_id + path)
        for file in files:
            self.delete(container_id, file)
            tree.discard(file.id)

    def delete(self, container_id: str, file: ContainerFile) -> None:
        """Delete a file. One that is gone already is fine; a container that is gone is not."""
        from airflow_containers.filesystems._gone import ContainerMissingError

        path = f"{container_id}{file.path or file.id}"
        try:
            self.call(path, lambda hook: hook.delete_container_file(container_id, file.id))
        except ContainerMissingError:
            raise
        except FileNotFoundError:
            pass
