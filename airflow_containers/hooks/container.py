"""From an Airflow connection to a client of the Containers API. Nobody else reads a connection."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_containers import provider_info
from airflow_containers.hooks import _base_url
from airflow_containers.hooks._files import FileMethods
from airflow_containers.hooks._skills import SkillMethods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Literal, Self

    from airflow_containers.api import (
        AsyncContainersClient,
        ClientOptions,
        Container,
        ContainerPage,
        ContainersClient,
        CreateContainerRequest,
        DeletedContainer,
    )
    from airflow_containers.creation import Plan, Record
    from airflow_containers.hooks._connection import ConnectionFields
    from airflow_containers.hooks._creation import ContainerCreation

    Order = Literal["asc", "desc"]

_PAUSES_BETWEEN_DELETES = (1.0, 2.0, 4.0)
_TEST_TIMEOUT = 15.0
"""Seconds. A person waits for the answer, and proxies before Airflow's UI give up after 30 or 60."""


class ContainerHook(FileMethods, SkillMethods, BaseHook):  # type: ignore[misc, unused-ignore]
    """Calls the Containers API with an Airflow connection.

    The connection is of type ``openai_containers``: ``password`` is the API key, ``host`` the base URL
    (default ``https://api.openai.com/v1``), and the extras are ``organization``, ``project``, ``timeout``
    (seconds for one attempt, up to 3600, default 60), ``max_retries`` (0 to 10, default 2), ``verify``
    (true, false or the path of a CA bundle), ``proxy``, ``headers``, ``auth`` (``bearer`` or ``api-key``)
    and ``requests_per_minute`` (what waiting, sweeping and transfers of files keep to, default 100). A
    connection of type ``openai``, made for the OpenAI provider, works as it is.

    If the default connection does not exist, ``OPENAI_API_KEY`` is used, with ``OPENAI_BASE_URL``,
    ``OPENAI_ORG_ID`` and ``OPENAI_PROJECT_ID``.

    All methods that need the connection raise :class:`~airflow_containers.api.ConfigurationError` if it is
    missing or wrong, and the calls raise the errors of :mod:`airflow_containers.api.errors`.

    :param conn_id: id of the connection. It is read on first use, not before.
    """

    conn_name_attr: ClassVar[str] = "conn_id"
    default_conn_name: ClassVar[str] = "openai_containers_default"
    conn_type: ClassVar[str] = provider_info.CONNECTION_TYPE
    hook_name: ClassVar[str] = provider_info.DISPLAY_NAME

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self._options: ClientOptions | None = None
        self._client: ContainersClient | None = None
        self._client_pid: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form shows the standard fields. Read by Airflow up to 3.1."""
        return {
            "hidden_fields": list(provider_info.HIDDEN_FIELDS),
            "relabeling": dict(provider_info.RELABELING),
            "placeholders": dict(provider_info.PLACEHOLDERS),
        }

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for the extras. Read by Airflow up to 3.1, which brings wtforms."""
        from flask_appbuilder.fieldwidgets import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            BS3TextFieldWidget,
        )
        from flask_babel import lazy_gettext  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from wtforms import IntegerField, StringField  # type: ignore[import-untyped, unused-ignore]
        from wtforms.validators import Optional, any_of  # type: ignore[import-untyped, unused-ignore]

        widgets: dict[str, Any] = {}
        for name, field in provider_info.CONN_FIELDS.items():
            schema = field["schema"]
            # Airflow 3.1 knows few kinds of fields; a fraction and an object are typed as texts.
            kind = IntegerField if "integer" in schema["type"] else StringField
            choices = [any_of(schema["enum"])] if "enum" in schema else []
            widgets[name] = kind(
                lazy_gettext(field["label"]),
                validators=[Optional(), *choices],
                description=field["description"],
                widget=BS3TextFieldWidget(),
            )
        return widgets

    def get_conn(self) -> ContainersClient:
        """Return the client of this hook and process, made on first use. :meth:`close` ends it."""
        # A worker forks: a client that came along from the parent shares its sockets, and closing it would
        # disturb them there. It is left alone.
        if self._client is None or self._client_pid != os.getpid():
            self._client = self._make_client(self.get_options())
            self._client_pid = os.getpid()
        return self._client

    async def get_async_conn(self) -> AsyncContainersClient:
        """Return a new async client, made without blocking the event loop. The caller closes it."""
        options = await self.aget_options()
        # In a thread: the first client of a process imports httpx and makes a TLS context.
        return await asyncio.to_thread(self._make_async_client, options)

    def close(self) -> None:
        """Close the client, if this process has one. The next call reads the connection again."""
        client, self._client = self._client, None
        self._options = None
        if client is not None and self._client_pid == os.getpid():
            client.close()

    def get_options(self) -> ClientOptions:
        """Return what the connection says, after its secrets were handed to Airflow's log masking."""
        if self._options is None:
            try:
                connection = self.get_connection(self.conn_id)
            except AirflowNotFoundException:
                connection = None
            fields = self._fields(connection)
            _mask(self._secrets(fields))
            self._options = self._read(fields)
        return self._options

    async def aget_options(self) -> ClientOptions:
        """Return what :meth:`get_options` returns, without blocking the event loop."""
        if self._options is None:
            from airflow.providers.common.compat.connection import get_async_connection

            try:
                connection = await get_async_connection(self.conn_id, hook=self)
            except AirflowNotFoundException:
                connection = None
            # In threads: the first of these imports the models, which takes tens of milliseconds.
            fields = await asyncio.to_thread(self._fields, connection)
            await _amask(self._secrets(fields))
            self._options = await asyncio.to_thread(self._read, fields)
        return self._options

    def create_container(self, request: CreateContainerRequest) -> Container:
        """Create a container.

        :raises AmbiguousCreateError: if it may have been made and no usable answer came.
        """
        return self.get_conn().create(request)

    def retrieve_container(self, container_id: str) -> Container:
        """Return a container's state. This touches it: the idle time starts again."""
        return self.get_conn().retrieve(container_id)

    def list_containers(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        name: str | None = None,
    ) -> ContainerPage:
        """Return one page of containers, expired ones among them.

        :param after: id of the last container of the page before.
        :param limit: containers on the page, 1 to 100; the service's default is 20.
        :param order: by time of creation; the service's default is ``desc``.
        :param name: only containers of that name.
        """
        return self.get_conn().list(after=after, limit=limit, order=order, name=name)

    def iterate_containers(
        self, *, name: str | None = None, order: Order | None = None, limit: int = 100
    ) -> Iterator[Container]:
        """Yield every container, expired ones among them, page after page.

        :param limit: containers on one page, 1 to 100.
        """
        return self.get_conn().iterate(name=name, order=order, limit=limit)

    def delete_container(self, container_id: str) -> DeletedContainer:
        """Delete a container and everything in it.

        :raises ContainerGoneError: if it was gone already.
        """
        return self.get_conn().delete(container_id)

    def end_container(self, container_id: str) -> bool:
        """Delete a container, and make sure by a look at it that it is gone: lists keep ghosts for minutes.

        :returns: whether it was there; one that is gone already is fine.
        :raises ContainerNotDeletedError: if it is still alive after several attempts.
        :raises ContainersError: if the service cannot be asked.
        """
        from airflow_containers.api import ContainerGoneError, ContainerNotDeletedError

        was_there = False
        status: str | None = None
        for pause in (0.0, *_PAUSES_BETWEEN_DELETES):
            time.sleep(pause)
            try:
                self.delete_container(container_id)
                was_there = True
                container = self.retrieve_container(container_id)
            except ContainerGoneError:
                return was_there
            if not container.is_alive:
                return was_there
            status = container.status
            self.log.warning("Container %s is deleted, and still %s", container_id, status)
        raise ContainerNotDeletedError(
            f"Container {container_id} was deleted {1 + len(_PAUSES_BETWEEN_DELETES)} times, and the service "
            f"still shows it as {status!r}; it ends after its idle time"
        )

    def creation(
        self,
        plan: Plan,
        remember: Callable[[Record | None], None] | None = None,
        *,
        log: Any = None,
    ) -> ContainerCreation:
        """Return what creates a container once: one for a task instance, whatever is lost on the way.

        :param plan: what to ask for, and what is known of earlier tries.
        :param remember: keeps a record for later tries, or forgets it (``None``); ``None`` where nothing can.
        :param log: where to tell what happens; the hook's own log if left out.
        """
        from airflow_containers.hooks._creation import ContainerCreation

        options = self.get_options()

        def spare_client(seconds: float) -> ContainersClient:
            return self._make_client(
                dataclasses.replace(
                    options, timeout=min(options.timeout, seconds), max_retries=1, max_elapsed=seconds
                )
            )

        return ContainerCreation(self.get_conn(), spare_client, plan, remember, log or self.log)

    def dashboard_url(self, container_id: str) -> str | None:
        """Return the container's page in OpenAI's dashboard; ``None`` if the connection leads elsewhere."""
        return _base_url.dashboard_url(self.get_options().base_url, container_id)

    def test_connection(self) -> tuple[bool, str]:
        """List one container, which changes nothing, and say in words how that went.

        One attempt, at most 15 seconds.
        """
        from airflow_containers.api import ConfigurationError
        from airflow_containers.hooks import _report

        try:
            options = self.get_options()
            patience = min(options.timeout, _TEST_TIMEOUT)
            client = self._make_client(dataclasses.replace(options, max_retries=0, timeout=patience))
        except ConfigurationError as error:
            return False, str(error)
        with client:
            return _report.try_to_list(client)

    def _make_client(self, options: ClientOptions) -> ContainersClient:
        from airflow_containers.api import ContainersClient
        from airflow_containers.hooks import _connection

        try:
            return ContainersClient(options)
        except ValueError as error:
            raise _connection.named(self.conn_id, error) from None

    def _make_async_client(self, options: ClientOptions) -> AsyncContainersClient:
        from airflow_containers.api import AsyncContainersClient
        from airflow_containers.hooks import _connection

        try:
            return AsyncContainersClient(options)
        except ValueError as error:
            raise _connection.named(self.conn_id, error) from None

    def _fields(self, connection: Any | None) -> ConnectionFields | None:
        from airflow_containers.hooks._connection import ConnectionFields

        if connection is None:
            return None
        return ConnectionFields(
            conn_id=self.conn_id,
            conn_type=connection.conn_type,
            host=connection.host,
            schema=connection.schema,
            port=connection.port,
            login=connection.login,
            password=connection.password,
            extra=connection.extra,
        )

    def _secrets(self, fields: ConnectionFields | None) -> list[str]:
        from airflow_containers.hooks import _connection

        return _connection.secrets_of(fields, os.environ)

    def _read(self, fields: ConnectionFields | None) -> ClientOptions:
        from airflow_containers.hooks import _connection

        if fields is not None:
            return _connection.client_options(fields, os.environ)
        default = self.conn_id == self.default_conn_name
        options = _connection.environment_options(self.conn_id, os.environ) if default else None
        if options is None:
            raise _connection.missing_connection(self.conn_id, default=default)
        return options


def _mask(secrets: list[str]) -> None:
    from airflow.providers.common.compat.sdk import mask_secret

    mask_secret([*secrets])


async def _amask(secrets: list[str]) -> None:
    """Mask without a blocking call to the supervisor, which must not happen on an event loop."""
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:  # before Airflow 3.3.2
        from asgiref.sync import sync_to_async

        await sync_to_async(_mask)(secrets)
    else:
        await amask_secret([*secrets])
