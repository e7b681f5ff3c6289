"""Skills on the wire (schemas ``SkillResource``, ``SkillVersionResource`` and the lists of both)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from airflow_containers.api.models._base import (
    Deleted,
    LenientInt,
    LenientText,
    Page,
    RequestModel,
    ResponseModel,
    identified,
    shown,
)
from airflow_containers.api.models._containers import SKILL_VERSION, version_text


def _lenient_version(value: Any) -> str | None:
    # The guide's examples have numbers where the document says text.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


LenientVersion = Annotated[str | None, BeforeValidator(_lenient_version)]


class SkillResource(ResponseModel):
    """A skill as the service describes it.

    :param id: ``skill_`` and more.
    :param name: of the front matter of the default version.
    :param default_version: used where none is named.
    :param latest_version: the newest upload.
    :param created_at: seconds since 1970.
    """

    id: str = Field(min_length=1)
    object: LenientText = None
    name: LenientText = None
    description: LenientText = None
    created_at: LenientInt = None
    default_version: LenientVersion = None
    latest_version: LenientVersion = None


class SkillVersion(ResponseModel):
    """A version of a skill; it never changes.

    :param id: ``skillver_`` and more; lists go on from it. Everything else takes ``version``.
    :param version: a positive integer as text.
    :param created_at: seconds since 1970.
    """

    id: str = Field(min_length=1)
    object: LenientText = None
    skill_id: LenientText = None
    version: LenientVersion = None
    name: LenientText = None
    description: LenientText = None
    created_at: LenientInt = None


class SkillPage(Page):
    """One page of the list of skills."""

    data: Annotated[list[SkillResource], BeforeValidator(identified)] = Field(default_factory=list)


class SkillVersionPage(Page):
    """One page of the list of a skill's versions."""

    data: Annotated[list[SkillVersion], BeforeValidator(identified)] = Field(default_factory=list)


class DeletedSkill(Deleted):
    """The answer to the delete of a skill."""


class DeletedSkillVersion(Deleted):
    """The answer to the delete of a version.

    :param version: the deleted version.
    """

    version: LenientVersion = None


class SetDefaultVersionRequest(RequestModel):
    """The body of ``POST /skills/{skill_id}``.

    :param default_version: a positive integer, as text or number. Sent as text, which is what the document
        says; the guide's examples have numbers.
    """

    default_version: Annotated[str, BeforeValidator(version_text)]

    @field_validator("default_version")
    @classmethod
    def _is_a_number(cls, version: str) -> str:
        if version == "latest" or not SKILL_VERSION.fullmatch(version):
            raise ValueError(f"{shown(version)} is not a version: use a positive integer")
        return version
