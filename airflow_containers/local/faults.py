"""Faults that tests order: which requests they hit and what happens to those."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from typing import Any, cast

from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.schema import Boolean, Enum, Integer, Mappings, Number, Object, Schema, Text

MAX_ORDERS = 1000
MAX_DELAY = 3600
"""Seconds that one fault may hold a request."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
_NO_BODY = frozenset({204, 304})


class _Truncate:
    def check(self, value: object, path: str) -> None:
        if isinstance(value, bool):
            return
        Integer(minimum=0).check(value, path)


class _Regex:
    def check(self, value: object, path: str) -> None:
        Text(min_length=1).check(value, path)
        try:
            re.compile(str(value))
        except re.error as error:
            raise InvalidRequestError(
                f"Invalid '{path}': not a regular expression ({error}).", param=path, code="invalid_value"
            ) from None


class _HeaderMap:
    def check(self, value: object, path: str) -> None:
        Mappings().check(value, path)
        for name, text in cast("dict[str, str | None]", value).items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text or ""):
                problem = "not a valid header name, or a value with line breaks or outside Latin-1"
            elif name.lower() in _FRAMING:
                problem = "this header is the server's; use 'truncate' or 'reset' to break an answer"
            else:
                continue
            raise InvalidRequestError(
                f"Invalid '{path}.{name[:64]}': {problem}.", param=f"{path}.{name[:64]}", code="invalid_value"
            )


_DRIP = Object(
    {"bytes": Integer(minimum=1, maximum=1 << 20), "seconds": Number(0, MAX_DELAY)},
    required=("bytes", "seconds"),
)
_ERROR = Object({"message": Text(), "type": Text(), "param": Text(), "code": Text()})


def _given(order: dict[str, Any], key: str) -> bool:
    # Not `in (None, False)`: truncating to 0 bytes is an order, and 0 equals False.
    return order.get(key) is not None and order[key] is not False


def _broken_transfer(order: dict[str, Any]) -> tuple[str, str] | None:
    if _WHILE_READING in order:
        others: tuple[str, ...] = (*_ANSWER, "delay", "reset", "name")
        reason = f"'{_WHILE_READING}' ends the request before it is there; leave out one of the two"
    elif "reset_after" in order:
        others = ("truncate", "malformed")
        reason = "give either it or 'reset_after', which resets the connection"
    else:
        others = ("malformed",) if _given(order, "truncate") else ()
        reason = "give either 'truncate' (the connection breaks) or 'malformed' (broken JSON)"
    extra = [key for key in others if _given(order, key)]
    return (extra[0], reason) if extra else None


def _combination(order: dict[str, Any], _path: str) -> None:
    problem: tuple[str, str] | None = None
    if order.get("reset") and (extra := [key for key in _ANSWER if _given(order, key)]):
        problem = (extra[0], "a connection that is reset has no answer; leave it out or leave out 'reset'")
    elif "error" in order and "body" in order:
        problem = ("body", "give either 'error' (the platform's envelope) or 'body' (sent as it is)")
    elif "error" in order and order.get("status", 0) < 400:
        problem = ("error", "an error needs a 'status' of 400 or more")
    elif "content_type" in order and "body" not in order:
        problem = ("content_type", "only goes with 'body'")
    elif order.get("status") in _NO_BODY and (extra := [key for key in _BODY if order.get(key)]):
        problem = (extra[0], f"an answer with status {order['status']} has no body")
    elif "path" in order and "path_regex" in order:
        problem = ("path_regex", "give either 'path' (a glob) or 'path_regex'")
    elif not any(_given(order, key) for key in _EFFECTS):
        problem = ("status", f"the order does nothing; give at least one of {', '.join(_EFFECTS)}")
    else:
        problem = _broken_transfer(order)
    if problem is not None:
        raise InvalidRequestError(
            f"Invalid '{problem[0]}': {problem[1]}.", param=problem[0], code="invalid_value"
        )


_BODY = ("body", "error", "truncate", "reset_after", "malformed", "drip")
_ANSWER = ("status", "error", "content_type", "headers", *_BODY)
_WHILE_READING = "reset_reading_after"
_EFFECTS = (
    *("status", "body", "headers", "delay", "reset", "truncate", "reset_after", _WHILE_READING),
    *("malformed", "drip"),
)
_FIELDS: dict[str, Schema] = {
    "method": Enum(("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD")),
    "path": Text(min_length=1),
    "path_regex": _Regex(),
    "name": Text(min_length=1),
    "times": Integer(minimum=1, maximum=1_000_000),
    "when": Enum(("before", "after")),
    "status": Integer(minimum=200, maximum=599),
    "error": _ERROR,
    "body": Text(),
    "content_type": Text(min_length=1, pattern=re.compile(r"[\x20-\x7e]+")),
    "headers": _HeaderMap(),
    "delay": Number(0, MAX_DELAY),
    "reset": Boolean(),
    "truncate": _Truncate(),
    "reset_after": Integer(minimum=0),
    _WHILE_READING: Integer(minimum=0),
    "malformed": Boolean(),
    "drip": _DRIP,
}
ORDER = Object(_FIELDS, rule=_combination)
"""What may be ordered; the table in the documentation explains each field."""

