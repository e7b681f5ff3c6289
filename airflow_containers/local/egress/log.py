"""What containers asked for at their way out, for tests and operators to read."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

MAX_ENTRIES = 10_000
_MAX_TEXT = 253


@dataclass(slots=True)
class EgressEntry:
    """One request, one tunnel, or one refusal. It has neither path nor headers, which may be confidential.

    :param id: counts from 1.
    :param time: seconds since the epoch, on the server's clock.
    :param method: ``CONNECT`` for a tunnel and for what was refused at its beginning.
    :param host: as far as it could be read.
    :param reason: why it was refused or failed; on what was let through, what is worth knowing.
    :param status: of the answer that the container got.
    :param secrets: names of the domain secrets that were put in.
    :param bytes_sent: to the domain, so far.
    :param bytes_received: from the domain, so far.
    """

    id: int
    time: float
    container_id: str
    method: str
    host: str
    port: int | None
    allowed: bool
    reason: str | None = None
    status: int | None = None
    secrets: tuple[str, ...] = ()
    bytes_sent: int = 0
    bytes_received: int = 0

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON has it."""
        return asdict(self)


class EgressLog:
    """The latest entries of one server, in memory only.

    :ivar dropped: entries that were forgotten because there were more than :data:`MAX_ENTRIES`.
    """

    def __init__(self) -> None:
        self._entries: deque[EgressEntry] = deque(maxlen=MAX_ENTRIES)
        self._made = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, time: float, container_id: str, method: str, host: str, port: int | None, *, allowed: bool
    ) -> EgressEntry:
        """Make an entry, whose other fields are filled in as they become known."""
        self._made += 1
        self.dropped += len(self._entries) == MAX_ENTRIES
        entry = EgressEntry(
            self._made, time, container_id, method[:_MAX_TEXT], host[:_MAX_TEXT], port, allowed
        )
        self._entries.append(entry)
        return entry

    def entries(self, container_id: str | None = None, since: int | None = None) -> list[EgressEntry]:
        """Entries that match, oldest first.

        :param since: only entries with a greater id.
        """
        return [
            entry
            for entry in self._entries
            if (container_id is None or entry.container_id == container_id)
            and (since is None or entry.id > since)
        ]

    def clear(self) -> int:
        """Forget all entries; returns how many there were. Ids go on counting."""
        count = len(self._entries)
        self._entries.clear()
        self.dropped = 0
        return count
