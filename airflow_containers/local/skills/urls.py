"""The routes of ``/v1/skills``."""

from __future__ import annotations

from airflow_containers.local.http import Endpoint
from airflow_containers.local.skills.responses import SkillResponses

_SKILL = "/v1/skills/{skill_id}"
_VERSION = f"{_SKILL}/versions/{{version}}"


def endpoints(responses: SkillResponses) -> list[Endpoint]:
    """The route table."""
    return [
        Endpoint("POST", "/v1/skills", responses.create, streams=True),
        Endpoint("GET", "/v1/skills", responses.list),
        Endpoint("GET", _SKILL, responses.retrieve),
        Endpoint("POST", _SKILL, responses.set_default),
        Endpoint("DELETE", _SKILL, responses.delete),
        Endpoint("GET", f"{_SKILL}/content", responses.content),
        Endpoint("POST", f"{_SKILL}/versions", responses.create_version, streams=True),
        Endpoint("GET", f"{_SKILL}/versions", responses.list_versions),
        Endpoint("GET", _VERSION, responses.retrieve_version),
        Endpoint("DELETE", _VERSION, responses.delete_version),
        Endpoint("GET", f"{_VERSION}/content", responses.version_content),
    ]
