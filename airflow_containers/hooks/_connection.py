"""Reading a connection: pure functions from its fields to the client's options.

Nothing here does I/O or knows Airflow. Every complaint is a :class:`ConfigurationError` that names the
connection and the field, and shows no value that could be a secret.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from airflow_containers.api import ClientOptions, ConfigurationError
from airflow_containers.api.options import secret_parts
from airflow_containers.hooks._base_url import join_base_url
from airflow_containers.provider_info import CONNECTION_TYPE

OPENAI_TYPE: Final = "openai"
"""Connection type of ``apache-airflow-providers-openai``."""

MAX_TIMEOUT: Final = 3600.0
MAX_RETRIES: Final = 10
MAX_REQUESTS_PER_MINUTE: Final = 1_000_000
MIN_MASKED_LENGTH: Final = 5
"""Airflow masks nothing shorter on 3.x; on 2.11 it would, and a header's ``1`` would vanish from all logs."""

_ENVIRONMENT: Final = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
_MANAGED_HEADERS: Final = ("connection", "content-length", "content-type", "host", "transfer-encoding")
_WORKLOAD_IDENTITY_EXTRAS: Final = frozenset(
    {
        "api_version",
        "audience",
        "client_id",
        "identity_provider_id",
        "msi_res_id",
        "object_id",
        "refresh_buffer_seconds",
        "resource",
        "service_account_id",
        "token_file_path",
        "token_provider",
        "token_type",
        "workload_identity_provider",
    }
)
_IDLE_CLIENT_ARGUMENTS: Final = frozenset(
    {"_strict_response_validation", "admin_api_key", "webhook_secret", "websocket_base_url"}
)
"""Arguments of the official client that change no request to the Containers API."""

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """The fields of an Airflow connection that matter here. Missing ones are ``None`` or ``""``.

    :param extra: the extra as Airflow stores it: a JSON object as text, or nothing.
    """

    conn_id: str
    conn_type: str | None = None
    host: str | None = None
    schema: str | None = None
    port: int | None = None
    login: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    extra: str | None = field(default=None, repr=False)


def client_options(fields: ConnectionFields, environ: Mapping[str, str]) -> ClientOptions:
    """Return the options that a connection stands for.

    :param environ: environment variables; they fill in for a connection of type ``openai`` only, as the
        official client does.
    :raises ConfigurationError: if a field is missing, wrong or unknown.
    """
    conn_type = (fields.conn_type or "").replace("-", "_")
    builder = {CONNECTION_TYPE: _own_options, OPENAI_TYPE: _openai_options}.get(conn_type)
    try:
        if builder is None:
            found = f"it is of type {conn_type!r}" if conn_type else "it has no type"
            raise ConfigurationError(
                f"conn_type: {found}, expected {CONNECTION_TYPE!r}, or the OpenAI provider's {OPENAI_TYPE!r}"
            )
        return builder(fields, environ)
    except ValueError as error:
        raise named(fields.conn_id, error) from None


def environment_options(conn_id: str, environ: Mapping[str, str]) -> ClientOptions | None:
    """Return the options that ``OPENAI_API_KEY`` and its like stand for; ``None`` without a key.

    :raises ConfigurationError: if a variable has a value that cannot work.
    """
    key, base_url, organization, project = (environ.get(name, "").strip() for name in _ENVIRONMENT)
    if not key:
        return None
    try:
        return ClientOptions(
            api_key=SecretStr(key),
            base_url=join_base_url(base_url),
            organization=organization or None,
            project=project or None,
        )
    except ValueError as error:
        text = str(error)
        for name, variable in zip(("api_key", "host", "organization", "project"), _ENVIRONMENT, strict=True):
            text = text.replace(f"{name}:", f"{variable}:") if text.startswith(f"{name}:") else text
        raise ConfigurationError(
            f"There is no connection {conn_id!r}, and the environment does not serve: {text}"
        ) from None


