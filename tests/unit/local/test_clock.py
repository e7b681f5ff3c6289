"""The server's clock."""

from __future__ import annotations

import itertools
import time

import pytest

from airflow_containers.local.clock import Clock


def test_it_is_ahead_by_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wall time plus the offset, which can be changed."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    clock = Clock(5)
    first = clock.now()
    clock.offset = 50

    assert (1005, 1050) == (first, clock.now())


def test_it_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the machine's clock is set back, this one stands still."""
    ticks = itertools.chain([10.0, 12.0, 3.0, 11.0, 13.0])
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    clock = Clock()

    assert [10, 12, 12, 12, 13] == [clock.now() for _ in range(5)]


def test_taking_the_offset_back_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset shows true time again."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    clock = Clock(500)
    clock.now()
    clock.offset = 0

    assert 1000 == clock.now()
