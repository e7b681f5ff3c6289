"""The trigger that waits for files in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_containers.api.errors import ContainerGoneError
from airflow_containers.container_paths import select
from airflow_containers.triggers import _files
from airflow_containers.triggers._base import PatientTrigger

if TYPE_CHECKING:
    from airflow_containers.triggers._shared import SharedService


class ContainerFileTrigger(PatientTrigger):
    """Wait until a container has a file, or enough files that match a pattern. Each look touches it.

    The event has ``outcome``, ``container_id`` and ``message``; with ``met`` also ``paths`` and ``count``,
    with ``error`` also ``retryable``. Outcomes: ``met``, ``gone`` (the container is over), ``timeout`` and
    ``error``. Errors that may pass are tolerated for ten minutes on end.

    :param container_id: the container.
    :param conn_id: id of the connection to use.
    :param path: a path in the container, or a pattern.
    :param min_files: how many files are enough.
    :param interval: seconds between two looks.
    :param ends_at: when to end with ``timeout``, in seconds since 1970.
    """

    def __init__(
        self,
        *,
        container_id: str,
        conn_id: str,
        path: str,
        min_files: int,
        interval: float,
        ends_at: float,
    ) -> None:
        super().__init__(container_id=container_id, conn_id=conn_id, interval=interval, ends_at=ends_at)
        self.path = path
        self.min_files = min_files

    def arguments(self) -> dict[str, Any]:
        """Return the arguments beside those of the base class."""
        return {"path": self.path, "min_files": self.min_files, "interval": self.interval}

    async def _look(self, service: SharedService) -> dict[str, Any] | None:
        try:
            listed = await service.files(self.container_id, within=self.interval)
        except ContainerGoneError as error:
            return self._event("gone", _files.gone_message(self.container_id, self.path, error))
        found = select(listed, self.path)
        if len(found) < self.min_files:
            return None
        message = _files.found_message(self.container_id, self.path, len(found))
        return self._event("met", message, paths=_files.paths_to_tell(found), count=len(found))

    def _too_late(self) -> dict[str, Any]:
        return self._event("timeout", _files.late_message(self.container_id, self.path, self.min_files))
