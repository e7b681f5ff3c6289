"""From what a DAG author writes to a :class:`~airflow_containers.api.models.CreateContainerRequest`.

A field may arrive as a Python value, as text that a template rendered (a JSON list, a Python list literal, a
number), or from XCom. Everything is checked before a request is sent, and messages use the author's names
for the fields.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from airflow_containers.api.errors import InvalidRequestError
from airflow_containers.api.models import MAX_NAME_LENGTH, CreateContainerRequest, DomainSecret
from airflow_containers.api.validation import quoted, shape, validate
from airflow_containers.identity import with_owner_token
from airflow_containers.secrets import DomainSecretReference, parse_reference, to_domain_secret

_JINJA: Final = re.compile(r"\{\{|\{%|\{#")
_RENDERED_TO_NOTHING: Final = frozenset({"", "None", "null", "undefined"})
_STAND_IN_TEXT: Final = "stand-in"
_STAND_IN_DOMAIN: Final = "stand-in.example.com"
_SECRETS_WITHOUT_DOMAINS: Final = (
    "domain_secrets: it is given without domains, expected the domain of each secret in domains; "
    "a secret is only put into requests to an allowed domain"
)


def is_dynamic(value: Any) -> bool:
    """Whether a value is known only when the task runs: a template, an XComArg or a callable in it."""
    if isinstance(value, str):
        return _JINJA.search(value) is not None
    if isinstance(value, BaseModel):
        return False
    if hasattr(value, "resolve") or callable(value):
        return True
    if isinstance(value, Mapping):
        return any(map(is_dynamic, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(is_dynamic, value))
    return False


def check_literals(fields: Mapping[str, Any]) -> None:
    """Check what is already known of a create task's fields while the DAG is parsed.

    :param fields: some of the fields of a create task, with the values the author wrote.
    :raises InvalidRequestError: if a literal, or a literal part of a list, can never be valid.
    """
    known = {field: _known_part(field, value) for field, value in fields.items()}
    references = parse_references(known.pop("domain_secrets", None))
    secrets = [
        to_domain_secret(index, reference, _STAND_IN_TEXT) for index, reference in enumerate(references)
    ]
    domains = fields.get("domains")
    if secrets and "domains" in fields and domains is None:
        raise InvalidRequestError(_SECRETS_WITHOUT_DOMAINS)
    if domains is None or is_dynamic(domains):
        # Whether each secret's domain is allowed can only be told when the task runs.
        secrets = []
    elif any(secret.domain == _STAND_IN_DOMAIN for secret in secrets):
        known["domains"] = [*(_as_list("domains", domains) or ()), _STAND_IN_DOMAIN]
    build_request(**{"name": _STAND_IN_TEXT, **_without_none(known)}, domain_secrets=secrets)


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not None}


def _known_part(field: str, value: Any) -> Any:
    """Return the literal part of a field; what is dynamic in a list is replaced by something valid."""
    if value is None or not is_dynamic(value):
        return value
    if not isinstance(value, list | tuple):
        return None
    if field == "domain_secrets":
        return [
            DomainSecretReference(domain=_STAND_IN_DOMAIN, name=f"STAND_IN_{index}", env="STAND_IN")
            if is_dynamic(item) and not _has_literal_value(item)
            else item
            for index, item in enumerate(value)
        ]
    stand_in = _STAND_IN_DOMAIN if field == "domains" else _STAND_IN_TEXT
    return [stand_in if is_dynamic(item) else item for item in value]


def _has_literal_value(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("value"), str)


def parse_references(value: Any) -> list[DomainSecretReference]:
    """Return ``domain_secrets`` as references.

    :param value: a list, or text that renders to one; ``None`` for none.
    :raises InvalidRequestError: if an entry is no reference.
    """
    items = _as_list("domain_secrets", value)
    return [parse_reference(index, item) for index, item in enumerate(items or ())]


def build_request(
    *,
    name: Any,
    domains: Any = None,
    domain_secrets: Sequence[DomainSecret | Mapping[str, Any]] = (),
    skills: Any = None,
    file_ids: Any = None,
    memory_limit: Any = None,
    expires_after: Any = None,
    owner_token: str = "",
) -> CreateContainerRequest:
    """Return the request for the fields of a create task.

    :param name: the container's name, without its owner token.
    :param domains: ``None`` sends no policy, an empty list disables the network, a list allows its hosts.
    :param domain_secrets: domain secrets with their values.
    :param skills: a list of ids (``skill_123``, ``skill_123@2``, ``skill_123@latest``) or mappings in the
        API's shape.
    :param file_ids: a list of ids of the Files API.
    :param memory_limit: ``1g``, ``4g``, ``16g`` or ``64g``.
    :param expires_after: idle minutes (1 to 20), a :class:`~datetime.timedelta`, or a mapping in the API's
        shape.
    :param owner_token: what is appended to the name.
    :raises InvalidRequestError: with one line for each field that is wrong.
    """
    fields = {
        "name": _as_name(name, owner_token),
        "network_policy": _as_network_policy(domains, domain_secrets),
        "skills": _as_skills(skills),
        "file_ids": _as_list("file_ids", file_ids),
        "memory_limit": _not_blank("memory_limit", memory_limit, "'1g', '4g', '16g' or '64g'"),
        "expires_after": _as_expires_after(expires_after),
    }
    return validate(CreateContainerRequest, _without_none(fields), rename=_author_path)


def _author_path(path: str) -> str:
    return (
        path.replace("network_policy.allowed_domains", "domains")
        .replace("network_policy.domain_secrets", "domain_secrets")
        .replace("network_policy", "domains")
    )


def _as_name(value: Any, token: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        # Native rendering turns a name made of digits into a number.
        value = str(value)
    expected = "a text of one character or more, or None for a name made from dag, task and run"
    name = _not_blank("name", value, expected)
    return with_owner_token(name, token, max_length=MAX_NAME_LENGTH) if isinstance(name, str) else name


def _as_network_policy(domains: Any, secrets: Sequence[DomainSecret | Mapping[str, Any]]) -> Any:
    allowed = _as_list("domains", domains)
    if secrets and not allowed:
        raise InvalidRequestError(_SECRETS_WITHOUT_DOMAINS)
    if allowed is None:
        return None
    if not allowed:
        return {"type": "disabled"}
    policy: dict[str, Any] = {"type": "allowlist", "allowed_domains": allowed}
    return policy | {"domain_secrets": list(secrets)} if secrets else policy


def _as_skills(value: Any) -> Any:
    items = _as_list("skills", value)
    return None if items is None else [_as_skill(index, item) for index, item in enumerate(items)]


def _as_skill(index: int, item: Any) -> Any:
    if not isinstance(item, str):
        return dict(item) if isinstance(item, Mapping) else item
    skill_id, at, version = item.partition("@")
    if item in _RENDERED_TO_NOTHING or not skill_id or (at and not version):
        raise InvalidRequestError(
            f"skills[{index}]: got {quoted(item)}, expected an id such as 'skill_123', 'skill_123@2' or "
            "'skill_123@latest', or a mapping in the API's shape"
        )
    return {"type": "skill_reference", "skill_id": skill_id} | ({"version": version} if at else {})


def _as_expires_after(value: Any) -> Any:
    expected = "minutes from 1 to 20, a timedelta of whole minutes, or a mapping {'minutes': …}"
    if isinstance(value, str):
        _not_blank("expires_after", value, expected)
        value = _parse_text("expires_after", value, expected, _is_minutes_or_mapping)
    if isinstance(value, timedelta):
        minutes, rest = divmod(value, timedelta(minutes=1))
        if rest:
            raise InvalidRequestError(f"expires_after: got a timedelta of {value}, expected whole minutes")
        return {"minutes": minutes}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"minutes": value}
    if value is None or isinstance(value, BaseModel):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise InvalidRequestError(f"expires_after: got {quoted(value)}, expected {expected}")


def _is_minutes_or_mapping(value: Any) -> bool:
    return isinstance(value, int | Mapping) and not isinstance(value, bool)


def _not_blank(field: str, value: Any, expected: str) -> Any:
    if isinstance(value, str) and value.strip() in _RENDERED_TO_NOTHING:
        raise InvalidRequestError(
            f"{field}: got {quoted(value)}, expected {expected}; "
            "if a template made it, the template rendered to nothing"
        )
    return value


def _as_list(field: str, value: Any) -> list[Any] | None:
    """Return a list field as a list: from a sequence, or from text that a template rendered."""
    expected = "a list, or a template that renders to a JSON list or a Python list literal"
    if value is None:
        return None
    if isinstance(value, str):
        _not_blank(field, value, f"{expected} ('[]' for an empty one)")
        hint = f"{expected}; for one entry write [{'…' if field == 'domain_secrets' else quoted(value)}]"
        return list(_parse_text(field, value, hint, lambda found: isinstance(found, list | tuple)))
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise InvalidRequestError(f"{field}: got {shape(value)}, expected {expected}")


def _parse_text(field: str, text: str, expected: str, accept: Callable[[Any], bool]) -> Any:
    """Return the JSON value or Python literal that ``text`` is, if ``accept`` takes it."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if accept(found):
            return found
    shown = shape(text) if field == "domain_secrets" else quoted(text)
    raise InvalidRequestError(f"{field}: got {shown}, expected {expected}")
