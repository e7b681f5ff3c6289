"""Domain secrets by reference: where a value is, never the value.

A templated field is stored in Airflow's database and shown in its pages, so it holds references only. They
are looked up when the task runs, by functions that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, model_validator

from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import ENVIRONMENT_NAME, DomainSecret, RequestModel
from airflow_containers.api.validation import quoted, shape, validate

_SOURCES: Final = ("conn_id", "variable", "env", "value")
HOW_TO: Final = (
    "name where the value is instead: {'domain': …, 'name': …, 'conn_id': 'my_connection'} for the password "
    "of a connection (with 'field' for a key of its extra), {…, 'variable': 'my_variable'} for an Airflow "
    "Variable, or {…, 'env': 'MY_VARIABLE'} for the environment of the worker"
)
"""How to write a domain secret; part of error messages."""

_TEXTS: Final[Mapping[str, str]] = {
    "domain": "one of domains",
    "name": "the name of an environment variable inside the container",
    "conn_id": "the id of an Airflow connection",
    "field": "'password', 'login', 'host', 'schema' or a key of the connection's extra",
    "variable": "the key of an Airflow Variable",
    "env": "the name of an environment variable of the worker",
}

_Text = Annotated[str, Field(min_length=1)]


class DomainSecretReference(RequestModel):
    """A domain secret, and one place where its value is.

    :param domain: a host name that the container may reach.
    :param name: the environment variable that holds the placeholder inside the container.
    :param conn_id: an Airflow connection; its password, or ``field``.
    :param field: ``password`` (default), ``login``, ``host``, ``schema``, or a key of the connection's extra.
    :param variable: an Airflow Variable.
    :param env: an environment variable of the worker.
    :param value: the value itself, as :class:`~pydantic.SecretStr` only.
    """

    domain: _Text
    name: _Text
    conn_id: _Text | None = None
    field: _Text | None = None
    variable: _Text | None = None
    env: _Text | None = None
    value: SecretStr | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DomainSecretReference:
        given = [source for source in _SOURCES if getattr(self, source) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "no source"
            raise ValueError(f"it has {found}, expected exactly one of {', '.join(_SOURCES)}; {HOW_TO}")
        if self.field is not None and self.conn_id is None:
            raise ValueError("it has 'field' without 'conn_id'; 'field' names a part of a connection")
        if self.env is not None and not ENVIRONMENT_NAME.fullmatch(self.env):
            # Not quoted: it may be the secret itself.
            raise ValueError(f"its 'env' is no name of an environment variable; {HOW_TO}")
        return self

    def describe_source(self) -> str:
        """Return where the value is, for messages."""
        if self.conn_id is not None:
            return f"{_shown(self.field or 'password')} of the connection {_shown(self.conn_id)}"
        if self.variable is not None:
            return f"the Variable {_shown(self.variable)}"
        return f"the environment variable {self.env!r}" if self.env is not None else "a SecretStr"


def _shown(name: str) -> str:
    """Quote a name, unless somebody has put a key there by mistake."""
    return "(not shown: it looks like a key)" if name.startswith("sk-") or len(name) > 100 else repr(name)


def parse_reference(index: int, item: Any) -> DomainSecretReference:
    """Return one entry of ``domain_secrets`` as a reference.

    :param index: the entry's place in the list, for messages.
    :raises InvalidRequestError: if it is none; a literal value in particular.
    """
    path = f"domain_secrets[{index}]"
    if isinstance(item, DomainSecretReference):
        return item
    if isinstance(item, DomainSecret):
        return DomainSecretReference(domain=item.domain, name=item.name, value=item.value)
    if not isinstance(item, Mapping):
        raise InvalidRequestError(f"{path}: got {shape(item)}, expected a mapping; {HOW_TO}")
    value = item.get("value")
    if value is not None and not isinstance(value, SecretStr):
        raise InvalidRequestError(
            f"{path}.value: got {shape(value)} as a literal, which Airflow would store in clear; {HOW_TO}"
        )

    for member in _TEXTS:
        # "None" could name an environment variable, so nothing else would stop it.
        if isinstance(item.get(member), str) and item[member].strip() in {"", "None"}:
            raise InvalidRequestError(
                f"{path}.{member}: got {quoted(item[member])}, expected {_TEXTS[member]}; "
                "if a template made it, the template rendered to nothing"
            )

    def rename(name: str) -> str:
        return path if name == "request" else f"{path}{'' if name.startswith('[') else '.'}{name}"

    return validate(DomainSecretReference, dict(item), rename=rename)


def resolve(
    references: list[DomainSecretReference],
    *,
    connection: Callable[[str, str], str | None],
    variable: Callable[[str], str | None],
    env: Callable[[str], str | None],
) -> list[DomainSecret]:
    """Look the values up and return the domain secrets for the request.

    :param connection: returns a field of a connection, given the connection's id and the field.
    :param variable: returns an Airflow Variable.
    :param env: returns an environment variable.
    :raises InvalidRequestError: with the entry and the place, where there is no value.
    """
    secrets = []
    for index, reference in enumerate(references):
        if reference.value is not None:
            found: str | None = reference.value.get_secret_value()
        elif reference.conn_id is not None:
            found = connection(reference.conn_id, reference.field or "password")
        elif reference.variable is not None:
            found = variable(reference.variable)
        else:
            found = env(reference.env or "")
        if not found:
            missing = "is empty" if found == "" else "does not exist"
            raise InvalidRequestError(
                f"domain_secrets[{index}]: {reference.describe_source()} {missing}, "
                f"expected the value of the secret {reference.name!r}"
            )
        secrets.append(to_domain_secret(index, reference, found))
    return secrets


def to_domain_secret(index: int, reference: DomainSecretReference, value: str) -> DomainSecret:
    """Return the domain secret of one entry.

    :raises InvalidRequestError: if its domain, its name or the value breaks a rule.
    """
    data = {"domain": reference.domain, "name": reference.name, "value": SecretStr(value)}
    return validate(DomainSecret, data, rename=lambda field: f"domain_secrets[{index}].{field}")
