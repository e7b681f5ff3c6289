"""What a sweep tells: a table with a line for each container, and the counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from airflow_containers import pricing
from airflow_containers.api.errors import ContainersError
from airflow_containers.sweeping._verdict import Verdict

MAX_REPORTED_IDS: Final = 100

_SHOWN_ID: Final = 53
_SHOWN_NAME: Final = 44

Outcome = Literal["keep", "delete", "deleted", "gone", "failed"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    :param outcome: ``delete`` in a dry run, else what became of it; ``gone`` if it ended meanwhile.
    :param error: why deleting it failed.
    """

    verdict: Verdict
    outcome: Outcome
    error: ContainersError | None = None

    def __str__(self) -> str:
        verdict = self.verdict
        container = verdict.container
        cells = (
            f"{self.outcome:<7}",
            f"{'?' if verdict.minutes is None else verdict.minutes:>7}",
            f"{container.memory_limit or '?':>6}",
            f"{pricing.dollars(verdict.cost):>10}",
            f"{_shown(container.id, _SHOWN_ID):<{_SHOWN_ID}}",
            f"{_shown(container.name or '', _SHOWN_NAME):<{_SHOWN_NAME}}",
            verdict.reason if self.error is None else f"{verdict.reason}; {self.error}",
        )
        return "  ".join(cells)


TABLE_HEAD: Final = "  ".join(
    (
        f"{'WHAT':<7}",
        f"{'MINUTES':>7}",
        f"{'MEMORY':>6}",
        f"{'COST':>10}",
        f"{'CONTAINER':<{_SHOWN_ID}}",
        f"{'NAME':<{_SHOWN_NAME}}",
        "WHY",
    )
)
"""The columns of a :class:`Row` as text."""


@dataclass(slots=True)
class Summary:
    """The counts of one sweep.

    :param listed: entries of all pages.
    :param others: without an owner token or with another prefix; not looked at.
    :param ended: of this package, expired or deleted already; the service lists them on.
    :param found: of this package, and alive.
    :param live: kept, because the run is live.
    :param unknown: kept, because nobody knows whether the run is over.
    :param due: to be deleted; in a dry run this is all that happens.
    :param gone: ended between the list and the delete.
    :param minutes: minutes alive of those that were due, without the ``gone``: nobody knows since when.
    :param cost: US dollars for these minutes, without the ``unpriced``.
    :param unpriced: due, with unknown cost.
    :param ids: of those deleted or, in a dry run, due; the first 100.
    """

    dry_run: bool
    pages: int = 0
    listed: int = 0
    others: int = 0
    ended: int = 0
    found: int = 0
    live: int = 0
    unknown: int = 0
    due: int = 0
    deleted: int = 0
    gone: int = 0
    failed: int = 0
    minutes: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    ids: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values; the cost is a text such as ``$0.1875``."""
        names = (
            *("dry_run", "pages", "listed", "others", "ended", "found", "live", "unknown"),
            *("due", "deleted", "gone", "failed", "minutes", "unpriced"),
        )
        return {
            **{name: getattr(self, name) for name in names},
            "cost": pricing.dollars(self.cost),
            "container_ids": list(self.ids),
        }

    def lines(self) -> list[str]:
        """Return the end of the report, for people."""
        dollars = pricing.dollars(self.cost)
        money = f"minutes alive {self.minutes}, cost {dollars} at the prices of {pricing.AS_OF}"
        if self.unpriced:
            money += f" and {self.unpriced} of unknown cost"
        if self.dry_run:
            done = f"Dry run, nothing was deleted. To delete: {self.due} ({money})"
        else:
            done = (
                f"Deleted: {self.deleted}, gone meanwhile: {self.gone}, failed: {self.failed}, "
                f"of {self.due} ({money})"
            )
        return [
            (
                f"Pages: {self.pages}. Containers: {self.listed}; of this package and alive: {self.found}, "
                f"of it and ended: {self.ended}, others or with another prefix: {self.others}"
            ),
            f"Kept: {self.live} of live runs, {self.unknown} of unknown owners",
            done,
        ]


def _shown(text: str, length: int) -> str:
    """Return a text for one cell: somebody else may have put a line break or a colour into it."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
