"""Takes the values of secrets out of what comes back: as many asterisks as there were bytes.

A value is found in clear text, percent-encoded, escaped as in JSON, HTML or a string of Python, all of them
mixed, and in Base64 of both alphabets wherever in the encoded text it begins. What a server does to it beyond
that, such as turning it round, cannot be seen by anybody.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_PARTIAL = -1
_NONE = -2
_MIN_CORE = 6
"""Characters of Base64 that a value alone decides on; with fewer, other texts look like it."""

_INTRODUCERS = b"%\\&"
"""What escapes begin with."""

_MAX_ENCODING = 24
"""More than the bytes of the longest encoding of one character."""

_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "'": "\\'",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "+": "&plus;"}


@lru_cache(maxsize=4096)
def _encodings(character: str) -> tuple[bytes, ...]:
    """All ways in which one character may be written, itself first."""
    raw = character.encode()
    texts = [character]
    if character == " ":
        texts.append("+")
    if character in _SHORT:
        texts.append(_SHORT[character])
    if character in _ENTITIES:
        texts.append(_ENTITIES[character])
    percent = "".join(f"%{byte:02x}" for byte in raw)
    points = "".join(f"\\u{unit:04x}" for unit in _utf16(character))
    slashed = "".join(f"\\x{byte:02x}" for byte in raw)
    texts += [*_cases(percent, "%"), *_cases(points, "\\u"), *_cases(slashed, "\\x")]
    texts += [f"&#{ord(character)};", *_cases(f"&#x{ord(character):x};", "&#x"), f"&#0{ord(character)};"]
    return tuple(dict.fromkeys(text.encode() for text in texts))


def _utf16(character: str) -> Iterator[int]:
    raw = character.encode("utf-16-be")
    return (int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2))


def _cases(text: str, introducer: str) -> list[str]:
    """The hexadecimal digits of an escape in either case; of a long escape, all in one case."""
    parts = text.split(introducer)[1:]
    if len(parts) > 1:
        return [text, introducer.join(["", *(part.upper() for part in parts)])]
    choices = ({character, character.upper()} for character in parts[0])
    return [introducer + "".join(found) for found in itertools.product(*map(sorted, choices))]


class _Pattern:
    """One text to look for.

    :param text: its characters.
    :param before: whether the character of Base64 in front of it belongs to it in part.
    :param after: the same of the one behind it.
    """

    def __init__(
        self, text: str, *, before: bool = False, after: bool = False, is_base64: bool = False
    ) -> None:
        self.before = before
        self.after = after
        self._units = [
            (*_encodings(character), *_encodings(other)) if other else _encodings(character)
            for character, other in ((c, {"+": "-", "/": "_"}.get(c) if is_base64 else None) for c in text)
        ]
        self.max_bytes = sum(max(map(len, unit)) for unit in self._units) + 2
        literals = {text}
        if is_base64:
            literals.add(text.translate({ord("+"): "-", ord("/"): "_"}))
        else:
            literals.add(text.replace(" ", "+"))
        self.literals = [literal.encode() for literal in sorted(literals)]
        self.first = re.compile(b"[%s]" % b"".join(re.escape(unit[:1]) for unit in {*self._firsts()}))
        self.start = re.compile(b"".join(map(_any_of, self._units[:2])))
        # How far two places of the text may overlap; none for nearly all secrets.
        self.border = next((size for size in range(len(text) - 1, 0, -1) if text[:size] == text[-size:]), 0)
        self.characters = set(text) | ({"-", "_"} if is_base64 else set())

    def _firsts(self) -> Iterator[bytes]:
        return (encoding[:1] for encoding in self._units[0])

    def match(self, data: bytes, start: int, *, final: bool) -> int:
        """The end of the longest match that begins at ``start``.

        Partial when the data ends before the text does, or before it is known how long the match is.
        """
        size = len(data)
        positions = {start}
        partial = False
        for unit in self._units:
            ends = set()
            for position in positions:
                for encoding in unit:
                    if data.startswith(encoding, position):
                        ends.add(position + len(encoding))
                    elif position + len(encoding) > size and encoding.startswith(data[position:]):
                        partial = True
            if not ends:
                return _PARTIAL if partial else _NONE
            positions = ends
        return _PARTIAL if partial and not final else max(positions)


def _any_of(unit: Sequence[bytes]) -> bytes:
    return b"(?:%s)" % b"|".join(map(re.escape, unit))


class Patterns:
    """What to look for: the values of one container's secrets.

    :param values: none is empty.
    """

    def __init__(self, values: Sequence[str]) -> None:
        self._patterns = [pattern for value in values for pattern in _patterns_of(value)]
        self._escape = _escape_of(self._patterns)
        self._max_bytes = max((pattern.max_bytes for pattern in self._patterns), default=0)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __repr__(self) -> str:
        return f"<{len(self._patterns)} patterns>"

    def clean(self, data: bytes) -> bytes:
        """A text that is there as a whole."""
        redactor = Redactor(self)
        return redactor.feed(data) + redactor.finish() if self else data

    def scan(self, data: bytes, *, final: bool) -> tuple[list[tuple[int, int]], int]:
        """Where the secrets are, and from where on the data has to be seen again with more behind it."""
        spans: list[tuple[int, int]] = []
        hold = len(data)
        windows = self._windows(data)
        for pattern in self._patterns:
            for start, end in _places(pattern, data, windows, final=final):
                first = start - (pattern.before and start > 0 and data[start - 1] in _BASE64)
                if end == _PARTIAL or (pattern.after and end == len(data) and not final):
                    if not final:
                        hold = min(hold, first)
                elif pattern.after and end < len(data) and data[end] in _BASE64:
                    spans.append((first, end + 1))
                else:
                    spans.append((first, end))
        spans.sort(reverse=True)
        for start, end in spans:
            if start < hold < end:
                hold = start
        return spans, hold

    def _windows(self, data: bytes) -> list[tuple[int, int]]:
        """Where what has an escape in it may begin."""
        if self._escape is None or not any(mark in data for mark in (b"%", b"\\", b"&")):
            return []
        windows: list[tuple[int, int]] = []
        begin = end = -1
        for found in self._escape.finditer(data):
            at = found.start()
            if at - self._max_bytes > end:
                if end >= 0:
                    windows.append((begin, end))
                begin = max(0, at - self._max_bytes)
            end = at + 1
        if end >= 0:
            windows.append((begin, end))
        return windows


def _places(
    pattern: _Pattern, data: bytes, windows: list[tuple[int, int]], *, final: bool
) -> Iterator[tuple[int, int]]:
    """Where a text begins and ends: written as it is, with escapes in it, and cut off by the end."""
    for literal in pattern.literals:
        yield from _literally(literal, data)
    for begin, end in windows:
        at = begin
        while (found := pattern.start.search(data, at, end + 2 * _MAX_ENCODING)) is not None:
            start = found.start()
            if start >= end:
                break
            at = start + 1
            over = pattern.match(data, start, final=final)
            if over != _NONE:
                yield start, over
                if over != _PARTIAL:
                    # What overlaps the end of it cannot begin before.
                    at = max(at, over - pattern.border * _MAX_ENCODING)
    if not final:
        for match in pattern.first.finditer(data, max(0, len(data) - pattern.max_bytes)):
            over = pattern.match(data, match.start(), final=final)
            if over != _NONE:
                yield match.start(), over


def _literally(literal: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    """Places that cover all places of a text written as it is; where they overlap, not every one is named."""
    size = len(literal)
    at = data.find(literal)
    while at >= 0:
        yield at, at + size
        further = data.rfind(literal, at + 1, at + 2 * size - 1)
        at = further if further >= 0 else data.find(literal, at + size)


def _patterns_of(value: str) -> Iterator[_Pattern]:
    yield _Pattern(value)
    raw = value.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        begin, before = divmod(8 * offset + 5, 6)
        end, after = divmod(8 * (offset + len(raw)), 6)
        core = encoded[begin:end]
        if len(core) >= _MIN_CORE:
            yield _Pattern(core, before=before != 5, after=after != 0, is_base64=True)


def _escape_of(patterns: Sequence[_Pattern]) -> re.Pattern[bytes] | None:
    """Finds the beginnings of all escapes that a match can have."""
    if not patterns:
        return None
    characters = set().union(*(pattern.characters for pattern in patterns))
    escapes = (encoding for character in characters for encoding in _encodings(character))
    rests = {escape[1:] for escape in escapes if len(escape) > 1 and escape[:1] in _INTRODUCERS}
    # The class in front is what makes it fast where there are no escapes.
    return re.compile(b"[%s]%s" % (re.escape(_INTRODUCERS), _one_of(rests)))


def _one_of(texts: set[bytes]) -> bytes:
    """An expression for one of several texts, which looks at each byte once."""
    if b"" in texts:
        return b""
    tails: dict[bytes, set[bytes]] = {}
    for text in texts:
        tails.setdefault(text[:1], set()).add(text[1:])
    if all(tail == {b""} for tail in tails.values()):
        return b"[%s]" % b"".join(map(re.escape, sorted(tails)))
    return b"(?:%s)" % b"|".join(re.escape(head) + _one_of(tail) for head, tail in sorted(tails.items()))


class Redactor:
    """Takes secrets out of a body that comes in pieces.

    It holds back no more than what may be the beginning of a secret.
    """

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take a piece; returns what can be passed on."""
        return self._take(self._held + data, final=False)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._take(self._held, final=True)

    def _take(self, data: bytes, *, final: bool) -> bytes:
        spans, hold = self._patterns.scan(data, final=final)
        self._held = data[hold:]
        if not spans:
            return data[:hold]
        out = bytearray(data[:hold])
        for start, end in spans:
            if start < hold:
                out[start:end] = b"*" * (end - start)
        return bytes(out)
