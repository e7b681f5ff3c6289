"""Every form that a field of a create task may take."""

from __future__ import annotations

import json
from collections import UserList
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest
from pydantic import SecretStr

from airflow_containers.api import (
    DomainSecret,
    ExpiresAfter,
    InlineSkill,
    InlineSkillSource,
    InvalidRequestError,
    SkillReference,
)
from airflow_containers.arguments import build_request, check_literals, is_dynamic, parse_references

TWO = [{"type": "skill_reference", "skill_id": "skill_1"}, {"type": "skill_reference", "skill_id": "skill_2"}]


class Word(StrEnum):
    """A user's own constants."""

    NAME = "report"
    BIG = "16g"
    HOST = "api.example.com"


class Later:
    """Something that Airflow resolves when the task runs, as an XComArg."""

    def resolve(self, context: Any) -> Any:
        """The value."""
        return context


def sent(**fields: Any) -> Any:
    """What is sent beside the name."""
    body = json.loads(build_request(**{"name": "n", **fields}).to_wire())
    return {name: value for name, value in body.items() if name != "name" or "name" in fields}


@pytest.mark.parametrize(
    "form",
    [
        lambda entries: entries,
        tuple,
        UserList,
        set,
        frozenset,
        json.dumps,
        str,
        lambda entries: str(tuple(entries)),
        lambda entries: f"\n {json.dumps(entries, indent=2)}\n",
    ],
    ids=["list", "tuple", "sequence", "set", "frozenset", "JSON", "Python list", "Python tuple", "lines"],
)
@pytest.mark.parametrize(
    ("field", "entries", "expected"),
    [
        ("file_ids", ["file-1", "file-2"], {"file_ids": ["file-1", "file-2"]}),
        ("skills", ["skill_1", "skill_2"], {"skills": TWO}),
        (
            "domains",
            ["api.example.com", "data.example.org"],
            {
                "network_policy": {
                    "type": "allowlist",
                    "allowed_domains": ["api.example.com", "data.example.org"],
                }
            },
        ),
    ],
)
def test_list_forms(form: Any, field: str, entries: list[str], expected: dict[str, Any]) -> None:
    """A list may be any sequence or set, and text that renders to one."""
    assert expected == sent(**{field: form(entries)})


@pytest.mark.parametrize("form", [list, tuple, UserList, json.dumps, str])
def test_forms_of_domain_secrets(form: Any) -> None:
    """References come as a list or as text that renders to one."""
    items = [{"domain": "api.example.com", "name": "TOKEN", "conn_id": "c", "field": None}]
    (found,) = parse_references(form(items))
    assert ("TOKEN", "c") == (found.name, found.conn_id)
    assert [] == parse_references(None) == parse_references([]) == parse_references("[]")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "report", {"name": "report"}),
        ("name", 20260301, {"name": "20260301"}),
        ("name", -1, {"name": "-1"}),
        ("name", Word.NAME, {"name": "report"}),
        ("name", " spaces stay ", {"name": " spaces stay "}),
        ("memory_limit", "64g", {"memory_limit": "64g"}),
        ("memory_limit", Word.BIG, {"memory_limit": "16g"}),
        ("domains", None, {}),
        ("domains", [], {"network_policy": {"type": "disabled"}}),
        ("domains", "[]", {"network_policy": {"type": "disabled"}}),
        ("domains", "()", {"network_policy": {"type": "disabled"}}),
        (
            "domains",
            [Word.HOST],
            {"network_policy": {"type": "allowlist", "allowed_domains": ["api.example.com"]}},
        ),
        ("file_ids", [], {"file_ids": []}),
        ("skills", [], {"skills": []}),
        *[
            ("expires_after", value, {"expires_after": {"anchor": "last_active_at", "minutes": 15}})
            for value in (
                15,
                "15",
                " 15\n",
                timedelta(minutes=15),
                timedelta(seconds=900),
                {"minutes": 15},
                {"minutes": "15"},
                {"anchor": "last_active_at", "minutes": 15},
                '{"minutes": 15}',
                "{'anchor': 'last_active_at', 'minutes': 15}",
                ExpiresAfter(minutes=15),
            )
        ],
    ],
    ids=repr,
)
def test_forms(field: str, value: Any, expected: dict[str, Any]) -> None:
    """Each form of each other field."""
    assert expected == sent(**{field: value})


INLINE = InlineSkill(name="s", description="d", source=InlineSkillSource(data="UEsFBg=="))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("skill_1", {"skill_id": "skill_1"}),
        ("skill_1@2", {"skill_id": "skill_1", "version": "2"}),
        ("skill_1@latest", {"skill_id": "skill_1", "version": "latest"}),
        ("s" * 64, {"skill_id": "s" * 64}),
        ({"type": "skill_reference", "skill_id": "skill_1"}, {"skill_id": "skill_1"}),
        ({"type": "skill_reference", "skill_id": "a", "version": 2}, {"skill_id": "a", "version": "2"}),
        ({"type": "skill_reference", "skill_id": "a", "version": None}, {"skill_id": "a"}),
        (SkillReference(skill_id="a", version="2"), {"skill_id": "a", "version": "2"}),
    ],
    ids=repr,
)
def test_forms_of_a_skill_reference(item: Any, expected: dict[str, str]) -> None:
    """An id, with or without a version, a mapping, or a model."""
    assert [{"type": "skill_reference", **expected}] == sent(skills=[item])["skills"]