def missing_connection(conn_id: str, *, default: bool) -> ConfigurationError:
    """Return the error for a connection that does not exist, with a command that makes it.

    :param default: whether ``conn_id`` is the default id, for which ``OPENAI_API_KEY`` would do.
    """
    command = (
        f'airflow connections add {conn_id} --conn-type {CONNECTION_TYPE} --conn-password "$OPENAI_API_KEY"'
    )
    instead = ", or set OPENAI_API_KEY on the workers" if default else ""
    return ConfigurationError(
        f"There is no connection {conn_id!r}. Make it with:\n  {command}\nor in the UI{instead}"
    )


def secrets_of(fields: ConnectionFields | None, environ: Mapping[str, str]) -> list[str]:
    """Return everything that must not be shown, in a connection (right or wrong) and in the environment."""
    if fields is None:
        fields = ConnectionFields("")
    extra = _json_object(fields.extra) or {}
    client_kwargs = _json_object(extra.get("openai_client_kwargs")) or {}
    found: list[Any] = [environ.get("OPENAI_API_KEY"), fields.password, client_kwargs.get("api_key")]
    # A key in host or login is a slip that is refused, and other people's messages may still quote it.
    found += [value for value in (fields.host, fields.login) if value and value.startswith("sk-")]
    for headers in (extra.get("headers"), client_kwargs.get("default_headers")):
        found += _header_secrets(headers)
    found += _proxy_secrets(extra.get("proxy"))
    texts = (text.strip() for text in found if isinstance(text, str))
    return sorted({text for text in texts if len(text) >= MIN_MASKED_LENGTH})


def _header_secrets(headers: Any) -> Iterator[str]:
    for name, value in (_json_object(headers) or {}).items():
        if isinstance(value, str):
            yield from secret_parts(name, value)


def _proxy_secrets(proxy: Any) -> Iterator[str]:
    if isinstance(proxy, str):
        yield proxy
        try:
            password = urlsplit(proxy).password
        except ValueError:
            return
        if password:
            yield password
            yield unquote(password)


def _unset(value: Any) -> Any:
    """A field of a form that was left empty arrives as an empty text."""
    return None if isinstance(value, str) and not value.strip() else value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, got true or false")  # noqa: TRY004 - pydantic wants it
    return _unset(value)


def _headers(value: Any) -> Any:
    value = _unset(value)
    if isinstance(value, str):
        parsed = _json_object(value)
        if parsed is None:
            raise ValueError(f'expected a JSON object such as {{"X-Team": "data"}}, got {_shape(value)}')
        value = parsed
    if isinstance(value, dict):
        names = [name.lower() for name in value]
        for name in names:
            if name in _MANAGED_HEADERS:
                raise ValueError(f"{name!r} is set by the client itself and cannot be given")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is given more than once (case does not matter)")
    return value


def _verify(value: Any) -> Any:
    value = _unset(value)
    if isinstance(value, str):
        return _switch(value.strip())
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"expected true, false or the path of a CA bundle, got {_shape(value)}")


def _switch(text: str) -> bool | str:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    return text


def _proxy(value: Any) -> Any:
    value = _unset(value)
    if not isinstance(value, str):
        return value
    try:
        url = urlsplit(value.strip())
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            "expected the URL of an HTTP proxy such as 'http://proxy.example.com:3128', "
            f"got {_shape(value)} that is none"
        )
    return value.strip()


_Text = Annotated[str | None, BeforeValidator(_unset)]
_Timeout = Annotated[
    Annotated[float, Field(gt=0, le=MAX_TIMEOUT, allow_inf_nan=False)] | None, BeforeValidator(_number)
]
_Retries = Annotated[Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None, BeforeValidator(_number)]
_Rate = Annotated[Annotated[int, Field(ge=1, le=MAX_REQUESTS_PER_MINUTE)] | None, BeforeValidator(_number)]
_Headers = Annotated[dict[str, SecretStr] | None, BeforeValidator(_headers)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True
    )


