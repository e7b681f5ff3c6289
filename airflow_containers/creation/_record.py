"""What a create task remembers from one try to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

Phase = Literal["intent", "created", "handed_over"]


@dataclass(frozen=True, slots=True)
class Record:
    """What a create task has reached, kept from one try to the next.

    :param phase: ``intent``: a request may have been sent, and its answer is not known; ``created``: its
        container is known; ``handed_over``: other tasks may use it.
    :param name: of the container, with its owner token if it has one.
    :param sent_at: when the request was about to be sent, in seconds since 1970.
    :param fingerprint: of the request, without the values of secrets.
    :param max_tries: of the task instance when this was written. A clear raises it, a retry does not.
    :param container_id: the container, from ``created`` on.
    """

    phase: Phase
    name: str
    sent_at: float
    fingerprint: str
    max_tries: int
    container_id: str | None = None

    def was_used(self, max_tries: int, *, cleared: bool = False) -> bool:
        """Whether other tasks may have used the container.

        A try that comes without a clear in between tells that the one before has failed: whatever that had
        handed over reached nobody.

        :param max_tries: of the task instance now.
        :param cleared: whether there may have been a clear that left ``max_tries`` as it was, because the
            task has fewer retries than before.
        """
        return self.phase == "handed_over" and (cleared or self.max_tries != max_tries)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Record | None:
        """Return what :meth:`to_json` has returned; ``None`` for anything else, as from another version."""
        if not isinstance(value, Mapping) or value.get("phase") not in get_args(Phase):
            return None
        known: dict[str, Any] = {item.name: value.get(item.name) for item in fields(cls)}
        kinds: dict[str, Any] = {"name": str, "sent_at": int | float, "fingerprint": str, "max_tries": int}
        if known["phase"] != "intent":
            kinds["container_id"] = str
        usable = all(isinstance(known[name], kind) for name, kind in kinds.items())
        return cls(**known) if usable else None

    def handed_over(self) -> Record:
        """Return the record of a container whose id other tasks may know from now on."""
        return replace(self, phase="handed_over")
