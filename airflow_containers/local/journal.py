"""What was asked of the server, with every secret taken out before it is kept.

The journal lives in memory, bounded in entries and in bytes; a restart empties it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

MAX_ENTRIES = 5000
MAX_BYTES = 16 << 20
"""Bytes of redacted bodies that are kept in all."""

REDACTED = "***"
_MAX_BODY = 256 << 10
_MAX_TEXT = 4096
_KEPT_OF_SECRET = frozenset({"domain", "name"})
_SECRET_WORDS = ("secret", "token", "password", "passwd", "authorization", "api_key", "api-key", "apikey")
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_HEADERS = frozenset(
    {
        "content-type",
        "content-length",
        "accept",
        "user-agent",
        "openai-organization",
        "openai-project",
        "idempotency-key",
        "x-stainless-retry-count",
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and what became of it.

    :param status: of the answer; ``None`` when none was sent.
    :param body: the redacted body as compact JSON, or ``None`` when it was no JSON object.
    :param seconds: from the last byte of the request to the answer's first.
    """

    id: int
    request_id: str
    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes | None
    body_bytes: int
    name: str | None
    status: int | None
    fault: str | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The entry as the admin endpoint shows it."""
        return {
            "id": self.id,
            "request_id": self.request_id,
            "time": self.time,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": None if self.body is None else json.loads(self.body),
            "body_bytes": self.body_bytes,
            "name": self.name,
            "status": self.status,
            "fault": self.fault,
            "seconds": self.seconds,
        }


class Journal:
    """The last requests, oldest first.

    :param max_entries: entries that are kept.
    :param max_bytes: bytes of bodies that are kept.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._entries: deque[Entry] = deque()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._made = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        *,
        request_id: str,
        time: float,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]],
        headers: Iterable[tuple[bytes, bytes]],
        body: object,
        body_bytes: int,
        status: int | None,
        fault: str | None,
        seconds: float,
    ) -> None:
        """Keep one request; ``body`` (parsed) and ``headers`` (raw) come as sent and are redacted here."""
        kept, name = _keep_body(body)
        self._made += 1
        self._entries.append(
            Entry(
                id=self._made,
                request_id=request_id,
                time=time,
                method=method,
                path=path[:_MAX_TEXT],
                query={key: REDACTED if _is_secret(key) else text[:_MAX_TEXT] for key, text in query},
                headers=_keep_headers(headers),
                body=kept,
                body_bytes=body_bytes,
                name=name,
                status=status,
                fault=fault,
                seconds=round(seconds, 6),
            )
        )
        self._bytes += len(kept) if kept else 0
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            oldest = self._entries.popleft()
            self._bytes -= len(oldest.body) if oldest.body else 0
            self.dropped += 1

    def find(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        name: str | None = None,
        since: int = 0,
    ) -> list[Entry]:
        """Entries that match all filters, oldest first.

        :param method: HTTP method, in any case.
        :param path: the path, or a glob such as ``/v1/containers/*``.
        :param status: of the answer.
        :param name: ``name`` in the request's body, or the ``name`` filter of a list.
        :param since: only entries with a greater id.
        """
        return [
            entry
            for entry in self._entries
            if entry.id > since
            and (method is None or entry.method == method.upper())
            and (path is None or entry.path == path or fnmatchcase(entry.path, path))
            and (status is None or entry.status == status)
            and (name is None or name in (entry.name, entry.query.get("name")))
        ]

    def clear(self) -> int:
        """Forget all entries; returns how many there were. Ids go on counting, so `since` stays true."""
        count = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        self.dropped = 0
        return count

    def restart(self) -> None:
        """Forget all entries and count from 1 again."""
        self.clear()
        self._made = 0


def redact(value: object) -> object:
    """Return ``value`` without anything that may be secret or huge.

    Values of ``domain_secrets`` become ``***`` (domain and name stay), so does every value under a key
    that sounds like a secret; skill data and other long texts become their length.
    """
    return _redact(value, "")


def _redact(value: object, key: str) -> object:
    if key == "domain_secrets" and isinstance(value, list):
        return [_redact_secret(item) for item in value]
    if key == "value" or _is_secret(key):
        return REDACTED
    if isinstance(value, dict):
        return {_short_key(name): _redact(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_redact(item, "") for item in value]
    if isinstance(value, str) and (key == "data" or len(value) > _MAX_TEXT):
        return f"<{len(value)} characters>"
    return value


def _redact_secret(item: object) -> object:
    if not isinstance(item, dict):
        return REDACTED
    return {
        _short_key(key): value
        if key in _KEPT_OF_SECRET and isinstance(value, str) and len(value) <= _MAX_TEXT
        else REDACTED
        for key, value in item.items()
    }


def _is_secret(key: str) -> bool:
    lowered = key.lower()
    return any(word in lowered for word in _SECRET_WORDS)


def _short_key(key: str) -> str:
    return key[:_MAX_TEXT]


def _keep_body(body: object) -> tuple[bytes | None, str | None]:
    if not isinstance(body, dict):
        return None, None
    name = body.get("name")
    shown_name = name[:_MAX_TEXT] if isinstance(name, str) else None
    try:
        kept = _ENCODER.encode(redact(body)).encode()
    except (RecursionError, ValueError):
        return None, shown_name
    return (kept if len(kept) <= _MAX_BODY else None), shown_name


def _keep_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if name in _HEADERS:
            kept[name] = raw_value[:_MAX_TEXT].decode("latin-1")
        elif name == "api-key":
            kept[name] = REDACTED
        elif name == "authorization":
            scheme = raw_value.partition(b" ")[0]
            kept[name] = f"Bearer {REDACTED}" if scheme.lower() == b"bearer" else REDACTED
    return kept
