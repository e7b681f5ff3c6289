"""What the API has no call for: each is refused with the reason, and with what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from airflow_containers import container_paths
from airflow_containers.filesystems._errors import is_there, missing, refuse

if TYPE_CHECKING:
    from airflow_containers.filesystems._service import Service


class Refusals(AbstractFileSystem):  # type: ignore[misc]
    """The operations of a file system that a container does not have."""

    _service: Service

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:  # noqa: ARG002 - fsspec's
        """Refuse to make a folder.

        :raises FileExistsError: if it is there, as fsspec wants it.
        :raises NotImplementedError: if it is not.
        """
        self.makedirs(path, exist_ok=False)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        """Do nothing if the folder is there; a new one cannot be made.

        :raises FileExistsError: if it is there and ``exist_ok`` is not given, or if it is a file.
        :raises NotImplementedError: if it is not there.
        :raises FileNotFoundError: if the container is gone.
        """
        container_id, inner = self._split(path)
        info = self._service.tree(container_id).info(inner)
        if info is None:
            root = container_id + container_paths.ROOT
            refuse(
                f"{container_id}{inner} cannot be made: the service knows no empty folders, and puts what is "
                f"sent to it directly into {container_paths.ROOT}",
                f"Write files to {root}, or make folders with a command in the container",
            )
        if not exist_ok or info["type"] == "file":
            raise is_there(f"{container_id}{inner}", info["type"])

    def rmdir(self, path: Any) -> None:
        """Refuse to delete a folder: it is there as long as a file is in it.

        :raises NotImplementedError: if it is there.
        :raises FileNotFoundError: if it is not.
        """
        container_id, inner = self._split(path)
        if not self.isdir(path):
            raise missing(f"{container_id}{inner}")
        refuse(
            f"{container_id}{inner} cannot be deleted: a folder is there as long as a file is in it",
            "Delete the files in it, with rm(path, recursive=True)",
        )

    def mv(self, path1: Any, path2: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - fsspec's
        """Refuse to rename.

        :raises NotImplementedError: always.
        """
        refuse(
            f"{path1} cannot be renamed or moved: the service has no call for it",
            "Copy it and delete the original, or do it with a command in the container",
        )

    def rename(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Refuse to rename; see :meth:`mv`."""
        self.mv(path1, path2, **kwargs)

    def move(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Refuse to move; see :meth:`mv`."""
        self.mv(path1, path2, **kwargs)

    def touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        """Upload an empty file.

        :raises NotImplementedError: to change the time of a file that is there (``truncate=False``).
        """
        if not truncate and self.exists(path):
            refuse(f"The time of {path} cannot be set: the service sets it", "Write the file anew")
        self.pipe_file(path, b"", **kwargs)

    def sign(self, path: Any, expiration: int = 100, **kwargs: Any) -> str:  # noqa: ARG002 - fsspec's
        """Refuse to make a URL that works without the key.

        :raises NotImplementedError: always.
        """
        refuse(
            f"There is no signed URL of {path}: the service gives contents only to who has the API key",
            "Copy the file to a store that can sign",
        )

    def _split(self, path: Any) -> tuple[str, str]:
        raise NotImplementedError
