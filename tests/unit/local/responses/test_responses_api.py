"""Responses that somebody waits for, through the openai package."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.unit.local.responses.conftest import code_in, outputs, sh, shell_in, until

Ask = Callable[..., Any]


def test_a_file_goes_in_and_a_result_comes_out(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """Upload, run, cite and download, the whole way."""
    sent = client.containers.files.create(container, file=("in.txt", b"3\n1\n2\n"))

    response = ask(sh(f"sort {sent.path} > sorted.txt; echo done; echo oops >&2; exit 4"))

    call, output, message = response.output
    assert ("shell_call", "shell_call_output", "message") == (call.type, output.type, message.type)
    assert call.call_id == output.call_id
    assert (container, "completed") == (call.environment.container_id, call.status)
    assert [("done\n", "oops\n", 4)] == [
        (one.stdout, one.stderr, one.outcome.exit_code) for one in outputs(response)
    ]
    (cited,) = message.content[0].annotations
    assert ("container_file_citation", container, "sorted.txt") == (
        cited.type,
        cited.container_id,
        cited.filename,
    )
    assert "/mnt/data/sorted.txt" == response.output_text[cited.start_index : cited.end_index]
    content = client.containers.files.content.retrieve(cited.file_id, container_id=container)
    assert b"1\n2\n3\n" == content.read()
    listed = client.containers.files.retrieve(cited.file_id, container_id=container)
    assert ("assistant", "/mnt/data/sorted.txt") == (listed.source, listed.path)


def test_the_answer_says_who_decided(ask: Ask) -> None:
    """The model in the answer is the scripted one, whatever was asked for; status and usage are there."""
    response = ask(sh("true"), metadata={"run": "1"}, instructions="Be quick.")

    assert ("scripted-local", "completed", "response") == (response.model, response.status, response.object)
    assert ({"run": "1"}, "Be quick.") == (response.metadata, response.instructions)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert response.completed_at >= response.created_at


def test_what_is_stored_can_be_asked_for(client: openai.OpenAI, ask: Ask) -> None:
    """The same response again, until it is deleted; input items have pages."""
    made = ask(sh("true"))

    assert made.to_dict() == client.responses.retrieve(made.id).to_dict()
    (item,) = client.responses.input_items.list(made.id).data
    assert ("message", "user", sh("true")) == (item.type, item.role, item.content[0].text)
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found"):
        client.responses.retrieve(made.id)


def test_deleting_says_so(containers_server: LocalServer, ask: Ask) -> None:
    """The body of the answer, which the package throws away; a second time there is nothing."""
    made = ask(sh("true"))
    url = f"{containers_server.base_url}/responses/{made.id}"
    headers = {"authorization": "Bearer any"}

    first, second = (httpx.delete(url, headers=headers) for _ in range(2))

    assert {"id": made.id, "object": "response", "deleted": True} == first.json()
    assert 404 == second.status_code


def test_what_is_not_stored_cannot(client: openai.OpenAI, ask: Ask) -> None:
    """With ``store: false``, an answer is all there is."""
    made = ask(sh("true"), store=False)

    assert made.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match="not found") as caught:
        ask("again", previous_response_id=made.id)
    assert ("previous_response_not_found", "previous_response_id") == (caught.value.code, caught.value.param)


def test_input_items_have_pages(client: openai.OpenAI) -> None:
    """Newest first by default, from the one after ``after`` on; a foreign id is refused."""
    items: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    made = client.responses.create(model="m", input=items)

    def texts(**query: Any) -> list[str]:
        page = client.responses.input_items.list(made.id, **query)
        return [item.content[0].text for item in page.data]  # type: ignore[union-attr]

    first = client.responses.input_items.list(made.id, limit=2)
    assert ["4", "3"] == texts(limit=2)
    assert ["2", "1", "0"] == texts(after=first.data[-1].id)
    assert ["0", "1"] == texts(order="asc", limit=2)
    assert ["4", "3", "2", "1", "0"] == [
        item.content[0].text  # type: ignore[union-attr]
        for item in client.responses.input_items.list(made.id, limit=2)
    ]
    with pytest.raises(openai.BadRequestError, match="no input item with this id"):
        texts(after="msg_other")


def test_commands_of_one_call_run_at_once(ask: Ask) -> None:
    """Each waits for a file that the other makes, so one after the other would never end."""
    wait = "for i in $(seq 100); do [ -e {1} ] && echo met && break; sleep 0.1; done"
    one, two = (f"touch {a}; {wait.replace('{1}', b)}" for a, b in (("a", "b"), ("b", "a")))

    response = ask(sh(f"{one}\n{two}", more="parallel"))

    call = response.output[0]
    assert [one, two] == call.action.commands
    assert ["met\n", "met\n"] == [found.stdout for found in outputs(response)]


def test_a_command_that_takes_too_long(ask: Ask) -> None:
    """It is killed at its time-out, which is its outcome; what it had put out is there, others go on."""
    started = time.monotonic()

    response = ask(sh("echo begun; sleep 60", more="timeout_ms=700") + "\n" + sh("echo next"))

    first, second = outputs(response)
    assert time.monotonic() - started < 20
    assert ("timeout", "begun\n") == (first.outcome.type, first.stdout)
    assert ("exit", "next\n") == (second.outcome.type, second.stdout)
    assert 700 == response.output[0].action.timeout_ms
    assert "completed" == response.status


def test_output_is_cut_to_the_length_that_the_call_says(ask: Ask) -> None:
    """Both streams together; the length is in the call and in its output."""
    response = ask(sh("seq 1000; seq 1000 >&2", more="max_output_length=20"))

    (found,) = outputs(response)
    assert ("1\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n") == (found.stdout, found.stderr)
    assert [20, 20] == [response.output[0].action.max_output_length, response.output[1].max_output_length]


def test_a_flood_of_output_is_bounded(ask: Ask) -> None:
    """A response stays small, however much its commands write and however many there are."""
    flood = "head -c 30000000 /dev/zero | tr '\\0' x"

    response = ask(sh(*[flood] * 12))

    lengths = [len(found.stdout) for found in outputs(response)]
    assert 12 == len(lengths)
    assert 1 << 20 == lengths[0]
    assert sum(lengths) <= (8 << 20) + 12 * 1024
    assert min(lengths) >= 1024


def test_code_interpreter(client: openai.OpenAI, container: str, ask: Ask) -> None:
    """Python runs in the container; its output is shown where it was asked for."""
    text = "```python\nimport os\nprint(os.getcwd())\nopen('plot.svg', 'w').write('<svg/>')\n```"
    tools = [code_in(container)]

    silent = ask(text, tools=tools)
    spoken = ask(text, tools=tools, include=["code_interpreter_call.outputs"])

    assert ("code_interpreter_call", container, None) == (
        silent.output[0].type,
        silent.output[0].container_id,
        silent.output[0].outputs,
    )
    assert ["/mnt/data\n"] == [output.logs for output in spoken.output[0].outputs]
    assert "plot.svg" == spoken.output[-1].content[0].annotations[0].filename
    asked = client.responses.retrieve(silent.id, include=["code_interpreter_call.outputs"])
    assert spoken.output[0].outputs == asked.output[0].outputs  # type: ignore[union-attr]


def test_both_tools_each_in_its_container(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """Shell blocks go to the shell, Python blocks to the interpreter."""
    other = client.containers.create(name="other").id
    text = f"{sh('echo shell > s.txt')}\n```python\nopen('p.txt', 'w').write('python')\n```"

    ask(text, tools=[shell_in(container), code_in(other)])

    names = {
        place: [file.path for file in client.containers.files.list(place)] for place in (container, other)
    }
    assert {container: ["/mnt/data/s.txt"], other: ["/mnt/data/p.txt"]} == names


@pytest.mark.parametrize(
    ("choice", "ran"),
    [("none", 0), ("auto", 1), ("required", 1), ({"type": "shell"}, 1)],
)
def test_tool_choice(ask: Ask, choice: Any, ran: int) -> None:
    """With ``none`` nothing is run."""
    response = ask(sh("echo x"), tool_choice=choice)

    assert ran == len(outputs(response))
    assert "completed" == response.status


def test_a_tool_among_those_that_are_allowed(ask: Ask, container: str) -> None:
    """Of two tools, only the one that the choice allows is called."""
    response = ask(
        "```python\nprint(1)\n```",
        tools=[shell_in(container), code_in(container)],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "shell"}]},
    )

    assert ["1\n"] == [found.stdout for found in outputs(response)]


def test_a_tool_that_must_be_called_for_nothing(client: openai.OpenAI, ask: Ask) -> None:
    """The response fails and says why."""
    response = ask("Hello!", tool_choice="required")

    assert ("failed", "server_error") == (response.status, response.error.code)
    assert "nothing to run" in response.error.message
    assert "failed" == client.responses.retrieve(response.id).status


def test_max_tool_calls(ask: Ask) -> None:
    """Further calls are ignored, and the answer says that not all was run."""
    response = ask(sh("echo 1", "echo 2", "echo 3"), max_tool_calls=2)

    assert ["1\n", "2\n"] == [found.stdout for found in outputs(response)]
    assert "Ran 2 of 3 blocks." in response.output_text
    assert 2 == response.max_tool_calls


def test_an_answer_that_is_cut_is_incomplete(ask: Ask) -> None:
    """At ``max_output_tokens`` the answer ends, with the reason."""
    response = ask(sh("seq 300"), max_output_tokens=20)

    assert ("incomplete", "max_output_tokens") == (response.status, response.incomplete_details.reason)
    assert 20 == response.usage.output_tokens


def test_a_client_that_leaves_ends_what_runs_for_it(
    client: openai.OpenAI, containers_server: LocalServer, container: str
) -> None:
    """In the foreground nobody is left to read the answer, so its command is killed."""
    script = "for i in $(seq 600); do echo $i >> beat.txt; sleep 0.1; done"
    impatient = client.with_options(timeout=2)
    with pytest.raises(openai.APITimeoutError):
        impatient.responses.create(model="m", input=sh(script), tools=[shell_in(container)])

    def beat() -> str:
        return containers_server.run(container, "cat beat.txt").stdout

    def has_stopped() -> bool:
        before = beat()
        time.sleep(0.5)
        return bool(before) and before == beat()

    until(has_stopped)


def test_a_container_that_goes_while_it_is_used(client: openai.OpenAI, container: str) -> None:
    """Whoever waits gets what the container says to any request; the response has failed."""
    import threading

    caught: list[openai.APIStatusError] = []

    def run() -> None:
        try:
            client.responses.create(
                model="m",
                input=sh("touch begun; sleep 60", "echo next"),
                tools=[shell_in(container)],
            )
        except openai.APIStatusError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: len(client.containers.files.list(container).data) == 1)
    client.containers.delete(container)
    thread.join(30)

    assert [(404, f"Container with id '{container}' not found.")] == [
        (error.status_code, error.body["message"])  # type: ignore[index]
        for error in caught
    ]


def test_the_journal_has_the_request(containers_server: LocalServer, ask: Ask, container: str) -> None:
    """As any other: with its input, without values of secrets."""
    ask(sh("true"))

    (entry,) = containers_server.requests("POST", "/v1/responses")
    assert (200, sh("true")) == (entry.status, entry.body["input"])


def test_a_fault_before_the_answer(containers_server: LocalServer, ask: Ask) -> None:
    """Faults can be ordered for responses too; one before it is carried out leaves nothing."""
    containers_server.order_fault(path="/v1/responses", status=503)

    with pytest.raises(openai.InternalServerError):
        ask(sh("true"))

    assert "completed" == ask(sh("true")).status


def test_a_null_character_in_a_command_is_the_commands_problem(ask: Ask) -> None:
    """No command line can have one, so the command fails, not the request."""
    first, second = outputs(ask(sh("echo a\0b", "echo on")))

    assert [(126, ""), (0, "on\n")] == [(one.outcome.exit_code, one.stdout) for one in (first, second)]
