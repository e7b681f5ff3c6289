"""Where and how to reach the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from airflow_containers import __version__
from airflow_containers.api.errors import ConfigurationError
from airflow_containers.api.validation import quoted, shape

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_REQUESTS_PER_MINUTE: Final = 100
"""What the service documents for one organisation ("Usage notes" of the code interpreter guide)."""

MAX_TIMEOUT: Final = 86_400
"""Seconds; a day."""

_FRAMING_HEADERS: Final = frozenset({"content-length", "transfer-encoding", "connection", "content-type"})
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_NAME: Final = re.compile(r"auth|cookie|credential|key|pass|secret|signature|token", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"(?=.*\d)\S{20,}|(?:basic|bearer|token|apikey) .*", re.IGNORECASE | re.DOTALL
)
_EXPECTED_URL: Final = f"expected one such as {DEFAULT_BASE_URL!r}"


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Where and how to reach the API.

    :param api_key: the key; surrounding white space is dropped.
    :param base_url: ``http`` or ``https`` URL that ends where ``/containers`` begins.
    :param organization: sent as ``OpenAI-Organization``.
    :param project: sent as ``OpenAI-Project``.
    :param auth: ``bearer`` sends ``Authorization: Bearer <key>``, ``api-key`` sends ``api-key: <key>``
        (Azure).
    :param timeout: seconds for one attempt, up to 86,400; at most 10 of them to connect to one address of the
        host. Of a file that is sent or received, it is how long nothing may move.
    :param max_retries: attempts after the first, 0 or more.
    :param max_elapsed: seconds from the first attempt after which no further one starts.
    :param verify: ``False`` turns certificate checks off; a text is the path of a CA bundle (a file or a
        folder).
    :param proxy: URL of a proxy. Without it the usual environment variables count (``HTTPS_PROXY``, …).
    :param headers: more headers for every request.
    :param requests_per_minute: what waiting, sweeping and tasks that transfer files keep to, 1 or more.
        A client does not hold single calls back.
    :raises ConfigurationError: if a value cannot work, with the field's name.
    """

    api_key: SecretStr | str
    base_url: str = DEFAULT_BASE_URL
    organization: str | None = None
    project: str | None = None
    auth: Literal["bearer", "api-key"] = "bearer"
    timeout: float = 60.0
    max_retries: int = 2
    max_elapsed: float = 300.0
    verify: bool | str = True
    proxy: SecretStr | str | None = None
    headers: Mapping[str, SecretStr | str] = field(default_factory=dict)
    requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE

    def __post_init__(self) -> None:
        key = _checked_text("api_key", self.api_key).strip()
        if not key:
            raise ConfigurationError("api_key: it is empty, expected the API key")
        _check_header("api_key", key)
        object.__setattr__(self, "api_key", SecretStr(key))
        object.__setattr__(self, "base_url", _checked_base_url(self.base_url))
        if self.auth not in ("bearer", "api-key"):
            raise ConfigurationError(f"auth: got {quoted(self.auth)}, expected 'bearer' or 'api-key'")
        for name in ("organization", "project"):
            value = getattr(self, name)
            if value is not None:
                _check_header(name, value)
        if not _is_number(self.timeout) or not 0 < self.timeout <= MAX_TIMEOUT:
            raise ConfigurationError(
                f"timeout: got {quoted(self.timeout)}, expected seconds above 0 and up to {MAX_TIMEOUT}"
            )
        if not _is_number(self.max_elapsed) or not self.max_elapsed >= 0:
            raise ConfigurationError(
                f"max_elapsed: got {quoted(self.max_elapsed)}, expected seconds, 0 or more"
            )
        if type(self.max_retries) is not int or self.max_retries < 0:
            raise ConfigurationError(
                f"max_retries: got {quoted(self.max_retries)}, expected an integer, 0 or more"
            )
        if type(self.requests_per_minute) is not int or self.requests_per_minute < 1:
            raise ConfigurationError(
                f"requests_per_minute: got {quoted(self.requests_per_minute)}, expected an integer, 1 or more"
            )
        verify: Any = self.verify
        if not isinstance(verify, bool) and not (isinstance(verify, str) and verify.strip()):
            raise ConfigurationError(
                f"verify: got {quoted(self.verify)}, expected True, False or the path of a CA bundle"
            )
        object.__setattr__(self, "headers", _checked_headers(self.headers))
        self._refuse_double_headers()
        object.__setattr__(self, "proxy", _checked_proxy(self.proxy))

    def _refuse_double_headers(self) -> None:
        set_elsewhere = {
            "authorization": "the API key" if self.auth == "bearer" else None,
            "api-key": "the API key" if self.auth == "api-key" else None,
            "openai-organization": "the organization" if self.organization else None,
            "openai-project": "the project" if self.project else None,
        }
        for name in self.headers:
            if field_name := set_elsewhere.get(name.lower()):
                raise ConfigurationError(f"headers: {name!r} would replace {field_name}; give one of them")

    def secret_values(self) -> list[str]:
        """Return every value in these options that must not be shown."""
        values = [reveal(self.api_key)]
        for name, value in self.headers.items():
            values += secret_parts(name, reveal(value))
        if self.proxy is not None:
            proxy = reveal(self.proxy)
            password = urlsplit(proxy).password or ""
            values += [proxy, password, unquote(password)]
        return [value for value in values if value]

    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request, the key among them."""
        key = reveal(self.api_key)
        headers = {
            "accept": "application/json",
            "user-agent": f"airflow-containers/{__version__}",
            **({"authorization": f"Bearer {key}"} if self.auth == "bearer" else {"api-key": key}),
        }
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers | {name.lower(): reveal(value) for name, value in self.headers.items()}


def secret_parts(name: str, value: str) -> list[str]:
    """Return what must not be shown of a header: nothing of one that is no secret, such as ``X-Team: data``.

    A secret is what its name says to be one, and any long word with a digit in it.
    """
    if not _SECRET_NAME.search(name) and not _SECRET_VALUE.fullmatch(value):
        return []
    # A server that echoes a header may leave out its scheme ("Bearer", "Basic").
    return [value, value.rpartition(" ")[2]]


def reveal(value: SecretStr | str) -> str:
    """Return the text of a secret."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked_text(name: str, value: Any) -> str:
    text = reveal(value)
    if not isinstance(text, str):
        raise ConfigurationError(f"{name}: got {shape(value)}, expected a text")
    return text


