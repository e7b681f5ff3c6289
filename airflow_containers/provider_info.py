"""What Airflow asks every provider for, as plain data.

Every Airflow process calls :func:`get_provider_info` when it starts, so this module imports nothing. The
connection form is described here once; the hook's form methods (Airflow 2.11 to 3.1) read the same data.
"""

from __future__ import annotations

from typing import Any

CONNECTION_TYPE = "openai_containers"
"""Airflow turns ``-`` into ``_`` in URIs, so the type has none."""

DISPLAY_NAME = "OpenAI Containers"

HIDDEN_FIELDS = ("schema", "port", "login")
"""Standard fields that the form leaves out. ``schema`` and ``port`` are read all the same: URIs fill them."""

RELABELING = {"password": "API key", "host": "Base URL"}

PLACEHOLDERS = {"password": "sk-...", "host": "https://api.openai.com/v1"}

# No defaults: Airflow would save them into the connection, where they outlive a change of ours.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "organization": {
        "label": "Organization",
        "description": "Id of the organization to work in (org-...). Empty: the key's own.",
        "schema": {"type": ["string", "null"]},
    },
    "project": {
        "label": "Project",
        "description": "Id of the project to work in (proj_...). Empty: the key's own.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "For one attempt of a request, up to 3600. Empty: 60.",
        "schema": {"type": ["number", "null"], "minimum": 0.001, "maximum": 3600},
    },
    "max_retries": {
        "label": "Retries",
        "description": "Attempts after the first, 0 to 10. Empty: 2.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 10},
    },
    # A text and not a switch: a form saves a switch that nobody touched as "off".
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA bundle on the workers. Empty: true.",
        "schema": {"type": ["string", "null"]},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of a proxy. Empty: HTTPS_PROXY and its like on the workers count.",
        "schema": {"type": ["string", "null"]},
    },
    "headers": {
        "label": "Extra headers",
        "description": 'Sent with every request, as a JSON object: {"X-Team": "data"}.',
        "schema": {"type": ["object", "null"]},
    },
    "auth": {
        "label": "Authentication",
        "description": "How the key is sent: bearer, or api-key for Azure. Empty: bearer.",
        "schema": {"type": ["string", "null"], "enum": ["bearer", "api-key"]},
    },
    "requests_per_minute": {
        "label": "Requests per minute",
        "description": "What waiting, sweeping and transfers of files keep to, in each process. Empty: 100.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000000},
    },
}
"""Extras of a connection, as fields of the form: label, description and JSON schema of each."""

ASSET_URIS = {
    "schemes": ["openai-container"],
    # No handler: a URI is right as it is. Airflow skips an entry without the key.
    "handler": None,
    "to_openlineage_converter": "airflow_containers.filesystems.assets.to_openlineage",
}
"""How URIs of files in containers are told to OpenLineage."""


def get_provider_info() -> dict[str, Any]:
    """Return the description of this provider that the entry point ``apache_airflow_provider`` promises.

    It satisfies ``provider_info.schema.json`` of every supported Airflow, and for the connection type
    the stricter ``provider.yaml.schema.json`` of 3.3 as well.
    """
    return {
        "package-name": "airflow-containers",
        "name": "OpenAI Containers",
        "description": (
            "Hosted sandbox containers: the `OpenAI Containers API "
            "<https://platform.openai.com/docs/api-reference/containers>`__ and every service that speaks it."
        ),
        "integrations": [
            {
                "integration-name": DISPLAY_NAME,
                "external-doc-url": "https://platform.openai.com/docs/api-reference/containers",
                "tags": ["ai", "openai", "service"],
            }
        ],
        "hooks": [
            {"integration-name": DISPLAY_NAME, "python-modules": ["airflow_containers.hooks.container"]}
        ],
        "operators": [
            {
                "integration-name": DISPLAY_NAME,
                "python-modules": [
                    "airflow_containers.operators.container",
                    "airflow_containers.operators.files",
                    "airflow_containers.operators.keep_alive",
                    "airflow_containers.operators.skill",
                    "airflow_containers.operators.sweep",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": DISPLAY_NAME,
                "python-modules": [
                    "airflow_containers.sensors.container",
                    "airflow_containers.sensors.container_file",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": DISPLAY_NAME,
                "python-modules": [
                    "airflow_containers.triggers.container",
                    "airflow_containers.triggers.container_file",
                ],
            }
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "airflow_containers.hooks.container.ContainerHook",
                "hook-name": DISPLAY_NAME,
                "ui-field-behaviour": {
                    "hidden-fields": list(HIDDEN_FIELDS),
                    "relabeling": dict(RELABELING),
                    "placeholders": dict(PLACEHOLDERS),
                },
                "conn-fields": {
                    name: {**field, "schema": dict(field["schema"])} for name, field in CONN_FIELDS.items()
                },
            }
        ],
        "filesystems": ["airflow_containers.filesystems.containers"],
        # Airflow 3 reads the first, 2.11 the second.
        "asset-uris": [dict(ASSET_URIS)],
        "dataset-uris": [dict(ASSET_URIS)],
        "extra-links": ["airflow_containers.links.ContainerLink"],
    }
