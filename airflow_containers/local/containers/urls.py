"""The routes of ``/v1/containers``."""

from __future__ import annotations

from airflow_containers.local.containers.responses import ContainerResponses
from airflow_containers.local.http import Endpoint


def endpoints(responses: ContainerResponses) -> list[Endpoint]:
    """The route table."""
    return [
        Endpoint("POST", "/v1/containers", responses.create),
        Endpoint("GET", "/v1/containers", responses.list),
        Endpoint("GET", "/v1/containers/{container_id}", responses.retrieve),
        Endpoint("DELETE", "/v1/containers/{container_id}", responses.delete),
    ]
