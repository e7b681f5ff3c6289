"""Owner tokens and names: the same for each try of one task instance, different for everything else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import InvalidRequestError
from airflow_containers.api.models import MAX_NAME_LENGTH
from airflow_containers.arguments import build_request
from airflow_containers.identity import (
    MAX_DEFAULT_NAME_LENGTH,
    OWNER_PREFIX,
    RUN_LENGTH,
    TOKEN_LENGTH,
    Owner,
    Run,
    default_name,
    has_owner_token,
    owner_run,
    run_hash,
)

OWNER = Owner("a-deployment", "reports", "manual__1", "make")
TOKEN = "-afco62dvh6pcranc5fy7cud"
LONGEST = MAX_NAME_LENGTH - TOKEN_LENGTH

owners = st.builds(
    Owner,
    deployment_id=st.text(max_size=4),
    dag_id=st.text(max_size=4),
    run_id=st.text(max_size=4),
    task_id=st.text(max_size=4),
    map_index=st.integers(-1, 5),
)
printable = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"], include_characters=" []-"), max_size=40
)
airflow_ids = st.text(st.sampled_from("abcé019._-~+:[]"), min_size=1, max_size=30)


class TestToken:
    """The text that is looked for."""

    def test_value(self) -> None:
        """A token is the same in all releases: a newer one has to find what an older one has made."""
        assert TOKEN == OWNER.token
        assert TOKEN_LENGTH == len(TOKEN)
        assert re.fullmatch(r"-afc[a-z2-7]{20}", TOKEN)

    @pytest.mark.parametrize(
        "change",
        [
            {"deployment_id": "another-deployment"},
            {"dag_id": "reports2"},
            {"run_id": "manual__2"},
            {"task_id": "make2"},
            {"map_index": 0},
            {"map_index": 1},
            {"dag_id": "reports manual__1", "run_id": ""},
            {"dag_id": 'reports", "manual__1', "run_id": ""},
        ],
        ids=str,
    )
    def test_different_for_everything_else(self, change: dict[str, Any]) -> None:
        """Another deployment, DAG, run, task or map index has another token."""
        assert OWNER.token != replace(OWNER, **change).token

    @given(owners, owners)
    def test_no_two_owners_share_one(self, one: Owner, other: Owner) -> None:
        """Texts cannot be cut at another place to give the same token."""
        assert (one == other) == (one.token == other.token)

    @given(owners, st.text(max_size=4), st.integers(-1, 5))
    def test_tasks_of_a_run_share_its_part(self, owner: Owner, task_id: str, map_index: int) -> None:
        """The first part is that of the run, whatever the task."""
        start = OWNER_PREFIX + run_hash(owner.deployment_id, owner.dag_id, owner.run_id)
        assert len(OWNER_PREFIX) + RUN_LENGTH == len(start)
        assert start == replace(owner, task_id=task_id, map_index=map_index).token[: len(start)]

    @given(owners, st.text(min_size=1, max_size=20))
    def test_can_be_recognised(self, owner: Owner, label: str) -> None:
        """A name with a token is told from one without."""
        name = owner.name(label, max_length=MAX_NAME_LENGTH)
        assert has_owner_token(name)
        assert not has_owner_token(f"{name}x")
        assert not has_owner_token(f"{name}\n")
        assert not has_owner_token(name[:-1])

    @pytest.mark.parametrize(
        "name", ["", "report", "-afc", TOKEN.upper(), TOKEN.replace("2", "1"), f"{TOKEN} ", TOKEN[1:]]
    )
    def test_no_token(self, name: str) -> None:
        """What only looks like one is none."""
        assert not has_owner_token(name)


class TestName:
    """Label, ids and token."""

    def test_value(self) -> None:
        """A name says who made the container."""
        assert f"report [reports manual__1]{TOKEN}" == OWNER.name("report", max_length=MAX_NAME_LENGTH)

    def test_ids_that_fit(self) -> None:
        """The ids are in a name as long as it is not too long, and then left out as a whole."""
        ids = " [reports manual__1]"
        fits = "n" * (LONGEST - len(ids))
        assert f"{fits}{ids}{TOKEN}" == OWNER.name(fits, max_length=MAX_NAME_LENGTH)
        assert f"{fits}n{TOKEN}" == OWNER.name(f"{fits}n", max_length=MAX_NAME_LENGTH)

    @pytest.mark.parametrize(
        "change", [{"dag_id": "a\nb"}, {"run_id": "manual\x00"}, {"run_id": "half \ud800"}]
    )
    def test_ids_that_cannot_be_printed(self, change: dict[str, str]) -> None:
        """The service takes printable names only, so such ids are left out."""
        owner = replace(OWNER, **change)
        assert f"report{owner.token}" == owner.name("report", max_length=MAX_NAME_LENGTH)

    def test_longest(self) -> None:
        """A label may fill what the token leaves, and no more."""
        label = "n" * LONGEST
        assert 232 == LONGEST
        assert label + TOKEN == OWNER.name(label, max_length=MAX_NAME_LENGTH)
        assert MAX_NAME_LENGTH == len(build_request(name=label, owner=OWNER).name)
        assert MAX_NAME_LENGTH == len(build_request(name="n" * MAX_NAME_LENGTH).name)

        expected = (
            "name: got a text of 233 characters, expected at most 232 (the owner token takes 24 of 256)"
        )
        with pytest.raises(InvalidRequestError) as caught:
            OWNER.name(f"{label}n", max_length=MAX_NAME_LENGTH)
        assert expected == str(caught.value)
        with pytest.raises(InvalidRequestError) as caught:
            build_request(name=f"{label}n", owner=OWNER)
        assert expected == str(caught.value)

    @given(owners, owners, st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
    def test_no_two_owners_share_one(self, one: Owner, other: Owner, label: str, another: str) -> None:
        """Whatever the labels, the names of two task instances are different."""
        names = {one.name(label, max_length=MAX_NAME_LENGTH), other.name(another, max_length=MAX_NAME_LENGTH)}
        assert one == other or 2 == len(names)


class TestRun:
    """The way back from a name to the run."""

    @given(printable, airflow_ids, airflow_ids, st.integers(-1, 5))
    def test_round_trip(self, label: str, dag_id: str, run_id: str, map_index: int) -> None:
        """Any label, with brackets and spaces as well, and any ids of Airflow give the run back."""
        owner = Owner("a-deployment", dag_id, run_id, "make", map_index)
        name = owner.name(label, max_length=MAX_NAME_LENGTH)
        assert Run(dag_id, run_id) == owner_run(name, "a-deployment")
        assert owner_run(name, "another-deployment") is None

    @pytest.mark.parametrize(
        "label", ["", "a [b c]", "[x y]", "a [b", "b]", " ", "a [reports manual__1]", "[["]
    )
    def test_label_with_brackets(self, label: str) -> None:
        """Brackets of the label are not taken for those of the ids."""
        name = OWNER.name(label, max_length=MAX_NAME_LENGTH)
        assert Run("reports", "manual__1") == owner_run(name, "a-deployment")

    def test_run_id_with_spaces_and_brackets(self) -> None:
        """A person may name a run in many ways."""
        owner = replace(OWNER, run_id="my [first] run [2]")
        name = owner.name("report", max_length=MAX_NAME_LENGTH)
        assert Run("reports", "my [first] run [2]") == owner_run(name, "a-deployment")

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "report",
            "report [reports manual__1]",
            f"report{TOKEN}",
            f"report [reports manual__2]{TOKEN}",
            f"report [reports2 manual__1]{TOKEN}",
            f"report [reports]{TOKEN}",
            f"report[reports manual__1]{TOKEN}",
            f"report [reports manual__1] {TOKEN}",
            f"report [reports manual__1]{TOKEN}x",
        ],
    )
    def test_no_run(self, name: str) -> None:
        """Ids that the token does not prove are not believed, and without ids there is no way back."""
        assert owner_run(name, "a-deployment") is None

    def test_no_ids_no_run(self) -> None:
        """A name that had no room for the ids is still ours, of a run unknown."""
        name = OWNER.name("n" * LONGEST, max_length=MAX_NAME_LENGTH)
        assert has_owner_token(name)
        assert owner_run(name, "a-deployment") is None

    @given(st.text(max_size=60), st.text(max_size=4))
    def test_any_name(self, name: str, deployment_id: str) -> None:
        """A list has names of anybody; none of them is an error."""
        assert owner_run(name, deployment_id) is None
        assert owner_run(name + TOKEN, deployment_id) is None


class TestDefaultName:
    """The label of a task that gives none."""

    @pytest.mark.parametrize(
        ("owned", "expected"),
        [(True, "group.make"), (False, "reports.group.make.scheduled__2026-03-01T00:00:00+00:00")],
    )
    def test_value(self, owned: bool, expected: str) -> None:
        """It tells a person which task made the container; ids that follow anyway are not said twice."""
        run_id = "scheduled__2026-03-01T00:00:00+00:00"
        assert expected == default_name(dag_id="reports", task_id="group.make", run_id=run_id, owned=owned)

    @given(
        st.text(min_size=1, max_size=250),
        st.text(min_size=1, max_size=250),
        st.text(min_size=1, max_size=250),
        st.booleans(),
    )
    def test_can_always_be_sent(self, dag_id: str, task_id: str, run_id: str, owned: bool) -> None:
        """Ids of any length and with any characters give a name that is allowed, ids, token and all."""
        name = default_name(dag_id=dag_id, task_id=task_id, run_id=run_id, owned=owned)
        assert len(name) <= MAX_DEFAULT_NAME_LENGTH
        owner = Owner("a-deployment", dag_id, run_id, task_id) if owned else None
        # A label like these counts as a template that rendered to nothing; no Airflow id is blank.
        if name.strip() and name.strip() not in ("None", "null", "undefined"):
            assert build_request(name=name, owner=owner).name.startswith(name)
