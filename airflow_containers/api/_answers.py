"""Reading what came back from one attempt: an answer of the API, or the error it amounts to."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from airflow_containers.api import errors
from airflow_containers.api.endpoints import Call, ResponseT
from airflow_containers.api.models import Container, Deleted, Page, ResponseModel
from airflow_containers.api.redaction import Redactor
from airflow_containers.api.retry import Answer, NoAnswer, Outcome, Sent, is_quota_code, retry_after

_GONE = re.compile(r"container is expired|container with id .* not found", re.IGNORECASE | re.DOTALL)
_CONTAINER = re.compile(r"^(?!Invalid URL).*\bcontainer\b", re.IGNORECASE | re.DOTALL)
_FILE = re.compile(r"^(?!Invalid URL).*\bc?file", re.IGNORECASE | re.DOTALL)
_THING = re.compile(r"^(?!Invalid URL).*\b(?:file|upload|part|skill|version)", re.IGNORECASE | re.DOTALL)
_SCOPES = re.compile(r"missing scopes|insufficient permissions", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without a complete answer; ``reason`` holds no secret.

    :param timeout: whether it took too long.
    :param unusable: whether there was an answer, and not the one that was asked for.
    :param detail: what that answer says itself, as it came.
    """

    outcome: NoAnswer
    reason: str
    timeout: bool = False
    unusable: bool = False
    detail: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that did not succeed: what the retry rules need, and what to raise if they give up."""

    outcome: Outcome
    error: errors.ContainersError


def read(
    call: Call[ResponseT], raw: RawAnswer | Failure, redactor: Redactor, base_url: str
) -> ResponseT | Refused:
    """Return the answer as the call's model, or what went wrong."""
    if isinstance(raw, Failure):
        return Refused(raw.outcome, _no_answer_error(call, raw, redactor))
    if 200 <= raw.status < 300:
        return _read_success(call, raw, redactor)
    return _read_error(call, raw, redactor, base_url)


def _ambiguous(
    call: Call[Any], reason: str, **known: Any
) -> errors.AmbiguousCreateError | errors.AmbiguousUploadError:
    start = f"{call}: {reason.removesuffix('.')}"
    if call.creates_container:
        return errors.AmbiguousCreateError(
            f"{start}. A container named {call.subject!r} may exist all the same, so the request is not "
            "repeated blindly: that could make a second one",
            name=call.subject,
            **known,
        )
    return errors.AmbiguousUploadError(
        f"{start}. What was sent ({call.subject!r}) may be there all the same, so the request is not "
        "repeated blindly: that could make a second one",
        name=call.subject,
        **known,
    )


def _no_answer_error(call: Call[Any], failure: Failure, redactor: Redactor) -> errors.ContainersError:
    reason = redactor.text(failure.reason)
    if failure.detail:
        reason = f"{reason}. It says: {_shortened(redactor.text(failure.detail))}"
    if not call.repeatable and failure.outcome.sent is Sent.PERHAPS:
        return _ambiguous(call, reason)
    if failure.unusable:
        return errors.InvalidResponseError(f"{call}: {reason}")
    kind = errors.APITimeoutError if failure.timeout else errors.APIConnectionError
    return kind(f"{call}: {reason}")


def _read_success(call: Call[ResponseT], raw: RawAnswer, redactor: Redactor) -> ResponseT | Refused:
    data, problem = _json_object(raw.body)
    if data is None and call.body_optional and not raw.body.strip():
        data = {}
    if data is not None and (contradiction := _contradiction(call.response_model, data)):
        problem = contradiction
    elif data is not None:
        try:
            return call.response_model.model_validate(redactor.answer(raw.body, data))
        except ValidationError as error:
            # Lenient models fail on one thing only: an id that is not there.
            problem = f"a JSON object without a usable {error.errors(include_url=False)[0]['loc'][0]!r}"
    known: dict[str, Any] = {"status_code": raw.status, "request_id": _request_id(raw, redactor)}
    reason = f"HTTP {raw.status} with {problem}, expected a {call.response_model.__name__}{_reference(known)}"
    if not call.repeatable:
        return Refused(NoAnswer(Sent.PERHAPS), _ambiguous(call, reason, **known))
    return Refused(NoAnswer(Sent.PERHAPS), errors.InvalidResponseError(f"{call}: {reason}", **known))


def _contradiction(model: type[ResponseModel], data: dict[str, Any]) -> str | None:
    """Return what in a JSON object says that it is not the success its status claims, if anything does.

    A created container is taken at its id alone: refusing one would lose it.
    """
    if model is not Container and data.get("error"):
        return "an error in its body"
    if issubclass(model, Page) and "data" not in data:
        return "a JSON object without 'data'"
    if issubclass(model, Deleted) and data.get("deleted") is False:
        return "'deleted': false"
    return None


