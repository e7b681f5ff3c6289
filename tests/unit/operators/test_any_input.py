"""Whatever is given for the fields of a create task, nothing invalid reaches the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from airflow_containers.api import (
    BadRequestError,
    ClientOptions,
    ContainersClient,
    CreateContainerRequest,
    InvalidRequestError,
    SkillReference,
)
from airflow_containers.arguments import is_dynamic
from airflow_containers.hooks import domain_secrets
from airflow_containers.local.containers.schemas import CREATE
from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators.container import CREATE_FIELDS, CreateContainerOperator
from airflow_containers.secrets import resolve
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context
from tests.support.wire_schema import wire_problems

VALUES = {"GOOD": "value", "EMPTY": "", "HALF": "\ud800", "LINES": "two\nlines"}
NO_VALUE = ("does not exist", "is empty", ".value: ")

texts = st.one_of(
    st.sampled_from(
        ["", " ", "None", "null", "[]", "{}", "[1]", "{{ x }}", "a", "\n", "\x00", "\ud800", "é", "x" * 300]
    ),
    st.text(alphabet=st.characters(), max_size=20),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-30, max_value=30),
    st.sampled_from([10**20, -(10**400), 10**400, 1.5, float("nan"), float("inf"), b"x", object(), ...]),
    texts,
)
keys = st.one_of(
    st.sampled_from(["type", "name", "minutes", "domain", "value", "skill_id", "source"]),
    texts,
    st.integers(0, 2),
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=5,
)


def mixed(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly valid, now and then anything."""
    return st.integers(0, 12).flatmap(lambda number: junk if number == 12 else valid)


def member(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping whose members are mostly valid, and mostly there."""
    whole = st.fixed_dictionaries({name: mixed(values) for name, values in members.items()})
    lacking = st.fixed_dictionaries({}, optional={name: mixed(values) for name, values in members.items()})
    return st.one_of(
        whole,
        whole,
        lacking,
        st.tuples(whole, st.dictionaries(keys, junk, max_size=1)).map(lambda two: two[0] | two[1]),
    )


def listed(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list as values, as other sequences, and as the two kinds of text that a template makes of it."""
    values = st.lists(mixed(entries), max_size=4)
    return mixed(st.one_of(values, values, values.map(tuple), values.map(str), values.map(_json)))


def _json(value: Any) -> str:
    return json.dumps(value, default=str, skipkeys=True)


good_hosts = st.sampled_from(["api.example.com", "API.example.com.", "bücher.example.com", " a.b "])
bad_hosts = st.sampled_from(
    [
        "localhost",
        "127.1",
        "1.2.3.4",
        "a.b.0x7f",
        "https://a.b",
        "a.b:1",
        "*.a.b",
        "a_b.c",
        "xn--a.b",
        "a.b,c.d",
    ]
)
any_hosts = st.text(alphabet="abé-_.0:/@*xn \uff11\u3002", max_size=12)
hosts = st.integers(0, 9).flatmap(lambda number: {8: bad_hosts, 9: any_hosts}.get(number, good_hosts))
names = st.sampled_from(["TOKEN", "_a", "a1", "1a", "a-b", "", "None", "A\n"])
fields = st.fixed_dictionaries(
    {},
    optional={
        "name": mixed(st.one_of(st.text(max_size=30), st.sampled_from(["report", "n" * 232, "n" * 233, 5]))),
        "domains": listed(hosts),
        "domain_secrets": listed(
            st.one_of(
                member(domain=hosts, name=names, env=st.sampled_from([*VALUES, "MISSING"])),
                member(domain=hosts, name=names, conn_id=st.sampled_from(list(VALUES)), field=names),
                member(domain=hosts, name=names, value=st.sampled_from(list(VALUES.values())).map(SecretStr)),
            )
        ),
        "skills": listed(
            st.one_of(
                st.sampled_from(["skill_1", "skill_1@2", "a@latest", "a@0", "@", "s" * 65, " "]),
                st.builds(SkillReference, skill_id=st.just("skill_1")),
                member(
                    type=st.just("skill_reference"),
                    skill_id=st.just("skill_1"),
                    version=st.sampled_from(["1", 2, "latest", "0", 10**400]),
                ),
                member(
                    type=st.just("inline"),
                    name=texts,
                    description=texts,
                    source=member(
                        type=st.just("base64"),
                        media_type=st.just("application/zip"),
                        data=st.sampled_from(["UEsFBg==", "AAAA", "A", "AAA=", "=", "AA=="]),
                    ),
                ),
            )
        ),
        "file_ids": listed(st.one_of(st.sampled_from(["file-1", "file-2", ""]), texts)),
        "memory_limit": mixed(st.sampled_from(["1g", "4g", "16g", "64g", "2g", "1G"])),
        "expires_after": mixed(
            st.one_of(
                st.integers(-1, 22),
                st.integers(-1, 22).map(str),
                st.timedeltas(min_value=timedelta(minutes=-1), max_value=timedelta(minutes=25)),
                st.integers(0, 21).map(lambda minutes: timedelta(minutes=minutes)),
                member(anchor=st.just("last_active_at"), minutes=st.integers(0, 21)),
                member(minutes=st.integers(0, 21).map(str)),
            )
        ),
    },
)


@pytest.fixture(scope="module", autouse=True)
def _values() -> Iterator[None]:
    """Look secrets up in a table instead of in Airflow."""

    def look_up(references: Any) -> Any:
        return resolve(
            references, connection=lambda conn_id, _: VALUES.get(conn_id), variable=VALUES.get, env=VALUES.get
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain_secrets, "resolve_domain_secrets", look_up)
        yield


def run(values: dict[str, Any], *, unique_name: bool = True) -> CreateContainerRequest | str:
    """The request that a task makes of rendered values, or why it makes none."""
    task = CreateContainerOperator(task_id="make", unique_name=unique_name)
    for name, value in values.items():
        setattr(task, name, value)
    try:
        return task.build_request(task_context(task))
    except InvalidRequestError as error:
        return str(error)


def parse(values: dict[str, Any], *, unique_name: bool = True) -> str | None:
    """Why the values are refused as literals; `None` if they are not."""
    try:
        CreateContainerOperator(task_id="make", unique_name=unique_name, **values)
    except InvalidTaskArgumentError as error:
        return str(error).removeprefix("Task 'make': ")
    return None


def check_wire(request: CreateContainerRequest) -> None:
    """What would be sent is valid by the published schema, and by the local server's own."""
    body = json.loads(request.to_wire())
    assert [] == wire_problems(body)
    CREATE.check(body, "")


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields, st.booleans())
@example({"file_ids": ["None"]}, True)
@example({"name": 10**255}, True)
@example({"name": "n" * 233}, True)
@example({"domains": [], "domain_secrets": []}, False)
def test_valid_or_refused(values: dict[str, Any], unique_name: bool) -> None:
    """Rendered values make a valid body or a refusal, and the DAG's parsing says the same of literals."""
    before = repr(values)
    outcome = run(values, unique_name=unique_name)
    refused = isinstance(outcome, str)
    event("refused" if refused else "sent: " + " ".join(sorted(values)))
    if not refused:
        check_wire(outcome)
    assert before == repr(values)

    assume(not any(map(is_dynamic, values.values())))
    at_parse = parse(values, unique_name=unique_name)
    if at_parse is not None:
        assert refused, at_parse
    elif refused:
        # Only what a place outside the DAG holds is known no earlier.
        assert any(reason in outcome for reason in NO_VALUE), outcome


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(CREATE_FIELDS), junk)
def test_junk_in_one_field(field: str, value: Any) -> None:
    """Junk of any type and nesting is refused in words that name the field."""
    outcome = run({field: value})
    if isinstance(outcome, str):
        assert outcome.startswith(field)
        assert len(outcome) < 4000
    else:
        check_wire(outcome)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=fields)
