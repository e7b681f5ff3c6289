"""Looking up the values that domain-secret references name, in Airflow and in the worker's environment."""

from __future__ import annotations

import inspect
import json
import os
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowNotFoundException,
    BaseHook,
    Variable,
    mask_secret,
)

if TYPE_CHECKING:
    from airflow_containers.api import DomainSecret
    from airflow_containers.secrets import DomainSecretReference

_STANDARD_FIELDS = ("password", "login", "host", "schema")


def resolve_domain_secrets(references: list[DomainSecretReference]) -> list[DomainSecret]:
    """Return the domain secrets with their values, each masked in Airflow's logs from now on.

    :raises InvalidRequestError: where there is no value at the place a reference names.
    """
    from airflow_containers.secrets import resolve

    secrets = resolve(references, connection=_connection_field, variable=_variable, env=os.environ.get)
    for secret in secrets:
        mask_secret(secret.value.get_secret_value())
    return secrets


def _connection_field(conn_id: str, field: str) -> str | None:
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    value: Any = (
        getattr(connection, field) if field in _STANDARD_FIELDS else connection.extra_dejson.get(field)
    )
    return _masked_text(value)


def _variable(name: str) -> str | None:
    # Airflow 2 calls the argument `default_var`; without it a missing Variable looks like a failed database.
    keyword = "default" if "default" in inspect.signature(Variable.get).parameters else "default_var"
    absent: dict[str, Any] = {keyword: None}
    return _masked_text(Variable.get(name, **absent))


def _masked_text(value: Any) -> str | None:
    """Return ``value`` as text, masked at once: what happens next may log it."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text:
        mask_secret(text)
    return text
