"""The files of one container as a tree of folders, made from one list of the service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_containers import container_paths

if TYPE_CHECKING:
    from airflow_containers.api.models import ContainerFile

_ALWAYS_THERE = frozenset({"/", "/mnt", container_paths.ROOT})


class FileTree:
    """The files of one container by their paths; folders are what the paths imply.

    A path is as the service gives it, from ``/`` on. A file whose path is none (null, or with empty parts,
    dots or a NUL byte in it, which may lead anywhere once it is joined to another) is at ``/<file id>``.

    :param container_id: the container.
    :param files: what the service lists, newest first.
    """

    def __init__(self, container_id: str, files: Iterable[ContainerFile]) -> None:
        self.container_id = container_id
        self._files = {file.id: file for file in files}
        self._index: tuple[dict[str, ContainerFile], dict[str, set[str]]] | None = None

    def add(self, file: ContainerFile) -> None:
        """Take in a file that was made since the list."""
        # The newest comes first, as in a list of the service.
        self._files = {file.id: file, **self._files}
        self._index = None

    def discard(self, file_id: str) -> None:
        """Forget a file that was deleted since the list."""
        self._files.pop(file_id, None)
        self._index = None

    def find(self, path: str) -> ContainerFile | None:
        """Return the file that is at a path, or was written as it: the newest if there are several."""
        exact = self._by_path.get(path)
        return exact or container_paths.find(self._files.values(), path)

    def all_at(self, path: str) -> list[ContainerFile]:
        """Return every file that is at a path or was written as it.

        For a path that the service made, with 32 digits before the name, it is the one file there.
        """
        return [
            file
            for file in self._files.values()
            if address(file) == path or (file.path and container_paths.plain_path(file.path) == path)
        ]

    def meant_by(self, path: str) -> list[ContainerFile]:
        """Return what goes when a path is deleted: what is exactly there, else all that was written as it."""
        found = self.all_at(path)
        return [file for file in found if address(file) == path] or found

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder: on the way to a file, or one that is always there."""
        return path in self._folders

    def info(self, path: str) -> dict[str, Any] | None:
        """Return what fsspec calls the info of a file or folder; ``None`` if there is neither."""
        file = self.find(path)
        if file is not None:
            return self._file_info(file)
        return self._folder_info(path) if self.is_folder(path) else None

    def children(self, path: str) -> list[dict[str, Any]]:
        """Return the infos of what is directly in a folder, by name."""
        infos = [self._info_of_address(name) for name in self._folders.get(path, ())]
        return sorted(infos, key=lambda info: str(info["name"]))

    def below(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the infos of a folder and of everything below it."""
        prefix = path.rstrip("/") + "/"
        for folder in self._folders:
            if folder == path or folder.startswith(prefix):
                yield self._folder_info(folder)
        for name, file in self._by_path.items():
            if name.startswith(prefix):
                yield self._file_info(file)

    def full(self, path: str) -> str:
        """Return a path of the container as one of the file system."""
        return self.container_id + path.rstrip("/")

    @property
    def _by_path(self) -> dict[str, ContainerFile]:
        return self._indexed()[0]

    @property
    def _folders(self) -> dict[str, set[str]]:
        """The paths that are directly in each folder, by its path."""
        return self._indexed()[1]

    def _indexed(self) -> tuple[dict[str, ContainerFile], dict[str, set[str]]]:
        if self._index is None:
            files: dict[str, ContainerFile] = {}
            folders: dict[str, set[str]] = {path: set() for path in _ALWAYS_THERE}
            for file in self._files.values():
                known = files.get(address(file))
                if known is None or (file.created_at or 0) > (known.created_at or 0):
                    files[address(file)] = file
            for path in (*_ALWAYS_THERE, *files):
                child = path
                while child != "/":
                    parent = child.rpartition("/")[0] or "/"
                    folders.setdefault(parent, set()).add(child)
                    child = parent
            self._index = files, folders
        return self._index

    def _info_of_address(self, path: str) -> dict[str, Any]:
        file = self._by_path.get(path)
        return self._folder_info(path) if file is None else self._file_info(file)

    def _folder_info(self, path: str) -> dict[str, Any]:
        return {"name": self.full(path), "size": 0, "type": "directory"}

    def _file_info(self, file: ContainerFile) -> dict[str, Any]:
        path = address(file)
        return {
            "name": self.full(path),
            "size": file.bytes,
            "type": "file",
            "plain_name": container_paths.plain_name(path),
            # The service has one time only. No command in a container is known to change it.
            "created": file.created_at,
            "mtime": file.created_at or 0,
            "ino": file.id,
            "source": file.source,
        }


def address(file: ContainerFile) -> str:
    """Return a file's path in the tree: the service's, or ``/<file id>`` if that is none."""
    return file.path if file.path is not None and _is_normal(file.path) else f"/{file.id}"


def _is_normal(path: str) -> bool:
    parts = path.split("/")
    return (
        len(parts) > 1 and not parts[0] and "\0" not in path and not {"", ".", ".."}.intersection(parts[1:])
    )
