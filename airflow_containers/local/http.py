"""Requests, answers and the route table that all services share."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope

from airflow_containers.local.errors import ApiError, InvalidRequestError
from airflow_containers.local.schema import Object, Schema, unknown_parameter, wrong_type

_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_QUERY_ANYWHERE = frozenset({"api-version"})
"""Query parameters that every route takes: Azure's clients send ``api-version`` everywhere."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

MISSING = object()


class ApiRequest(Request):
    """A request whose body was read already.

    :param content: the whole body.
    """

    def __init__(self, scope: Scope, receive: Receive, content: bytes) -> None:
        super().__init__(scope, receive)
        self.content = content
        self._json: object = MISSING
        self._tried = False

    async def body(self) -> bytes:
        """The whole body."""
        return self.content

    def parsed(self) -> object:
        """The body as JSON, or :data:`MISSING` when it is not JSON. Read once."""
        if not self._tried:
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
            shown = content_type[:100]
            raise InvalidRequestError(
                f"Unsupported content type: '{shown}'. This API method only accepts 'application/json' "
                f"requests, but you specified the header 'Content-Type: {shown}'. Please try again with a "
                "supported content type.",
                code="unsupported_content_type",
            )
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
            values[key] = int(text) if key in integers and _INTEGER.fullmatch(text) else text
        schema.check(values, "")
        return values


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
    """

    method: str
    path: str
    handler: Handler


class Router:
    """Finds the handler for a method and a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._static: dict[str, dict[str, Handler]] = {}
        patterns: dict[str, dict[str, Handler]] = {}
        for endpoint in endpoints:
            table = patterns if "{" in endpoint.path else self._static
            table.setdefault(endpoint.path, {})[endpoint.method] = endpoint.handler
        self._patterns = [(compile_path(path)[0], methods) for path, methods in patterns.items()]

    def find(self, path: str) -> tuple[dict[str, Handler], dict[str, str]] | None:
        """The handlers of a path by method, and the path's parameters; ``None`` when nothing is there."""
        methods = self._static.get(path)
        if methods is not None:
            return methods, {}
        for pattern, by_method in self._patterns:
            match = pattern.match(path)
            if match is not None:
                return by_method, match.groupdict()
        return None