class OwnExtras(_Model):
    """The extras of a connection of type ``openai_containers``. An empty text means: not set."""

    organization: _Text = None
    project: _Text = None
    timeout: _Timeout = None
    max_retries: _Retries = None
    verify: Annotated[bool | str | None, BeforeValidator(_verify)] = None
    proxy: Annotated[SecretStr | None, BeforeValidator(_proxy)] = None
    headers: _Headers = None
    auth: Annotated[Literal["bearer", "api-key"] | None, BeforeValidator(_unset)] = None
    requests_per_minute: _Rate = None


class OpenAIClientArguments(_Model):
    """``openai_client_kwargs`` of a connection of type ``openai``: the arguments of the official client."""

    api_key: Annotated[SecretStr | None, BeforeValidator(_unset)] = None
    base_url: _Text = None
    organization: _Text = None
    project: _Text = None
    timeout: _Timeout = None
    max_retries: _Retries = None
    default_headers: _Headers = None


_EXPECTED: Final = {
    "timeout": f"a number of seconds above 0 and up to {MAX_TIMEOUT:g}",
    "max_retries": f"an integer from 0 to {MAX_RETRIES}",
    "auth": "'bearer' or 'api-key'",
    "requests_per_minute": f"an integer from 1 to {MAX_REQUESTS_PER_MINUTE}",
    "headers": "a JSON object of texts",
    "default_headers": "a JSON object of texts",
}
_SHOWN: Final = frozenset({"timeout", "max_retries", "auth", "requests_per_minute"})


def _validated(model: type[ModelT], data: Mapping[str, Any], prefix: str = "") -> ModelT:
    """Return ``data`` as ``model``, or raise one error that lists everything wrong with it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_problem(model, item, prefix) for item in error.errors(include_url=False)]
    # Raised out here so that pydantic's error, which holds the values, is not part of the chain.
    raise ConfigurationError("; ".join(problems))


def _problem(model: type[BaseModel], error: Any, prefix: str) -> str:
    name, *rest = (str(part) for part in error["loc"])
    place = f"extra {prefix + name!r}" + (f" at {rest[0]!r}" if rest and name.endswith("headers") else "")
    if error["type"] == "extra_forbidden":
        return f"{place}: {_unknown(name, model.model_fields)}"
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}"
    expected = "a text" if rest and name.endswith("headers") else _EXPECTED.get(name, "a text")
    return f"{place}: expected {expected}, got {_shape(error['input'], show=name in _SHOWN)}"


def _unknown(name: str, accepted: Iterable[str]) -> str:
    accepted = sorted(accepted)
    near = difflib.get_close_matches(name, accepted, n=1)
    return f"not known{f' (did you mean {near[0]!r}?)' if near else ''}; accepted are {', '.join(accepted)}"


def _shape(value: Any, *, show: bool = False) -> str:
    """Describe a value without showing it, unless it is short and ``show`` says that it is no secret."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if show and isinstance(value, int | float | str) and len(str(value)) <= 12:
        return repr(value)
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"


