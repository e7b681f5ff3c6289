"""A second opinion on what goes over the wire, after the published document and not after our models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_SCHEMA = json.loads(Path(__file__).with_name("create_container_schema.json").read_text())
_VALIDATOR = Draft202012Validator(_SCHEMA)


def wire_problems(body: Any) -> list[str]:
    """What is wrong with a create request's body; nothing for a good one."""
    problems = [f"{error.json_path}: {error.message}"[:300] for error in _VALIDATOR.iter_errors(body)]
    policy = body.get("network_policy", {}) if isinstance(body, dict) else {}
    # What a JSON schema cannot say.
    allowed = policy.get("allowed_domains", ())
    pairs = [(secret["domain"], secret["name"]) for secret in policy.get("domain_secrets", ())]
    problems += [
        f"a secret for {domain}, which is not allowed" for domain, _ in pairs if domain not in allowed
    ]
    return problems + (["a secret given twice"] if len(set(pairs)) < len(pairs) else [])
