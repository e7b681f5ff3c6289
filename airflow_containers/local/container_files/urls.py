"""The routes of ``/v1/containers/{container_id}/files``."""

from __future__ import annotations

from airflow_containers.local.container_files.responses import ContainerFileResponses
from airflow_containers.local.http import Endpoint

_FILES = "/v1/containers/{container_id}/files"
_FILE = _FILES + "/{file_id}"


def endpoints(responses: ContainerFileResponses) -> list[Endpoint]:
    """The route table."""
    return [
        Endpoint("POST", _FILES, responses.create, streams=True),
        Endpoint("GET", _FILES, responses.list),
        Endpoint("GET", _FILE, responses.retrieve),
        Endpoint("DELETE", _FILE, responses.delete),
        Endpoint("GET", f"{_FILE}/content", responses.content),
    ]