def test_forms_of_an_inline_skill() -> None:
    """A mapping in the API's shape, or a model, both unchanged."""
    shape = INLINE.model_dump()
    assert [shape, shape] == sent(skills=[INLINE, shape])["skills"]


def test_domains_are_normalised() -> None:
    """Upper case, a final dot, white space and international names; each domain once, in the order given."""
    domains = ["Data.Example.ORG", " api.example.com. ", "data.example.org", "Bücher.example.com"]
    expected = ["data.example.org", "api.example.com", "xn--bcher-kva.example.com"]
    assert expected == sent(domains=domains)["network_policy"]["allowed_domains"]


def test_secret_for_a_domain_written_otherwise() -> None:
    """A secret's domain is compared after both were normalised."""
    secret = DomainSecret(domain="API.example.com.", name="TOKEN", value=SecretStr("value-1"))
    request = build_request(name="n", domains=["api.Example.com"], domain_secrets=[secret])
    assert ["value-1"] == request.secret_values()
    assert "api.example.com" == json.loads(request.to_wire())["network_policy"]["domain_secrets"][0]["domain"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ x }}", True),
        ("{% if x %}1g{% endif %}", True),
        ("{# x #}", True),
        ("{ x }", False),
        ("1g", False),
        (None, False),
        (5, False),
        (timedelta(1), False),
        (Later(), True),
        (lambda _context: "1g", True),
        ([1, ["{{ x }}"]], True),
        ({"a": ("b", {"c": Later()})}, True),
        ({"{{ x }}": 1}, False),
        ({"{{ x }}"}, True),
        (INLINE, False),
        (SecretStr("{{ x }}"), False),
    ],
    ids=repr,
)
def test_is_dynamic(value: Any, expected: bool) -> None:
    """What Airflow renders or resolves is known when the task runs; keys of a mapping are not rendered."""
    assert expected is is_dynamic(value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": None, "domains": None, "skills": None, "unique_name": True},
        {"name": "{{ run_id }}" * 100, "unique_name": True},
        {"name": "n" * 256},
        {"name": "n" * 232, "unique_name": True},
        {"memory_limit": Later(), "expires_after": "{{ x }}", "file_ids": Later(), "skills": "{{ x }}"},
        {"domains": ["{{ x }}", "api.example.com", Later()]},
        {"skills": ["skill_1@{{ x }}", {"type": "{{ x }}"}, Later()]},
        {"expires_after": {"minutes": "{{ x }}"}},
        {"domains": "{{ x }}", "domain_secrets": [{"domain": "a.b", "name": "T", "env": "E"}]},
        {"domains": ["{{ x }}"], "domain_secrets": [{"domain": "a.b", "name": "T", "env": "E"}]},
        {"domain_secrets": [{"domain": "a.b", "name": "T", "env": "E"}]},
        {"domains": ["a.b"], "domain_secrets": "{{ x }}"},
        {"domains": ["a.b"], "domain_secrets": [Later(), "{{ x }}"]},
        {
            "domains": ["a.b"],
            "domain_secrets": [
                {"domain": "{{ x }}", "name": "T", "env": "E"},
                {"domain": "{{ y }}", "name": "T", "conn_id": "{{ c }}", "field": "{{ f }}"},
                {"domain": "a.b", "name": "{{ n }}", "variable": "{{ v }}"},
                {"domain": "a.b", "name": "T", "value": SecretStr("{{ not a template }}")},
            ],
        },
        {"domains": ["a.b"], "domain_secrets": [DomainSecret(domain="a.b", name="T", value=SecretStr("v"))]},
    ],
    ids=repr,
)
def test_literals_that_may_be_valid(fields: dict[str, Any]) -> None:
    """What can become valid when it is rendered is not refused while the DAG is parsed."""
    check_literals(fields)


def test_literals_without_domains_yet() -> None:
    """Domains that may still come are told from domains that are not given."""
    secrets = [{"domain": "a.b", "name": "T", "env": "E"}]
    check_literals({"domain_secrets": secrets})
    with pytest.raises(InvalidRequestError, match="domain_secrets: it is given without domains"):
        check_literals({"domain_secrets": secrets, "domains": None})


def test_a_missing_comma_is_no_domain_of_its_own() -> None:
    """Python joins texts that stand side by side; an allowlist entry that nobody wrote is refused."""
    with pytest.raises(InvalidRequestError, match="domains: got "):
        build_request(name="x", domains="['a.example.com' 'b.example.com']")
