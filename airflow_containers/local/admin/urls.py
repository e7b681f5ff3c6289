"""The routes of ``/_local/``."""

from __future__ import annotations

from airflow_containers.local.admin.responses import AdminResponses
from airflow_containers.local.http import Endpoint

PREFIX = "/_local/"


def endpoints(responses: AdminResponses) -> list[Endpoint]:
    """The route table."""
    return [
        Endpoint("GET", f"{PREFIX}health", responses.health),
        Endpoint("POST", f"{PREFIX}reset", responses.reset),
        Endpoint("POST", f"{PREFIX}seed", responses.seed),
        Endpoint("GET", f"{PREFIX}clock", responses.clock),
        Endpoint("POST", f"{PREFIX}clock", responses.advance),
        Endpoint("GET", f"{PREFIX}faults", responses.faults),
        Endpoint("POST", f"{PREFIX}faults", responses.order_fault),
        Endpoint("DELETE", f"{PREFIX}faults", responses.clear_faults),
        Endpoint("GET", f"{PREFIX}journal", responses.journal),
        Endpoint("DELETE", f"{PREFIX}journal", responses.clear_journal),
        Endpoint("GET", f"{PREFIX}quirks", responses.quirks),
        Endpoint("POST", f"{PREFIX}quirks", responses.set_quirks),
        Endpoint("GET", f"{PREFIX}containers", responses.containers),
        Endpoint(
            "POST", f"{PREFIX}containers/{{container_id}}/files", responses.add_container_file, streams=True
        ),
        Endpoint("POST", f"{PREFIX}containers/{{container_id}}/commands", responses.run_command),
        Endpoint("GET", f"{PREFIX}egress", responses.egress),
        Endpoint("DELETE", f"{PREFIX}egress", responses.clear_egress),
        Endpoint("GET", f"{PREFIX}isolation", responses.isolation),
        Endpoint("POST", f"{PREFIX}files/{{file_id}}", responses.add_file, streams=True),
        Endpoint("POST", f"{PREFIX}skills/{{skill_id}}", responses.add_skill, streams=True),
    ]
