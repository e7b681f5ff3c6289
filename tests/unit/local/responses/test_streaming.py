"""Events: their order and types, and that they add up to the response."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import groupby
from typing import Any

import httpx
import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.unit.local.responses.conftest import (
    code_in,
    outputs,
    sh,
    shell_in,
    strict_events,
    until,
    until_done,
)

Ask = Callable[..., Any]
TEXT = f"{sh('echo out; echo err >&2; touch a.txt')}\n```python\nprint(6 * 7)\n```"


def _same(response: Any) -> Any:
    """A response without what differs from one run to the next."""
    text = json.dumps(response.to_dict())
    known: dict[str, str] = {}
    for prefix in ("resp_", "msg_", "sho_", "sh_", "ci_", "call_", "cfile_"):
        for part in text.split(f'"{prefix}')[1:]:
            old = prefix + part.partition('"')[0]
            known.setdefault(old, f"{prefix}{len(known)}")
    for old, new in known.items():
        text = text.replace(old, new)
    return json.loads(text) | {"created_at": 0, "completed_at": 0}


@pytest.mark.parametrize("background", [False, True])
def test_all_ways_give_the_same_response(
    client: openai.OpenAI, ask: Ask, container: str, *, background: bool
) -> None:
    """Waited for, read as events, collected by the package's helper, streamed again: one and the same."""
    tools: Any = [shell_in(container), code_in(container)]
    include: Any = ["code_interpreter_call.outputs"]
    options: Any = {"tools": tools, "include": include}
    ask("```sh\ntouch a.txt\n```")
    waited = ask(TEXT, **options)
    if background:
        options["background"] = True

    events = strict_events(ask(TEXT, stream=True, **options))
    with client.responses.stream(model="gpt-5.2", input=TEXT, **options) as stream:
        helped = stream.get_final_response()

    final = events[-1].response
    kept = client.responses.retrieve(final.id, include=include)
    assert final.to_dict() == kept.to_dict()
    both = [_same(response) for response in (waited, final)]
    assert both[0] | {"background": background} == both[1]
    assert helped.output_text == waited.output_text
    assert [item.type for item in helped.output] == [item.type for item in waited.output]
    if background:
        again = strict_events(client.responses.retrieve(final.id, stream=True))
        assert [event.to_dict() for event in events] == [event.to_dict() for event in again]
        with client.responses.stream(response_id=final.id, starting_after=5) as stream:
            assert stream.get_final_response().output_text == waited.output_text


