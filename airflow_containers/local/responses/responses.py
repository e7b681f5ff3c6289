"""From requests to :class:`Engine` and :class:`ResponseBackend` and back: parsing and serialising."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.http import ApiRequest, as_integer, json_response
from airflow_containers.local.paging import UnknownCursorError, envelope
from airflow_containers.local.responses.engine import Engine, Run
from airflow_containers.local.responses.environments import Environments
from airflow_containers.local.responses.events import EventStream, all_events, ended, numbered, until_gone
from airflow_containers.local.responses.exceptions import NotInBackgroundError, NotStreamedError
from airflow_containers.local.responses.inputs import check_calls, kept
from airflow_containers.local.responses.models import ResponseBackend, StoredResponse, fit, show, show_item
from airflow_containers.local.responses.schemas import (
    CREATE,
    INCLUDABLE,
    INPUT_ITEMS,
    RETRIEVE,
    tools_as_shown,
)
from airflow_containers.local.schema import Enum, Object, unknown_parameter

_INTEGERS = frozenset({"limit", "starting_after"})
_INCLUDE = frozenset({"include", "include[]"})
_ANYWHERE = frozenset({"api-version"})
_PAGE = 20

_DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "include": [],
    "stream": False,
}


class ResponseResponses:
    """The handlers of ``/v1/responses``."""

    def __init__(self, backend: ResponseBackend, engine: Engine, environments: Environments) -> None:
        self._backend = backend
        self._engine = engine
        self._environments = environments

    async def create(self, request: ApiRequest) -> Response:
        """``POST /v1/responses``; a client that leaves ends what does not run in the background."""
        sent = request.json_object(CREATE)
        body = {name: value for name, value in sent.items() if value is not None}
        run = await self._start(body)
        if run.response.is_streamed:
            return EventStream(run.follow(), None if run.response.in_background else run.cancel)
        if not run.response.in_background:
            await _finish(run, request)
        return json_response(show(run.response))

    async def _start(self, body: dict[str, Any]) -> Run:
        previous_id = body.get("previous_response_id")
        history = self._backend.history(previous_id)
        own = kept(body.get("input"), self._backend.new_id)
        check_calls(history, own)
        history = fit(history, own, truncate=body.get("truncation") == "auto")
        self._environments.check_history(history, own)
        response_id = self._backend.new_id("resp_")
        places = await self._environments.resolve(body.get("tools", ()), response_id, history, own)
        response = StoredResponse(
            id=response_id,
            created=self._backend.now(),
            completed=None,
            expires=None,
            status="queued",
            previous_id=previous_id,
            request=_kept_request(body),
            input=own,
            model=self._engine.model_name or body["model"],
        )
        return self._engine.start(response, history, places)

    async def retrieve(self, request: ApiRequest) -> Response:
        """``GET /v1/responses/{response_id}``."""
        query, include = _query(request, RETRIEVE)
        response, run = self._find(request)
        starting_after = query.get("starting_after", -1)
        if query.get("stream") != "true":
            if starting_after >= 0:
                raise InvalidRequestError(
                    "The 'starting_after' parameter is only allowed when 'stream' is enabled.",
                    param="starting_after",
                )
            return json_response(show(response, include))
        if not (response.in_background and response.is_streamed):
            raise NotStreamedError(response.id)
        if run is not None:
            return EventStream(run.follow(starting_after), None)
        return EventStream(numbered(all_events(response), starting_after), None)

    async def cancel(self, request: ApiRequest) -> Response:
        """``POST /v1/responses/{response_id}/cancel``; what is done stays as it is."""
        response, run = self._find(request)
        if not response.in_background:
            raise NotInBackgroundError
        if run is not None:
            await _cancel(run)
        return json_response(show(response))

    async def delete(self, request: ApiRequest) -> Response:
        """``DELETE /v1/responses/{response_id}``; ends one that runs."""
        response, run = self._find(request)
        if run is not None:
            await _cancel(run)
        self._backend.delete(response.id)
        return json_response({"id": response.id, "object": "response", "deleted": True})

    async def input_items(self, request: ApiRequest) -> Response:
        """``GET /v1/responses/{response_id}/input_items``."""
        query, include = _query(request, INPUT_ITEMS)
        response, _ = self._find(request)
        items = response.input if query.get("order") == "asc" else response.input[::-1]
        after = query.get("after")
        if after is not None:
            places = [index for index, item in enumerate(items, 1) if item["id"] == after]
            if not places:
                raise UnknownCursorError("input item")
            items = items[places[0] :]
        limit = query.get("limit", _PAGE)
        page = [show_item(item, include) for item in items[:limit]]
        return json_response(envelope(page, has_more=len(items) > limit))

    def _find(self, request: ApiRequest) -> tuple[StoredResponse, Run | None]:
        """The response that the path names, and its run if it is not done."""
        response_id = request.path_params["response_id"]
        run = self._engine.find(response_id)
        if run is not None and run.response.is_kept:
            return run.response, run
        return self._backend.get(response_id), None


async def _finish(run: Run, request: ApiRequest) -> None:
    """Wait for the end, and bring it about when the client leaves.

    :raises ApiError: when a container is gone meanwhile.
    """
    leaving = asyncio.create_task(until_gone(request.receive))
    try:
        await asyncio.wait((run.running, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(leaving)
        await _cancel(run)
    if run.refusal is not None:
        raise run.refusal


async def _cancel(run: Run) -> None:
    run.cancel()
    await asyncio.wait((run.running,))


def _kept_request(body: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a request: what answers repeat, and what is needed to do so."""
    kept = {name: body.get(name, default) for name, default in _DEFAULTS.items()}
    kept["tools"] = tools_as_shown(kept["tools"])
    kept["reasoning"] = {"effort": None, "summary": None, **body.get("reasoning", {})}
    kept["text"] = {"verbosity": "medium", **body.get("text", {})} | {"format": {"type": "text"}}
    tier = body.get("service_tier", "auto")
    kept["settings"] = _settings(body)
    kept["service_tier"] = {"auto": "default", "fast": "priority"}.get(tier, tier)
    return kept


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    """What the model is told of how to answer; nothing that the request does not say."""
    said = {name: body.get(name) for name in ("temperature", "top_p", "parallel_tool_calls")}
    reasoning = {name: value for name, value in body.get("reasoning", {}).items() if value is not None}
    said |= {"reasoning": reasoning or None, "verbosity": body.get("text", {}).get("verbosity")}
    return {name: value for name, value in said.items() if value is not None}


def _query(request: ApiRequest, schema: Object) -> tuple[dict[str, Any], list[str]]:
    """The query parameters, checked, and those of ``include``, which may be repeated."""
    values: dict[str, Any] = {}
    include: list[str] = []
    for name, text in request.query_params.multi_items():
        if name in _INCLUDE:
            Enum(INCLUDABLE).check(text, "include")
            include.append(text)
        elif name not in _ANYWHERE:
            if name not in schema.fields:
                raise unknown_parameter(name)
            if name in values:
                raise InvalidRequestError(
                    f"Invalid '{name}': given more than once.", param=name, code="invalid_value"
                )
            values[name] = as_integer(text) if name in _INTEGERS else text
    schema.check(values, "")
    return values, include
