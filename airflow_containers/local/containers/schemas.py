"""The rules for requests to ``/v1/containers``.

Limits are the published ones. Where nothing is published, the cautious reading is built, each in one
place here: minutes from 1, names and ids not empty, bare lower-case host names only, secret names that an
environment variable can have, secrets for allowed domains only.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_containers.local.egress.variables import name_problem
from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.schema import Array, Enum, Integer, Object, Text, Union

MEMORY_LIMITS = ("1g", "4g", "16g", "64g")
MAX_MINUTES = 20
MAX_SECRET = 10_485_760
MAX_SKILL_DATA = 70_254_592
MAX_PAGE = 100

_MAX_DOMAIN = 253
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_ADDRESS = r"[\d.]+|0x[\da-f]+|\[?[\da-f.]*:[\da-f.]*:[\da-f:.]*(?:%\w+)?\]?"
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_EXPECTED = "Expected a host name such as 'api.example.com', but got"


_FOREIGN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"://"), "one with a scheme"),
    (re.compile(r"\*"), "one with a wildcard; list every host"),
    (re.compile(rf"^(?:{_ADDRESS})$", re.IGNORECASE), "an IP address"),
    (re.compile(r"[/?#\\]"), "one with a path"),
    (re.compile(r"@"), "one with a user"),
    (re.compile(r":"), "one with a port"),
    (re.compile(r"\s"), "one with white space"),
    (re.compile(r"[^\x00-\x7f]"), "one with characters outside ASCII; send its 'xn--' form"),
    (re.compile(r"[A-Z]"), "one with upper-case letters"),
    (re.compile(r"^[^.]+\.?$"), "a single label"),
    (re.compile(r"\.$"), "one with a final dot"),
    (re.compile(r"\.\d+$"), "one whose last label is a number"),
)


def domain_problem(domain: str) -> str | None:
    """What is wrong with a host name of the allowlist, or ``None``. Never repeats the value."""
    if len(domain) > _MAX_DOMAIN:
        return f"Expected a host name of at most {_MAX_DOMAIN} characters, but got {len(domain)}."
    for pattern, found in _FOREIGN:
        if pattern.search(domain):
            return f"{_EXPECTED} {found}."
    return None if _HOST.fullmatch(domain) else f"{_EXPECTED} something else."


def _base64_problem(data: str) -> str | None:
    if len(data) % 4 == 0 and _BASE64.fullmatch(data):
        return None
    return "Expected base64-encoded data (standard alphabet, padded), but got something else."


def _secrets_rule(policy: dict[str, Any], path: str) -> None:
    allowed = set(policy["allowed_domains"])
    seen: set[tuple[str, str]] = set()
    for index, secret in enumerate(policy.get("domain_secrets", ())):
        where = f"{path}.domain_secrets[{index}]"
        if secret["domain"] not in allowed:
            raise InvalidRequestError(
                f"Invalid '{where}.domain': Expected one of the domains in '{path}.allowed_domains'.",
                param=f"{where}.domain",
                code="invalid_value",
            )
        key = (secret["domain"], secret["name"])
        if key in seen:
            raise InvalidRequestError(
                f"Invalid '{where}': a secret with this domain and name is already in the list.",
                param=where,
                code="invalid_value",
            )
        seen.add(key)


_DOMAIN = Text(min_length=1, rule=domain_problem)
_SECRET = Object(
    {
        "domain": _DOMAIN,
        "name": Text(min_length=1, pattern=re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), rule=name_problem),
        "value": Text(min_length=1, max_length=MAX_SECRET),
    },
    required=("domain", "name", "value"),
)
_NETWORK_POLICY = Union(
    {
        "disabled": Object({"type": Enum(("disabled",))}, required=("type",)),
        "allowlist": Object(
            {
                "type": Enum(("allowlist",)),
                "allowed_domains": Array(_DOMAIN, min_items=1),
                "domain_secrets": Array(_SECRET, min_items=1),
            },
            required=("type", "allowed_domains"),
            rule=_secrets_rule,
        ),
    }
)
_SKILL = Union(
    {
        "skill_reference": Object(
            {
                "type": Enum(("skill_reference",)),
                "skill_id": Text(min_length=1, max_length=64),
                "version": Text(pattern=re.compile(r"(?:latest|[1-9][0-9]*)")),
            },
            required=("type", "skill_id"),
        ),
        "inline": Object(
            {
                "type": Enum(("inline",)),
                "name": Text(min_length=1),
                "description": Text(min_length=1),
                "source": Object(
                    {
                        "type": Enum(("base64",)),
                        "media_type": Enum(("application/zip",)),
                        "data": Text(min_length=1, max_length=MAX_SKILL_DATA, rule=_base64_problem),
                    },
                    required=("type", "media_type", "data"),
                ),
            },
            required=("type", "name", "description", "source"),
        ),
    }
)
CREATE = Object(
    {
        "name": Text(min_length=1),
        "expires_after": Object(
            {"anchor": Enum(("last_active_at",)), "minutes": Integer(minimum=1, maximum=MAX_MINUTES)},
            required=("anchor", "minutes"),
        ),
        "file_ids": Array(Text(min_length=1)),
        "memory_limit": Enum(MEMORY_LIMITS),
        "network_policy": _NETWORK_POLICY,
        "skills": Array(_SKILL),
    },
    required=("name",),
)
"""The body of ``POST /v1/containers``."""

LIST = Object(
    {
        "limit": Integer(minimum=1, maximum=MAX_PAGE),
        "order": Enum(("asc", "desc")),
        "after": Text(min_length=1),
        "name": Text(min_length=1),
    }
)
"""The query of ``GET /v1/containers``."""
