"""When to send a call again: one pure function, asked by both clients.

The rules are those of the official client (openai 3.54, ``_base_client.py``), with three differences:
a create is never repeated once it may have reached the server, a spent quota is not retried, and the
time for all attempts together is bounded.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

FIRST_DELAY = 0.5
"""Seconds before the second attempt; doubled for each further one."""

MAX_DELAY = 8.0
"""Seconds; the longest pause that is not asked for by the server."""

JITTER = 0.25
"""The part of a pause that chance may take off."""

MAX_RETRY_AFTER = 120.0
"""Seconds; a server that asks for more is not waited for."""

QUOTA_CODES = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active"}
)
_MAX_DOUBLINGS = 16
"""More than are needed to reach ``MAX_DELAY``, and few enough for any number of attempts to have a power."""

_RETRIED_STATUSES = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long one call may be tried.

    :param max_retries: attempts after the first, 0 or more.
    :param max_elapsed: seconds from the first attempt after which no further one starts.
    """

    max_retries: int = 2
    max_elapsed: float = 300.0


class Sent(Enum):
    """What is known of an attempt that brought no complete answer."""

    NO = "the request never left"
    PARTLY = "the end of the request's body never left"
    PERHAPS = "the request may have reached the server"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """An attempt without a complete, readable answer.

    :param sent: whether the request may have reached the server.
    :param hopeless: whether another attempt must fail the same way (a certificate that is not trusted).
    """

    sent: Sent
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An attempt with a complete answer.

    :param status: HTTP status.
    :param headers: the answer's headers, names in lower case.
    :param code: ``error.code`` or ``error.type`` of the body, where they name a spent quota.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None


Outcome = Answer | NoAnswer


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried so far for one call.

    A transfer may take hours, and that something moved is no reason to give up: the time in which it did is
    not counted, and a download that came further than ever before has all its attempts again.

    :param attempts: attempts that count.
    :param moving: seconds of the attempts that moved something.
    :param furthest: the most bytes of the file that were there after an attempt.
    """

    attempts: int = 0
    moving: float = 0.0
    furthest: int = 0

    def after(self, *, seconds: float, moved: bool, reached: int) -> Tried:
        """Return what was tried after one more attempt.

        :param seconds: how long it took.
        :param moved: whether it moved any byte of a body or of a file.
        :param reached: bytes of a file that are there now; 0 for what does not resume.
        """
        return Tried(
            attempts=1 if reached > self.furthest else self.attempts + 1,
            moving=self.moving + (seconds if moved else 0.0),
            furthest=max(self.furthest, reached),
        )


def is_quota_code(code: str | None) -> bool:
    """Whether an ``error.code`` or ``error.type`` says that nothing is left to spend."""
    return code in QUOTA_CODES


def delay_before_next(
    outcome: Outcome,
    *,
    attempt: int,
    elapsed: float,
    repeatable: bool,
    policy: RetryPolicy,
    rand: Callable[[], float] = random.random,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> float | None:
    """Return the seconds to wait before the next attempt, or ``None`` to give up.

    :param outcome: what became of the last attempt.
    :param attempt: attempts made so far, 1 or more.
    :param elapsed: seconds since the first attempt began.
    :param repeatable: whether sending the call twice has the effect of sending it once.
    """
    if attempt > policy.max_retries or not _may_repeat(outcome, repeatable):
        return None
    delay = retry_after(outcome.headers, now()) if isinstance(outcome, Answer) else None
    if delay is not None and delay > MAX_RETRY_AFTER:
        return None
    if not delay:
        doublings = min(attempt - 1, _MAX_DOUBLINGS)
        delay = min(FIRST_DELAY * 2.0**doublings, MAX_DELAY) * (1 - JITTER * rand())
    return delay if elapsed + delay <= policy.max_elapsed else None


def _may_repeat(outcome: Outcome, repeatable: bool) -> bool:
    if isinstance(outcome, NoAnswer):
        return not outcome.hopeless and (repeatable or outcome.sent is not Sent.PERHAPS)
    if is_quota_code(outcome.code):
        return False
    advice = outcome.headers.get("x-should-retry", "").lower()
    if advice == "false":
        return False
    if not repeatable:
        return outcome.status == 429
    return advice == "true" or outcome.status in _RETRIED_STATUSES or outcome.status >= 500


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds a server asks to wait (``retry-after-ms``, then ``retry-after``), if it does.

    :returns: 0 or more, and finite; ``None`` where there is no such header, or none that can be read.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is None:
        try:
            when = parsedate_to_datetime(text)
            seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return max(0.0, seconds)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
