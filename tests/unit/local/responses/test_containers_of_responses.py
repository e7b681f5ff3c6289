"""Containers that responses make, go on in, or cannot go on in; and conversations."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.support.skill_zip import skill_zip
from tests.unit.local.responses.conftest import client_of, code_in, outputs, sh, shell_in

Ask = Callable[..., Any]


def _auto(**fields: Any) -> Any:
    return {"type": "shell", "environment": {"type": "container_auto", **fields}}


def test_a_container_is_made(client: openai.OpenAI, ask: Ask) -> None:
    """With its memory; it is in the list, can be asked for its files, and is named by the call."""
    response = ask(sh("echo 1 > made.txt"), tools=[_auto(memory_limit="4g")])

    container_id = response.output[0].environment.container_id
    container = client.containers.retrieve(container_id)
    assert ("running", "4g", 20) == (
        container.status,
        container.memory_limit,
        container.expires_after.minutes if container.expires_after else None,
    )
    assert f"auto-{response.id}" == container.name
    assert ["/mnt/data/made.txt"] == [file.path for file in client.containers.files.list(container_id)]


def test_it_is_given_files_and_skills(client: openai.OpenAI, ask: Ask) -> None:
    """Those of the tool, and those that the message brings along."""
    one = client.files.create(file=("one.txt", b"1"), purpose="user_data").id
    two = client.files.create(file=("two.txt", b"2"), purpose="user_data").id
    data = base64.b64encode(skill_zip("greeter", "Says hello.")).decode()
    skill = {
        "type": "inline",
        "name": "greeter",
        "description": "Says hello.",
        "source": {"type": "base64", "media_type": "application/zip", "data": data},
    }
    text = [
        {
            "role": "user",
            "content": [
                {"type": "input_file", "file_id": two},
                {"type": "input_text", "text": sh("cat *-one.txt *-two.txt", "ls /home/oai/skills")},
            ],
        }
    ]

    response = ask(text, tools=[_auto(file_ids=[one], skills=[skill])])

    assert ["12", "greeter-inline\n"] == [found.stdout for found in outputs(response)]
    shown = response.to_dict()["tools"][0]["environment"]["skills"][0]
    assert f"<{len(data)} characters>" == shown["source"]["data"]


def test_a_file_of_a_message_goes_into_a_container_that_is_there(
    client: openai.OpenAI, ask: Ask, container: str
) -> None:
    """It is copied in; a file that is not there is refused with its place."""
    file_id = client.files.create(file=("in.txt", b"3"), purpose="user_data").id

    def text(file_id: str) -> Any:
        parts = [
            {"type": "input_text", "text": sh("cat *-in.txt")},
            {"type": "input_file", "file_id": file_id},
        ]
        return [{"role": "user", "content": parts}]

    assert ["3"] == [found.stdout for found in outputs(ask(text(file_id)))]
    with pytest.raises(openai.BadRequestError, match="No such File") as caught:
        ask(text("file-none"))
    assert "input[0].content[1].file_id" == caught.value.param


def test_values_of_secrets_are_nowhere(tmp_path: Path) -> None:
    """Not in the answer, not when it is asked for again, not in the journal, not on disk."""
    value = "canary-7f3a9c51d2"
    policy = {
        "type": "allowlist",
        "allowed_domains": ["api.example.com"],
        "domain_secrets": [{"domain": "api.example.com", "name": "TOKEN", "value": value}],
    }
    with LocalServer(tmp_path / "state") as server, client_of(server) as client:
        made = client.responses.create(
            model="m", input=sh("env; echo $TOKEN"), tools=[_auto(network_policy=policy)]
        )
        texts = [
            made.to_json(),
            client.responses.retrieve(made.id).to_json(),
            json.dumps([entry.body for entry in server.requests()]),
            server.stderr,
        ]
        shown = made.to_dict()["tools"][0]["environment"]["network_policy"]  # type: ignore[index]
        server.stop()
        texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]

    assert {"type": "allowlist", "allowed_domains": ["api.example.com"]} == shown
    assert "0" == str(outputs(made)[0].outcome.exit_code)
    assert [] == [text for text in texts if value in text]


def test_one_of_two_that_cannot_be_made_leaves_none(client: openai.OpenAI) -> None:
    """When the second container is refused, the first is deleted again."""
    tools: Any = [_auto(), code_in({"type": "auto", "file_ids": ["file-none"]})]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="m", input="hello", tools=tools)

    assert "tools[1].container.file_ids[0]" == caught.value.param
    assert [] == client.containers.list().data


def test_a_tool_that_is_never_called_makes_one_all_the_same(client: openai.OpenAI) -> None:
    """As the service does, which bills it."""
    client.responses.create(model="m", input="hello", tools=[code_in({"type": "auto"})])

    assert 1 == len(client.containers.list().data)


def test_a_conversation_goes_on(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """In the same container; only what is new is run."""
    first = ask(sh("echo 1 >> log.txt"))
    second = ask(sh("echo 2 >> log.txt; cat log.txt"), previous_response_id=first.id)

    assert ["1\n2\n"] == [found.stdout for found in outputs(second)]
    assert first.id == second.previous_response_id
    assert second.usage.input_tokens > first.usage.input_tokens


def test_code_goes_on_in_the_container_of_the_last_call(client: openai.OpenAI, ask: Ask) -> None:
    """With ``auto``, where the conversation has one; the shell gets a new one each time."""
    code = [code_in({"type": "auto"})]
    first = ask("```python\nopen('x', 'w').write('1')\n```", tools=code)
    second = ask(
        "```python\nprint(open('x').read())\n```",
        tools=code,
        previous_response_id=first.id,
        include=["code_interpreter_call.outputs"],
    )

    assert first.output[0].container_id == second.output[0].container_id
    assert "1\n" == second.output[0].outputs[0].logs


@pytest.mark.parametrize("end", ["expired", "deleted"])
def test_a_conversation_whose_container_is_gone(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask, container: str, end: str
) -> None:
    """It cannot go on, also not in a new container; what it said can be sent as text."""
    first = ask(sh("true"))
    if end == "expired":
        containers_server.advance_clock(1201)
    else:
        client.containers.delete(container)

    with pytest.raises(openai.APIStatusError) as caught:
        ask("go on", previous_response_id=first.id, tools=[_auto()])

    said = "Container is expired." if end == "expired" else f"Container with id '{container}' not found."
    assert (said, 400 if end == "expired" else 404) == (
        caught.value.body["message"],  # type: ignore[index]
        caught.value.status_code,
    )


def test_a_conversation_that_was_deleted(client: openai.OpenAI, ask: Ask) -> None:
    """Neither the last response nor one before it may be gone."""
    first = ask(sh("true"))
    second = ask("and?", previous_response_id=first.id)
    client.responses.delete(first.id)

    for previous in (first, second):
        with pytest.raises(openai.BadRequestError, match=f"Previous response with id '{first.id}' not found"):
            ask("go on", previous_response_id=previous.id)


def test_history_can_be_sent_again(ask: Ask, container: str) -> None:
    """All items of an answer are taken as input, and are not run again."""
    tools = [shell_in(container), code_in(container)]
    text = f"{sh('echo 1 >> log.txt')}\n```python\nprint(1)\n```"
    first = ask(text, tools=tools)
    history = [{"role": "user", "content": text}, *(item.to_dict() for item in first.output)]

    second = ask([*history, {"role": "user", "content": sh("cat log.txt")}], tools=tools)
    unasked = ask(history[:-1], tools=tools)

    assert ["1\n"] == [found.stdout for found in outputs(second)]
    assert [] == outputs(unasked)
    assert "Ran 2 of 2 blocks." in unasked.output_text


def test_a_long_conversation_is_shortened_where_that_is_wanted(ask: Ask) -> None:
    """With ``truncation`` the oldest items are left out; without, the request is refused."""
    long = [{"role": "user", "content": "x" * 9_000_000}]
    first = ask(long, tools=[])
    second = ask(long, tools=[], previous_response_id=first.id)
    third = ask(long, tools=[], previous_response_id=second.id)

    with pytest.raises(openai.BadRequestError, match="context window"):
        ask(long, tools=[], previous_response_id=third.id)
    cut = ask(long, tools=[], previous_response_id=third.id, truncation="auto")

    assert cut.usage.input_tokens < 32 << 20 >> 2
