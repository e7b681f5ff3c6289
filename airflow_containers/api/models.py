"""What goes over the wire: strict in requests, lenient in answers.

The limits are those of the published OpenAPI document (schemas ``CreateContainerBody``,
``ContainerNetworkPolicyAllowlistParam``, ``SkillReferenceParam``, ``InlineSkillParam``) unless a comment
says otherwise. Values of domain secrets are :class:`~pydantic.SecretStr` and leave a model only through
:meth:`CreateContainerRequest.to_wire`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from airflow_containers.api.domains import normalize_domain

MAX_IDLE_MINUTES: Final = 20
"""The service refuses more (HTTP 400, ``integer_above_max_value``); the document has no limit."""

MAX_NAME_LENGTH: Final = 256
"""Characters of a container's name. The service documents no limit, so this one is ours, and cautious."""

MAX_SECRET_LENGTH: Final = 10_485_760
MAX_SKILL_ID_LENGTH: Final = 64
MAX_INLINE_SKILL_LENGTH: Final = 70_254_592
"""Characters of Base64 text: 67 MiB, which a zip of 50 MB stays below."""

MemoryLimit = Literal["1g", "4g", "16g", "64g"]
MEMORY_LIMITS: Final[tuple[str, ...]] = get_args(MemoryLimit)

