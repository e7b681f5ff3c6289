"""Multipart forms: fields into memory, files straight to disk."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from airflow_containers.local.blobs import Blobs, Incoming
from airflow_containers.local.bodies import BodyReader
from airflow_containers.local.errors import ApiError, InvalidRequestError, PayloadTooLargeError
from airflow_containers.local.schema import missing_parameter, unknown_parameter

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 64 << 10
OVERHEAD_BYTES = 1 << 20
"""Bytes that a body may have beside the contents of its files: fields, headers of parts, boundaries."""

_PART_OVERHEAD_BYTES = 5 << 10
_MAX_HEADER_BYTES = 8 << 10
_ESCAPES = re.compile("%(22|0D|0A)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileRule:
    """What one name of a form may carry.

    :param max_bytes: of each file.
    :param max_files: parts with this name.
    :param breaks_rule: whether a file that is too long breaks a rule (400), or is more than the server takes
        (413).
    """

    max_bytes: int
    max_files: int = 1
    breaks_rule: bool = False

    def too_long(self, name: str) -> ApiError:
        """The error for a file that is too long."""
        if self.breaks_rule:
            return InvalidRequestError(
                f"Invalid '{name}': file too large. Expected at most {self.max_bytes} bytes.",
                param=name,
                code="invalid_value",
            )
        return PayloadTooLargeError(self.max_bytes, f"File in '{name}'")

    def too_many(self, name: str) -> ApiError:
        """The error for one file too many."""
        most = "one file" if self.max_files == 1 else f"at most {self.max_files} files"
        return InvalidRequestError(
            f"Invalid '{name}': too many files. Expected {most}.", param=name, code="array_above_max_length"
        )


@dataclass(frozen=True, slots=True)
class FormRule:
    """What a form may have.

    :param files: names of the parts that are files.
    :param fields: names of the others.
    :param max_bytes: of all files together; the body may be a little longer.
    """

    files: Mapping[str, FileRule]
    max_bytes: int
    fields: frozenset[str] = frozenset()

    @property
    def max_body_bytes(self) -> int:
        """Longest body."""
        parts = sum(rule.max_files for rule in self.files.values())
        return self.max_bytes + OVERHEAD_BYTES + parts * _PART_OVERHEAD_BYTES


@dataclass(slots=True)
class FormFile:
    """One file of a form, in a temporary place.

    :param name: of the part.
    :param filename: as it was sent, with its slashes.
    """

    name: str
    filename: str
    content: Incoming


@dataclass(slots=True)
class Form:
    """A form that was read to its end."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[FormFile] = field(default_factory=list)

    def file(self, name: str) -> FormFile:
        """The file of a part.

        :raises InvalidRequestError: when there is none.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise missing_parameter(name)

    def summary(self) -> dict[str, Any]:
        """What the journal keeps: fields, and of files the names and sizes alone."""
        shown: dict[str, Any] = dict(self.fields)
        for file in self.files:
            entry = {"filename": file.filename, "bytes": file.content.size}
            if file.name.endswith("[]"):
                shown.setdefault(file.name, []).append(entry)
            else:
                shown[file.name] = entry
        return shown


@contextlib.asynccontextmanager
async def read_form(
    reader: BodyReader, content_type: str, rule: FormRule, blobs: Blobs
) -> AsyncIterator[Form]:
    """Read a form; its temporary files are removed at the end, unless they were moved.

    :raises InvalidRequestError: when it is no form, is cut short, or has what ``rule`` does not allow.
    :raises PayloadTooLargeError: when a file or the whole is too long.
    :raises starlette.requests.ClientDisconnect: when the connection ends before the body does.
    """
    parser = _Parser(content_type, rule, blobs)
    try:
        async for piece in reader.pieces(rule.max_body_bytes):
            parser.write(piece)
            # Many small files add up, so each is written as soon as it is there.
            while parser.ended:
                await parser.ended.pop().finish()
            if parser.current is not None and parser.current.is_full:
                await parser.current.flush()
        if not parser.is_complete:
            raise InvalidRequestError("The multipart body ends before its closing boundary.")
        yield parser.form
    finally:
        for file in parser.form.files:
            await file.content.discard()


class _Parser:
    """Takes the pieces of a body and fills a form."""

    def __init__(self, content_type: str, rule: FormRule, blobs: Blobs) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidRequestError("Missing boundary in the header 'Content-Type: multipart/form-data'.")
        self.form = Form()
        self.current: Incoming | None = None
        self.ended: list[Incoming] = []
        self.is_complete = False
        self._rule = rule
        self._blobs = blobs
        self._header = b""
        self._value = b""
        self._disposition: dict[bytes, bytes] = {}
        self._name = ""
        self._text: bytearray | None = None
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._start,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise InvalidRequestError("The boundary of the multipart body is too long.") from None

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidRequestError(f"Could not parse the multipart body: {error}.") from None

    def _begin(self) -> None:
        self._disposition = {}

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_header()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header) + len(self._value) > _MAX_HEADER_BYTES:
            raise InvalidRequestError("A header in the multipart body is too long.")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = parse_options_header(self._value.decode("latin-1"))[1]
        self._header = self._value = b""

    def _start(self) -> None:
        self._name = name = _text_of(self._disposition.get(b"name", b""), "The name of a part")
        rule = self._rule.files.get(name)
        if rule is None:
            self._start_field(name)
            return
        filename = self._disposition.get(b"filename")
        if filename is None:
            raise InvalidRequestError(
                f"Invalid '{name}': expected a file, but got a text; send the part with a file name.",
                param=name,
                code="invalid_type",
            )
        if sum(file.name == name for file in self.form.files) >= rule.max_files:
            raise rule.too_many(name)
        shown = _file_name(filename, name)
        self.current = Incoming(self._blobs.temporary())
        self.form.files.append(FormFile(name, shown, self.current))

    def _start_field(self, name: str) -> None:
        if name not in self._rule.fields:
            raise unknown_parameter(name) if name else InvalidRequestError("A part of the form has no name.")
        if name in self.form.fields:
            raise InvalidRequestError(
                f"Invalid '{name}': given more than once.", param=name, code="invalid_value"
            )
        self._text = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        piece = data if start == 0 and end == len(data) else data[start:end]
        if self.current is not None:
            rule = self._rule.files[self._name]
            if self.current.size + len(piece) > rule.max_bytes:
                raise rule.too_long(self._name)
            self.current.feed(piece)
        elif self._text is not None:
            self._text += piece
            if len(self._text) > MAX_FIELD_BYTES:
                raise InvalidRequestError(
                    f"Invalid '{self._name}': field too long. Expected at most {MAX_FIELD_BYTES} bytes.",
                    param=self._name,
                    code="string_above_max_length",
                )

    def _end(self) -> None:
        if self._text is not None:
            self.form.fields[self._name] = _text_of(bytes(self._text), f"Invalid '{self._name}': the value")
        if self.current is not None:
            self.ended.append(self.current)
        self.current = self._text = None

    def _finish(self) -> None:
        self.is_complete = True


def _file_name(raw: bytes, name: str) -> str:
    text = _text_of(raw, f"Invalid '{name}': the file name")
    # Clients write a quote and line breaks so, as the standard of forms in HTML asks.
    return _ESCAPES.sub(lambda match: chr(int(match[1], 16)), text)


def _text_of(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{what} is not UTF-8.", code="invalid_value") from None
