"""Models that do what the scripted one never does, in the whole application, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.responses import Response

from airflow_containers.local import create_app, services
from airflow_containers.local.responses.engine import Engine
from airflow_containers.local.responses.model import (
    CodeCall,
    ModelError,
    Say,
    ShellCall,
    Turn,
    Usage,
    Use,
)

Step = Say | Use | Exception


class Planned:
    """Takes the planned steps one after the other, and remembers what it was asked."""

    def __init__(self, steps: Iterable[Step], name: str, *, waits: bool) -> None:
        self.name = name
        self.asked = asyncio.Event()
        self._waits = waits
        self.steps = list(steps)
        self.turns: list[Turn] = []
        self.is_closed = False

    async def next(self, turn: Turn) -> Say | Use:
        """The next step."""
        self.turns.append(turn)
        self.asked.set()
        await asyncio.sleep(60 if self._waits else 0)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step

    async def close(self) -> None:
        """Remember that it was called."""
        self.is_closed = True


class Driver:
    """An application with a model, and one container."""

    def __init__(self, http: httpx.AsyncClient, engine: Engine, model: Planned, container: str) -> None:
        self.http = http
        self.engine = engine
        self.model = model
        self.container = container

    async def __call__(self, **body: Any) -> Any:
        """Create a response; its answer as JSON, checked."""
        answer = await self.http.post("/v1/responses", json=self.body(**body))
        assert answer.status_code == 200, answer.text
        found = answer.json()
        Response.model_validate(found | {"tools": []})
        return found

    def body(self, **body: Any) -> dict[str, Any]:
        """A request with both tools."""
        tools = [
            {
                "type": "shell",
                "environment": {"type": "container_reference", "container_id": self.container},
            },
            {"type": "code_interpreter", "container": self.container},
        ]
        return {"model": "asked", "input": "go", "tools": tools, **body}


@pytest.fixture
def with_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., contextlib.AbstractAsyncContextManager[Driver]]:
    """Run the application with a planned model."""

    @contextlib.asynccontextmanager
    async def run(*steps: Step, name: str = "planned", waits: bool = False) -> AsyncIterator[Driver]:
        model = Planned(steps, name, waits=waits)
        monkeypatch.setattr(services, "ScriptedModel", lambda: model)
        app = create_app(tmp_path / "state")
        try:
            async with (
                app.running(),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app),
                    base_url="http://127.0.0.1",
                    headers={"authorization": "Bearer any"},
                    timeout=60,
                ) as http,
            ):
                made = await http.post("/v1/containers", json={"name": "x"})
                yield Driver(http, app._services.engine, model, made.json()["id"])
        finally:
            app.close()

    return run


WithModel = Callable[..., contextlib.AbstractAsyncContextManager[Driver]]


async def test_what_a_model_is_asked(with_model: WithModel) -> None:
    """Instructions, items, tools, settings; after a call its output, and a choice that is free."""
    async with with_model(Use((ShellCall(("echo 1 > a.txt; echo 1",)),)), Say("done")) as create:
        await create(
            instructions="Be brief.",
            tool_choice="required",
            temperature=0.5,
            text={"verbosity": "low"},
            reasoning={"effort": "high"},
            max_output_tokens=100,
        )
        first, second = create.model.turns

    assert ("Be brief.", "required", "auto") == (first.instructions, first.tool_choice, second.tool_choice)
    assert frozenset({"shell", "code_interpreter"}) == first.tools == second.tools
    assert {"temperature": 0.5, "verbosity": "low", "reasoning": {"effort": "high"}} == first.settings
    assert ["message"] == [item["type"] for item in first.items]
    assert ["message", "shell_call", "shell_call_output"] == [item["type"] for item in second.items]
    assert "1\n" == second.items[2]["output"][0]["stdout"]
    assert ((), ("/mnt/data/a.txt",)) == (first.files, second.files)
    assert 100 == first.max_output_tokens


async def test_several_calls_and_words_in_between(with_model: WithModel) -> None:
    """What is said beside calls is a comment; calls are carried out in their order; usage adds up."""
    steps = [
        Use((ShellCall(("echo 1",)), CodeCall("print(2)")), Usage(10, 2), "First this."),
        Say("Done.", Usage(20, 3)),
    ]
    async with with_model(*steps) as create:
        found = await create(include=["code_interpreter_call.outputs"])

    kinds = [(item["type"], item.get("phase")) for item in found["output"]]
    assert [
        ("message", "commentary"),
        ("shell_call", None),
        ("shell_call_output", None),
        ("code_interpreter_call", None),
        ("message", None),
    ] == kinds
    assert [{"type": "logs", "logs": "2\n"}] == found["output"][3]["outputs"]
    assert (30, 5, 35) == tuple(found["usage"][f"{name}_tokens"] for name in ("input", "output", "total"))


async def test_calls_beyond_the_limit_are_ignored(with_model: WithModel) -> None:
    """Also those of the same turn; afterwards the model is offered nothing."""
    many = Use(tuple(ShellCall((f"echo {number}",)) for number in range(5)))
    async with with_model(many, Say("done")) as create:
        found = await create(max_tool_calls=2)
        last = create.model.turns[-1]

    assert 2 == sum(item["type"] == "shell_call" for item in found["output"])
    assert (frozenset(), "none") == (last.tools, last.tool_choice)


async def test_a_model_without_end(with_model: WithModel) -> None:
    """One that never answers fails the response at some point."""
    async with with_model(Use((ShellCall(("true",)),))) as create:
        found = await create(max_tool_calls=1)

    assert "failed" == found["status"]
    assert "no answer after 512 turns" in found["error"]["message"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (ModelError("quota exceeded"), "quota exceeded"),
        (Use((ShellCall(()),)), "a call of 0 commands; 1 to 64 are allowed"),
        (Use((ShellCall(("true",) * 65),)), "a call of 65 commands"),
        (ValueError("canary-of-a-bug"), "The server had an error while processing your request"),
    ],
)
async def test_failures(
    with_model: WithModel, capsys: pytest.CaptureFixture[str], step: Step, said: str
) -> None:
    """The response fails with the reason; what the server did not expect is shown to its operator only."""
    async with with_model(step) as create:
        found = await create()

    assert ("failed", "server_error") == (found["status"], found["error"]["code"])
    assert said in found["error"]["message"]
    written = capsys.readouterr().err
    assert ("ValueError in the response" in written) == isinstance(step, ValueError)
    assert "canary-of-a-bug" not in written + json.dumps(found)


async def test_a_tool_that_the_response_has_not(with_model: WithModel) -> None:
    """A call to it fails the response."""
    async with with_model(Use((CodeCall("1"),))) as create:
        tools = create.body()["tools"][:1]
        found = await create(tools=tools)

    assert "'code_interpreter', which this response has not" in found["error"]["message"]


async def test_ids_of_calls(with_model: WithModel) -> None:
    """The model's own are kept where they can be; others are made."""
    calls = [ShellCall(("true",), call_id=call_id) for call_id in ("own", "own", "x" * 65, None)]
    async with with_model(Use(tuple(calls)), Say("done")) as create:
        found = await create()

    ids = [item["call_id"] for item in found["output"] if item["type"] == "shell_call"]
    assert "own" == ids[0]
    assert 4 == len(set(ids))
    assert all(call_id.startswith("call_") for call_id in ids[1:])