_DEFAULT_ERRORS: dict[int, tuple[str, str, str | None]] = {
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("You have insufficient permissions for this operation.", "invalid_request_error", None),
    404: ("The resource was not found.", "invalid_request_error", None),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
}
_SERVER_ERROR = ("The server had an error while processing your request.", "server_error", None)
_OTHER_ERROR = ("There was an issue with your request.", "invalid_request_error", None)


@dataclass(slots=True)
class Fault:
    """One order, with the number of requests that it still waits for."""

    id: str
    order: dict[str, Any]
    remaining: int
    hits: int = 0
    _path: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if "path_regex" in self.order:
            self._path = re.compile(self.order["path_regex"])
        else:
            self._path = re.compile(translate(self.order.get("path", "*")))

    def matches(self, method: str, path: str, name: Callable[[], str | None]) -> bool:
        """Whether a request is one that this order waits for."""
        order = self.order
        if self.remaining <= 0 or order.get("method", method) != method or not self._path.fullmatch(path):
            return False
        return "name" not in order or fnmatchcase(name() or "", order["name"])

    @property
    def when(self) -> str:
        """``before`` the work is done (the default) or ``after`` it."""
        return str(self.order.get("when", "before"))

    @property
    def delay(self) -> float:
        """Seconds to wait."""
        return float(self.order.get("delay", 0))

    @property
    def reset_reading_after(self) -> int | None:
        """Bytes of the request's body after which the connection is reset, or ``None``."""
        after: int | None = self.order.get(_WHILE_READING)
        return after

    @property
    def reset(self) -> bool:
        """Whether the connection is reset instead of answered."""
        return bool(self.order.get("reset", False))

    def answer(self) -> tuple[int, bytes, str] | None:
        """Status, body and content type to answer with, or ``None`` for the true answer."""
        order = self.order
        if "status" not in order and "body" not in order:
            return None
        status = order.get("status", 200)
        if "body" in order:
            return status, order["body"].encode(), order.get("content_type", "application/json")
        if status in _NO_BODY:
            return status, b"", "application/json"
        if status < 400:
            return status, b"{}", "application/json"
        message, kind, code = _DEFAULT_ERRORS.get(status, _SERVER_ERROR if status >= 500 else _OTHER_ERROR)
        error = {"message": message, "type": kind, "param": None, "code": code} | order.get("error", {})
        return status, json.dumps({"error": error}).encode(), "application/json"

    def __str__(self) -> str:
        effects = ", ".join(
            f"{key} {self.order[key]}" if type(self.order[key]) in (int, float) else key
            for key in _EFFECTS
            if _given(self.order, key)
        )
        return f"{self.id}: {effects} {self.when}"

    def as_json(self) -> dict[str, Any]:
        """The order as the admin endpoint shows it."""
        return {"id": self.id, "remaining": self.remaining, "hits": self.hits, "order": self.order}


class FaultBook:
    """All orders, in the order they came. The first that matches a request is applied, alone."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._made = 0

    def add(self, order: dict[str, Any]) -> Fault:
        """Take one order that :data:`ORDER` has checked.

        :raises InvalidRequestError: when there are too many.
        """
        if len(self._faults) >= MAX_ORDERS:
            raise InvalidRequestError(
                f"Too many fault orders: at most {MAX_ORDERS} at a time; delete them first."
            )
        self._made += 1
        fault = Fault(f"fault_{self._made}", order, order.get("times", 1))
        self._faults.append(fault)
        return fault

    def take(self, method: str, path: str, name: Callable[[], str | None]) -> Fault | None:
        """The fault for this request, if one was ordered; uses it up by one.

        :param name: finds the container's name, called only when an order asks for it.
        """
        for fault in self._faults:
            if fault.reset_reading_after is None and fault.matches(method, path, name):
                fault.remaining -= 1
                fault.hits += 1
                return fault
        return None

    def take_before_reading(self, method: str, path: str) -> Fault | None:
        """The fault that ends this request while its body is read, if one was ordered; uses it up by one."""
        for fault in self._faults:
            if fault.reset_reading_after is not None and fault.matches(method, path, lambda: None):
                fault.remaining -= 1
                fault.hits += 1
                return fault
        return None

    def all(self) -> list[Fault]:
        """All orders, used up or not."""
        return list(self._faults)

    def clear(self) -> int:
        """Forget all orders; returns how many were not used up."""
        waiting = sum(fault.remaining > 0 for fault in self._faults)
        self._faults.clear()
        return waiting

    def restart(self) -> None:
        """Forget all orders and count from 1 again."""
        self.clear()
        self._made = 0