def test_server_accepts_what_is_sent(values: dict[str, Any], containers_server: LocalServer) -> None:
    """A running server takes every request that is not refused before, or misses a File or skill in it."""
    outcome = run(values)
    assume(not isinstance(outcome, str))
    options = ClientOptions(api_key=containers_server.api_key, base_url=containers_server.base_url)
    missing = ""
    with ContainersClient(options) as client:
        try:
            assert outcome.name == client.create(outcome).name
        except BadRequestError as error:
            missing = error.param or "unknown"
    assert re.fullmatch(r"|file_ids\[\d+\]|skills\[\d+\]\.(skill_id|version|source\.data)", missing)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "n" * 257},
        {"name": "n", "x": 1},
        {"name": "n", "memory_limit": None},
        {"name": "n", "expires_after": {"anchor": "last_active_at", "minutes": 21}},
        {"name": "n", "network_policy": {"type": "allowlist", "allowed_domains": []}},
        {"name": "n", "network_policy": {"type": "allowlist", "allowed_domains": ["A.example.com"]}},
        {"name": "n", "network_policy": {"type": "allowlist", "allowed_domains": ["127.1"]}},
        {"name": "n", "network_policy": {"type": "allowlist", "allowed_domains": ["a.b\n"]}},
        {"name": "n", "skills": [{"type": "skill_reference", "skill_id": "s", "version": 1}]},
        {"name": "n", "skills": [{"type": "skill_reference", "skill_id": "s", "version": "01"}]},
        {"name": "n", "file_ids": [""]},
    ],
)
def test_the_second_opinion_can_refuse(body: dict[str, Any]) -> None:
    """The schema that the tests above rely on finds what is wrong."""
    assert wire_problems(body)
