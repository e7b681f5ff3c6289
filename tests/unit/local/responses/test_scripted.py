"""The scripted model, turn by turn."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_containers.local.responses.model import CodeCall, ModelError, Say, ShellCall, Turn, Use
from airflow_containers.local.responses.scripted import ScriptedModel

BOTH = frozenset({"shell", "code_interpreter"})
SHELL = frozenset({"shell"})


def _message(text: str, role: str = "user") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def _ran(call_id: str = "call_1", **outcome: Any) -> list[dict[str, Any]]:
    output = {"stdout": "out\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}} | outcome
    return [
        {"type": "shell_call", "call_id": call_id, "action": {"commands": ["x"]}},
        {"type": "shell_call_output", "call_id": call_id, "output": [output]},
    ]


async def _next(
    *items: dict[str, Any], tools: frozenset[str] = SHELL, choice: str = "auto", **more: Any
) -> Any:
    return await ScriptedModel().next(Turn(None, items, tools, choice, (), "m", **more))


async def test_blocks_are_run_one_by_one() -> None:
    """The first block first, then the second, then the report."""
    message = _message("```sh\necho 1\n```\n```sh\necho 2\n```")

    first = await _next(message)
    second = await _next(message, *_ran("a"))
    end = await _next(message, *_ran("a"), *_ran("b"))

    assert [(ShellCall(("echo 1",)),), (ShellCall(("echo 2",)),)] == [first.calls, second.calls]
    assert isinstance(end, Say)
    assert "Ran 2 of 2 blocks." in end.text


async def test_only_the_last_user_messages_count() -> None:
    """What was asked for before an answer is not run again; messages in a row count as one."""
    items = [
        _message("```sh\nold\n```"),
        _message("done", "assistant"),
        _message("```sh\none\n```"),
        _message("be nice", "developer"),
        _message("```sh\ntwo\n```"),
    ]

    first = await _next(*items)
    second = await _next(*items, *_ran())

    assert ["one", "two"] == [first.calls[0].commands[0], second.calls[0].commands[0]]


async def test_what_an_earlier_response_was_asked_is_never_run() -> None:
    """Not even where it has left no trace, so that the old and the new message follow each other."""
    answer = await _next(_message("```sh\nold\n```"), _message("```sh\nnew\n```"), own=1)

    assert (ShellCall(("new",)),) == answer.calls


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
async def test_only_a_user_has_things_run(role: str) -> None:
    """Blocks of other roles are text."""
    answer = await _next(_message("```sh\nls\n```", role), _message("hello"))

    assert "nothing to run" in answer.text


async def test_python_goes_to_code_interpreter_or_to_the_shell() -> None:
    """With the tool it is code; without it, a here-document whose end is not in the code."""
    message = _message("```python\nprint('EOF')\n```")

    with_tool = await _next(message, tools=BOTH)
    forced = await _next(message, tools=BOTH, choice="shell")
    without = await _next(message)

    assert (CodeCall("print('EOF')"),) == with_tool.calls
    for answer in (forced, without):
        first, code, last = answer.calls[0].commands[0].split("\n")
        assert "print('EOF')" == code
        assert f"python3 - <<'{last}'" == first
        assert last != "EOF"


async def test_a_shell_block_needs_the_shell() -> None:
    """With code_interpreter alone it is not run, which the report says."""
    answer = await _next(_message("```sh\nls\n```"), tools=frozenset({"code_interpreter"}))

    assert "Ran 0 of 1 block.\nThe others need a tool" in answer.text


async def test_a_tool_that_must_be_called_for_nothing() -> None:
    """There is nothing to call it for, and the model says so instead of pretending."""
    with pytest.raises(ModelError, match="nothing to run"):
        await _next(_message("hello"), choice="required")


async def test_limits_and_parallel_lines() -> None:
    """What stands behind the language is in the call; parallel lines are commands of one call."""
    answer = await _next(_message("```sh parallel timeout_ms=5 max_output_length=7\na\n\nb\n```"))

    assert (ShellCall(("a", "b"), 5, 7),) == answer.calls


async def test_the_report_says_what_came_out() -> None:
    """Exit codes, time-outs, both streams and files, long texts cut."""
    answer = await _next(
        _message("```sh\na\n```\n```sh\nb\n```"),
        *_ran("a", stdout="x" * 5000, stderr="bad\n", outcome={"type": "exit", "exit_code": 3}),
        *_ran("b", stdout="", outcome={"type": "timeout"}),
        files=("/mnt/data/r.csv",),
    )

    assert (
        "Ran 2 of 2 blocks.\n\nBlock 1: exit code 3\nstdout:\n" + "x" * 2000 + "… (3001 more characters)"
        "\nstderr:\nbad\n\nBlock 2: timed out\n\nFiles:\n- /mnt/data/r.csv"
    ).replace("3001", "3000") == answer.text


async def test_the_report_is_cut_to_the_tokens_that_are_left() -> None:
    """Four bytes count as a token, and the answer says that it was cut."""
    answer = await _next(_message("ä" * 99), max_output_tokens=5)

    assert "max_output_tokens" == answer.cut
    assert 5 == answer.usage.output_tokens
    assert "There was nothing to" == answer.text


async def test_tokens_are_counted() -> None:
    """Everything that is read counts as input, what is written as output."""
    first = await _next(_message("```sh\necho 1\n```"))
    second = await _next(_message("```sh\necho 1\n```"), *_ran())

    assert isinstance(first, Use)
    assert (4, 2) == (first.usage.input_tokens, first.usage.output_tokens)
    assert second.usage.input_tokens > first.usage.input_tokens
