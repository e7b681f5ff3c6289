"""The attempts of one call, without I/O: a generator that asks for attempts and pauses.

Both clients only carry the steps out, so the two cannot drift apart. This is the only place that sends
anything again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from airflow_containers.api import _answers
from airflow_containers.api.bodies import JsonBody
from airflow_containers.api.endpoints import Call, ResponseT
from airflow_containers.api.models import CreateContainerRequest
from airflow_containers.api.options import ClientOptions
from airflow_containers.api.redaction import Redactor
from airflow_containers.api.retry import Answer, NoAnswer, RetryPolicy, Sent, Tried, delay_before_next
from airflow_containers.api.transfers import Receiving, Sending

# Under the name of the clients: which module of theirs it is, no log has to know.
logger = logging.getLogger("airflow_containers.api.client")

ConnectionT = TypeVar("ConnectionT")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Asks a client to send a request once.

    :param data: a body that is in memory as a whole.
    :param sending: a body that is read while it is sent.
    :param receiving: where the content of a successful answer goes.
    :param keep_open: whether to hand a successful answer over before its content was read.
    :param expected_bytes: size of the content that is kept open, if known.
    """

    call: Call[Any]
    headers: Mapping[str, str] = field(repr=False)
    data: bytes | None = field(default=None, repr=False)
    sending: Sending | None = None
    receiving: Receiving | None = None
    keep_open: bool = False
    expected_bytes: int | None = None

    @property
    def is_transfer(self) -> bool:
        """Whether its time is how long nothing may move, and not how long all of it may take."""
        return self.sending is not None or self.receiving is not None


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks a client to wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Received:
    """The content of a successful answer is where it was to go."""


@dataclass(frozen=True, slots=True)
class Opened(Generic[ConnectionT]):
    """A successful answer whose content was not read yet; whoever gets it closes it.

    :param begun: how the content begins, which was looked at.
    :param pieces: an iterator over what comes after that.
    """

    connection: ConnectionT
    size: int | None
    begun: bytes = field(repr=False)
    pieces: Any = field(repr=False)


Step = Attempt | Pause
Result = _answers.RawAnswer | _answers.Failure | Received | Opened[Any] | None


class Exchange:
    """Decides what one client sends, how often, and what its answers mean."""

    def __init__(self, options: ClientOptions) -> None:
        self._base_url = options.base_url
        self._policy = RetryPolicy(options.max_retries, options.max_elapsed)
        self._redactor = Redactor(options.secret_values())

    def steps(
        self,
        call: Call[ResponseT],
        *,
        receiving: Receiving | None = None,
        keep_open: bool = False,
        expected_bytes: int | None = None,
    ) -> Generator[Step, Result, Any]:
        """Ask for attempts and pauses until ``call`` has its answer, or raise why it has none.

        :returns: the answer as the call's model; :class:`Received` or :class:`Opened` where that was asked
            for.
        """
        redactor = self._redactor_of(call)
        attempt = replace(_first_attempt(call, receiving), keep_open=keep_open, expected_bytes=expected_bytes)
        started = time.monotonic()
        tried = Tried()
        while True:
            if receiving is not None:
                attempt = replace(attempt, headers={**call.headers, **receiving.resume_headers()})
            begun, before = time.monotonic(), _at(receiving)
            raw = yield attempt
            if raw is None:
                raise TypeError("an attempt was answered by nothing")
            if isinstance(raw, Received | Opened):
                return raw
            result = self._read(attempt, raw, redactor)
            if not isinstance(result, _answers.Refused):
                return result
            if isinstance(raw, _answers.RawAnswer) and raw.status == 416 and "range" in attempt.headers:
                # What was to be resumed is not there as it was. Nothing was received, so this cannot go on.
                if receiving is not None:
                    receiving.start_over()
                continue
            now = time.monotonic()
            tried = tried.after(
                seconds=now - begun,
                moved=_at(receiving) != before or (attempt.sending is not None and attempt.sending.sent > 0),
                reached=_at(receiving),
            )
            delay = delay_before_next(
                result.outcome,
                attempt=tried.attempts,
                elapsed=now - started - tried.moving,
                repeatable=call.repeatable or (isinstance(result.outcome, Answer) and not _arrived(attempt)),
                policy=self._policy,
            )
            if delay is None:
                raise result.error from None
            logger.warning(
                "%s; trying again in %.1f s (attempt %d of %d)",
                result.error,
                delay,
                tried.attempts + 1,
                self._policy.max_retries + 1,
            )
            yield Pause(delay)

    def broken(self, call: Call[Any], failure: _answers.Failure) -> Exception:
        """Return what to raise when the content of an opened answer breaks off."""
        result = _answers.read(call, failure, self._redactor_of(call), self._base_url)
        if not isinstance(result, _answers.Refused):
            raise TypeError("a failure was read as an answer")
        return result.error

    def _read(self, attempt: Attempt, raw: _answers.RawAnswer | _answers.Failure, redactor: Redactor) -> Any:
        call = attempt.call
        if not _arrived(attempt) and isinstance(raw, _answers.RawAnswer) and 200 <= raw.status < 300:
            # Whatever was made is not what was to be sent.
            reason = f"HTTP {raw.status} before all of the body was sent"
            raw = _answers.Failure(NoAnswer(Sent.PERHAPS), reason, unusable=True)
        elif not _arrived(attempt):
            # Without the end of its body the request cannot have been carried out: no doubt is left.
            call = replace(call, repeatable=True)
            if isinstance(raw, _answers.Failure) and raw.outcome.sent is Sent.PERHAPS:
                raw = replace(raw, outcome=NoAnswer(Sent.PARTLY, hopeless=raw.outcome.hopeless))
        return _answers.read(call, raw, redactor, self._base_url)

    def _redactor_of(self, call: Call[Any]) -> Redactor:
        if isinstance(call.body, CreateContainerRequest):
            return self._redactor.extended(call.body.secret_values(), known=(call.body.name,))
        return self._redactor


def _first_attempt(call: Call[Any], receiving: Receiving | None) -> Attempt:
    # Apart, so that the body, which may hold secrets, is in no frame that an error's traceback shows.
    body = call.sent_body()
    headers = dict(call.headers)
    if isinstance(body, JsonBody):
        return Attempt(call, headers, data=body.data, receiving=receiving)
    sending = Sending(body) if body is not None else None
    return Attempt(call, headers, sending=sending, receiving=receiving)


def _arrived(attempt: Attempt) -> bool:
    """Whether the server may have carried the request out.

    A container is created at most once, whatever a server makes of half a request.
    """
    return attempt.sending is None or attempt.sending.whole or attempt.call.creates_container


def _at(receiving: Receiving | None) -> int:
    return receiving.received if receiving is not None else 0
