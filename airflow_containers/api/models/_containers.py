"""Containers on the wire.

The limits are those of the published OpenAPI document (schemas ``CreateContainerBody``,
``ContainerNetworkPolicyAllowlistParam``, ``SkillReferenceParam``, ``InlineSkillParam``) unless a comment
says otherwise. Values of domain secrets are :class:`~pydantic.SecretStr` and leave a model only through
:meth:`CreateContainerRequest.to_wire`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    SerializationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_serializer,
    field_validator,
    model_validator,
)

from airflow_containers.api.domains import normalize_domain
from airflow_containers.api.inline_zips import JsonWithZips, Places, SkillZip
from airflow_containers.api.models._base import (
    Deleted,
    LenientInt,
    LenientText,
    ListInput,
    Page,
    PrintableText,
    RequestModel,
    ResponseModel,
    identified,
    lenient_mapping,
    lenient_texts,
    shown,
)

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
SKILL_VERSION = re.compile(r"latest|[1-9][0-9]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def _domain(value: str) -> str:
    try:
        return normalize_domain(value)
    except ValueError as error:
        raise ValueError(f"{shown(value)} is not a host name that can be allowed: {error}") from None


def _secret_domain(value: str) -> str:
    # The text is not quoted: somebody may have put the secret here by mistake.
    try:
        return normalize_domain(value)
    except ValueError as error:
        raise ValueError(f"it is not a host name that can be allowed: {error}") from None


def version_text(value: Any) -> Any:
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
    allowed_domains: Annotated[list[Domain], ListInput] = Field(min_length=1)
    domain_secrets: Annotated[list[DomainSecret] | None, ListInput] = Field(default=None, min_length=1)

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
    version: Annotated[str | None, BeforeValidator(version_text)] = None

    @field_validator("version")
    @classmethod
    def _is_a_version(cls, version: str | None) -> str | None:
        if version is not None and not SKILL_VERSION.fullmatch(version):
            raise ValueError(f"{shown(version)} is not a version: use a positive integer or 'latest'")
        return version


def _zip_or_text(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    # An instance only: no JSON may name a file to read.
    return value if isinstance(value, SkillZip) else handler(value)


if TYPE_CHECKING:
    ZipText = str | SkillZip
else:
    ZipText = Annotated[
        str, Field(min_length=1, max_length=MAX_INLINE_SKILL_LENGTH), WrapValidator(_zip_or_text)
    ]


class InlineSkillSource(RequestModel):
    """The zip of an inline skill.

    :param data: the zip as Base64 text, 1 to 70,254,592 characters, or as a file that is encoded while it is
        sent.
    """

    type: Literal["base64"] = "base64"
    media_type: Literal["application/zip"] = "application/zip"
    data: ZipText = Field(repr=False)

    @field_validator("data")
    @classmethod
    def _is_zip_or_base64(cls, data: str | SkillZip) -> str | SkillZip:
        if isinstance(data, SkillZip):
            if not 1 <= data.encoded_length <= MAX_INLINE_SKILL_LENGTH:
                raise ValueError(
                    f"the zip has {data.size} bytes, expected 1 to {MAX_INLINE_SKILL_LENGTH // 4 * 3}"
                )
        elif len(data) % 4 or not _BASE64.fullmatch(data):
            raise ValueError("it is not Base64 text (RFC 4648, with padding and without line breaks)")
        return data

    @field_serializer("data")
    def _text(self, data: str | SkillZip, info: SerializationInfo) -> str:
        if not isinstance(data, SkillZip):
            return data
        places = info.context.get("places") if isinstance(info.context, dict) else None
        return places.place_for(data) if isinstance(places, Places) else str(data)


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
    file_ids: Annotated[list[PrintableText] | None, ListInput] = None
    memory_limit: MemoryLimit | None = None
    network_policy: NetworkPolicy | None = None
    skills: Annotated[list[Skill] | None, ListInput] = None

    def to_wire(self) -> bytes:
        """Return the JSON body, with the values of the domain secrets and whole zips in it."""
        return b"".join(self.to_body().chunks())

    def to_body(self) -> JsonWithZips:
        """Return the body as it is sent: zips that are in files are encoded on the way."""
        places = Places()
        return places.body(self.model_dump_json(context={**_REVEAL, "places": places}))

    def secret_values(self) -> list[str]:
        """Return the values of the domain secrets, for masking."""
        policy = self.network_policy
        secrets = policy.domain_secrets if isinstance(policy, NetworkPolicyAllowlist) else None
        return [secret.value.get_secret_value() for secret in secrets or ()]


class ContainerExpiry(ResponseModel):
    """``expires_after`` of an answer."""

    anchor: LenientText = None
    minutes: LenientInt = None


class ContainerNetworkPolicy(ResponseModel):
    """``network_policy`` of an answer; values of secrets are write-only and never part of it."""

    type: LenientText = None
    allowed_domains: Annotated[list[str] | None, BeforeValidator(lenient_texts)] = None


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
    expires_after: Annotated[ContainerExpiry | None, BeforeValidator(lenient_mapping)] = None
    last_active_at: LenientInt = None
    memory_limit: LenientText = None
    network_policy: Annotated[ContainerNetworkPolicy | None, BeforeValidator(lenient_mapping)] = None

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


class ContainerPage(Page):
    """One page of containers."""

    data: Annotated[list[Container], BeforeValidator(identified)] = Field(default_factory=list)


class DeletedContainer(Deleted):
    """The answer to the delete of a container."""
