"""Taking secrets out of what a server sent back.

Servers and the gateways before them echo requests in error texts, and an answer's text ends up in logs,
exceptions and XCom. So every text of an answer passes here before anybody else sees it.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
MIN_SECRET_LENGTH = 5
"""Shorter secrets are taken out only where they are a whole value: as part of a text they would turn ids
and words into noise. Airflow's own masking draws the line at the same length."""

MAX_DEPTH = 100
"""Levels of nesting that are read; what is deeper is no answer of this API and could not be stored."""

_MIN_CUT_LENGTH = 6
_MIN_BEGINNING_LENGTH = 12
_MAX_ENCODED_LENGTH = 65_536
"""Longer secrets are looked for as they are and as JSON has them: each further form costs as much again."""

_MAX_ENCODINGS = 3
"""Encodings around each other, such as JSON in HTML in JSON, that are undone in the search for a secret."""

_UNCHANGED = re.compile(r"[A-Za-z0-9_.~-]+")
"""Texts that no usual encoding but Base64 changes."""

_ESCAPED = re.compile(r"[\\&%+]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\\\"'/nrtbf]))")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CUT = re.compile(r"\s*(?:…|\.\.\.|$)")


class Redactor:
    """Replaces a fixed set of secrets by ``***``, in plain and in the usual encoded forms.

    A secret that an answer cut short is found by its beginning: 12 characters or more anywhere, 6 or more
    before an ellipsis or the end of the text.

    :param secrets: the values; empty ones are ignored.
    :param known: texts that the caller sent in clear and gets back as they are, such as the name of a
        container, although a secret may begin like the end of one.
    """

    def __init__(self, secrets: Iterable[str], *, known: Iterable[str] = ()) -> None:
        self._known = frozenset(known)
        values = {secret for secret in secrets if secret}
        self._whole = frozenset(values)
        self._parts = tuple(secret for secret in values if len(secret) >= MIN_SECRET_LENGTH)
        # As it is, and as it stands in the body of a request, which an echo may have encoded as a whole.
        self._plain = tuple({form for secret in self._parts for form in (secret, *_json_forms(secret))})
        forms = {form for secret in self._parts for form in _forms(secret)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._starts = tuple({form[:_MIN_CUT_LENGTH] for form in forms})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._whole)} secrets>"

    def extended(self, secrets: Iterable[str], *, known: Iterable[str] = ()) -> Redactor:
        """Return a redactor that knows ``secrets`` and ``known`` too; this one if there are no secrets."""
        added = [secret for secret in secrets if secret]
        return Redactor((*self._whole, *added), known=(*self._known, *known)) if added else self

    def text(self, text: str) -> str:
        """Return ``text`` without the secrets, and without what UTF-8 cannot encode, so it can be stored."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode("utf-8")
        if text in self._whole:
            return MASK
        if text in self._known and not any(secret in text for secret in self._parts):
            return text
        return self._masked(self._decoded(text))

    def answer(self, body: bytes, value: Any) -> Any:
        """Return the JSON ``value`` of an answer's ``body`` as :meth:`data` does.

        Most answers hold nothing of a secret, which one look at the whole body tells sooner than one at each
        string in it.
        """
        plain = body.isascii() and b"\0" not in body and body.count(b"{") + body.count(b"[") <= MAX_DEPTH
        if plain and len(self._parts) == len(self._whole):
            text = body.decode("ascii")
            if not _ESCAPED.search(text) and not self._may_hold(text):
                return value
        return self.data(value)

    def data(self, value: Any, _depth: int = 0) -> Any:
        """Return a JSON value with every string in it, keys too, without the secrets.

        What is nested deeper than 100 levels is replaced by ``***``.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict | list) and _depth > MAX_DEPTH:
            return MASK
        if isinstance(value, dict):
            return {self.text(key): self.data(item, _depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item, _depth + 1) for item in value]
        # A server may have read a secret of digits as a number. A truth value is no number here.
        return MASK if isinstance(value, int | float) and str(value) in self._whole else value

    def _may_hold(self, text: str) -> bool:
        for start in self._starts:  # noqa: SIM110 - this is called for each string of an answer
            if start in text:
                return True
        return False

    def _decoded(self, text: str) -> str:
        """Return ``text`` without its escapes, if these hide a secret from the list of forms."""
        if not _ESCAPED.search(text):
            return text
        best = text
        seen = {text}
        layer = [text]
        for _ in range(_MAX_ENCODINGS):
            layer = [decode(outer) for outer in layer for decode in _DECODERS]
            layer = [inner for inner in dict.fromkeys(layer) if inner not in seen]
            seen.update(layer)
            for inner in layer:
                if any(inner.count(form) > best.count(form) for form in self._plain):
                    best = inner
        return best

    def _masked(self, text: str) -> str:
        if not self._may_hold(text):
            return text
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        for form in self._forms:
            text = _without_beginnings(text, form)
        return text


def _without_beginnings(text: str, form: str) -> str:
    start = form[:_MIN_CUT_LENGTH]
    parts: list[str] = []
    kept, at = 0, text.find(start)
    while at >= 0:
        end = at + len(start)
        while end < len(text) and end - at < len(form) and text[end] == form[end - at]:
            end += 1
        if end - at >= _MIN_BEGINNING_LENGTH or _CUT.match(text, end):
            parts += (text[kept:at], MASK)
            kept = end
            at = text.find(start, end)
        else:
            at = text.find(start, at + 1)
    return "".join((*parts, text[kept:]))


def _unescaped(text: str) -> str:
    text = _ESCAPE.sub(_character, text)
    # Characters outside the basic plane are escaped as two halves.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(escape: re.Match[str]) -> str:
    if escape[3]:
        return _CONTROLS.get(escape[3], escape[3])
    return chr(int(escape[1] or escape[2], 16))


_DECODERS = (_unescaped, html.unescape, unquote, unquote_plus)


def _forms(secret: str) -> set[str]:
    if len(secret) > _MAX_ENCODED_LENGTH:
        return {secret, *_json_forms(secret)}
    data = secret.encode("utf-8", "surrogatepass")
    if _UNCHANGED.fullmatch(secret):
        return {secret, data.hex(), *_base64_forms(data)}
    sent = [form.encode("utf-8", "surrogatepass") for form in (secret, *_json_forms(secret))]
    return {
        secret,
        *_json_forms(secret),
        *(form.hex() for form in sent),
        *(encoded for form in sent for encoded in _base64_forms(form)),
        repr(secret)[1:-1],
        html.escape(secret),
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
    }


def _json_forms(secret: str) -> tuple[str, str]:
    return json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]


def _base64_forms(data: bytes) -> Iterable[str]:
    """Yield what ``data`` looks like inside Base64, at each of the three places it may start at."""
    for shift, dependent in ((0, 0), (1, 2), (2, 3)):
        # The characters at both ends also hold bits of the neighbours.
        known = (shift + len(data)) * 8 // 6
        form = base64.b64encode(bytes(shift) + data).decode("ascii")[dependent:known]
        yield form
        yield form.replace("+", "-").replace("/", "_")
