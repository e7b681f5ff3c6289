"""The state that tests steer: clock, seed, quirks; and how to put all of it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.clock import Clock
from airflow_containers.local.containers.models import Quirks
from airflow_containers.local.expiry import Housekeeper
from airflow_containers.local.faults import FaultBook
from airflow_containers.local.ids import Ids
from airflow_containers.local.journal import Journal
from airflow_containers.local.store import Store

_OFFSET = "clock.offset"
_GHOSTS = "quirks.ghost_seconds"
_VISIBILITY = "quirks.visibility_delay_seconds"
_RANGES = "quirks.ranges"


class AdminBackend:
    """Steers one server. Clock, seed and quirks survive a restart; faults and journal do not.

    :param resets: end what runs, one service each; called before a reset.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        ids: Ids,
        quirks: Quirks,
        faults: FaultBook,
        journal: Journal,
        housekeeper: Housekeeper,
        resets: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._housekeeper = housekeeper
        self._resets = resets
        self.clock = clock
        self.ids = ids
        self.quirks = quirks
        self.faults = faults
        self.journal = journal
        self._load()

    def _load(self) -> None:
        self.clock.offset = float(self._store.get_meta(_OFFSET) or 0)
        self.quirks.ghost_seconds = float(self._store.get_meta(_GHOSTS) or 0)
        self.quirks.visibility_delay_seconds = float(self._store.get_meta(_VISIBILITY) or 0)
        self.quirks.ranges = self._store.get_meta(_RANGES) != "False"

    def reset(self) -> None:
        """Put the server back to its first state: nothing in it, true time, random ids, no quirks."""
        for reset in self._resets:
            reset()
        self._store.clear()
        self._blobs.clear()
        self.faults.restart()
        self.journal.restart()
        self.ids.load()
        self._load()

    def advance(self, seconds: float) -> None:
        """Push the clock forward."""
        offset = self.clock.offset + seconds
        self._store.set_meta(_OFFSET, repr(offset))
        self.clock.offset = offset
        self._housekeeper.sweep()

    def set_quirks(self, values: dict[str, float | bool]) -> None:
        """Set the quirks that are named; leave the others."""
        with self._store.transaction():
            for name, value in values.items():
                shown = value if isinstance(value, bool) else float(value)
                self._store.set_meta(f"quirks.{name}", repr(shown))
        self._load()
