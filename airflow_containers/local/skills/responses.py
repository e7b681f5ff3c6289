"""From requests to :class:`SkillBackend` and back: parsing and serialising, no rules."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.containers.models import Quirks
from airflow_containers.local.contents import content_answer
from airflow_containers.local.http import ApiRequest, json_response
from airflow_containers.local.paging import envelope
from airflow_containers.local.skills.intake import taken_in
from airflow_containers.local.skills.models import Skill, SkillBackend, SkillVersion
from airflow_containers.local.skills.schemas import BOOLEAN, CREATE, CREATE_VERSION, LIST, SET_DEFAULT

_LIST_INTEGERS = frozenset({"limit"})
_ZIP_TYPE = "application/zip"


class SkillResponses:
    """The handlers of ``/v1/skills``."""

    def __init__(self, backend: SkillBackend, blobs: Blobs, quirks: Quirks) -> None:
        self._backend = backend
        self._blobs = blobs
        self._quirks = quirks

    async def create(self, request: ApiRequest) -> Response:
        """``POST /v1/skills``."""
        async with request.read_form(CREATE, self._blobs) as form, taken_in(form, self._blobs) as packed:
            return json_response(show(self._backend.create(packed)))

    async def list(self, request: ApiRequest) -> Response:
        """``GET /v1/skills``."""
        page, has_more = self._backend.page(**request.query(LIST, _LIST_INTEGERS))
        return json_response(envelope([show(skill) for skill in page], has_more=has_more))

    async def retrieve(self, request: ApiRequest) -> Response:
        """``GET /v1/skills/{skill_id}``."""
        return json_response(show(self._backend.retrieve(**request.path_params)))

    async def set_default(self, request: ApiRequest) -> Response:
        """``POST /v1/skills/{skill_id}``."""
        version = request.json_object(SET_DEFAULT)["default_version"]
        return json_response(show(self._backend.set_default(request.path_params["skill_id"], version)))

    async def delete(self, request: ApiRequest) -> Response:
        """``DELETE /v1/skills/{skill_id}``."""
        skill_id = request.path_params["skill_id"]
        self._backend.delete(skill_id)
        return json_response({"id": skill_id, "object": "skill.deleted", "deleted": True})

    async def content(self, request: ApiRequest) -> Response:
        """``GET /v1/skills/{skill_id}/content``: the default version's."""
        return self._send(request, self._backend.retrieve(**request.path_params).default)

    async def create_version(self, request: ApiRequest) -> Response:
        """``POST /v1/skills/{skill_id}/versions``."""
        skill_id = request.path_params["skill_id"]
        self._backend.retrieve(skill_id)
        async with request.read_form(CREATE_VERSION, self._blobs) as form:
            default = form.fields.get("default", "false")
            BOOLEAN.check(default, "default")
            async with taken_in(form, self._blobs) as packed:
                version = self._backend.create_version(skill_id, packed, default=default == "true")
                return json_response(show_version(version))

    async def list_versions(self, request: ApiRequest) -> Response:
        """``GET /v1/skills/{skill_id}/versions``."""
        query = request.query(LIST, _LIST_INTEGERS)
        page, has_more = self._backend.version_page(request.path_params["skill_id"], **query)
        return json_response(envelope([show_version(version) for version in page], has_more=has_more))

    async def retrieve_version(self, request: ApiRequest) -> Response:
        """``GET /v1/skills/{skill_id}/versions/{version}``."""
        return json_response(show_version(self._backend.retrieve_version(**request.path_params)))

    async def delete_version(self, request: ApiRequest) -> Response:
        """``DELETE /v1/skills/{skill_id}/versions/{version}``."""
        version = self._backend.delete_version(**request.path_params)
        return json_response(
            {
                "id": version.id,
                "object": "skill.version.deleted",
                "deleted": True,
                "version": str(version.version),
            }
        )

    async def version_content(self, request: ApiRequest) -> Response:
        """``GET /v1/skills/{skill_id}/versions/{version}/content``."""
        return self._send(request, self._backend.retrieve_version(**request.path_params))

    def _send(self, request: ApiRequest, version: SkillVersion) -> Response:
        content = self._backend.content(version)
        return content_answer(request, content, ranges=self._quirks.ranges, media_type=_ZIP_TYPE)


def show(skill: Skill) -> dict[str, Any]:
    """A skill as the API shows it."""
    return {
        "id": skill.id,
        "object": "skill",
        "created_at": int(skill.created),
        "name": skill.default.name,
        "description": skill.default.description,
        "default_version": str(skill.default.version),
        "latest_version": str(skill.latest),
    }


def show_version(version: SkillVersion) -> dict[str, Any]:
    """A version of a skill as the API shows it."""
    return {
        "id": version.id,
        "object": "skill.version",
        "created_at": int(version.created),
        "skill_id": version.skill_id,
        "version": str(version.version),
        "name": version.name,
        "description": version.description,
    }