def test_the_order_of_events(ask: Ask, container: str) -> None:
    """As published: the response, then each item from its beginning to its end."""
    events = strict_events(ask(TEXT, stream=True, tools=[shell_in(container), code_in(container)]))

    names = [name.removeprefix("response.") for name, _ in groupby(event.type for event in events)]
    assert [
        *("created", "in_progress"),
        *("output_item.added", "shell_call_command.added", "shell_call_command.delta"),
        *("shell_call_command.done", "output_item.done"),
        *("output_item.added", "shell_call_output_content.delta", "shell_call_output_content.done"),
        "output_item.done",
        *("output_item.added", "code_interpreter_call.in_progress"),
        *("code_interpreter_call_code.delta", "code_interpreter_call_code.done"),
        *("code_interpreter_call.interpreting", "code_interpreter_call.completed", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.annotation.added", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ] == names


def test_deltas_add_up(ask: Ask) -> None:
    """Commands, both output streams and the text are the sums of their deltas."""
    script = "seq 500; seq 501 900 >&2 # " + "x" * 300

    events = strict_events(ask(sh(script, "true"), stream=True))

    response = events[-1].response
    sums: dict[str, str] = {}
    for event in events:
        if event.type == "response.shell_call_output_content.delta":
            for name, value in event.delta.to_dict().items():
                sums[name] = sums.get(name, "") + value
        elif event.type.endswith(".delta"):
            key = f"{event.type} {event.output_index}"
            sums[key] = sums.get(key, "") + event.delta
    first = outputs(response)[0]
    assert {
        "response.shell_call_command.delta 0": script,
        "response.shell_call_command.delta 2": "true",
        "stdout": first.stdout,
        "stderr": first.stderr,
        "response.output_text.delta 4": response.output_text,
    } == sums


def test_events_come_while_it_runs(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """What is known is sent at once, not at the end; each command's output when it is there."""
    seen: dict[str, float] = {}
    for event in ask(sh("echo 1\nsleep 2; echo 2", more="parallel"), stream=True):
        seen[f"{event.type} {getattr(event, 'command_index', '')}"] = time.monotonic()

    first = seen["response.shell_call_output_content.done 0"]
    assert seen["response.shell_call_output_content.done 1"] - first > 1
    assert first - seen["response.in_progress "] < 1


def test_a_stream_is_taken_up_again(client: openai.OpenAI, ask: Ask) -> None:
    """A client that has lost its connection goes on after the last event it has, to the same end."""
    first = []
    with ask(sh("echo 1; sleep 1", "echo 2"), stream=True, background=True) as stream:
        for event in stream:
            first.append(event)
            if event.type == "response.shell_call_command.done":
                break
    response_id = first[0].response.id

    rest = strict_events(
        client.responses.retrieve(response_id, stream=True, starting_after=first[-1].sequence_number)
    )

    assert [event.to_dict() for event in first] + [event.to_dict() for event in rest] == [
        event.to_dict() for event in client.responses.retrieve(response_id, stream=True)
    ]
    assert ["created", "queued", "in_progress"] == [
        event.type.removeprefix("response.") for event in first[:3]
    ]
    assert ("completed", "completed") == (
        rest[-1].response.status,
        client.responses.retrieve(response_id).status,
    )


def test_only_what_was_made_for_it_is_streamed_again(client: openai.OpenAI, ask: Ask) -> None:
    """Without ``background`` and ``stream`` there is no second stream; nor a start in no stream."""
    made = [
        ask(sh("true")).id,
        until_done(client, ask(sh("true"), background=True).id).id,
        strict_events(ask(sh("true"), stream=True))[-1].response.id,
    ]

    for response_id in made:
        with pytest.raises(openai.BadRequestError, match="both 'background' and 'stream'"):
            client.responses.retrieve(response_id, stream=True)
    with pytest.raises(openai.BadRequestError, match="only allowed when 'stream'"):
        client.responses.retrieve(made[0], starting_after=3)


def test_a_failure_is_an_event(ask: Ask) -> None:
    """The last event is that of a response that has failed or is incomplete."""
    failed = strict_events(ask("nothing", stream=True, tool_choice="required"))[-1]
    cut = strict_events(ask(sh("seq 99"), stream=True, max_output_tokens=16))[-1]

    assert ("response.failed", "failed") == (failed.type, failed.response.status)
    assert ("response.incomplete", "incomplete") == (cut.type, cut.response.status)


def test_a_stream_ends_with_what_is_cancelled(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """There is no event for it; the last one closes the item that was under way."""
    stream = ask(sh("touch begun; sleep 60"), stream=True, background=True)
    first = next(iter(stream))
    until(lambda: client.containers.files.list(container).data)

    client.responses.cancel(first.response.id)
    rest = strict_events(stream)

    assert ("response.output_item.done", "incomplete") == (rest[-1].type, rest[-1].item.status)
    again = client.responses.retrieve(first.response.id, stream=True)
    assert [event.to_dict() for event in (first, *rest)] == [event.to_dict() for event in again]


def test_a_container_that_goes_is_an_error_in_the_stream(
    client: openai.OpenAI, ask: Ask, container: str
) -> None:
    """The package raises it without a status, as it does for the service."""
    stream = ask(sh("touch begun; sleep 60", "true"), stream=True)
    next(iter(stream))
    until(lambda: client.containers.files.list(container).data)

    client.containers.delete(container)

    with pytest.raises(openai.APIError, match=f"Container with id '{container}' not found") as caught:
        list(stream)
    assert not isinstance(caught.value, openai.APIStatusError)


def test_a_reader_that_leaves_ends_it(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask, container: str
) -> None:
    """In the foreground its command is killed; in the background it goes on."""
    script = "touch begun-{0}; sleep 3; touch end-{0}"
    for name, background in (("a", False), ("b", True)):
        with ask(sh(script.replace("{0}", name)), stream=True, background=background) as stream:
            next(iter(stream))
            until(lambda: "begun" in containers_server.run(container, f"ls | grep -- -{name}").stdout)  # noqa: B023

    until(lambda: "end-b" in containers_server.run(container, "ls").stdout)
    assert "end-a" not in containers_server.run(container, "ls").stdout


def test_lines_of_the_stream(containers_server: LocalServer, container: str) -> None:
    """Each event has its name and one line of data, whatever characters commands put out."""
    body = {
        "model": "m",
        "input": sh(r"printf 'a\xc2\x85b\xe2\x80\xa8c\xe2\x80\xa9d\re\x00f'"),
        "tools": [shell_in(container)],
        "stream": True,
    }
    answer = httpx.post(
        f"{containers_server.base_url}/responses",
        json=body,
        headers={"authorization": "Bearer any"},
        timeout=60,
    )

    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert answer.headers["x-request-id"]
    lines = answer.text.splitlines()
    assert {0} == {len(line) for line in lines[2::3]}
    for name, data in zip(lines[::3], lines[1::3], strict=True):
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"
    last = json.loads(lines[-2].removeprefix("data: "))["response"]
    assert "a\x85b\u2028c\u2029d\re\x00f" == last["output"][1]["output"][0]["stdout"]


def test_a_reader_who_does_not_read_holds_up_nobody(client: openai.OpenAI, ask: Ask) -> None:
    """A large stream waits for its reader while others are served, and then arrives in full."""
    stream = ask(sh(*["head -c 1000000 /dev/zero | tr '\\0' x"] * 4), stream=True)
    next(iter(stream))
    started = time.monotonic()
    assert "completed" == ask(sh("true")).status
    took = time.monotonic() - started

    events = strict_events(stream)

    assert took < 10
    assert [1000000] * 4 == [len(found.stdout) for found in outputs(events[-1].response)]


@pytest.mark.parametrize(
    ("order", "whole", "ends_well"),
    [
        ({"headers": {"x-mark": "1"}}, True, True),
        ({"delay": 0.1, "when": "after"}, True, True),
        ({"drip": {"bytes": 500, "seconds": 0.001}}, True, True),
        ({"malformed": True}, False, True),
        ({"truncate": True}, False, False),
        ({"truncate": 3000}, False, False),
        ({"reset_after": 3000}, False, False),
    ],
)
def test_faults_touch_streams(
    containers_server: LocalServer, ask: Ask, order: dict[str, Any], *, whole: bool, ends_well: bool
) -> None:
    """A fault that leaves the true answer leaves its events, too, as far as it lets them through."""
    containers_server.order_fault(method="POST", path="/v1/responses", **order)

    types = []
    try:
        for event in ask(sh("echo 1"), stream=True):
            types += [event.type]
    except (openai.APIConnectionError, httpx.TransportError):
        assert not ends_well
    else:
        assert ends_well

    assert whole == ("response.completed" in types)
    assert whole or order.get("truncate") is not True or len(types) > 5


def test_a_fault_after_the_work_hides_a_stream(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask, container: str
) -> None:
    """The commands have run to their end, although nobody is told."""
    containers_server.order_fault(method="POST", path="/v1/responses", status=500, when="after")

    with pytest.raises(openai.InternalServerError):
        ask(sh("sleep 0.3; touch done"), stream=True)

    assert ["/mnt/data/done"] == [file.path for file in client.containers.files.list(container)]
