"""Whether a container is what a task asks for, and for how long one is looked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api.models import Container, CreateContainerRequest
from airflow_containers.creation import difference, fingerprint, growing_pauses, is_unused

HOST = "api.example.com"
SECRET = {"domain": HOST, "name": "TOKEN", "value": "a"}


def allowlist(*domains: str, secrets: Any = None) -> dict[str, Any]:
    """A network policy of a request or of an answer."""
    policy = {"type": "allowlist", "allowed_domains": [*domains]}
    return policy if secrets is None else policy | {"domain_secrets": secrets}


def request(**fields: Any) -> CreateContainerRequest:
    """A request with some fields."""
    return CreateContainerRequest.model_validate({"name": "report", **fields})


def minutes(number: int) -> dict[str, Any]:
    """An idle time, in the API's shape."""
    return {"expires_after": {"anchor": "last_active_at", "minutes": number}}


@pytest.mark.parametrize(
    ("shown", "asked", "expected"),
    [
        ({}, {}, None),
        ({}, {"memory_limit": "4g", "network_policy": allowlist(HOST), **minutes(5)}, None),
        ({"memory_limit": "1g"}, {}, None),
        ({"memory_limit": "4g"}, {"memory_limit": "4g"}, None),
        ({"memory_limit": "4g"}, {}, "it has 4g of memory, and 1g is asked for"),
        ({"memory_limit": "1g"}, {"memory_limit": "4g"}, "it has 1g of memory, and 4g is asked for"),
        ({"network_policy": {"type": "disabled"}}, {}, None),
        ({"network_policy": {"type": "disabled"}}, {"network_policy": {"type": "disabled"}}, None),
        ({"network_policy": {"type": None}}, {"network_policy": allowlist(HOST)}, None),
        ({"network_policy": allowlist(HOST)}, {"network_policy": allowlist(HOST)}, None),
        (
            {"network_policy": allowlist("B.example.com", HOST)},
            {"network_policy": allowlist(HOST, "b.example.com")},
            None,
        ),
        (
            {"network_policy": allowlist(HOST)},
            {"network_policy": allowlist(HOST, secrets=[SECRET])},
            None,
        ),
        (
            {"network_policy": allowlist(HOST)},
            {},
            "it may reach api.example.com, and no domain is asked for",
        ),
        (
            {"network_policy": {"type": "disabled"}},
            {"network_policy": allowlist(HOST, "b.example.com")},
            "it may reach no domain, and api.example.com, b.example.com is asked for",
        ),
        (minutes(20), {}, None),
        (minutes(5), minutes(5), None),
        (minutes(5), {}, "it ends after 5 idle minutes, and 20 are asked for"),
        (minutes(20), minutes(5), "it ends after 20 idle minutes, and 5 are asked for"),
    ],
    ids=str,
)
def test_difference(shown: dict[str, Any], asked: dict[str, Any], expected: str | None) -> None:
    """Memory, network and idle time are compared; what an answer leaves out is taken to be right."""
    assert expected == difference(Container.model_validate({"id": "cntr_1", **shown}), request(**asked))


def test_fingerprint_changes_with_everything() -> None:
    """Every field makes another fingerprint, also what no answer shows."""
    skill = {"type": "skill_reference", "skill_id": "skill_1"}
    requests = [
        {},
        {"name": "other"},
        {"memory_limit": "4g"},
        minutes(5),
        {"file_ids": ["file-1"]},
        {"file_ids": ["file-2"]},
        {"skills": [skill]},
        {"skills": [skill | {"version": "2"}]},
        {"network_policy": {"type": "disabled"}},
        {"network_policy": allowlist(HOST)},
        {"network_policy": allowlist(HOST, secrets=[SECRET])},
        {"network_policy": allowlist(HOST, secrets=[SECRET | {"name": "OTHER"}])},
    ]
    prints = [fingerprint(request(**fields)) for fields in requests]
    assert len(requests) == len(set(prints))
    assert prints == [fingerprint(request(**fields)) for fields in requests]


def test_fingerprint_knows_no_secret() -> None:
    """It is stored where values of secrets must not be found, not even by trying."""
    one, other = (
        request(network_policy=allowlist(HOST, secrets=[SECRET | {"value": value}])) for value in ("a", "b")
    )
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("created_at", "last_active_at", "since", "expected"),
    [
        (100, 100, None, True),
        (100, 99, None, True),
        (100, 101, None, False),
        (100, None, None, False),
        (None, 100, None, False),
        (None, None, 50.0, False),
        (100, 101, 100.0, True),
        (100, 101, 100.5, False),
        (100, None, 100.0, True),
    ],
)
def test_is_unused(
    created_at: int | None, last_active_at: int | None, since: float | None, expected: bool
) -> None:
    """Nobody has used what was never active after its creation, or what only this try can know."""
    container = Container(id="cntr_1", created_at=created_at, last_active_at=last_active_at)
    assert expected is is_unused(container, since)


@pytest.mark.parametrize(
    ("patience", "pauses"),
    [
        (0, ()),
        (0.2, (0.2,)),
        (0.75, (0.5, 0.25)),
        (3.5, (0.5, 1.0, 2.0)),
        (30, (0.5, 1.0, 2.0, 4.0, 8.0, 14.5)),
    ],
)
def test_growing_pauses(patience: float, pauses: tuple[float, ...]) -> None:
    """Pauses double from half a second on, and the last takes what is left."""
    assert pauses == growing_pauses(patience)


@given(st.floats(0, 600, allow_subnormal=False))
def test_every_patience(patience: float) -> None:
    """Pauses add up to the patience, each of them is one, and each but the last is twice the one before."""
    pauses = growing_pauses(patience)
    assert sum(pauses) == pytest.approx(patience)
    assert all(pause > 0 for pause in pauses)
    assert all(later == 2 * earlier for earlier, later in pairwise(pauses[:-1]))
