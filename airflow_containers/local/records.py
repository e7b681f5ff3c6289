"""What the admin endpoints of the local server tell, as objects. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One request that the server got, with every secret replaced by ``***``.

    :param id: counts up from 1.
    :param time: Unix time in seconds by the server's clock.
    :param body: the JSON object that was sent, or the fields of a form with ``filename`` and ``bytes`` of
        each file; ``None`` for any other body.
    :param body_bytes: length of the body as it was sent.
    :param name: ``name`` of the body.
    :param status: of the answer; ``None`` when none was sent.
    :param fault: the fault that was applied, in words; ``None`` for none.
    :param seconds: that the answer took.
    """

    id: int
    request_id: str
    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any] | None
    body_bytes: int
    name: str | None
    status: int | None
    fault: str | None
    seconds: float

    def __str__(self) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        fault = f" [{self.fault}]" if self.fault else ""
        name = f" name={self.name!r}" if self.name else ""
        answer = "no answer" if self.status is None else str(self.status)
        return f"#{self.id} {self.method} {self.path}{query}{name} -> {answer}{fault}"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What came out of a command.

    :param exit_code: its exit status, 128 and the signal's number if a signal ended it; ``None`` when it was
        ended for taking too long.
    :param ended: ``exit``, ``timeout``, or ``killed`` when the server ended it.
    :param reason: why the server ended it, such as ``memory`` or ``disk``; ``None`` when it did not.
    :param seconds: that it ran.
    """

    stdout: str
    stderr: str
    exit_code: int | None
    ended: str
    reason: str | None
    stdout_truncated: bool
    stderr_truncated: bool
    seconds: float