def _check_header(name: str, value: SecretStr | str) -> None:
    value = _checked_text(name, value)
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            f"{name}: a text of {len(value)} characters with some that a header cannot carry "
            "(a line break, or one outside ASCII); copy the value again"
        )
    if value != value.strip():
        raise ConfigurationError(
            f"{name}: it begins or ends with white space, which a header cannot carry; copy the value again"
        )


def _checked_headers(headers: Mapping[str, SecretStr | str]) -> dict[str, SecretStr]:
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers: got {shape(headers)}, expected a mapping of names to texts")
    name: Any
    if len({str(name).lower() for name in headers}) < len(headers):
        raise ConfigurationError("headers: one name is given twice, in other capitals; give it once")
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers: {name!r} is not a header name")
        if name.lower() in _FRAMING_HEADERS:
            raise ConfigurationError(f"headers: {name!r} is set by the client for each request; leave it out")
        _check_header(f"headers[{name!r}]", value)
    return {name: SecretStr(reveal(value)) for name, value in headers.items()}


def _checked_proxy(proxy: SecretStr | str | None) -> SecretStr | None:
    if proxy is None:
        return None
    text = _checked_text("proxy", proxy)
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname)
        _ = url.port
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'"
        )
    return SecretStr(text)


def _checked_base_url(value: str) -> str:
    text = _checked_text("base_url", value)
    try:
        url = urlsplit(text)
        # Reading the port is what checks it.
        _ = url.port
    except ValueError:
        raise ConfigurationError(f"base_url: not a URL, {_EXPECTED_URL}") from None
    unreadable = " " in text or not text.isprintable()
    if url.scheme not in ("http", "https") or not url.hostname or unreadable:
        raise ConfigurationError(
            f"base_url: a text of {len(text)} characters that is no http or https URL, {_EXPECTED_URL}"
        )
    try:
        url.hostname.rstrip(".").encode("idna")
    except UnicodeError:
        raise ConfigurationError(
            f"base_url: its host has an empty or over-long label, {_EXPECTED_URL}"
        ) from None
    if "@" in url.netloc:
        raise ConfigurationError(
            "base_url: it has user information; put the key into the password (api_key), and other "
            "credentials into headers"
        )
    if url.query or url.fragment:
        raise ConfigurationError("base_url: it has a query or a fragment; give the URL up to the path only")
    return text.rstrip("/")
