"""A whole Airflow with the example DAGs, and the service that they talk to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.connections import Secrets
from tests.support.gateway import Gateway
from tests.support.standalone import Standalone


@pytest.fixture(scope="session")
def standalone(
    tmp_path_factory: pytest.TempPathFactory, gateway_process: Gateway, example_secrets: Secrets
) -> Iterator[Standalone]:
    """`airflow standalone` with all that the example DAGs need, set as a user sets it: through the API."""
    airflow = Standalone(
        tmp_path_factory.mktemp("standalone"),
        environment={"EXAMPLE_API_TOKEN": example_secrets.example_token},
    )
    try:
        airflow.start()
        for connection_id, connection in example_secrets.connections(gateway_process.base_url).items():
            body = connection | {
                "connection_id": connection_id,
                "extra": json.dumps(connection.get("extra", {})),
            }
            airflow.post("/connections", body)
        airflow.post("/variables", {"key": "data_token", "value": example_secrets.data_token})
        yield airflow
    finally:
        airflow.stop()
