"""Owner tokens and names: the same for each try of one task instance, different for everything else."""

from __future__ import annotations

import re
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
    Owner,
    Run,
    default_name,
    has_owner_token,
    owner_run,
    run_hash,
)

IDENTITY: dict[str, Any] = {
    "deployment_id": "production",
    "dag_id": "reports",
    "run_id": "manual__1",
    "task_id": "make",
    "map_index": -1,
}
OWNER = Owner(**IDENTITY)

texts = st.text(max_size=4)
owners = st.builds(
    Owner, deployment_id=texts, dag_id=texts, run_id=texts, task_id=texts, map_index=st.integers(-1, 5)
)
labels = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=40)


def test_token_is_fixed_for_all_releases() -> None:
    """A container of an older release is found by its token after an upgrade."""
    assert "-afcng4xo6cg53kir2vm3k7v" == OWNER.token


def test_form() -> None:
    """A token has a form that no author writes by chance, and starts with the run's part."""
    assert re.fullmatch(r"-afc[a-z2-7]{20}", OWNER.token)
    assert TOKEN_LENGTH == len(OWNER.token)
    assert OWNER.token.startswith(f"-afc{run_hash('production', 'reports', 'manual__1')}")


@pytest.mark.parametrize(
    "change",
    [
        {"deployment_id": "staging"},
        {"dag_id": "reports2"},
        {"run_id": "manual__2"},
        {"task_id": "make2"},
        {"map_index": 0},
        {"map_index": 1},
        {"dag_id": "reports.make", "task_id": ""},
        {"dag_id": 'reports", "x'},
    ],
    ids=str,
)
def test_different_for_everything_else(change: dict[str, Any]) -> None:
    """Another deployment, DAG, run, task or map index has another token."""
    assert OWNER.token != Owner(**IDENTITY | change).token


@given(owners, owners)
def test_no_two_owners_share_a_token(one: Owner, other: Owner) -> None:
    """Texts cannot be cut at another place to give the same token."""
    assert (one == other) == (one.token == other.token)


@given(owners, labels)
def test_token_can_be_recognised(owner: Owner, label: str) -> None:
    """A name with a token is told from the same name without one."""
    name = owner.name(label, max_length=MAX_NAME_LENGTH)
    assert has_owner_token(name)
    assert not has_owner_token(f"{name}x")
    assert not has_owner_token(f"{name}\n")
    assert not has_owner_token(label)


ids = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20)


@given(labels, ids, ids | st.just("scheduled 2026 [x] y"))
def test_way_back(label: str, dag_id: str, run_id: str) -> None:
    """The name leads back to the run, whatever the label looks like."""
    name = Owner("production", dag_id, run_id, "make").name(label, max_length=MAX_NAME_LENGTH)
    assert Run(dag_id, run_id) == owner_run(name, "production")


@pytest.mark.parametrize(
    "name",
    [
        "report",
        "report [reports manual__1]",
        OWNER.token,
        f"report{OWNER.token}",
        f"report [reports manual__2]{OWNER.token}",
        f"report [reports]{OWNER.token}",
        f"report[reports manual__1]{OWNER.token}",
        f"report [reports manual__1] {OWNER.token}",
        f"report [reports manual__1]{OWNER.token}x",
    ],
)
def test_no_way_back(name: str) -> None:
    """A name without token or ids, or with ids that the token does not prove, belongs to no run."""
    assert owner_run(name, "production") is None


def test_other_deployment() -> None:
    """The run of another deployment is not ours, though its ids are the same."""
    name = OWNER.name("report", max_length=MAX_NAME_LENGTH)
    assert Run("reports", "manual__1") == owner_run(name, "production")
    assert owner_run(name, "staging") is None
    assert owner_run(name, "") is None


def test_label_with_brackets() -> None:
    """Brackets of the author's own do not hide the ids, also if they look like ids."""
    name = OWNER.name("report [of a] [b c]", max_length=MAX_NAME_LENGTH)
    assert name.startswith("report [of a] [b c] [reports manual__1]-afc")
    assert Run("reports", "manual__1") == owner_run(name, "production")


def test_longest_label() -> None:
    """A label may fill what the token leaves, and no more; the ids give way to it."""
    room = MAX_NAME_LENGTH - TOKEN_LENGTH
    ids_length = len(" [reports manual__1]")
    with_ids = OWNER.name("n" * (room - ids_length), max_length=MAX_NAME_LENGTH)
    without = OWNER.name("n" * (room - ids_length + 1), max_length=MAX_NAME_LENGTH)
    assert MAX_NAME_LENGTH == len(with_ids)
    assert " [reports manual__1]-afc" in with_ids
    assert "n-afc" in without

    assert MAX_NAME_LENGTH == len(build_request(name="n" * room, owner=OWNER).name)
    with pytest.raises(InvalidRequestError) as caught:
        OWNER.name("n" * (room + 1), max_length=MAX_NAME_LENGTH)
    expected = "name: got a text of 233 characters, expected at most 232 (the owner token takes 24 of 256)"
    assert expected == str(caught.value)


def test_ids_that_cannot_be_printed() -> None:
    """Ids that a name cannot hold are left out, and the name can be sent."""
    owner = Owner("production", "reports", "manual\n1", "make")
    assert f"report{owner.token}" == build_request(name="report", owner=owner).name


@pytest.mark.parametrize(
    ("owned", "expected"), [(True, "group.make"), (False, "reports.group.make.manual__1")]
)
def test_default_name(owned: bool, expected: str) -> None:
    """The name tells a person which task made the container, with the ids that follow or by itself."""
    name = default_name(dag_id="reports", task_id="group.make", run_id="manual__1", owned=owned)
    assert expected == name


@given(
    st.text(min_size=1, max_size=250),
    st.text(min_size=1, max_size=250),
    st.text(min_size=1, max_size=250),
    st.booleans(),
)
def test_every_default_name_can_be_sent(dag_id: str, task_id: str, run_id: str, owned: bool) -> None:
    """Ids of any length and with any characters give a name that is allowed, token and all."""
    name = default_name(dag_id=dag_id, task_id=task_id, run_id=run_id, owned=owned)
    assert len(name) <= MAX_DEFAULT_NAME_LENGTH
    owner = Owner("production", dag_id, run_id, task_id) if owned else None
    if name.strip():
        assert build_request(name=name, owner=owner).name.startswith(name)
