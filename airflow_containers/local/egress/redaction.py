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

_INTRODUCERS = (b"%", b"\\u", b"\\x", b"\\", b"&#", b"&")
"""What escapes begin with, longer ones first."""

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
        escapes = [found.start() for found in self._escape.finditer(data)] if self._escape else []
        for pattern in self._patterns:
            for start in _starts(pattern, data, escapes, final=final):
                end = pattern.match(data, start, final=final)
                if end == _NONE:
                    continue
                first = start - (pattern.before and start > 0 and data[start - 1] in _BASE64)
                if end == _PARTIAL or (pattern.after and end == len(data) and not final):
                    if not final:
                        hold = min(hold, first)
                    continue
                if pattern.after and end < len(data) and data[end] in _BASE64:
                    end += 1
                spans.append((first, end))
        spans.sort(reverse=True)
        for start, end in spans:
            if start < hold < end:
                hold = start
        return spans, hold


def _starts(pattern: _Pattern, data: bytes, escapes: list[int], *, final: bool) -> Iterator[int]:
    """Where a match may begin: where it is written as it is, before an escape, and near the end."""
    for literal in pattern.literals:
        at = data.find(literal)
        while at >= 0:
            yield at
            at = data.find(literal, at + 1)
    done = 0
    for escape in escapes:
        begin = max(done, escape - pattern.max_bytes)
        done = max(done, escape + 1)
        # What begins in front of the end of the window may end behind it.
        yield from _overlapping(pattern.start, data, begin, done)
    if not final:
        for match in pattern.first.finditer(data, max(0, len(data) - pattern.max_bytes)):
            yield match.start()


def _overlapping(regex: re.Pattern[bytes], data: bytes, begin: int, end: int) -> Iterator[int]:
    # As far as the longest two encodings of characters go, and no further for each of many windows.
    limit = end + 2 * _MAX_ENCODING
    found = regex.search(data, begin, limit)
    while found is not None and found.start() < end:
        yield found.start()
        found = regex.search(data, found.start() + 1, limit)


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
    rests: dict[bytes, set[bytes]] = {}
    for encoding in (encoding for character in characters for encoding in _encodings(character)):
        introducer = next((start for start in _INTRODUCERS if encoding.startswith(start)), None)
        if introducer is not None and len(encoding) > 1:
            rests.setdefault(introducer, set()).add(encoding.removeprefix(introducer))
    branches = (
        re.escape(introducer) + b"(?:%s)" % b"|".join(map(re.escape, sorted(found)))
        for introducer, found in rests.items()
    )
    return re.compile(b"|".join(branches))


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
