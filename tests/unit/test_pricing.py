"""What a container costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from airflow_containers import pricing
from airflow_containers.api.models import MEMORY_LIMITS


@pytest.mark.parametrize(
    ("memory", "minutes", "expected"),
    [
        ("1g", 20, "0.03"),
        ("4g", 20, "0.12"),
        ("16g", 20, "0.48"),
        ("64g", 20, "1.92"),
        ("1g", 60, "0.09"),
        ("64g", 60, "5.76"),
        ("1g", 5, "0.0075"),
        ("1g", 1, "0.0075"),
        ("64g", 0, "0.48"),
        ("1g", 5.01, "0.0090"),
        ("1g", 6, "0.0090"),
    ],
)
def test_cost(memory: str, minutes: float, expected: str) -> None:
    """By the minute, begun ones counted, with a minimum of five; the price list's own examples."""
    assert Decimal(expected) == pricing.cost(memory, minutes)


@pytest.mark.parametrize("memory", [None, "", "2g", "1G"])
def test_unknown_memory_has_no_price(memory: str | None) -> None:
    """No guess is made."""
    assert pricing.cost(memory, 20) is None


def test_every_memory_limit_has_a_price() -> None:
    """A new one needs a price, or the reports say `?` for it."""
    assert set(MEMORY_LIMITS) == set(pricing.PER_MINUTE)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (Decimal("0.0075"), "$0.0075"),
        (Decimal(0), "$0.0000"),
        (Decimal("1234.5"), "$1,234.5000"),
        (None, "?"),
    ],
)
def test_dollars(amount: Decimal | None, shown: str) -> None:
    """To the hundredth of a cent, because five minutes cost less than one cent."""
    assert shown == pricing.dollars(amount)