def _json_object(body: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the body as a JSON object, or ``None`` and what it is instead."""
    if not body.strip():
        return None, "an empty body"
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "a body that is not JSON"
        return None, f"{kind} ({len(body)} bytes)"
    if not isinstance(data, dict):
        return None, f"a JSON {type(data).__name__} instead of an object"
    return data, ""


def _read_error(call: Call[Any], raw: RawAnswer, redactor: Redactor, base_url: str) -> Refused:
    envelope = _error_envelope(raw.body)
    fields = {name: _field(envelope.get(name), redactor) for name in ("type", "param", "code")}
    detail = _detail(envelope, raw.body, redactor)
    known: dict[str, Any] = {
        "status_code": raw.status,
        "request_id": _request_id(raw, redactor),
        "retry_after": retry_after(raw.headers, datetime.now(UTC)),
        "detail": detail,
        **fields,
    }
    quota = next((code for code in (fields["code"], fields["type"]) if is_quota_code(code)), None)
    outcome = Answer(raw.status, raw.headers, quota)
    if not call.repeatable and (raw.status in (408, 409, 499) or raw.status >= 500):
        reason = f"HTTP {raw.status}: {detail}{_reference(known)}"
        return Refused(
            outcome,
            _ambiguous(call, reason, status_code=raw.status, request_id=known["request_id"]),
        )
    if call.query.get("after") and raw.status in (400, 404):
        # The entry that a list is to go on from may be gone by now. A new list has another one.
        reason = f"HTTP {raw.status} for the page after {call.query['after']}: {detail}{_reference(known)}"
        lost = errors.InvalidResponseError(
            f"{call}: {reason}. List again from the start",
            status_code=raw.status,
            request_id=known["request_id"],
        )
        return Refused(outcome, lost)
    # Only the service speaks in an error envelope; the title of a page may be anybody's.
    spoken = detail if isinstance(envelope.get("message"), str) else ""
    kind = _error_class(call, raw.status, spoken, quota=quota is not None)
    advice = _advice(kind, raw, spoken, base_url, redactor)
    message = f"{call}: HTTP {raw.status}: {detail}{_reference(known)}"
    if advice:
        message = f"{message.removesuffix('.')}. {advice}"
    return Refused(outcome, kind(message, **known))


def _field(value: Any, redactor: Redactor) -> str | None:
    if type(value) is int:
        # Some gateways send the status as the code.
        value = str(value)
    return redactor.text(value)[:_MAX_DETAIL] if isinstance(value, str) else None


def _error_envelope(body: bytes) -> dict[str, Any]:
    data, _ = _json_object(body)
    envelope = data.get("error") if data else None
    if isinstance(envelope, str):
        return {"message": envelope}
    if isinstance(envelope, dict):
        return envelope
    if data and isinstance(data.get("message"), str):
        return data
    if data and isinstance(data.get("detail"), str):
        # What gateways made with FastAPI answer for themselves.
        return {"message": data["detail"]}
    return {}


def _detail(envelope: dict[str, Any], body: bytes, redactor: Redactor) -> str:
    message = envelope.get("message")
    # Redacted before it is cut or quoted: a secret would not be recognised after that.
    if isinstance(message, str) and message.strip():
        return _shortened(redactor.text(message))
    page = _TITLE.search(body[:20_000].decode("utf-8", "replace"))
    title = " ".join(html.unescape(page[1]).split()) if page else ""
    if title:
        return f"an HTML page titled {_shortened(redactor.text(title))!r}"
    return _json_object(body)[1] or "no error message"


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_DETAIL else f"{text[:_MAX_DETAIL]}…"


def _error_class(call: Call[Any], status: int, detail: str, *, quota: bool) -> type[errors.APIStatusError]:
    if _GONE.search(detail) and status in (400, 404, 410):
        return errors.ContainerGoneError
    if 300 <= status < 400:
        return errors.RedirectError
    if status == 401 and _SCOPES.search(detail):
        return errors.PermissionDeniedError
    # A gateway that knows no such URL answers 404 as well: only one that speaks of the container counts,
    # because a delete that took the other for "gone already" would leave the container alive.
    if status == 404 and call.about_file and _FILE.search(detail):
        return errors.ContainerFileNotFoundError
    if status == 404 and call.about_container and _CONTAINER.search(detail):
        return errors.ContainerGoneError
    if status == 429:
        return errors.QuotaExceededError if quota else errors.RateLimitError
    by_status: dict[int, type[errors.APIStatusError]] = {
        401: errors.AuthenticationError,
        403: errors.PermissionDeniedError,
        404: errors.NotFoundError,
        408: errors.ServerError,
        409: errors.ConflictError,
    }
    return by_status.get(status, errors.ServerError if status >= 500 else errors.BadRequestError)


def _advice(
    kind: type[errors.APIStatusError], raw: RawAnswer, spoken: str, base_url: str, redactor: Redactor
) -> str:
    if kind is errors.RedirectError:
        place = _place(redactor.text(raw.headers.get("location", "")))
        return (
            f"It points to {place} and was not followed, because that would carry the key "
            f"there; correct the base URL ({base_url})"
        )
    if kind is errors.AuthenticationError:
        return "Check the API key of the connection"
    if kind is errors.PermissionDeniedError:
        return "The key needs read and write access to containers; change its scopes or use another key"
    if kind is errors.QuotaExceededError:
        return "Waiting does not help: check the plan, the budget or the credit of the account"
    if kind is errors.NotFoundError and not _THING.search(spoken):
        return f"The base URL ({base_url}) may be wrong: it has to end where '/containers' begins"
    if kind is errors.ContainerFileNotFoundError:
        return "List the container's files to see what there is; a list may name files that are not"
    return ""


def _place(location: str) -> str:
    """Return where a redirect points to, without user information and query; both may hold secrets."""
    try:
        target = urlsplit(location)
        host = target.hostname
    except ValueError:
        host = None
        target = None
    if target is None or not (host or target.path):
        return "an unnamed place"
    start = f"{target.scheme or 'https'}://{host}" if host else ""
    return _shortened(start + target.path)


def _request_id(raw: RawAnswer, redactor: Redactor) -> str | None:
    request_id = raw.headers.get("x-request-id") or raw.headers.get("apim-request-id")
    return redactor.text(request_id)[:200] if request_id else None


def _reference(known: dict[str, Any]) -> str:
    return f" (request id {known['request_id']})" if known.get("request_id") else ""