async def test_the_name_of_the_model(with_model: WithModel) -> None:
    """A model without a name of its own has that of the request."""
    async with with_model(Say("hi"), name="") as create:
        assert "asked" == (await create())["model"]
        assert "asked" == create.model.turns[0].model


async def test_tokens_run_out(with_model: WithModel) -> None:
    """When calls have used them up, the response is incomplete before the model is asked again."""
    async with with_model(Use((ShellCall(("echo 1",)),), Usage(1, 16)), Say("never")) as create:
        found = await create(max_output_tokens=16)

    assert ("incomplete", "max_output_tokens") == (found["status"], found["incomplete_details"]["reason"])
    assert 1 == len(create.model.turns)


async def test_a_filter_of_the_model(with_model: WithModel) -> None:
    """An answer that was cut for another reason says so."""
    async with with_model(Say("I will", cut="content_filter")) as create:
        found = await create()

    assert ("incomplete", "content_filter") == (found["status"], found["incomplete_details"]["reason"])


async def test_a_huge_answer_is_cut(with_model: WithModel) -> None:
    """Items are bounded."""
    async with with_model(Say("x" * (3 << 20))) as create:
        found = await create()

    assert 1 << 20 == len(found["output"][0]["content"][0]["text"])


async def test_a_stop_of_the_server_fails_what_runs(with_model: WithModel) -> None:
    """What waits for its model ends, and the model is let go of."""
    async with with_model(Say(""), waits=True) as create:
        model = create.model
        made = await create(background=True)
        await model.asked.wait()
    async with with_model(Say("")) as create:
        after = (await create.http.get(f"/v1/responses/{made['id']}")).json()

    assert model.is_closed
    assert ("failed", True) == (after["status"], "was stopped" in after["error"]["message"])


async def test_cancelled_before_its_first_step(with_model: WithModel) -> None:
    """A response that has not begun is cancelled as well, and its stream ends."""
    async with with_model(Say("never")) as create:
        made = await create()
        done = create.engine.backend.get(made["id"])
        request = done.request | {"background": True, "stream": True}
        response = replace(done, id="resp_new", status="queued", request=request, output=[])

        run = create.engine.start(response, [], {})
        run.cancel()
        events = [event["type"] async for event in run.follow()]
        kept = (await create.http.get("/v1/responses/resp_new")).json()

    assert ["response.created", "response.queued", "response.in_progress"] == events
    assert "cancelled" == kept["status"]
    assert 1 == len(create.model.turns)
