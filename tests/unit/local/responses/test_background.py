"""Responses in the background: asked for, cancelled, deleted, and what a stop of the server leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from airflow_containers.testing import LocalServer
from tests.unit.local.responses.conftest import (
    client_of,
    outputs,
    sh,
    shell_in,
    strict,
    until,
    until_done,
)

Ask = Callable[..., Any]
LONG = "for i in $(seq 600); do echo $i >> beat.txt; touch begun; sleep 0.1; done"


def _has_begun(client: openai.OpenAI, container: str) -> bool:
    return any(file.path == "/mnt/data/begun" for file in client.containers.files.list(container))


def _has_stopped(server: LocalServer, container: str) -> bool:
    """Whether the long command writes no more."""
    beats = []
    for _ in range(2):
        beats.append(server.run(container, "cat beat.txt").stdout)
        time.sleep(0.4)
    return beats[0] == beats[1] != ""


def test_a_response_runs_while_nobody_waits(client: openai.OpenAI, ask: Ask) -> None:
    """It is queued, then in progress, then done, with the output of one that is waited for."""
    started = time.monotonic()
    made = ask(sh("sleep 1; echo out"), background=True)
    took = time.monotonic() - started

    first = client.responses.retrieve(made.id)
    done = until_done(client, made.id)

    assert ("queued", [], True) == (made.status, made.output, made.background)
    assert took < 1
    assert first.status in {"queued", "in_progress"}
    assert ("completed", ["out\n"]) == (done.status, [found.stdout for found in outputs(done)])


def test_cancelling_ends_the_commands(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask, container: str
) -> None:
    """What runs is killed at once; a second time changes nothing; nothing more is run."""
    made = ask(f"{sh(LONG)}\n{sh('touch after')}", background=True)
    until(lambda: _has_begun(client, container))

    first = client.responses.cancel(made.id)
    second = client.responses.cancel(made.id)

    assert _has_stopped(containers_server, container)
    assert ("cancelled", "cancelled") == (first.status, second.status)
    assert (
        first.to_dict()
        == second.to_dict()
        == strict(client.responses.retrieve(made.id)).to_dict() | {"tools": first.to_dict()["tools"]}
    )
    assert ["completed", "incomplete"] == [item.status for item in first.output]  # type: ignore[union-attr]
    assert "after" not in containers_server.run(container, "ls").stdout


def test_only_the_cancelled_one_ends(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """Another response that runs in the same container goes on."""
    made = ask(sh(LONG), background=True)
    other = ask(sh("while ! [ -e go ]; do sleep 0.05; done; echo went on"), background=True)
    until(lambda: _has_begun(client, container))

    client.responses.cancel(made.id)
    ask(sh("touch go"))

    assert ["went on\n"] == [found.stdout for found in outputs(until_done(client, other.id))]


def test_what_is_done_cannot_be_cancelled_any_more(client: openai.OpenAI, ask: Ask) -> None:
    """It stays what it is."""
    made = until_done(client, ask(sh("true"), background=True).id)

    assert "completed" == client.responses.cancel(made.id).status


def test_only_background_can_be_cancelled(client: openai.OpenAI, ask: Ask) -> None:
    """A response that somebody waited for is refused, an unknown one is not found."""
    made = ask(sh("true"))

    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id)
    with pytest.raises(openai.NotFoundError, match="Response with id 'resp_x' not found"):
        client.responses.cancel("resp_x")


def test_deleting_ends_it(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask, container: str
) -> None:
    """A response that is deleted runs no more, and is gone."""
    made = ask(sh(LONG), background=True)
    until(lambda: _has_begun(client, container))

    client.responses.delete(made.id)

    assert _has_stopped(containers_server, container)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_what_is_not_to_be_stored_is_forgotten_later(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask
) -> None:
    """A background response without ``store`` can be asked for during ten minutes after its end."""
    made = until_done(client, ask(sh("true"), background=True, store=False).id)

    containers_server.advance_clock(590)
    assert "completed" == client.responses.retrieve(made.id).status
    containers_server.advance_clock(20)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_container_that_expires_fails_it(
    client: openai.OpenAI, containers_server: LocalServer, ask: Ask, container: str
) -> None:
    """What runs for longer than its container lives is killed."""
    made = ask(f"{sh(LONG)}\n{sh('echo next')}", background=True)
    until(lambda: _has_begun(client, container))

    containers_server.advance_clock(1201)
    done = until_done(client, made.id)

    assert ("failed", "Container is expired.") == (done.status, done.error.message if done.error else "")
    assert 137 == outputs(done)[0].outcome.exit_code


def test_a_container_that_goes_fails_it(client: openai.OpenAI, ask: Ask, container: str) -> None:
    """The reason is the container's own; the command that ran was killed."""
    made = ask(f"{sh(LONG)}\n{sh('echo next')}", background=True)
    until(lambda: _has_begun(client, container))

    client.containers.delete(container)
    done = until_done(client, made.id)

    assert ("failed", "server_error") == (done.status, done.error.code if done.error else None)
    assert f"Container with id '{container}' not found." == (done.error.message if done.error else "")
    assert 137 == outputs(done)[0].outcome.exit_code
    assert "Killed: the container is gone\n" == outputs(done)[0].stderr


