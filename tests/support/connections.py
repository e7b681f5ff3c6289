"""What the example DAGs refer to: connections, a Variable, an environment variable; with secret values."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Any


@dataclass(frozen=True)
class Secrets:
    """The secret values.

    :param api_key: the key for the containers service.
    :param buildkite: the password of the connection `buildkite`.
    :param data_token: the Variable `data_token`.
    :param example_token: the environment variable `EXAMPLE_API_TOKEN`.
    """

    api_key: str
    buildkite: str
    data_token: str
    example_token: str

    def all(self) -> tuple[str, ...]:
        """Each value."""
        return astuple(self)

    def connections(self, base_url: str) -> dict[str, dict[str, Any]]:
        """The connections by id, for a service at `base_url`."""
        return {
            "openai_containers_default": {
                "conn_type": "openai_containers",
                "host": base_url,
                "password": self.api_key,
                "extra": {"max_retries": 0},
            },
            "openai_default": {"conn_type": "openai", "host": base_url, "password": self.api_key},
            "buildkite": {"conn_type": "http", "host": "api.buildkite.com", "password": self.buildkite},
        }

    def environment(self, base_url: str) -> dict[str, str]:
        """Everything as environment variables of Airflow."""
        connections = {
            f"AIRFLOW_CONN_{connection_id.upper()}": json.dumps(connection)
            for connection_id, connection in self.connections(base_url).items()
        }
        return connections | {
            "AIRFLOW_VAR_DATA_TOKEN": self.data_token,
            "EXAMPLE_API_TOKEN": self.example_token,
        }
