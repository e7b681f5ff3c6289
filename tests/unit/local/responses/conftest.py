"""The openai package against a local server, and strict readers of what it sends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from airflow_containers.testing import LocalServer

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_DONE = {"completed", "failed", "cancelled", "incomplete"}


@pytest.fixture
def client(containers_server: LocalServer) -> Iterator[openai.OpenAI]:
    """The openai package's client of the session's server, without retries."""
    with client_of(containers_server) as made:
        yield made


def client_of(server: LocalServer) -> openai.OpenAI:
    """A client of any server."""
    return openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0, timeout=60)


@pytest.fixture
def container(client: openai.OpenAI) -> str:
    """The id of a new container."""
    return client.containers.create(name="work").id


@pytest.fixture
def ask(client: openai.OpenAI, container: str) -> Callable[..., Any]:
    """Create a response with the shell in the container; it is checked by the package's types."""

    def create(text: Any, **options: Any) -> Any:
        tools = options.pop("tools", [shell_in(container)])
        found = client.responses.create(model="gpt-5.2", input=text, tools=tools, **options)
        if isinstance(found, Response):
            strict(found)
        return found

    return create


def shell_in(container_id: str) -> Any:
    """The shell in a container that is there."""
    return {"type": "shell", "environment": {"type": "container_reference", "container_id": container_id}}


def code_in(container: Any) -> Any:
    """Python in a container."""
    return {"type": "code_interpreter", "container": container}


def sh(*blocks: str, more: str = "") -> str:
    """An input with shell blocks."""
    return "\n".join(f"```sh {more}\n{block}\n```" for block in blocks)


def strict(response: Response) -> Response:
    """Read an answer again, with every type checked, as the package itself does not."""
    raw = json.loads(response.to_json())
    # The package's own type has no place for tools as requests have them, so these are left out.
    return Response.model_validate(raw | {"tools": []}, strict=False)


def strict_events(events: Any) -> list[Any]:
    """Read events to their end, with every type checked and every number in its place."""
    found = []
    for event in events:
        raw = json.loads(event.to_json())
        if "response" in raw:
            raw["response"]["tools"] = []
        _EVENT.validate_python(raw)
        found.append(event)
    first = found[0].sequence_number if found else 0
    assert list(range(first, first + len(found))) == [event.sequence_number for event in found]
    return found


def outputs(response: Any) -> list[Any]:
    """What all commands of a response put out, in order."""
    return [one for item in response.output if item.type == "shell_call_output" for one in item.output]


def until_done(client: openai.OpenAI, response_id: str, seconds: float = 30.0) -> Response:
    """Ask for a response until it is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        response = client.responses.retrieve(response_id)
        if response.status in _DONE:
            return strict(response)
        time.sleep(0.02)
    raise AssertionError(f"not done after {seconds} s: {response.to_json()}")


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never was"
        time.sleep(0.02)