_REVEAL: Final = {"reveal_secrets": True}
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SKILL_VERSION = re.compile(r"latest|[1-9][0-9]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def _domain(value: str) -> str:
    try:
        return normalize_domain(value)
    except ValueError as error:
        raise ValueError(f"{_shown(value)} is not a host name that can be allowed: {error}") from None


def _secret_domain(value: str) -> str:
    # The text is not quoted: somebody may have put the secret here by mistake.
    try:
        return normalize_domain(value)
    except ValueError as error:
        raise ValueError(f"it is not a host name that can be allowed: {error}") from None


def _shown(value: str) -> str:
    """Quote an entry for a message, without the user information that somebody may have put into it."""
    if "@" in value:
        value = f"***@{value.rpartition('@')[2]}"
    return repr(value if len(value) <= 60 else f"{value[:57]}...")


def _printable(value: str) -> str:
    if not value.strip():
        raise ValueError("it is blank")
    if not value.isprintable():
        raise ValueError("it has a line break or another character that cannot be printed")
    return value


def _version_text(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return str(value)
    except ValueError:
        # Python does not write out integers of thousands of digits.
        raise ValueError(
            "an integer of that many digits is no version: use a positive integer or 'latest'"
        ) from None


Domain = Annotated[str, Field(min_length=1), AfterValidator(_domain)]
SecretDomain = Annotated[str, Field(min_length=1), AfterValidator(_secret_domain)]
PrintableText = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
_ListInput = BeforeValidator(lambda value: list(value) if isinstance(value, tuple) else value)


class RequestModel(BaseModel):
    """Base of what is sent: unknown fields are refused, unset ones left out, inputs kept out of errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @model_serializer(mode="wrap")
    def _omit_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class ExpiresAfter(RequestModel):
    """When an idle container ends.

    :param minutes: idle minutes, 1 to 20. The document's "in seconds" is wrong: the unit is minutes.
    :param anchor: what the minutes count from; only ``last_active_at`` exists.
    """

    anchor: Literal["last_active_at"] = "last_active_at"
    minutes: int = Field(ge=1, le=MAX_IDLE_MINUTES)


class NetworkPolicyDisabled(RequestModel):
    """No outbound network access. The service's default when no policy is sent."""

    type: Literal["disabled"] = "disabled"


class DomainSecret(RequestModel):
    """A value that the network layer puts into requests to one domain.

    Inside the container the environment variable ``name`` holds a placeholder only.

    :param domain: a host name that the same policy allows.
    :param name: usable as an environment variable: letters, digits and ``_``, no digit in front.
    :param value: 1 to 10,485,760 characters.
    """

    domain: SecretDomain
    name: str = Field(min_length=1)
    value: SecretStr = Field(min_length=1, max_length=MAX_SECRET_LENGTH)

    @field_validator("name")
    @classmethod
    def _is_environment_name(cls, name: str) -> str:
        if not ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(
                "it cannot name an environment variable: use letters, digits and underscores, "
                "and no digit in front"
            )
        return name

    @field_validator("value")
    @classmethod
    def _can_be_encoded(cls, value: SecretStr) -> SecretStr:
        try:
            value.get_secret_value().encode()
        except UnicodeEncodeError:
            # Not chained: the encoder's error holds the value.
            reason = "it has half of a surrogate pair, expected a text that can be encoded as UTF-8"
        else:
            return value
        raise ValueError(reason)

    @field_serializer("value")
    def _reveal_for_the_wire(self, value: SecretStr, info: SerializationInfo) -> str:
        revealed = isinstance(info.context, dict) and info.context.get("reveal_secrets") is True
        return value.get_secret_value() if revealed else str(value)


class NetworkPolicyAllowlist(RequestModel):
    """Outbound access to the named hosts only.

    The organisation's own list in the service's dashboard is the outer limit: a host outside it makes the
    request fail.

    :param allowed_domains: one or more host names; made lower-case ASCII, duplicates removed.
    :param domain_secrets: one or more secrets for domains in ``allowed_domains``, or ``None``.
    """

    type: Literal["allowlist"] = "allowlist"
    allowed_domains: Annotated[list[Domain], _ListInput] = Field(min_length=1)
    domain_secrets: Annotated[list[DomainSecret] | None, _ListInput] = Field(default=None, min_length=1)

    @field_validator("allowed_domains")
    @classmethod
    def _without_duplicates(cls, domains: list[str]) -> list[str]:
        return list(dict.fromkeys(domains))

    @model_validator(mode="after")
    def _secrets_fit(self) -> NetworkPolicyAllowlist:
        seen = set()
        for index, secret in enumerate(self.domain_secrets or ()):
            if secret.domain not in self.allowed_domains:
                raise ValueError(
                    f"domain_secrets[{index}].domain: {secret.domain!r} is not one of the allowed domains. "
                    "A secret is only put into requests to an allowed domain, so allow the domain too"
                )
            if (secret.domain, secret.name) in seen:
                raise ValueError(
                    f"domain_secrets[{index}]: it repeats the name {secret.name!r} for {secret.domain!r}; "
                    "give each name once per domain"
                )
            seen.add((secret.domain, secret.name))
        return self


NetworkPolicy = Annotated[NetworkPolicyDisabled | NetworkPolicyAllowlist, Field(discriminator="type")]


class SkillReference(RequestModel):
    """A skill that the service already has.

    :param skill_id: 1 to 64 characters, e.g. ``skill_123`` or a first-party id such as
        ``openai-spreadsheets``.
    :param version: a positive integer (as text or number) or ``latest``; the skill's default version if
        left out.
    """

    type: Literal["skill_reference"] = "skill_reference"
    skill_id: PrintableText = Field(max_length=MAX_SKILL_ID_LENGTH)
    version: Annotated[str | None, BeforeValidator(_version_text)] = None

    @field_validator("version")
    @classmethod
    def _is_a_version(cls, version: str | None) -> str | None:
        if version is not None and not _SKILL_VERSION.fullmatch(version):
            raise ValueError(f"{_shown(version)} is not a version: use a positive integer or 'latest'")
        return version


class InlineSkillSource(RequestModel):
    """The zip of an inline skill.

    :param data: the zip as Base64 text, 1 to 70,254,592 characters.
    """

    type: Literal["base64"] = "base64"
    media_type: Literal["application/zip"] = "application/zip"
    data: str = Field(min_length=1, max_length=MAX_INLINE_SKILL_LENGTH, repr=False)

    @field_validator("data")
    @classmethod
    def _is_base64(cls, data: str) -> str:
        if len(data) % 4 or not _BASE64.fullmatch(data):
            raise ValueError("it is not Base64 text (RFC 4648, with padding and without line breaks)")
        return data


class InlineSkill(RequestModel):
    """A skill that travels inside the request."""

    type: Literal["inline"] = "inline"
    name: PrintableText
    description: str = Field(min_length=1)
    source: InlineSkillSource


Skill = Annotated[SkillReference | InlineSkill, Field(discriminator="type")]


class CreateContainerRequest(RequestModel):
    """The body of ``POST /containers``.

    :param name: 1 to 256 printable characters. Not unique; the only way to find a container again.
    :param expires_after: idle time before the container ends; the service uses 20 minutes if left out.
    :param file_ids: ids of files of the Files API to copy in.
    :param memory_limit: ``1g`` (the service's default), ``4g``, ``16g`` or ``64g``; fixed for life.
    :param network_policy: outbound access; none if left out.
    :param skills: skills to mount; there is no way to add one later.
    """

    name: PrintableText = Field(max_length=MAX_NAME_LENGTH)
    expires_after: ExpiresAfter | None = None
    file_ids: Annotated[list[PrintableText] | None, _ListInput] = None
    memory_limit: MemoryLimit | None = None
    network_policy: NetworkPolicy | None = None
    skills: Annotated[list[Skill] | None, _ListInput] = None

    def to_wire(self) -> bytes:
        """Return the JSON body, with the values of the domain secrets in it."""
        return self.model_dump_json(context=_REVEAL).encode()

    def secret_values(self) -> list[str]:
        """Return the values of the domain secrets, for masking."""
        policy = self.network_policy
        secrets = policy.domain_secrets if isinstance(policy, NetworkPolicyAllowlist) else None
        return [secret.value.get_secret_value() for secret in secrets or ()]


def _lenient_int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _lenient_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _lenient_mapping(value: Any) -> Any:
    return value if isinstance(value, dict | BaseModel) else None


def _lenient_texts(value: Any) -> list[str] | None:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None


LenientInt = Annotated[int | None, BeforeValidator(_lenient_int)]
LenientText = Annotated[str | None, BeforeValidator(_lenient_text)]


class ResponseModel(BaseModel):
    """Base of what is read: unknown fields are kept, nulls and wrong types do not fail.

    A create answer that could not be read would lose a container that exists.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)


class ContainerExpiry(ResponseModel):
    """``expires_after`` of an answer."""

    anchor: LenientText = None
    minutes: LenientInt = None


class ContainerNetworkPolicy(ResponseModel):
    """``network_policy`` of an answer; values of secrets are write-only and never part of it."""

    type: LenientText = None
    allowed_domains: Annotated[list[str] | None, BeforeValidator(_lenient_texts)] = None


class Container(ResponseModel):
    """A container as the service describes it.

    :param id: ``cntr_`` and 48 hexadecimal digits, on OpenAI's service.
    :param status: a free text; ``running`` and ``expired`` were seen, ``active`` and ``deleted`` are
        documented.
    :param created_at: seconds since 1970.
    :param last_active_at: seconds since 1970; what the idle time counts from.
    """

    id: str = Field(min_length=1)
    object: LenientText = None
    name: LenientText = None
    created_at: LenientInt = None
    status: LenientText = None
    expires_after: Annotated[ContainerExpiry | None, BeforeValidator(_lenient_mapping)] = None
    last_active_at: LenientInt = None
    memory_limit: LenientText = None
    network_policy: Annotated[ContainerNetworkPolicy | None, BeforeValidator(_lenient_mapping)] = None

    @property
    def is_alive(self) -> bool:
        """Whether the status does not say that the container is over.

        A status nobody has documented counts as alive: what may still cost money is not written off.
        """
        return (self.status or "").lower() not in {"expired", "deleted"}

    @property
    def expires_at(self) -> datetime | None:
        """When the container ends if nobody uses it, in UTC; ``None`` if the answer does not tell."""
        minutes = self.expires_after.minutes if self.expires_after else None
        if self.last_active_at is None or minutes is None:
            return None
        try:
            return datetime.fromtimestamp(self.last_active_at, UTC) + timedelta(minutes=minutes)
        except (OverflowError, OSError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return what the service sent, as plain JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


def _identified(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, Container) or _has_id(item)]


def _has_id(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), str) and bool(item["id"])


class ContainerPage(ResponseModel):
    """One page of a list. Entries without an id are left out: nothing can be done with them."""

    object: LenientText = None
    data: Annotated[list[Container], BeforeValidator(_identified)] = []
    first_id: LenientText = None
    last_id: LenientText = None
    has_more: bool | None = None

    @field_validator("has_more", mode="before")
    @classmethod
    def _lenient_flag(cls, value: Any) -> bool | None:
        return value if isinstance(value, bool) else None


class DeletedContainer(ResponseModel):
    """The answer to a delete; all fields optional, because some servers answer with no body."""

    id: LenientText = None
    object: LenientText = None
    deleted: bool | None = None

    @field_validator("deleted", mode="before")
    @classmethod
    def _lenient_flag(cls, value: Any) -> bool | None:
        return value if isinstance(value, bool) else None
