"""Domain secrets: placeholders inside a container, values in the headers of requests that leave it."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from airflow_containers.local.egress.refusals import Refusal

MAX_VALUE = 64 << 10
"""Bytes of a value that are put into a header; servers take far less."""

_PLACEHOLDER = re.compile(rb"placeholder-[0-9a-f]{32}")
_FIELD_TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_BASIC = re.compile(rb"(basic[ \t]+)([A-Za-z0-9+/]+={0,2})[ \t]*", re.IGNORECASE)


class SecretText:
    """A value that shows itself to nobody who does not ask for it by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return "SecretText('***')"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class DomainSecret:
    """A value that is put into requests to one domain.

    :param name: of the variable that has the placeholder inside the container.
    :param value: ``None`` when it was lost with a restart of the server.
    """

    domain: str
    name: str
    value: SecretText | None


@dataclass(frozen=True, slots=True)
class Filled:
    """Headers with values in them.

    :param headers: name and value each; not shown, as they hold secrets.
    :param names: of the secrets that were put in.
    :param note: on placeholders that were left as they are.
    """

    headers: list[tuple[bytes, bytes]]
    names: tuple[str, ...]
    note: str | None

    def __repr__(self) -> str:
        return f"Filled(names={self.names!r}, note={self.note!r})"


class SecretBook:
    """The secrets of one container.

    There is one placeholder for each name: where two domains have a secret of the same name, each gets its
    own value for it.
    """

    def __init__(self, domain_secrets: Sequence[DomainSecret]) -> None:
        self._values = {(secret.domain, secret.name): secret.value for secret in domain_secrets}
        self._domains = {secret.domain for secret in domain_secrets}
        self.placeholders = {secret.name: f"placeholder-{secrets.token_hex(16)}" for secret in domain_secrets}
        self._names = {text.encode(): name for name, text in self.placeholders.items()}

    def has_domain(self, domain: str) -> bool:
        """Whether a domain has secrets, also when their values are lost."""
        return domain in self._domains

    def values(self) -> list[str]:
        """All values that can be put into a header."""
        found = (secret.reveal() for secret in self._values.values() if secret is not None)
        return [value for value in dict.fromkeys(found) if len(value.encode()) <= MAX_VALUE]

    def forget(self) -> None:
        """Drop all values."""
        self._values.clear()
        self._names.clear()

    def fill(self, domain: str, headers: Iterable[tuple[bytes, bytes]], *, encrypted: bool) -> Filled:
        """Put the values for ``domain`` into header values, also into those of ``Authorization: Basic``.

        The placeholder of another domain's secret stays as it is: it is of no use to anybody, and a request
        that was redirected with all its headers still reaches its goal.

        :param encrypted: whether the request is sent over TLS.
        :raises Refusal: when a value is lost, cannot be in a header, or would be sent in clear text.
        """
        filling = _Filling(domain, self._values, self._names, encrypted=encrypted)
        filled = [(name, filling.header(name, value)) for name, value in headers]
        return Filled(filled, tuple(sorted(filling.names)), filling.note)


class _Filling:
    def __init__(
        self,
        domain: str,
        values: dict[tuple[str, str], SecretText | None],
        names: dict[bytes, str],
        *,
        encrypted: bool,
    ) -> None:
        self._domain = domain
        self._values = values
        self._known = names
        self._encrypted = encrypted
        self.names: set[str] = set()
        self.note: str | None = None

    def header(self, name: bytes, value: bytes) -> bytes:
        """A header's value with the secrets in it."""
        basic = _BASIC.fullmatch(value) if name.lower() == b"authorization" else None
        if basic is not None:
            try:
                plain = base64.b64decode(basic[2], validate=True)
            except binascii.Error:
                return value
            if not _PLACEHOLDER.search(plain):
                return value
            filled = _PLACEHOLDER.sub(lambda found: self._value(found[0], _ANY_BYTES), plain)
            return basic[1] + base64.b64encode(filled)
        if b"placeholder-" not in value:
            return value
        return _PLACEHOLDER.sub(lambda found: self._value(found[0], _FIELD_TEXT), value)

    def _value(self, placeholder: bytes, allowed: re.Pattern[bytes]) -> bytes:
        name = self._known.get(placeholder)
        if name is None:
            if any(key[0] == self._domain and value is None for key, value in self._values.items()):
                raise _lost(self._domain, None)
            self.note = "sent with a placeholder that no secret of this container has"
            return placeholder
        if (self._domain, name) not in self._values:
            self.note = f"sent with the placeholder of ${name}, which is a secret of another domain"
            return placeholder
        secret = self._values[self._domain, name]
        if secret is None:
            raise _lost(self._domain, name)
        if not self._encrypted:
            raise Refusal(
                403,
                "Secrets over HTTPS only",
                f"The request has the domain secret ${name}, and its value is never sent in clear text. "
                f"Use https://{self._domain} instead.",
            )
        value = secret.reveal().encode()
        if len(value) > MAX_VALUE:
            raise Refusal(
                502,
                "Secret too long",
                f"The value of ${name} is longer than the {MAX_VALUE} bytes that are put into a header.",
            )
        if not allowed.fullmatch(value):
            raise Refusal(
                502,
                "Secret not usable in a header",
                f"The value of ${name} has a line break or another control character, which no header can "
                "have. Create the container with the value alone.",
            )
        self.names.add(name)
        return value


_ANY_BYTES = re.compile(rb".*", re.DOTALL)


def _lost(domain: str, name: str | None) -> Refusal:
    what = "The value of a domain secret" if name is None else f"The value of ${name}"
    return Refusal(
        502,
        "Secret lost with a restart",
        f"{what} for {domain} is lost: the server was restarted, and it keeps values in memory only. "
        "Create a new container with the secret.",
    )
