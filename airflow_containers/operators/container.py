"""Operators that create and delete containers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.links import ContainerLink
from airflow_containers.operators._errors import fail_if_final
from airflow_containers.operators._literals import (
    DEFAULT_VISIBILITY_TIMEOUT,
    check_container_id,
    check_create_fields,
    check_id,
    check_when_expanded,
    is_dynamic,
    without_path_objects,
)
from airflow_containers.operators._skill_folders import SkillPacker
from airflow_containers.operators._task_state import make_plan, rememberer

if TYPE_CHECKING:
    from types import TracebackType

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_containers.api import CreateContainerRequest
    from airflow_containers.arguments import SkillPack
    from airflow_containers.creation import OnRetry
    from airflow_containers.hooks._creation import ContainerCreation

CREATE_FIELDS = (
    "name",
    "domains",
    "domain_secrets",
    "skills",
    "file_ids",
    "memory_limit",
    "expires_after",
)
"""The fields of :class:`CreateContainerOperator` that make up the request; all of them are templates."""

_CHECKED_FIELDS = (*CREATE_FIELDS, "unique_name", "on_retry", "visibility_timeout")
_SHARED_ARGUMENTS = ("conn_id", "dag", "default_args", "executor", "pool", "queue", "task_group")
_DELETE_ARGUMENTS = {"retries": 3, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": True}
_EXPECTED_CONNECTION = "the id of an Airflow connection"


class CreateContainerOperator(BaseOperator):
    """Create a container and return its id.

    The id is pushed to XCom as ``return_value``, the service's whole answer as ``container``. Literal
    arguments are checked when the DAG is parsed, templates when they are rendered, and everything before the
    request is sent. A list field also takes a template that renders to a JSON list or a Python list literal.

    :param name: name of the container, up to 232 printable characters (256 with ``unique_name=False``);
        made from the ids of dag, task and run if ``None``. (templated)
    :param domains: host names the container may reach. ``None`` (default) sends no network policy, which
        means no network; ``[]`` asks for no network explicitly; a list allows exactly its hosts.
        (templated)
    :param domain_secrets: secrets that the network layer puts into requests to one of ``domains``, by
        reference: ``{"domain", "name", "conn_id"[, "field"]}`` for a connection's password or another part
        of it, ``{"domain", "name", "variable"}``, or ``{"domain", "name", "env"}``. ``name`` is the
        environment variable that holds a placeholder inside the container. A literal ``value`` is taken
        as :class:`pydantic.SecretStr` only. (templated)
    :param skills: ids (``"skill_123"``, ``"skill_123@2"``, ``"skill_123@latest"``), folders
        (``{"path": "skills/report"}``, relative to the DAG file) that are packed and sent along, or mappings
        in the API's shape. A folder that is named literally is looked at while the DAG is parsed. (templated)
    :param file_ids: ids of files of the Files API to copy into the container. (templated)
    :param memory_limit: ``1g`` (the service's default), ``4g``, ``16g`` or ``64g``. (templated)
    :param expires_after: idle minutes (1 to 20) after which the container ends, a
        :class:`~datetime.timedelta` of whole minutes, or ``{"minutes": …}``; the service uses 20 if
        ``None``. (templated)
    :param unique_name: append the ids of the run and a short owner token to the name, the same for every try
        of this task instance and different for everything else; ``False`` sends the name exactly as rendered.
        Without the token nothing is taken over by its name: a lost answer fails the task, and its container
        stays until its idle time is over.
    :param on_retry: what a later try does with a container of an earlier one that is alive, was asked for in
        the same way and can have been used by nobody: ``adopt`` it (default), or ``recreate`` it. Every other
        container of the task instance is deleted. A rendered ``name`` should be the same for each try.
    :param visibility_timeout: seconds, or a :class:`~datetime.timedelta`, after which a container that is in
        no list of the service is taken not to exist (0 to 600, default 30). So long does a task look for it
        after a lost answer, before it sends the request again.
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if an argument is wrong; such a task is not retried.
    """

    template_fields: Collection[str] = (*CREATE_FIELDS, "conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "domains": "json",
        "domain_secrets": "json",
        "skills": "json",
        "file_ids": "json",
        "expires_after": "json",
    }
    operator_extra_links = (ContainerLink(),)
    ui_color = "#e8f4ee"
    _creation: ContainerCreation | None = None
    _killed = False

    def __init__(
        self,
        *,
        name: str | None = None,
        domains: Sequence[str] | str | None = None,
        domain_secrets: Sequence[Mapping[str, Any]] | str | None = None,
        skills: Sequence[str | Mapping[str, Any]] | str | None = None,
        file_ids: Sequence[str] | str | None = None,
        memory_limit: str | None = None,
        expires_after: int | str | timedelta | Mapping[str, Any] | None = None,
        unique_name: bool = True,
        on_retry: OnRetry = "adopt",
        visibility_timeout: float | timedelta = DEFAULT_VISIBILITY_TIMEOUT,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.domains = domains
        self.domain_secrets = domain_secrets
        self.skills = without_path_objects(skills)
        self.file_ids = file_ids
        self.memory_limit = memory_limit
        self.expires_after = expires_after
        self.unique_name = unique_name
        self.on_retry = on_retry
        self.visibility_timeout = visibility_timeout
        self.conn_id = conn_id
        checked = {field: getattr(self, field) for field in _CHECKED_FIELDS}
        check_create_fields(self.task_id, checked, self.get_dag())
        _check_connection(self, literal=True)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Return a partial task to ``expand``; literals are checked here and in ``expand``."""
        given = {field: kwargs[field] for field in _CHECKED_FIELDS if field in kwargs}
        check_create_fields(str(kwargs.get("task_id")), given)
        return check_when_expanded(super().partial(**kwargs), _CHECKED_FIELDS)

    @cached_property
    def hook(self) -> ContainerHook:
        """The hook for :attr:`conn_id`; it reads the connection on first use."""
        return ContainerHook(self.conn_id)

    def execute(self, context: Context) -> str:
        """Create the container, or take over that of an earlier try, and return its id.

        :raises AirflowFailException: for what a retry cannot mend: a wrong argument, key or connection, a
            request that the service refuses, a spent quota.
        :raises ContainersError: for what it may mend: no connection, too many requests, an error of the
            service, and :class:`~airflow_containers.api.AmbiguousCreateError`.
        """
        from airflow_containers.api.errors import ContainersError

        ContainerLink.persist(context, None)
        _check_connection(self)
        with (
            fail_if_final(self.task_id),
            SkillPacker(self.get_dag(), self.log) as pack,
            self.hook as hook,
        ):
            request = self.build_request(context, pack)
            self.log.info(
                "Creating container %r with connection %r: %s", request.name, self.conn_id, _summary(request)
            )
            plan = make_plan(
                context,
                request,
                unique=self.unique_name,
                on_retry=self.on_retry,
                patience=_seconds(self.visibility_timeout),
            )
            creation = self._creation = hook.creation(plan, rememberer(context), log=self.log)
            try:
                if self._killed:
                    creation.abandon()
                container = creation.run()
                context["ti"].xcom_push(key="container", value=container.to_json())
                ContainerLink.persist(context, hook.dashboard_url(container.id))
                creation.hand_over()
            except BaseException as error:
                from airflow_containers.hooks._creation import KILL_PATIENCE

                # The protocol's own errors come after its own look; a time-out comes in the middle of it.
                looked = isinstance(error, ContainersError)
                creation.abandon(patience=0.0 if looked else KILL_PATIENCE)
                raise
            self.log.info("Container %s is ready (status %s)", container.id, container.status)
        return container.id

    def on_kill(self) -> None:
        """Delete what this try has made and not handed over; a worker gives about 5 seconds for that."""
        # Airflow 3 lets a task go on after this, and kills it 5 seconds later.
        self._killed = True
        if self._creation is not None:
            from airflow_containers.hooks._creation import KILL_PATIENCE

            self._creation.abandon(patience=KILL_PATIENCE)

    def build_request(self, context: Context, pack: SkillPack | None = None) -> CreateContainerRequest:
        """Return the request for the rendered fields; looks the values of domain secrets up.

        :param pack: makes an inline skill of a folder that ``skills`` names.
        """
        from airflow_containers import identity
        from airflow_containers.arguments import build_request, parse_references, stand_in_secrets
        from airflow_containers.hooks.deployment import deployment_id
        from airflow_containers.hooks.domain_secrets import resolve_domain_secrets

        fields = {field: getattr(self, field) for field in CREATE_FIELDS}
        ti = context["ti"]
        owner = None
        if self.unique_name:
            owner = identity.Owner(
                deployment_id=deployment_id(),
                dag_id=ti.dag_id,
                run_id=ti.run_id,
                task_id=ti.task_id,
                map_index=-1 if ti.map_index is None else ti.map_index,
            )
        if self.name is None:
            fields["name"] = identity.default_name(
                dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, owned=self.unique_name
            )
        references = parse_references(fields.pop("domain_secrets"))
        # Everything else is checked first: a wrong field should not cost a look-up in a secrets backend.
        request = build_request(**fields, owner=owner, domain_secrets=stand_in_secrets(references), pack=pack)
        if not references:
            return request
        secrets = resolve_domain_secrets(references)
        return build_request(**fields, owner=owner, domain_secrets=secrets, pack=pack)


class DeleteContainerOperator(BaseOperator):
    """Delete a container and everything in it, and look whether it is gone.

    One that is gone already counts as deleted. What may pass is tried again: by the connection's retries, by
    a few more deletes if the container is still there, and then by the task's own retries.

    Usable as a teardown: ``delete.as_teardown(setups=create)`` runs it whenever ``create`` succeeded,
    whatever became of the tasks between them.

    :param container_id: the container's id, usually ``create.output``. (templated)
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if there is no id, as when the XCom of the create task is missing.
    """

    template_fields: Collection[str] = ("container_id", "conn_id")
    operator_extra_links = (ContainerLink(),)
    ui_color = "#f6e9e4"

    def __init__(
        self,
        *,
        container_id: str,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.container_id = container_id
        self.conn_id = conn_id
        if not is_dynamic(container_id):
            check_container_id(self.task_id, container_id)
        _check_connection(self, literal=True)

    @cached_property
    def hook(self) -> ContainerHook:
        """The hook for :attr:`conn_id`; it reads the connection on first use."""
        return ContainerHook(self.conn_id)

    def execute(self, context: Context) -> None:
        """Delete the container.

        :raises AirflowFailException: for what a retry cannot mend: no id, a wrong key or connection.
        :raises ContainersError: for what it may mend: no connection, too many requests, an error of the
            service.
        """
        ContainerLink.persist(context, None)
        container_id = self.container_id
        check_container_id(self.task_id, container_id)
        _check_connection(self)
        with fail_if_final(self.task_id), self.hook as hook:
            ContainerLink.persist(context, hook.dashboard_url(container_id))
            if hook.end_container(container_id):
                self.log.info("Deleted container %s, and made sure that it is gone", container_id)
            else:
                self.log.info("Container %s is gone already", container_id)


class ContainerScope:
    """The tasks of one container, as :func:`container` makes them.

    As a context manager it puts the tasks that are made inside between the two, and gives them the id.

    :param create: the setup task.
    :param delete: the teardown task.
    """

    def __init__(self, create: CreateContainerOperator, delete: DeleteContainerOperator) -> None:
        self.create = create
        self.delete = delete

    @property
    def container_id(self) -> XComArg:
        """The id of the container, for the tasks that work with it."""
        return self.create.output

    def __enter__(self) -> XComArg:
        self.delete.__enter__()  # type: ignore[no-untyped-call, unused-ignore]
        return self.container_id

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete.__exit__(kind, error, trace)  # type: ignore[no-untyped-call, unused-ignore]


def container(
    task_id: str = "container",
    *,
    on_failure_fail_dagrun: bool = False,
    delete_args: Mapping[str, Any] | None = None,
    **create_args: Any,
) -> ContainerScope:
    """Make a container for the tasks inside of a ``with`` block, and delete it after them.

    ::

        with container(memory_limit="4g", domains=["api.example.com"]) as box:
            report(box)

    ``box`` is the id. The container is made before the tasks of the block, by a setup task, and deleted after
    them whatever became of them, by a teardown task. A failed delete is tried three times more.

    A task that waits for the container's end, such as ``KeepContainerAliveOperator``, is made outside of the
    block with :attr:`ContainerScope.container_id`: the delete task waits for every task inside.

    :param task_id: the tasks are called ``create_<task_id>`` and ``delete_<task_id>``.
    :param on_failure_fail_dagrun: whether a container that could not be deleted fails the DAG run.
    :param delete_args: further arguments of the delete task.
    :param create_args: arguments of :class:`CreateContainerOperator`; those that say where and as whom a task
        runs (``conn_id``, ``dag``, ``task_group``, ``pool``, ``queue``, ``executor``, ``default_args``) count
        for the delete task as well.
    :raises InvalidTaskArgumentError: if a literal argument is wrong.
    """
    create = CreateContainerOperator(task_id=f"create_{task_id}", **create_args)
    shared = {name: create_args[name] for name in _SHARED_ARGUMENTS if name in create_args}
    arguments = {**_DELETE_ARGUMENTS, **shared, **(delete_args or {})}
    delete = DeleteContainerOperator(
        task_id=f"delete_{task_id}", container_id=cast("str", create.output), **arguments
    )
    delete.as_teardown(setups=create, on_failure_fail_dagrun=on_failure_fail_dagrun)
    return ContainerScope(create, delete)


def _check_connection(task: Any, *, literal: bool = False) -> None:
    if not literal or not is_dynamic(task.conn_id):
        check_id(task.task_id, "conn_id", task.conn_id, _EXPECTED_CONNECTION)


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _summary(request: CreateContainerRequest) -> str:
    """Describe a request in one line for the task log, without values of secrets."""
    policy = request.model_dump(mode="json").get("network_policy", {"type": "disabled"})
    network = ", ".join(policy.get("allowed_domains", ())) or "none"
    named = (f"{secret['name']} for {secret['domain']}" for secret in policy.get("domain_secrets", ()))
    secrets = ", ".join(named)
    parts = [
        f"memory {request.memory_limit or 'default'}",
        f"network: {network}",
        f"secrets: {secrets}" if secrets else "",
        f"{len(request.skills)} skills" if request.skills else "",
        f"{len(request.file_ids)} files" if request.file_ids else "",
        f"ends after {request.expires_after.minutes} idle minutes" if request.expires_after else "",
    ]
    return "; ".join(part for part in parts if part)
