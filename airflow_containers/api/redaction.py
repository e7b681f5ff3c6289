"""Taking secrets out of what a server sent back.

Servers and the gateways before them echo requests in error texts, and an answer's text ends up in logs,
exceptions and XCom. So every text of an answer passes here before anybody else sees it.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_SECRET_LENGTH = 5
"""Shorter secrets are taken out only where they are a whole value: as part of a text they would turn ids
and words into noise. Airflow's own masking draws the line at the same length."""

_MIN_CUT_LENGTH = 6


class Redactor:
    """Replaces a fixed set of secrets by ``***``, in plain and in the usual encoded forms.

    A secret that an answer cut short at its end is found by its beginning (6 characters or more).

    :param secrets: the values; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {secret for secret in secrets if secret}
        self._whole = frozenset(values)
        forms = {form for secret in values if len(secret) >= MIN_SECRET_LENGTH for form in _forms(secret)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._whole)} secrets>"

    def extended(self, secrets: Iterable[str]) -> Redactor:
        """Return a redactor that knows ``secrets`` too; this one if there are none."""
        added = [secret for secret in secrets if secret]
        return Redactor((*self._whole, *added)) if added else self

    def text(self, text: str) -> str:
        """Return ``text`` without the secrets."""
        if text in self._whole:
            return MASK
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return self._cut_at_end(text)

    def data(self, value: Any) -> Any:
        """Return a JSON value with every string in it, keys too, without the secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item) for item in value]
        return value

    def _cut_at_end(self, text: str) -> str:
        stripped = text.rstrip("….")
        for form in self._forms:
            start = form[:_MIN_CUT_LENGTH]
            at = stripped.rfind(start)
            if at >= 0 and form.startswith(stripped[at:]):
                return stripped[:at] + MASK
        return text


def _forms(secret: str) -> set[str]:
    data = secret.encode("utf-8", "surrogatepass")
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
        base64.b64encode(data).decode("ascii"),
    }
