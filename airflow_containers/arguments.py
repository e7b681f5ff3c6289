"""From what a DAG author writes to a :class:`~airflow_containers.api.models.CreateContainerRequest`.

A field may arrive as a Python value, as text that a template rendered (a JSON list, a Python list literal, a
number), or from XCom. Everything is checked before a request is sent, and messages use the author's names
for the fields.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from airflow_containers.api.errors import InvalidRequestError, SourceChangedError
from airflow_containers.api.models import (
    MAX_NAME_LENGTH,
    CreateContainerRequest,
    DomainSecret,
    InlineSkill,
    SkillReference,
)
from airflow_containers.api.validation import quoted, shape, validate
from airflow_containers.creation import ON_RETRY
from airflow_containers.identity import Owner
from airflow_containers.secrets import DomainSecretReference, parse_reference, to_domain_secret

MAX_VISIBILITY_TIMEOUT: Final = 600
"""Seconds for which a task looks for a container after a lost answer, at most."""

_PLAIN: Final = frozenset({"on_retry", "visibility_timeout"})
_MAX_HINT: Final = 60
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_PLAIN_ENTRY: Final = re.compile(r"[\w.@:/-]+")
_JINJA: Final = re.compile(r"\{\{|\{%|\{#")
_RENDERED_TO_NOTHING: Final = frozenset({"", "None", "null", "undefined"})
_STAND_IN_TEXT: Final = "stand-in"
_STAND_IN_VALUE: Final = SecretStr(_STAND_IN_TEXT)
_STAND_IN_DOMAIN: Final = "stand-in.example.com"
_STAND_IN_SUFFIX: Final = f".{_STAND_IN_DOMAIN}"
_STAND_IN_OWNER: Final = Owner("", "", "", "")
_SKILL_TYPES: Final = ("skill_reference", "inline")
_SKILL_EXPECTED: Final = (
    "an id such as 'skill_123', 'skill_123@2' or 'skill_123@latest', a folder as {'path': …}, or a mapping "
    "in the API's shape"
)
_FOLDER_EXPECTED: Final = "the path of a folder with a SKILL.md in it, absolute or relative to the DAG file"
_SECRETS_WITHOUT_DOMAINS: Final = (
    "domain_secrets: it is given without domains, expected the domain of each secret in domains; "
    "a secret is only put into requests to an allowed domain"
)


def is_dynamic(value: Any) -> bool:
    """Whether a value is known only when the task runs: a template, an XComArg or a callable in it."""
    if isinstance(value, str):
        return _JINJA.search(value) is not None
    if isinstance(value, BaseModel | PurePath):
        return False
    if hasattr(value, "resolve") or callable(value):
        return True
    if isinstance(value, Mapping):
        return any(map(is_dynamic, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(is_dynamic, value))
    return False


SkillPack = Callable[[Path], InlineSkill | SkillReference]
"""Makes of a folder what goes into a request; raises :class:`~airflow_containers.skills.SkillError`."""


def check_literals(fields: Mapping[str, Any], pack: SkillPack | None = None) -> None:
    """Check what is already known of a create task's fields while the DAG is parsed.

    :param fields: some of the fields of a create task, ``unique_name`` among them, with the values the
        author wrote. A field that is not there may get any value later.
    :param pack: looks at a folder that ``skills`` names, and returns something that stands for it.
    :raises InvalidRequestError: if a literal, or a literal part of a list, can never be valid.
    """
    known = {field: _known_part(field, value) for field, value in fields.items() if field not in _PLAIN}
    _check_creation(fields.get("on_retry", "adopt"), fields.get("visibility_timeout", 0))
    unique_name = known.pop("unique_name", False)
    if not isinstance(unique_name, bool):
        raise InvalidRequestError(
            f"unique_name: got {shape(fields['unique_name'])}, expected True or False; it takes no template"
        )
    references = parse_references(known.pop("domain_secrets", None))
    secrets = stand_in_secrets(references)
    domains = fields.get("domains")
    if secrets and "domains" in fields and domains is None:
        raise InvalidRequestError(_SECRETS_WITHOUT_DOMAINS)
    if domains is None or is_dynamic(domains):
        # Whether each secret's domain is allowed can only be told when the task runs.
        secrets = []
    else:
        unknown = [secret.domain for secret in secrets if secret.domain.endswith(_STAND_IN_SUFFIX)]
        known["domains"] = [*(_as_list("domains", domains) or ()), *unknown]
    literals = {"name": _STAND_IN_TEXT, **_without_none(known)}
    build_request(
        **literals, domain_secrets=secrets, owner=_STAND_IN_OWNER if unique_name else None, pack=pack
    )


def _check_creation(on_retry: Any, visibility_timeout: Any) -> None:
    if not isinstance(on_retry, str) or on_retry not in ON_RETRY:
        raise InvalidRequestError(
            f"on_retry: got {quoted(on_retry)}, expected 'adopt' or 'recreate'; it takes no template"
        )
    seconds = visibility_timeout
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds <= MAX_VISIBILITY_TIMEOUT:
        raise InvalidRequestError(
            f"visibility_timeout: got {quoted(visibility_timeout)}, expected seconds or a timedelta, from 0 "
            f"to {MAX_VISIBILITY_TIMEOUT} s; it takes no template"
        )


def stand_in_secrets(references: Sequence[DomainSecretReference]) -> list[DomainSecret]:
    """Return the domain secrets with stand-ins for values not looked up yet, to check all but the values.

    :raises InvalidRequestError: if a domain, a name, or a value that is known breaks a rule.
    """
    return [
        to_domain_secret(
            index,
            reference,
            (_STAND_IN_VALUE if reference.value is None else reference.value).get_secret_value(),
        )
        for index, reference in enumerate(references)
    ]


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not None}


def _known_part(field: str, value: Any) -> Any:
    """Return the literal part of a field; what is dynamic in a list is replaced by something valid."""
    if value is None or not is_dynamic(value):
        return value
    if not isinstance(value, list | tuple):
        return None
    if field == "domain_secrets":
        return [_known_reference(index, item) for index, item in enumerate(value)]
    stand_in = _STAND_IN_DOMAIN if field == "domains" else _STAND_IN_TEXT
    return [stand_in if is_dynamic(item) else item for item in value]


def _known_reference(index: int, item: Any) -> Any:
    """Return an entry of ``domain_secrets`` with something valid in the place of what is dynamic."""
    if not is_dynamic(item):
        return item
    domain, name = f"{index}{_STAND_IN_SUFFIX}", f"STAND_IN_{index}"
    if not isinstance(item, Mapping):
        return DomainSecretReference(domain=domain, name=name, env="STAND_IN")
    stand_ins = {"domain": domain, "name": name, "env": "STAND_IN"}
    # A value stays as it is, to be refused: whatever a template or XCom puts there is stored in clear.
    return {
        member: stand_ins.get(member, _STAND_IN_TEXT) if member != "value" and is_dynamic(part) else part
        for member, part in item.items()
    }


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
    owner: Owner | None = None,
    pack: SkillPack | None = None,
) -> CreateContainerRequest:
    """Return the request for the fields of a create task.

    :param name: the container's name, without its owner token.
    :param domains: ``None`` sends no policy, an empty list disables the network, a list allows its hosts.
    :param domain_secrets: domain secrets with their values.
    :param skills: a list of ids (``skill_123``, ``skill_123@2``, ``skill_123@latest``), folders
        (``{"path": …}``) or mappings in the API's shape.
    :param file_ids: a list of ids of the Files API.
    :param memory_limit: ``1g``, ``4g``, ``16g`` or ``64g``.
    :param expires_after: idle minutes (1 to 20), a :class:`~datetime.timedelta`, or a mapping in the API's
        shape.
    :param owner: whose ids and token are appended to the name.
    :param pack: makes an inline skill of a folder; without it folders are refused.
    :raises InvalidRequestError: with one line for each field that is wrong.
    """
    fields = {
        "name": _as_name(name, owner),
        "network_policy": _as_network_policy(domains, domain_secrets),
        "skills": _as_skills(skills, pack),
        "file_ids": _as_texts("file_ids", file_ids, "the id of a file"),
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


def _as_name(value: Any, owner: Owner | None) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        # Native rendering turns a name made of digits into a number. Python does not write out a huge one.
        value = str(value) if abs(value) < 10**MAX_NAME_LENGTH else value
    expected = "a text of one character or more, or None for a name made from dag, task and run"
    name = _not_blank("name", value, expected)
    if isinstance(name, str) and _SURROGATE.search(name):
        raise InvalidRequestError(f"name: got {quoted(name)}, expected a text that can be encoded as UTF-8")
    if not isinstance(name, str):
        return name
    if owner is None:
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidRequestError(
                f"name: got a text of {len(name)} characters, expected at most {MAX_NAME_LENGTH}"
            )
        return name
    return owner.name(name, max_length=MAX_NAME_LENGTH)


def _as_network_policy(domains: Any, secrets: Sequence[DomainSecret | Mapping[str, Any]]) -> Any:
    allowed = _as_texts("domains", domains, "a host name")
    if secrets and not allowed:
        raise InvalidRequestError(_SECRETS_WITHOUT_DOMAINS)
    if allowed is None:
        return None
    if not allowed:
        return {"type": "disabled"}
    policy: dict[str, Any] = {"type": "allowlist", "allowed_domains": allowed}
    return policy | {"domain_secrets": list(secrets)} if secrets else policy


def _as_skills(value: Any, pack: SkillPack | None) -> Any:
    items = _as_list("skills", value)
    return None if items is None else [_as_skill(index, item, pack) for index, item in enumerate(items)]


def _as_skill(index: int, item: Any, pack: SkillPack | None) -> Any:
    path = f"skills[{index}]"
    if isinstance(item, str):
        skill_id, at, version = item.partition("@")
        rendered_to_nothing = item.strip() in _RENDERED_TO_NOTHING
        if rendered_to_nothing or not skill_id or (at and not version) or "@" in version:
            raise InvalidRequestError(f"{path}: got {quoted(item)}, expected {_SKILL_EXPECTED}")
        return {"type": "skill_reference", "skill_id": skill_id} | ({"version": version} if at else {})
    if isinstance(item, BaseModel):
        return item
    if not isinstance(item, Mapping):
        raise InvalidRequestError(f"{path}: got {shape(item)}, expected {_SKILL_EXPECTED}")
    if "path" in item:
        return _from_folder(path, item, pack)
    kind = item.get("type")
    if kind not in _SKILL_TYPES:
        got = f"got {quoted(kind)}" if "type" in item else "it is missing"
        raise InvalidRequestError(
            f"{path}.type: {got}, expected 'skill_reference' or 'inline'; or a folder as {{'path': …}}"
        )
    _not_blank(f"{path}.skill_id", item.get("skill_id"), "the id of a skill")
    number = item.get("version")
    if isinstance(number, bool) or not isinstance(number, int | str | None):
        raise InvalidRequestError(
            f"{path}.version: got {shape(number)}, expected a positive integer or 'latest'"
        )
    return dict(item)


def _from_folder(path: str, item: Mapping[str, Any], pack: SkillPack | None) -> Any:
    from airflow_containers.skills import SkillChangedError, SkillError

    others = [key for key in item if key != "path"]
    if others:
        raise InvalidRequestError(
            f"{path}: got a path and {', '.join(map(quoted, others))}, expected a path alone; name and "
            "description are those of SKILL.md"
        )
    folder = _not_blank(f"{path}.path", item["path"], _FOLDER_EXPECTED)
    if not isinstance(folder, str | Path) or "\0" in str(folder):
        raise InvalidRequestError(f"{path}.path: got {quoted(folder)}, expected {_FOLDER_EXPECTED}")
    if pack is None:
        raise InvalidRequestError(
            f"{path}: a folder is packed by a create task only; elsewhere use skills.packed_inline"
        )
    try:
        return pack(Path(folder))
    except SkillChangedError as error:
        raise SourceChangedError(f"{path}.path: {error}") from None
    except SkillError as error:
        raise InvalidRequestError("; ".join(f"{path}.path: {line}" for line in error.problems)) from None


def _as_texts(field: str, value: Any, expected: str) -> list[Any] | None:
    items = _as_list(field, value)
    for index, item in enumerate(items or ()):
        _not_blank(f"{field}[{index}]", item, expected)
    return items


def _as_expires_after(value: Any) -> Any:
    expected = "minutes from 1 to 20, a timedelta of whole minutes, or a mapping {'minutes': …}"
    if isinstance(value, str):
        _not_blank("expires_after", value, expected)
        value = _parse_text("expires_after", value, expected, _is_minutes_or_mapping)
    if isinstance(value, timedelta):
        minutes, rest = divmod(value, timedelta(minutes=1))
        if rest:
            raise InvalidRequestError(
                f"expires_after: got a timedelta of {value}, expected whole minutes from 1 to 20"
            )
        return {"minutes": minutes}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"minutes": value}
    if value is None or isinstance(value, BaseModel):
        return value
    if isinstance(value, Mapping):
        return {**value, **_as_minutes(value.get("minutes"))}
    raise InvalidRequestError(f"expires_after: got {quoted(value)}, expected {expected}")


def _as_minutes(value: Any) -> dict[str, Any]:
    """Return the mapping's minutes as a number, where a template made a text of it."""
    if not isinstance(value, str):
        return {}
    path, expected = "expires_after.minutes", "an integer from 1 to 20"
    _not_blank(path, value, expected)
    return {"minutes": _parse_text(path, value, expected, lambda found: type(found) is int)}


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
        hint = _hint(value) if field != "domain_secrets" else ""
        return list(_parse_text(field, value, expected + hint, lambda found: isinstance(found, list | tuple)))
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    mappings = field in ("domain_secrets", "skills") and isinstance(value, Mapping)
    hint = "; for one entry write [{…}]" if mappings else ""
    raise InvalidRequestError(f"{field}: got {shape(value)}, expected {expected}{hint}")


def _hint(text: str) -> str:
    """Say how a text that was given for a list is written as one; nothing for a list that is broken."""
    entries = [entry.strip() for entry in text.split(",")]
    if len(text) > _MAX_HINT or not all(map(_PLAIN_ENTRY.fullmatch, entries)):
        return ""
    return f"; for {'one entry' if len(entries) == 1 else 'several entries'} write {entries!r}"


def _parse_text(field: str, text: str, expected: str, accept: Callable[[Any], bool]) -> Any:
    """Return the JSON value or Python literal that ``text`` is, if ``accept`` takes it."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if accept(found) and not (parse is ast.literal_eval and _joins_texts(text)):
            return found
    shown = shape(text) if field == "domain_secrets" else quoted(text)
    raise InvalidRequestError(f"{field}: got {shown}, expected {expected}")


def _joins_texts(text: str) -> bool:
    """Whether two texts of a literal stand side by side, which Python reads as one: a comma is missing."""
    before = None
    for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT):
            continue
        if token.type == before == tokenize.STRING:
            return True
        before = token.type
    return False
