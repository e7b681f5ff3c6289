"""What a create task remembers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.creation import Record

WHOLE: dict[str, Any] = {
    "phase": "created",
    "name": "report-afc",
    "sent_at": 1.5,
    "fingerprint": "f",
    "max_tries": 2,
    "container_id": "cntr_1",
}

records = st.builds(
    Record,
    phase=st.sampled_from(["created", "handed_over"]),
    name=st.text(),
    sent_at=st.floats(allow_nan=False),
    fingerprint=st.text(),
    max_tries=st.integers(),
    container_id=st.text(),
)
intents = st.builds(
    Record,
    phase=st.just("intent"),
    name=st.text(),
    sent_at=st.floats(allow_nan=False),
    fingerprint=st.text(),
    max_tries=st.integers(),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*WHOLE, "x"]), inner),
)


@given(records | intents)
def test_round_trip(record: Record) -> None:
    """A record comes back from JSON as it was."""
    assert record == Record.from_json(json.loads(json.dumps(record.to_json())))


def test_kept_form() -> None:
    """What is stored is read by other versions: its members are fixed."""
    assert WHOLE == Record(**WHOLE).to_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        "created",
        [],
        {},
        {**WHOLE, "phase": "deleted"},
        {**WHOLE, "phase": ["created"]},
        {**WHOLE, "phase": None},
        {**WHOLE, "name": None},
        {**WHOLE, "sent_at": "1.5"},
        {**WHOLE, "fingerprint": 1},
        {**WHOLE, "max_tries": "2"},
        {**WHOLE, "container_id": None},
        {**WHOLE, "phase": "handed_over", "container_id": 5},
        {name: value for name, value in WHOLE.items() if name != "name"},
    ],
    ids=str,
)
def test_foreign_value(value: Any) -> None:
    """What another version or somebody else has stored there is no record."""
    assert Record.from_json(value) is None


def test_unknown_members_are_left_out() -> None:
    """A later version may store more."""
    assert Record(**WHOLE) == Record.from_json({**WHOLE, "later": True})


@given(anything)
def test_any_value(value: Any) -> None:
    """No stored value makes a task fail, and what is taken for a record is one."""
    record = Record.from_json(value)
    assert record is None or record == Record.from_json(record.to_json())


@pytest.mark.parametrize(
    ("phase", "max_tries", "used"),
    [
        ("intent", 3, False),
        ("created", 3, False),
        ("handed_over", 2, False),
        ("handed_over", 3, True),
        ("handed_over", 1, True),
    ],
)
def test_was_used(phase: Any, max_tries: int, used: bool) -> None:
    """A container that was handed over counts as used after a clear, and not after a failure."""
    assert used is Record(**{**WHOLE, "phase": phase}).was_used(max_tries)


def test_handed_over() -> None:
    """Handing over changes the phase and nothing else."""
    assert {**WHOLE, "phase": "handed_over"} == Record(**WHOLE).handed_over().to_json()
