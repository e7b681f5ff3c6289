"""The sensor that waits for files in a container."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._errors import InvalidTaskArgumentError, fail_if_final
from airflow_containers.operators._literals import check_container_id, check_id, is_dynamic
from airflow_containers.sensors._skips import reasons_told

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_BACKSTOP = timedelta(minutes=10)
_EXPECTED_CONNECTION = "the id of an Airflow connection"
_EXPECTED_PATH = "a path in the container, such as 'report.csv', or a pattern such as 'out/*.csv'"
_MAX_FILES = 1_000_000


class ContainerFileSensor(BaseSensorOperator):
    """Wait until a container has a file, or enough files that match a pattern, and return their paths.

    Each look lists the container's files, which is an operation on it: **the sensor keeps the container
    alive** for as long as it waits, and for its idle time after that. Its ``poke_interval`` has to be shorter
    than the idle time.

    A container that is gone fails the task at once: waiting cannot help.

    A file that is listed may still be written to. Let the program in the container write to another name,
    and rename the file when it is whole.

    :param container_id: the container's id, usually ``create.output``. (templated)
    :param path: a path in the container or a pattern (``*``, ``?``, ``[…]``, ``**``), matched as by
        :class:`~airflow_containers.operators.files.DownloadFromContainerOperator`: against the name without
        the prefix that the service puts in front of uploads; a relative one begins at ``/mnt/data``.
        (templated)
    :param min_files: how many files are enough; more than 1 (default) only with a pattern. Files that were
        there before count as well.
    :param deferrable: wait in the triggerer, without holding a worker. Default: Airflow's
        ``[operators] default_deferrable``.
    :param conn_id: the connection to use. (templated)
    :param kwargs: those of Airflow's sensors: ``poke_interval`` (seconds, default 60), ``timeout``
        (seconds), ``mode``, ``soft_fail``. ``exponential_backoff`` does not go with ``deferrable``.
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = ("container_id", "path", "conn_id")
    ui_color = "#eaf0f8"

    def __init__(
        self,
        *,
        container_id: str,
        path: str,
        min_files: int = 1,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.container_id = container_id
        self.path = path
        self.min_files = min_files
        self.deferrable = deferrable
        self.conn_id = conn_id
        if type(min_files) is not int or not 1 <= min_files <= _MAX_FILES:
            self._refuse("min_files", min_files, f"an integer from 1 to {_MAX_FILES}; it takes no template")
        if not isinstance(deferrable, bool):
            self._refuse("deferrable", deferrable, "True or False")
        if deferrable and self.exponential_backoff:
            self._refuse("exponential_backoff", True, "False with deferrable=True, which looks at even pace")
        self._check(literal=True)

    def _refuse(self, field: str, value: Any, expected: str) -> NoReturn:
        from airflow_containers.api.validation import quoted

        raise InvalidTaskArgumentError(
            f"Task {self.task_id!r}: {field}: got {quoted(value)}, expected {expected}"
        )

    def _check(self, *, literal: bool = False) -> None:
        """Check the templated fields; as they were written, or as they were rendered."""
        if not literal or not is_dynamic(self.container_id):
            check_container_id(self.task_id, self.container_id)
        if not literal or not is_dynamic(self.conn_id):
            check_id(self.task_id, "conn_id", self.conn_id, _EXPECTED_CONNECTION)
        if literal and is_dynamic(self.path):
            return
        check_id(self.task_id, "path", self.path, _EXPECTED_PATH)
        from airflow_containers.container_paths import is_pattern

        if self.min_files > 1 and not is_pattern(self.path):
            self._refuse(
                "min_files", self.min_files, f"1: path={self.path!r} is no pattern and means one file"
            )

    def execute(self, context: Context) -> Any:
        """Look until the files are there, or leave that to the triggerer.

        :returns: their paths in the container.
        :raises AirflowFailException: if the container is gone, or for what a retry cannot mend.
        :raises AirflowSensorTimeout: if they do not come in time.
        """
        if not self.deferrable:
            return super().execute(context)
        started_at = time.time()
        try:
            found = self._first_look()
        except AirflowFailException as error:
            if self.soft_fail or getattr(self, "never_fail", False):
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise
        if found is None:
            self._defer(started_at)
        return found

    def _defer(self, started_at: float) -> NoReturn:
        from airflow_containers.triggers.container_file import ContainerFileTrigger

        self.defer(
            trigger=ContainerFileTrigger(
                container_id=self.container_id,
                conn_id=self.conn_id,
                path=self.path,
                min_files=self.min_files,
                interval=self.poke_interval,
                ends_at=started_at + self.timeout,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + _BACKSTOP,
        )

    def poke(self, context: Context) -> bool | PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """Look once.

        :raises AirflowFailException: if the container is gone.
        """
        with reasons_told(self):
            self._check()
            found = self._look()
        return PokeReturnValue(is_done=True, xcom_value=found) if found is not None else False

    def execute_complete(
        self,
        context: Context,  # noqa: ARG002 - Airflow's signature
        event: Mapping[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002 - what a later version may hand over
    ) -> Any:
        """End as the trigger's event says.

        :returns: the paths in the container.
        :raises AirflowSensorTimeout: if the files did not come in time.
        :raises AirflowFailException: if the container is gone, or for an error that would come again.
        :raises AirflowException: for an error that a retry may mend.
        """
        event = event or {"outcome": "error", "message": "the trigger fired no event", "retryable": True}
        outcome, message = event.get("outcome"), f"Task {self.task_id!r}: {event.get('message')}"
        if outcome == "met":
            return self._told(event["paths"], event["count"])
        with reasons_told(self):
            if outcome == "timeout":
                raise AirflowSensorTimeout(message)
            if outcome == "error" and event.get("retryable", True):
                raise AirflowException(message)
            raise AirflowFailException(message)

    def _first_look(self) -> list[str] | None:
        """Look once before deferring; an error that may pass is left to the trigger."""
        from airflow_containers.api.errors import ContainersError

        self._check()
        try:
            return self._look()
        except ContainersError as error:
            self.log.warning("%s; the triggerer looks again", error)
            return None

    def _look(self) -> list[str] | None:
        """Return the paths that were awaited, or ``None`` if there are not enough."""
        from airflow_containers.api.errors import ContainerGoneError
        from airflow_containers.container_paths import select
        from airflow_containers.triggers import _files

        with fail_if_final(self.task_id), ContainerHook(self.conn_id) as hook:
            try:
                listed = list(hook.iterate_container_files(self.container_id, order="desc"))
            except ContainerGoneError as error:
                message = _files.gone_message(self.container_id, self.path, error)
                raise AirflowFailException(f"Task {self.task_id!r}: {message}") from None
        found = select(listed, self.path)
        if len(found) < self.min_files:
            self.log.info(
                "Container %s: %d of %d files for %r",
                self.container_id,
                len(found),
                self.min_files,
                self.path,
            )
            return None
        return self._told(_files.paths_to_tell(found), len(found))

    def _told(self, paths: list[str], count: int) -> list[str]:
        self.log.info("Container %s has %d files for %r", self.container_id, count, self.path)
        if len(paths) < count:
            self.log.warning("Their paths are long, so only the first %d of them are returned", len(paths))
        return paths
