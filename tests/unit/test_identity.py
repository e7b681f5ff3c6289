"""Owner tokens and names: the same for each try of one task instance, different for everything else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import InvalidRequestError
from airflow_containers.api.models import MAX_NAME_LENGTH
from airflow_containers.arguments import build_request
from airflow_containers.identity import (
    MAX_DEFAULT_NAME_LENGTH,
    TOKEN_LENGTH,
    default_name,
    has_owner_token,
    owner_token,
    with_owner_token,
)

STARTED = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
IDENTITY: dict[str, Any] = {
    "dag_id": "reports",
    "run_id": "manual__1",
    "run_started_at": STARTED,
    "task_id": "make",
    "map_index": -1,
}


def test_same_for_each_try() -> None:
    """Nothing that changes from one try to the next is in the token; its value is fixed for all releases."""
    assert owner_token(**IDENTITY) == owner_token(**IDENTITY)
    assert TOKEN_LENGTH == len(owner_token(**IDENTITY))
    assert re.fullmatch(r"-afc[a-z2-7]{16}", owner_token(**IDENTITY))


@pytest.mark.parametrize(
    "change",
    [
        {"dag_id": "reports2"},
        {"run_id": "manual__2"},
        {"run_started_at": STARTED + timedelta(microseconds=1)},
        {"run_started_at": None},
        {"task_id": "make2"},
        {"map_index": 0},
        {"map_index": 1},
        {"dag_id": "reports.make", "task_id": ""},
        {"dag_id": 'reports", "x'},
    ],
    ids=str,
)
def test_different_for_everything_else(change: dict[str, Any]) -> None:
    """Another DAG, run, start of the run, task or map index has another token."""
    assert owner_token(**IDENTITY) != owner_token(**IDENTITY | change)


def test_time_zone_does_not_matter() -> None:
    """The same moment is the same start, however it is written."""
    elsewhere = STARTED.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert owner_token(**IDENTITY) == owner_token(**IDENTITY | {"run_started_at": elsewhere})


identities = st.fixed_dictionaries(
    {
        "dag_id": st.text(max_size=4),
        "run_id": st.text(max_size=4),
        "run_started_at": st.none()
        | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])),
        "task_id": st.text(max_size=4),
        "map_index": st.integers(-1, 5),
    }
)


@given(identities, identities)
def test_no_two_identities_share_a_token(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Texts cannot be cut at another place to give the same token."""
    assert (one == other) == (owner_token(**one) == owner_token(**other))


@given(identities, st.text(min_size=1, max_size=20))
def test_token_can_be_recognised(identity: dict[str, Any], name: str) -> None:
    """A name with a token is told from the same name without one."""
    token = owner_token(**identity)
    assert has_owner_token(with_owner_token(name, token, max_length=100))
    assert not has_owner_token(f"{name}{token}x")
    assert not has_owner_token(f"{name}{token}\n")


def test_longest_name() -> None:
    """A name may fill what the token leaves, and no more."""
    token = owner_token(**IDENTITY)
    longest = "n" * (MAX_NAME_LENGTH - TOKEN_LENGTH)
    assert MAX_NAME_LENGTH == len(build_request(name=longest, owner_token=token).name)
    assert longest + token == with_owner_token(longest, token, max_length=MAX_NAME_LENGTH)

    with pytest.raises(InvalidRequestError) as caught:
        with_owner_token(f"{longest}n", token, max_length=MAX_NAME_LENGTH)
    expected = "name: got a text of 233 characters, expected at most 232 (the owner token takes 24 of 256)"
    assert expected == str(caught.value)


def test_default_name() -> None:
    """The name tells a person which task made the container."""
    name = default_name(dag_id="reports", task_id="group.make", run_id="scheduled__2026-03-01T00:00:00+00:00")
    assert "reports.group.make.scheduled__2026-03-01T00:00:00+00:00" == name


@given(
    st.text(min_size=1, max_size=250), st.text(min_size=1, max_size=250), st.text(min_size=1, max_size=250)
)
def test_every_default_name_can_be_sent(dag_id: str, task_id: str, run_id: str) -> None:
    """Ids of any length and with any characters give a name that is allowed, token and all."""
    name = default_name(dag_id=dag_id, task_id=task_id, run_id=run_id)
    assert len(name) <= MAX_DEFAULT_NAME_LENGTH
    assert build_request(name=name, owner_token=owner_token(**IDENTITY)).name.startswith(name)
