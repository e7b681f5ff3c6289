"""Requests, answers and the route table that all services share."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.bodies import BodyReader
from airflow_containers.local.errors import ApiError, InvalidRequestError
from airflow_containers.local.forms import Form, FormRule, read_form
from airflow_containers.local.schema import Object, Schema, unknown_parameter, wrong_type

MAX_JSON_BYTES = 1 << 20
"""Longest JSON body where no skill is sent along."""

_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_QUERY_ANYWHERE = frozenset({"api-version"})
"""Query parameters that every route takes: Azure's clients send ``api-version`` everywhere."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

MISSING = object()


class ApiRequest(Request):
    """A request, with its body as far as it was read.

    :ivar reader: reads the body; for most routes, that was done before the handler is called.
    :ivar content: the body that :meth:`load` has read.
    :ivar form_summary: what the journal keeps of a form.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.reader = BodyReader(receive)
        self.content = b""
        self.form_summary: dict[str, Any] | None = None
        self._json: object = MISSING
        self._tried = False

    async def load(self, limit: int) -> None:
        """Read the whole body.

        :param limit: bytes, at most.
        :raises PayloadTooLargeError: when there are more.
        :raises starlette.requests.ClientDisconnect: when the connection ends before the body does.
        """
        self.content = await self.reader.whole(limit)

    @property
    def is_form(self) -> bool:
        """Whether the body is sent as a multipart form."""
        return self.headers.get("content-type", "").lower().startswith("multipart/form-data")

    @contextlib.asynccontextmanager
    async def read_form(self, rule: FormRule, blobs: Blobs) -> AsyncIterator[Form]:
        """Read a multipart form, with its files going to disk.

        :raises InvalidRequestError: when it is none; and all of
            :func:`airflow_containers.local.forms.read_form`.
        """
        content_type = self.headers.get("content-type", "")
        if not self.is_form:
            raise unsupported_content_type(content_type, "multipart/form-data")
        async with read_form(self.reader, content_type, rule, blobs) as form:
            self.form_summary = form.summary()
            yield form

    def parsed(self) -> object:
        """The body as JSON, or :data:`MISSING` when it is not JSON. Read once."""
        if not self._tried and self.content:
            self._tried = True
            # RecursionError: nested deeper than the interpreter follows.
            with contextlib.suppress(ValueError, RecursionError):
                self._json = _loads(self.content)
        return self._json

    def json_object(self, schema: Schema) -> dict[str, Any]:
        """The body, checked.

        :raises InvalidRequestError: when the body is not JSON, not an object, or breaks ``schema``.
        """
        content_type = self.headers.get("content-type", "application/json")
        if not _JSON_TYPE.fullmatch(content_type):
            raise unsupported_content_type(content_type, "application/json")
        value = self.parsed()
        if value is MISSING:
            raise InvalidRequestError(
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
                "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
                "sent was not valid JSON.)"
            )
        schema.check(value, "")
        if not isinstance(value, dict):
            raise wrong_type("", "an object", value)
        return value

    def query(self, schema: Object, integers: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The query parameters, checked; those in ``integers`` as numbers.

        :raises InvalidRequestError: for an unknown, repeated or wrong parameter.
        """
        values: dict[str, Any] = {}
        for key, text in self.query_params.multi_items():
            if key in _QUERY_ANYWHERE:
                continue
            if key not in schema.fields:
                raise unknown_parameter(key)
            if key in values:
                raise InvalidRequestError(
                    f"Invalid '{key}': given more than once.", param=key, code="invalid_value"
                )
            values[key] = as_integer(text) if key in integers else text
        schema.check(values, "")
        return values


def unsupported_content_type(content_type: str, expected: str) -> InvalidRequestError:
    """The error for a body of another kind than ``expected``."""
    shown = content_type[:100]
    return InvalidRequestError(
        f"Unsupported content type: '{shown}'. This API method only accepts '{expected}' "
        f"requests, but you specified the header 'Content-Type: {shown}'. Please try again with a "
        "supported content type.",
        code="unsupported_content_type",
    )


def as_integer(text: str) -> int | str:
    """A text that is an integer as one; any other as it is, for a schema to refuse."""
    return int(text) if _INTEGER.fullmatch(text) else text


def _loads(content: bytes) -> object:
    value = json.loads(content, parse_constant=_refuse_constant)
    if _SURROGATE.search(content):
        # A lone surrogate is legal JSON, but it is no text that a database or another client can take.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    content = _ENCODER.encode(body).encode()
    return Response(content, status, headers=headers, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """An answer in the platform's error envelope."""
    return json_response(error.body(), error.status, error.headers)


Handler = Callable[[ApiRequest], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of a service's route table.

    :param path: may have parameters, as in ``/v1/containers/{container_id}``.
    :param streams: the handler reads the body itself, after key and method were checked.
    """

    method: str
    path: str
    handler: Handler
    streams: bool = False


Found = tuple[dict[str, Endpoint], dict[str, str]]


class Router:
    """Finds the endpoint for a method and a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._static: dict[str, dict[str, Endpoint]] = {}
        patterns: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            table = patterns if "{" in endpoint.path else self._static
            table.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        self._patterns = [(compile_path(path)[0], methods) for path, methods in patterns.items()]

    def find(self, path: str) -> Found | None:
        """The endpoints of a path by method, and the path's parameters; ``None`` when nothing is there."""
        methods = self._static.get(path)
        if methods is not None:
            return methods, {}
        for pattern, by_method in self._patterns:
            match = pattern.match(path)
            if match is not None:
                return by_method, match.groupdict()
        return None
