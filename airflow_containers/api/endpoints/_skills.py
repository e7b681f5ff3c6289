"""Skills and their versions."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_containers.api.bodies import MultipartBody, Source, guess_content_type
from airflow_containers.api.endpoints._call import Call, Order, page_query, path_with
from airflow_containers.api.endpoints._files import CONTENT_HEADERS
from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import (
    Content,
    DeletedSkill,
    DeletedSkillVersion,
    SetDefaultVersionRequest,
    SkillPage,
    SkillResource,
    SkillVersion,
    SkillVersionPage,
)
from airflow_containers.api.validation import quoted, validate

_MAX_FILES = 500
_SKILL = "/skills/{skill_id}"
_VERSIONS = "/skills/{skill_id}/versions"
_VERSION = "/skills/{skill_id}/versions/{version}"


def create_skill(files: Source | Sequence[Source]) -> Call[SkillResource]:
    """``POST /skills``. Not repeatable: it would make a second skill.

    Name and description are those of the front matter in SKILL.md.

    :param files: one zip with a single top-level folder, or up to 500 files, each named by its path with that
        folder in front (``report/SKILL.md``).
    """
    body, subject = _upload(files, [])
    return Call("POST", "/skills", SkillResource, body=body, repeatable=False, subject=subject)


def list_skills(
    *, after: str | None = None, limit: int | None = None, order: Order | None = None
) -> Call[SkillPage]:
    """``GET /skills``: one page.

    :param after: id of the last skill of the page before.
    :param limit: skills on the page, 1 to 100; 20 if left out.
    :param order: by creation time, ``desc`` if left out.
    """
    return Call("GET", "/skills", SkillPage, query=page_query(after, limit, order))


def retrieve_skill(skill_id: str) -> Call[SkillResource]:
    """``GET /skills/{skill_id}``."""
    return Call("GET", path_with(_SKILL, skill_id=skill_id), SkillResource)


def set_default_skill_version(skill_id: str, version: str | int) -> Call[SkillResource]:
    """``POST /skills/{skill_id}``: make a version the one that is used where none is named.

    :param version: a positive integer, as text or number.
    """
    request = validate(SetDefaultVersionRequest, {"default_version": version})
    return Call("POST", path_with(_SKILL, skill_id=skill_id), SkillResource, body=request)


def delete_skill(skill_id: str) -> Call[DeletedSkill]:
    """``DELETE /skills/{skill_id}``, with all its versions."""
    return Call("DELETE", path_with(_SKILL, skill_id=skill_id), DeletedSkill, body_optional=True)


def skill_content(skill_id: str) -> Call[Content]:
    """``GET /skills/{skill_id}/content``: the zip of the default version."""
    return Call("GET", path_with(f"{_SKILL}/content", skill_id=skill_id), Content, headers=CONTENT_HEADERS)


def create_skill_version(
    skill_id: str, files: Source | Sequence[Source], *, default: bool | None = None
) -> Call[SkillVersion]:
    """``POST /skills/{skill_id}/versions``. Not repeatable: it would make a second version.

    :param files: as in :func:`create_skill`.
    :param default: whether it becomes the default version; the service's default is not to.
    """
    fields = [] if default is None else [("default", "true" if default else "false")]
    body, subject = _upload(files, fields)
    return Call(
        "POST",
        path_with(_VERSIONS, skill_id=skill_id),
        SkillVersion,
        body=body,
        repeatable=False,
        subject=subject,
    )


def list_skill_versions(
    skill_id: str, *, after: str | None = None, limit: int | None = None, order: Order | None = None
) -> Call[SkillVersionPage]:
    """``GET /skills/{skill_id}/versions``: one page.

    :param after: id (``skillver_…``) of the last version of the page before.
    :param limit: versions on the page, 1 to 100; 20 if left out.
    :param order: by creation time, ``desc`` if left out.
    """
    path = path_with(_VERSIONS, skill_id=skill_id)
    return Call("GET", path, SkillVersionPage, query=page_query(after, limit, order))


def retrieve_skill_version(skill_id: str, version: str | int) -> Call[SkillVersion]:
    """``GET /skills/{skill_id}/versions/{version}``.

    :param version: a positive integer, as text or number.
    """
    return Call("GET", _version_path(_VERSION, skill_id, version), SkillVersion)


def delete_skill_version(skill_id: str, version: str | int) -> Call[DeletedSkillVersion]:
    """``DELETE /skills/{skill_id}/versions/{version}``.

    The service refuses the default version, and deletes the skill with its last version.
    """
    path = _version_path(_VERSION, skill_id, version)
    return Call("DELETE", path, DeletedSkillVersion, body_optional=True)


def skill_version_content(skill_id: str, version: str | int) -> Call[Content]:
    """``GET /skills/{skill_id}/versions/{version}/content``: the zip."""
    path = _version_path(f"{_VERSION}/content", skill_id, version)
    return Call("GET", path, Content, headers=CONTENT_HEADERS)


def _upload(files: Source | Sequence[Source], fields: list[tuple[str, str]]) -> tuple[MultipartBody, str]:
    """Return the form of an upload and what it is called: one part ``files``, or many ``files[]``."""
    if not isinstance(files, Sequence):
        return MultipartBody(fields, [("files", files, "application/zip")]), files.name
    if not 1 <= len(files) <= _MAX_FILES:
        raise InvalidRequestError(f"files: got {len(files)} files, expected 1 to {_MAX_FILES}")
    parts = [("files[]", file, guess_content_type(file.name)) for file in files]
    return MultipartBody(fields, parts), files[0].name.partition("/")[0]


def _version_path(template: str, skill_id: str, version: str | int) -> str:
    text = str(version) if type(version) is int and 0 < version < 10**18 else version
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or text.startswith("0"):
        raise InvalidRequestError(f"version: got {quoted(version)}, expected a positive integer")
    return path_with(template, skill_id=skill_id, version=text)
