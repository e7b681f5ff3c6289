"""The routes of ``/v1/files``."""

from __future__ import annotations

from airflow_containers.local.files.responses import FileResponses
from airflow_containers.local.http import Endpoint


def endpoints(responses: FileResponses) -> list[Endpoint]:
    """The route table."""
    return [
        Endpoint("POST", "/v1/files", responses.create, streams=True),
        Endpoint("GET", "/v1/files", responses.list),
        Endpoint("GET", "/v1/files/{file_id}", responses.retrieve),
        Endpoint("DELETE", "/v1/files/{file_id}", responses.delete),
        Endpoint("GET", "/v1/files/{file_id}/content", responses.content),
    ]
