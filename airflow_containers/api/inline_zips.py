"""Zips that are sent inside of a JSON body: encoded as Base64 while they are sent, never held whole."""

from __future__ import annotations

import binascii
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from airflow_containers.api.bodies import JsonBody, Source, gathered, read_whole

_ENCODED_AT_A_TIME: Final = 3 * 16 * 1024
"""Bytes; divisible by 3, so that the texts can be joined. What fits into a processor's cache is encoded a
quarter faster than 256 KiB are."""


@dataclass(frozen=True, slots=True)
class SkillZip:
    """The zip of an inline skill, in a file.

    It stands where :class:`~airflow_containers.api.models.InlineSkillSource` takes Base64 text. What looks at
    a request's JSON (a fingerprint, a repr) sees the digest in its place.

    :param source: where the zip is; opened anew for each attempt to send it.
    :param digest: tells two skills apart; the same for the same content.
    """

    source: Source = field(repr=False, compare=False)
    digest: str

    @property
    def size(self) -> int:
        """Bytes of the zip."""
        return self.source.size

    @property
    def encoded_length(self) -> int:
        """Characters of its Base64 text."""
        return (self.size + 2) // 3 * 4

    def __str__(self) -> str:
        return f"zip:{self.size}:{self.digest}"

    def encoded(self) -> Iterator[bytes]:
        """Yield the Base64 text in pieces.

        :raises SourceChangedError: if the file has another size than it had.
        """
        rest = b""
        for piece in read_whole(self.source):
            whole = memoryview(rest + piece)
            end = len(whole) - len(whole) % 3
            rest = bytes(whole[end:])
            for start in range(0, end, _ENCODED_AT_A_TIME):
                yield binascii.b2a_base64(whole[start : min(end, start + _ENCODED_AT_A_TIME)], newline=False)
        if rest:
            yield binascii.b2a_base64(rest, newline=False)


@dataclass(frozen=True, slots=True)
class JsonWithZips:
    """A JSON body with the Base64 texts of zips in it; a :class:`~airflow_containers.api.bodies.Body`.

    :param parts: texts of the JSON, and between them the zips.
    """

    parts: Sequence[bytes | SkillZip] = field(repr=False)

    @property
    def content_type(self) -> str:
        """Value of the ``content-type`` header."""
        return "application/json"

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return sum(part.encoded_length if isinstance(part, SkillZip) else len(part) for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body from its start, opening each zip when its turn comes.

        :raises SourceChangedError: if a zip's file has another size than it had.
        """
        return gathered(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for part in self.parts:
            yield from part.encoded() if isinstance(part, SkillZip) else JsonBody(part).chunks()


class Places:
    """Remembers, while a model becomes JSON, where in the text a zip belongs."""

    def __init__(self) -> None:
        # Made for one body and never shown, so no field can hold it.
        self._mark = secrets.token_hex(16)
        self._zips: list[SkillZip] = []

    def place_for(self, zipped: SkillZip) -> str:
        """Return the text that stands for a zip until :meth:`body` is called."""
        self._zips.append(zipped)
        return self._mark

    def body(self, text: str) -> JsonWithZips:
        """Return the body for a model's JSON."""
        first, *others = text.split(self._mark)
        parts: list[bytes | SkillZip] = [first.encode()]
        for zipped, other in zip(self._zips, others, strict=True):
            parts += (zipped, other.encode())
        return JsonWithZips(parts)