def test_a_running_response_is_no_previous_one(client: openai.OpenAI, ask: Ask) -> None:
    """Its items are not there yet, which the refusal says."""
    made = ask(sh("sleep 30"), background=True)

    with pytest.raises(openai.BadRequestError, match="not done yet"):
        ask("go on", previous_response_id=made.id)
    client.responses.cancel(made.id)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_ran_when_the_server_ended_has_failed(tmp_path: Path, end: str) -> None:
    """After a stop and after a crash; what was done is still there."""
    server = LocalServer(tmp_path / "state")
    with server:
        with client_of(server) as client:
            container = client.containers.create(name="work").id
            tools: Any = [shell_in(container)]
            done = client.responses.create(model="m", input=sh("echo 1"), tools=tools)
            ran = client.responses.create(
                model="m", input=f"{sh('echo 1; echo 1 >> log')}\n{sh(LONG)}", tools=tools, background=True
            )
            until(lambda: _has_begun(client, container))
        getattr(server, end)()
        server.start()
        with client_of(server) as client:
            after = strict(client.responses.retrieve(ran.id))
            kept = client.responses.retrieve(done.id)
            again: Any = client.responses.create(
                model="m", input=sh("cat log"), tools=tools, previous_response_id=ran.id
            )
        errors = [line for line in server.stderr.splitlines() if not line.startswith("commands")]

    assert ("failed", "server_error") == (after.status, after.error.code if after.error else None)
    assert "was stopped while" in (after.error.message if after.error else "")
    assert ["1\n"] == [found.stdout for found in outputs(after)]
    assert done.to_dict() == kept.to_dict()
    assert ["1\n"] == [found.stdout for found in outputs(again)]
    assert [] == errors


def test_a_reset_ends_what_runs(client: openai.OpenAI, containers_server: LocalServer, ask: Ask) -> None:
    """A server that is put back to its first state runs nothing and knows nothing."""
    made = ask(sh(LONG), background=True)

    containers_server.reset()

    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    assert "completed" == client.responses.create(model="m", input="hello").status


def test_many_at_once(client: openai.OpenAI, ask: Ask) -> None:
    """Thirty responses run side by side, each with its own output, and the server answers meanwhile."""
    made = [ask(sh(f"sleep 1; echo {number}"), background=True) for number in range(30)]
    started = time.monotonic()
    client.containers.list()
    took = time.monotonic() - started

    texts = [outputs(until_done(client, one.id, 120))[0].stdout for one in made]

    assert [f"{number}\n" for number in range(30)] == texts
    assert took < 5
