"""The operator that deletes what is left over."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._errors import InvalidTaskArgumentError, fail_if_final
from airflow_containers.operators._literals import check_id, is_dynamic

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_containers.sweeping import Sweep

_EXPECTED_PREFIX = "the start of a container's name, or None for every container of this package"
_EXPECTED_CONNECTION = "the id of an Airflow connection"


class SweepContainersOperator(BaseOperator):
    """Delete the containers of runs that are over.

    Lists the account's containers and looks at those whose names carry this package's owner token. A
    container is deleted when the DAG run that made it is over (failed or successful) or not in Airflow any
    more. One of a live run is never touched, and neither is one whose run Airflow gave no answer about. Where
    no run is proven, because the name had no room for the run's ids or another deployment made it,
    ``older_than`` decides.

    Lists refresh no idle clock, so a sweep keeps nothing alive. The requests keep to the connection's
    ``requests_per_minute``. The log has a line for each container, and the counts at the end; they are
    returned as well: ``listed``, ``found``, ``due``, ``deleted``, ``minutes``, ``cost`` (a text such as
    ``$0.1875``), at most 100 ``container_ids``, and more.

    :param prefix: only containers whose names start so; ``None`` (default) for all of this package.
        (templated)
    :param older_than: age (a :class:`~datetime.timedelta`) above which a container is deleted whose run is
        not proven. ``None`` (default) leaves those alone. It has to be longer than the longest run of any
        deployment that shares the account.
    :param dry_run: ``True`` shows what would be deleted, and deletes nothing.
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = ("prefix", "conn_id")
    ui_color = "#f6e9e4"

    def __init__(
        self,
        *,
        prefix: str | None = None,
        older_than: timedelta | None = None,
        dry_run: bool = False,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix
        self.older_than = older_than
        # Airflow's operators have a method of the argument's name.
        self.is_dry_run = dry_run
        self.conn_id = conn_id
        limit: Any = older_than
        if limit is not None and not (isinstance(limit, timedelta) and limit > timedelta(0)):
            raise InvalidTaskArgumentError(
                f"Task {self.task_id!r}: older_than: got {older_than!r}, expected a timedelta above zero, "
                "such as timedelta(hours=6), or None"
            )
        given: Any = dry_run
        if not isinstance(given, bool):
            raise InvalidTaskArgumentError(
                f"Task {self.task_id!r}: dry_run: got {dry_run!r}, expected True or False"
            )
        self._check(literal=True)

    @cached_property
    def hook(self) -> ContainerHook:
        """The hook for :attr:`conn_id`; it reads the connection on first use."""
        return ContainerHook(self.conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Sweep, and return the counts.

        :raises AirflowFailException: for what a retry cannot mend: a wrong argument, key or connection, and
            deletes that failed for such a reason.
        :raises ContainersError: for what it may mend: no connection, too many requests, an error of the
            service, and deletes that failed for such a reason. The other containers were swept all the same.
        """
        self._check()
        with fail_if_final(self.task_id), self.hook as hook:
            sweep = self._sweep(hook, context)
            try:
                sweep.run()
            finally:
                for line in sweep.summary.lines():
                    self.log.info("%s", line)
        if sweep.summary.failed:
            self._fail(sweep)
        return sweep.summary.to_json()

    def _sweep(self, hook: ContainerHook, context: Context) -> Sweep:
        from airflow_containers import identity, sweeping
        from airflow_containers.hooks import runs
        from airflow_containers.hooks.deployment import deployment_id

        ask = runs.ask_airflow()
        own_id = deployment_id()
        # The one run that is known to be live wherever the task runs is its own.
        live = frozenset({identity.run_hash(own_id, context["ti"].dag_id, context["ti"].run_id)})
        if ask is runs.ask_database:
            live |= runs.live_runs(own_id)
        rules = sweeping.Rules(own_id, prefix=self.prefix, older_than=self.older_than, live_runs=live)
        self.log.info(
            "Sweeping with connection %r: prefix %r, age limit %s%s",
            self.conn_id,
            self.prefix,
            self.older_than,
            ", dry run" if self.is_dry_run else "",
        )
        self.log.info("%s", sweeping.TABLE_HEAD)
        return sweeping.Sweep(
            list_page=lambda after: hook.list_containers(after=after, limit=sweeping.PAGE_SIZE, order="desc"),
            delete=hook.delete_container,
            runs=sweeping.RunStates(ask),
            rules=rules,
            dry_run=self.is_dry_run,
            report=lambda row: self.log.info("%s", row),
            pause=sweeping.Pacer(hook.get_options().requests_per_minute).wait,
        )

    def _fail(self, sweep: Sweep) -> None:
        from airflow_containers.sweeping import SweepIncompleteError

        errors = "; ".join(str(error) for error in sweep.failures)
        message = f"{sweep.summary.failed} of {sweep.summary.due} containers could not be deleted: {errors}"
        if any(error.retryable for error in sweep.failures):
            raise SweepIncompleteError(message)
        raise AirflowFailException(message)

    def _check(self, *, literal: bool = False) -> None:
        if self.prefix is not None and not (literal and is_dynamic(self.prefix)):
            check_id(self.task_id, "prefix", self.prefix, _EXPECTED_PREFIX)
        if not (literal and is_dynamic(self.conn_id)):
            check_id(self.task_id, "conn_id", self.conn_id, _EXPECTED_CONNECTION)
