"""What a container costs, by its memory and its minutes.

Source: https://developers.openai.com/api/docs/pricing#built-in-tools, as quoted on :data:`AS_OF`. Since
2026-06-02 a container session is billed by the minute, with a minimum of 5 minutes; the prices of one minute
are those of a 20-minute session divided by 20. Other services that speak this API have other prices.

Whether the idle minutes before a container expires are billed is documented nowhere. Here they are counted:
an estimate of what is left running should not be too low.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

AS_OF: Final = "2026-10-07"
"""The day the prices were looked up."""

SOURCE: Final = "https://developers.openai.com/api/docs/pricing#built-in-tools"
MINIMUM_MINUTES: Final = 5
"""Minutes that are billed at least."""

PER_MINUTE: Final[Mapping[str, Decimal]] = {
    "1g": Decimal("0.0015"),
    "4g": Decimal("0.0060"),
    "16g": Decimal("0.0240"),
    "64g": Decimal("0.0960"),
}
"""US dollars for one minute, by ``memory_limit``."""


def cost(memory_limit: str | None, minutes: float) -> Decimal | None:
    """Return what a container of that memory costs after that many minutes, in US dollars.

    A begun minute counts as a whole one. That is our reading of "by the minute"; the service does not say.

    :param memory_limit: as the service's answer has it: ``1g``, ``4g``, ``16g`` or ``64g``.
    :param minutes: minutes alive; below 5, 5 are billed.
    :returns: ``None`` if the price of that memory is not known, as of one that an answer leaves out.
    """
    price = PER_MINUTE.get(memory_limit or "")
    return None if price is None else price * max(MINIMUM_MINUTES, math.ceil(minutes))


def dollars(amount: Decimal | None) -> str:
    """Return an amount for people, to the hundredth of a cent: ``$0.1875``; ``?`` if it is not known."""
    return "?" if amount is None else f"${amount:,.4f}"
