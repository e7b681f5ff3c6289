"""Whether a container that is there already is the one that a create task asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from airflow_containers.api.models import (
    MAX_IDLE_MINUTES,
    Container,
    CreateContainerRequest,
    NetworkPolicyAllowlist,
)

_DEFAULT_MEMORY: Final = "1g"


def fingerprint(request: CreateContainerRequest) -> str:
    """Return a hash of everything in a request but the values of its secrets."""
    return hashlib.blake2b(request.model_dump_json().encode(), digest_size=16).hexdigest()


def difference(container: Container, request: CreateContainerRequest) -> str | None:
    """Say in which way a container differs from what ``request`` asks for, as far as the service shows it.

    Memory, network policy and idle time are compared. What the service leaves out of its answer is taken to
    be right; skills, files and secrets never are in it.

    :returns: ``None`` if it does not differ.
    """
    memory = request.memory_limit or _DEFAULT_MEMORY
    if container.memory_limit not in (None, memory):
        return f"it has {container.memory_limit} of memory, and {memory} is asked for"
    shown = container.network_policy
    if shown is not None and shown.type is not None:
        policy = request.network_policy
        wanted = policy.allowed_domains if isinstance(policy, NetworkPolicyAllowlist) else []
        allowed = (shown.allowed_domains or []) if shown.type == "allowlist" else []
        if {domain.lower() for domain in allowed} != set(wanted):
            return f"it may reach {_listed(allowed)}, and {_listed(wanted)} is asked for"
    minutes = request.expires_after.minutes if request.expires_after else MAX_IDLE_MINUTES
    has = container.expires_after.minutes if container.expires_after else None
    if has not in (None, minutes):
        return f"it ends after {has} idle minutes, and {minutes} are asked for"
    return None


def is_unused(container: Container, since: float | None = None) -> bool:
    """Whether nobody can have used a container: not active after its creation, or made ``since``."""
    created, active = container.created_at, container.last_active_at
    if created is None:
        return False
    return (since is not None and created >= since) or (active is not None and active <= created)


def _listed(domains: Sequence[str]) -> str:
    return ", ".join(sorted(domains)) or "no domain"