def _json_object(value: Any) -> dict[str, Any] | None:
    """Return a mapping that is given as such or as JSON text; ``None`` for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _extras(fields: ConnectionFields) -> dict[str, Any]:
    if not (fields.extra or "").strip():
        return {}
    extra = _json_object(fields.extra)
    if extra is None:
        raise ConfigurationError(f"extra: expected a JSON object, got {_shape(fields.extra)} that is not one")
    return extra


def _own_options(fields: ConnectionFields, environ: Mapping[str, str]) -> ClientOptions:  # noqa: ARG001
    """Options of a connection of type ``openai_containers``; the environment has no say in them."""
    extras = _validated(OwnExtras, _extras(fields))
    if fields.login:
        raise ConfigurationError(
            "login: it is not used; leave it empty and put the API key into the password "
            "(in a URI that is openai-containers://:KEY@host)"
        )
    if not (fields.password or "").strip():
        raise ConfigurationError("password: it is empty, expected the API key")
    return _options(
        api_key=SecretStr(fields.password or ""),
        base_url=join_base_url(fields.host, fields.schema, fields.port),
        organization=extras.organization,
        project=extras.project,
        timeout=extras.timeout,
        max_retries=extras.max_retries,
        verify=extras.verify,
        proxy=extras.proxy,
        headers=extras.headers,
        auth=extras.auth,
        requests_per_minute=extras.requests_per_minute,
    )


def _openai_options(fields: ConnectionFields, environ: Mapping[str, str]) -> ClientOptions:
    """Options of a connection of type ``openai``, read as the official hook (2.2) and client read it."""
    extra = _extras(fields)
    auth_type = extra.get("auth_type") or "api_key"
    if auth_type == "workload_identity":
        raise ConfigurationError(
            "extra 'auth_type': 'workload_identity' is not supported: it fetches tokens from a second "
            f"service; use a connection of type {OPENAI_TYPE!r} or {CONNECTION_TYPE!r} with an API key"
        )
    if auth_type != "api_key":
        raise ConfigurationError(f"extra 'auth_type': expected 'api_key', got {_shape(auth_type)}")
    known = {"auth_type", "openai_client_kwargs"}
    for name in extra.keys() - known - _WORKLOAD_IDENTITY_EXTRAS:
        advice = f"; it belongs to the type {CONNECTION_TYPE!r}" if name in OwnExtras.model_fields else ""
        raise ConfigurationError(
            f"extra {name!r}: not read from a connection of type {OPENAI_TYPE!r} (nor is it by the OpenAI "
            f"provider); accepted are {', '.join(sorted(known))}{advice}"
        )
    raw = extra.get("openai_client_kwargs") or {}
    given = _json_object(raw)
    if given is None:
        raise ConfigurationError(f"extra 'openai_client_kwargs': expected a JSON object, got {_shape(raw)}")
    arguments = _validated(
        OpenAIClientArguments,
        {name: value for name, value in given.items() if name not in _IDLE_CLIENT_ARGUMENTS},
        prefix="openai_client_kwargs.",
    )
    key, base_url, organization, project = (environ.get(name, "").strip() or None for name in _ENVIRONMENT)
    secret = arguments.api_key or SecretStr((fields.password or "").strip() or key or "")
    if not secret.get_secret_value():
        raise ConfigurationError("password: it is empty, expected the API key, and OPENAI_API_KEY is not set")
    if arguments.base_url:
        url = join_base_url(arguments.base_url)
    elif (fields.host or "").strip() or not base_url:
        url = join_base_url(fields.host, fields.schema, fields.port)
    else:
        url = join_base_url(base_url)
    return _options(
        api_key=secret,
        base_url=url,
        organization=arguments.organization or organization,
        project=arguments.project or project,
        timeout=arguments.timeout,
        max_retries=arguments.max_retries,
        headers=arguments.default_headers,
    )


def _options(**given: Any) -> ClientOptions:
    """Return options with the defaults of the client for everything that is not given."""
    options = {name: value for name, value in given.items() if value is not None}
    # Long time-outs were asked for, so the attempts that were asked for should fit in as well.
    plain = ClientOptions(**options)
    needed = (1 + plain.max_retries) * plain.timeout
    return dataclasses.replace(plain, max_elapsed=max(plain.max_elapsed, needed))


def named(conn_id: str, error: ValueError) -> ConfigurationError:
    """Return ``error`` as one that names the connection, and its fields as a connection has them."""
    text = str(error)
    for option, field_name in (
        ("api_key:", "password (API key):"),
        ("base_url:", "host (base URL):"),
    ):
        if text.startswith(option):
            text = field_name + text.removeprefix(option)
    return ConfigurationError(f"Connection {conn_id!r}: {text}")
