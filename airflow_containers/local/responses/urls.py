"""The routes of ``/v1/responses``."""

from __future__ import annotations

from airflow_containers.local.http import Endpoint
from airflow_containers.local.responses.responses import ResponseResponses


def endpoints(responses: ResponseResponses) -> list[Endpoint]:
    """The route table."""
    one = "/v1/responses/{response_id}"
    return [
        Endpoint("POST", "/v1/responses", responses.create),
        Endpoint("GET", one, responses.retrieve),
        Endpoint("DELETE", one, responses.delete),
        Endpoint("POST", f"{one}/cancel", responses.cancel),
        Endpoint("GET", f"{one}/input_items", responses.input_items),
    ]
