"""The `openai` package, the local server, a model on another server, and commands that really run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.support.model_server import (
    CHAT,
    KEY,
    RESPONSES,
    ModelServer,
    Planned,
    chat,
    chat_call,
    function_call,
    message,
    response,
)
from tests.support.skill_zip import inline_skill


class Place:
    """A local server that asks a model on another server."""

    def __init__(self, local: LocalServer, model: ModelServer, client: openai.OpenAI, api: str) -> None:
        self.local = local
        self.model = model
        self.client = client
        self.api = api

    def plan_calls(self, *calls: tuple[str, str, dict[str, Any]], text: str = "") -> None:
        """Have the model make calls next."""
        if self.api == CHAT:
            self.model.plan(chat(text or None, *(chat_call(*call) for call in calls), usage=(20, 10)))
        else:
            said = [message(text)] if text else []
            self.model.plan(response(*said, *(function_call(*call) for call in calls), usage=(20, 10)))

    def plan_text(self, text: str) -> None:
        """Have the model answer next."""
        answer = chat(text, usage=(5, 3)) if self.api == CHAT else response(message(text), usage=(5, 3))
        self.model.plan(answer)

    def told(self, number: int) -> str:
        """All that the model was told with a request."""
        return str(self.model.bodies[number])


@pytest.fixture(params=[CHAT, RESPONSES], ids=["chat", "responses"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Both servers, on one of the APIs."""
    monkeypatch.setenv("AIRFLOW_CONTAINERS_MODEL_API_KEY", KEY)
    model = ModelServer([request.param])
    options = ["--model-url", model.url, "--model", "small"]
    with LocalServer(tmp_path / "state", options=options) as local:
        problem = local.isolation()["problem"]
        if problem is not None:
            pytest.fail(f"commands cannot run here: {problem}")
        with openai.OpenAI(base_url=local.base_url, api_key=local.api_key, max_retries=0) as client:
            yield Place(local, model, client, request.param)
        written = local.stderr
    model.close()
    assert [] == model.problems
    assert not model.answers
    assert KEY not in written
    for path in (tmp_path / "state").rglob("*"):
        assert path.is_symlink() or not path.is_file() or KEY.encode() not in path.read_bytes()


def test_a_model_works_in_a_container(place: Place) -> None:
    """What the model asks for runs, what comes out goes back to it, and its files can be fetched."""
    container = place.client.containers.create(name="work", skills=[inline_skill("report")])
    place.plan_calls(
        ("call_1", "shell", {"commands": ["echo 3 > out.txt; cat out.txt", "exit 7"]}),
        ("call_2", "shell", {"commands": ["sleep 60"], "timeout_ms": 200}),
        text="I write it down.",
    )
    place.plan_calls(("call_3", "sh", {}))
    place.plan_calls(("call_3", "shell", {"commands": ["wc -c < /mnt/data/out.txt"]}))
    place.plan_text("It has two bytes.")

    answer = place.client.responses.create(
        model="asked",
        input="How long is it?",
        instructions="Be exact.",
        tools=[
            {
                "type": "shell",
                "environment": {"type": "container_reference", "container_id": container.id},
            }
        ],
    )

    assert ("completed", "small", "I write it down.It has two bytes.") == (
        answer.status,
        answer.model,
        answer.output_text,
    )
    kinds = [item.type for item in answer.output if item.type != "message"]
    assert 3 == kinds.count("shell_call") == kinds.count("shell_call_output")
    outputs = {item.call_id: item.output for item in answer.output if item.type == "shell_call_output"}
    assert ["3\n", ""] == [one.stdout for one in outputs["call_1"]]
    assert [0, 7] == [one.outcome.exit_code for one in outputs["call_1"]]  # type: ignore[union-attr]
    assert ["timeout"] == [one.outcome.type for one in outputs["call_2"]]
    assert (65, 33) == (answer.usage.input_tokens, answer.usage.output_tokens)  # type: ignore[union-attr]
    (file,) = place.client.containers.files.list(container.id).data
    assert ("/mnt/data/out.txt", "assistant") == (file.path, file.source)
    assert (
        b"3\n" == place.client.containers.files.content.retrieve(file.id, container_id=container.id).content
    )
    first, second, third, _ = (place.told(number) for number in range(4))
    assert "Be exact." in first
    assert "/home/oai/skills/report-" in first
    assert "[exit code 7]" in second
    assert "took too long" in second
    assert "There is no function 'sh'." in third


def test_a_conversation_goes_on(place: Place) -> None:
    """The next response tells the model what was said and done in the one before."""
    tool: Any = {"type": "shell", "environment": {"type": "container_auto"}}
    place.plan_calls(("call_1", "shell", {"commands": ["echo bravo"]}))
    place.plan_text("Done.")
    place.plan_text("It was bravo.")
    first = place.client.responses.create(model="m", input="Do it.", tools=[tool])

    second = place.client.responses.create(
        model="m", input="What was it?", previous_response_id=first.id, tools=[tool]
    )

    assert "It was bravo." == second.output_text
    told = place.told(2)
    places = [told.index(text) for text in ("Do it.", "echo bravo", "bravo\\n[exit", "Done.", "What was it?")]
    assert sorted(places) == places


def test_python_is_a_function_too(place: Place) -> None:
    """The code interpreter is offered as Python, and its prints come back."""
    place.plan_calls(("call_1", "python", {"code": "print(6 * 7)"}))
    place.plan_text("42")

    answer = place.client.responses.create(
        model="m",
        input="Count.",
        tools=[{"type": "code_interpreter", "container": {"type": "auto"}}],
        include=["code_interpreter_call.outputs"],
    )

    (call,) = [item for item in answer.output if item.type == "code_interpreter_call"]
    assert ("print(6 * 7)", "completed") == (call.code, call.status)
    assert "42" in place.told(1)


def test_a_model_that_fails(place: Place) -> None:
    """The response has failed, with what the model's server said, and without the key."""
    place.model.plan(Planned(400, {"error": {"message": f"Not with {KEY}."}}))

    answer = place.client.responses.create(model="m", input="Do it.", background=True)
    deadline = time.monotonic() + 20
    while answer.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        answer = place.client.responses.retrieve(answer.id)

    assert "failed" == answer.status
    assert answer.error is not None
    assert ("server_error", "the model's server refused the request (400): Not with ***.") == (
        answer.error.code,
        answer.error.message,
    )


def test_a_response_is_cancelled_while_the_model_thinks(place: Place) -> None:
    """Nobody waits for a model whose answer is not wanted any more."""
    place.model.plan(Planned(200, {}, delay=3))
    answer = place.client.responses.create(model="m", input="Think.", background=True)
    assert place.model.asked.wait(10)
    start = time.monotonic()

    cancelled = place.client.responses.cancel(answer.id)

    assert "cancelled" == cancelled.status
    assert time.monotonic() - start < 2
