"""When a call is sent again: a table, and what holds for every input."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api.retry import (
    FIRST_DELAY,
    JITTER,
    MAX_DELAY,
    MAX_RETRY_AFTER,
    QUOTA_CODES,
    Answer,
    NoAnswer,
    RetryPolicy,
    Sent,
    delay_before_next,
    retry_after,
)

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
NOT_SENT = NoAnswer(Sent.NO)
PERHAPS = NoAnswer(Sent.PERHAPS)


def decide(outcome: Answer | NoAnswer, **changes: Any) -> float | None:
    """The decision without chance: jitter takes nothing off, and the time is fixed."""
    arguments: dict[str, Any] = {
        "attempt": 1,
        "elapsed": 0.0,
        "repeatable": True,
        "policy": RetryPolicy(),
        "rand": lambda: 0.0,
        "now": lambda: NOW,
        **changes,
    }
    return delay_before_next(outcome, **arguments)


@pytest.mark.parametrize(
    ("outcome", "repeatable_call", "create"),
    [
        (Answer(400), False, False),
        (Answer(401), False, False),
        (Answer(403), False, False),
        (Answer(404), False, False),
        (Answer(408), True, False),
        (Answer(409), True, False),
        (Answer(422), False, False),
        (Answer(425), False, False),
        (Answer(429), True, True),
        (Answer(500), True, False),
        (Answer(501), True, False),
        (Answer(502), True, False),
        (Answer(503), True, False),
        (Answer(504), True, False),
        (Answer(529), True, False),
        (Answer(302), False, False),
        (Answer(304), False, False),
        (Answer(429, {}, "insufficient_quota"), False, False),
        (Answer(429, {"x-should-retry": "true"}, "insufficient_quota"), False, False),
        (Answer(429, {"retry-after": "1"}, "credit_balance_exhausted"), False, False),
        (Answer(429, {}, "billing_hard_limit_reached"), False, False),
        (Answer(429, {}, "slow_down"), True, True),
        (Answer(429, {}, "rate_limit_exceeded"), True, True),
        (Answer(400, {"x-should-retry": "true"}), True, False),
        (Answer(500, {"x-should-retry": "true"}), True, False),
        (Answer(409, {"x-should-retry": "true"}), True, False),
        (Answer(429, {"x-should-retry": "true"}), True, True),
        (Answer(429, {"x-should-retry": "false"}), False, False),
        (Answer(500, {"x-should-retry": "False"}), False, False),
        (Answer(503, {"x-should-retry": "maybe"}), True, False),
        (NOT_SENT, True, True),
        (PERHAPS, True, False),
        (NoAnswer(Sent.NO, hopeless=True), False, False),
        (NoAnswer(Sent.PERHAPS, hopeless=True), False, False),
    ],
    ids=str,
)
def test_which_outcomes_are_tried_again(outcome: Any, repeatable_call: bool, create: bool) -> None:
    """The rules of the official client for calls that may be repeated, few of them for a create."""
    assert repeatable_call is (decide(outcome) is not None)
    assert create is (decide(outcome, repeatable=False) is not None)


@pytest.mark.parametrize(
    ("attempt", "max_retries", "expected"),
    [
        (1, 0, None),
        (1, 1, 0.5),
        (2, 1, None),
        (1, 9, 0.5),
        (2, 9, 1.0),
        (3, 9, 2.0),
        (4, 9, 4.0),
        (5, 9, 8.0),
        (6, 9, 8.0),
        (9, 9, 8.0),
        (10, 9, None),
        (5000, 9999, 8.0),
    ],
)
def test_how_long_and_how_often(attempt: int, max_retries: int, expected: float | None) -> None:
    """Pauses double from half a second to eight, and end after the last retry."""
    assert expected == decide(Answer(500), attempt=attempt, policy=RetryPolicy(max_retries, math.inf))


def test_chance_takes_off_up_to_a_quarter() -> None:
    """Workers that failed together do not come back together."""
    assert 0.375 == decide(Answer(500), rand=lambda: 1.0)
    assert 0.4375 == decide(Answer(500), rand=lambda: 0.5)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "120.001"}, None),
        ({"retry-after": "121"}, None),
        ({"retry-after": "3600"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "0"}, 0.5),
        ({"retry-after": "-5"}, 0.5),
        ({"retry-after": "nan"}, 0.5),
        ({"retry-after": "inf"}, 0.5),
        ({"retry-after": "-inf"}, 0.5),
        ({"retry-after": "1e999"}, 0.5),
        ({"retry-after": ""}, 0.5),
        ({"retry-after": "soon"}, 0.5),
        ({"retry-after": "7, 9"}, 0.5),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Sunday, 01-Nov-26 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Sun, 01 Nov 2026 13:00:09 +0100"}, 9.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:09"}, 9.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:02:00 GMT"}, 120.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:02:01 GMT"}, None),
        ({"retry-after": "Sun, 01 Nov 2026 11:59:00 GMT"}, 0.5),
        ({"retry-after": "Sun, 01 Nov 99999 12:00:00 GMT"}, 0.5),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0.5),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "60"}, 0.25),
        ({"retry-after-ms": "junk", "retry-after": "60"}, 60.0),
        ({"retry-after-ms": "nan", "retry-after": "60"}, 60.0),
        ({"retry-after-ms": "120001"}, None),
        ({"retry-after-ms": "-1", "retry-after": "60"}, 0.5),
    ],
    ids=str,
)
def test_the_server_may_say_how_long(headers: dict[str, str], expected: float | None) -> None:
    """``retry-after-ms`` wins, more than two minutes means giving up, and what is no time is ignored."""
    assert expected == decide(Answer(429, headers))
    assert expected == decide(Answer(429, headers), repeatable=False)


@pytest.mark.parametrize(
    ("elapsed", "asked", "expected"),
    [
        (0.0, "60", 60.0),
        (240.0, "60", 60.0),
        (240.1, "60", None),
        (299.5, None, 0.5),
        (299.6, None, None),
        (1e9, None, None),
    ],
)
def test_no_attempt_starts_after_the_time_for_all(
    elapsed: float, asked: str | None, expected: float | None
) -> None:
    """A pause that would end after ``max_elapsed`` is not begun."""
    headers = {} if asked is None else {"retry-after": asked}
    assert expected == decide(Answer(503, headers), elapsed=elapsed)


def test_retry_after_of_an_error_is_a_usable_number_or_none() -> None:
    """What errors carry as ``retry_after`` can be handed to ``sleep``."""
    assert 7.0 == retry_after({"retry-after": "7"}, NOW)
    assert 0.0 == retry_after({"retry-after": "-7"}, NOW)
    assert 3600.0 == retry_after({"retry-after": "3600"}, NOW)
    assert retry_after({}, NOW) is None
    for junk in ("nan", "inf", "-inf", "soon", ""):
        assert retry_after({"retry-after": junk}, NOW) is None


statuses = st.integers(min_value=100, max_value=999)
header_values = st.one_of(
    st.text(max_size=30),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes(timezones=st.just(UTC)).map(format_datetime),
    st.sampled_from(["true", "false", "TRUE"]),
)
headers_strategy = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), header_values
)
answers = st.builds(
    Answer,
    statuses,
    headers_strategy,
    st.one_of(st.none(), st.text(max_size=5), st.sampled_from(sorted(QUOTA_CODES))),
)
failures = st.builds(NoAnswer, st.sampled_from(Sent), st.booleans())
attempts = st.integers(min_value=1, max_value=10_000)
policies = st.builds(
    RetryPolicy, st.integers(min_value=0, max_value=20_000), st.floats(min_value=0, max_value=1e6)
)


@given(st.one_of(answers, failures), attempts, st.floats(0, 1e7), st.booleans(), policies, st.floats(0, 1))
def test_every_pause_is_bounded(
    outcome: Any, attempt: int, elapsed: float, repeatable: bool, policy: RetryPolicy, chance: float
) -> None:
    """A pause is a number above 0 and at most two minutes, and ends in time; and the attempts are counted."""
    delay = delay_before_next(
        outcome, attempt=attempt, elapsed=elapsed, repeatable=repeatable, policy=policy, rand=lambda: chance
    )
    if delay is None:
        return
    assert attempt <= policy.max_retries
    assert 0 < delay <= MAX_RETRY_AFTER
    assert elapsed + delay <= policy.max_elapsed
    if isinstance(outcome, NoAnswer):
        assert FIRST_DELAY * (1 - JITTER) <= delay <= MAX_DELAY


@given(st.one_of(answers, failures), attempts, policies)
def test_a_create_is_repeated_only_if_it_made_nothing(
    outcome: Any, attempt: int, policy: RetryPolicy
) -> None:
    """After all of a create may have reached the server, only 429 without a spent quota allows another."""
    delay = delay_before_next(outcome, attempt=attempt, elapsed=0, repeatable=False, policy=policy)
    if isinstance(outcome, NoAnswer):
        assert delay is None or (outcome.sent is not Sent.PERHAPS and not outcome.hopeless)
    else:
        assert delay is None or (outcome.status == 429 and outcome.code not in QUOTA_CODES)


@given(statuses, headers_strategy, st.sampled_from(sorted(QUOTA_CODES)), st.booleans())
def test_a_spent_quota_is_never_tried_again(
    status: int, headers: dict[str, str], code: str, repeatable: bool
) -> None:
    """Waiting does not fill an account."""
    assert decide(Answer(status, headers, code), repeatable=repeatable) is None


@given(st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 12, 29), timezones=st.just(UTC)))  # noqa: DTZ001
def test_any_http_date_can_be_read(when: datetime) -> None:
    """A date is turned into the seconds until then; one in the past into none to wait."""
    found = retry_after({"retry-after": format_datetime(when, usegmt=True)}, NOW)
    expected = max(0.0, (when.replace(microsecond=0) - NOW) / timedelta(seconds=1))
    assert expected == found
