"""What a model on another server is told, and how its calls are understood, in both of the APIs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.local.responses import remote_chat, remote_responses
from airflow_containers.local.responses.model import CodeCall, ModelError, Say, ShellCall, Usage, Use
from airflow_containers.local.responses.remote_calls import CallError, FunctionCall, read_call
from airflow_containers.local.responses.remote_model import RemoteModel
from tests.support.model_server import (
    SKILL,
    ModelServer,
    Planned,
    chat,
    chat_call,
    chat_problem,
    function_call,
    message,
    response,
    responses_problem,
    shell_call,
    shell_output,
    turn,
    user,
)

Connect = Callable[..., RemoteModel]
BOTH = ("chat", "responses")


def says(api: str, text: str, usage: tuple[int, int] = (0, 0)) -> Planned:
    """An answer that is a text."""
    return chat(text, usage=usage) if api == "chat" else response(message(text), usage=usage)


def calls(api: str, *given: tuple[Any, Any, Any], text: str = "", usage: tuple[int, int] = (0, 0)) -> Planned:
    """An answer with calls."""
    if api == "chat":
        return chat(text or None, *(chat_call(*one) for one in given), usage=usage)
    before = [message(text)] if text else []
    return response(*before, *(function_call(*one) for one in given), usage=usage)


def outputs(api: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """Ids and texts of the outputs in a request."""
    if api == "chat":
        return [(one["tool_call_id"], one["content"]) for one in body["messages"] if one["role"] == "tool"]
    return [(one["call_id"], one["output"]) for one in body["input"] if one["type"] == "function_call_output"]


def prompt(api: str, body: dict[str, Any]) -> str:
    """The system prompt of a request."""
    if api == "chat":
        first = body["messages"][0]
        return first["content"] if first["role"] == "system" else ""
    return body.get("instructions", "")


@pytest.mark.parametrize("api", BOTH)
async def test_a_text_is_the_answer(api: str, server: ModelServer, connect: Connect) -> None:
    """A text ends the turn, with the tokens that it took."""
    server.plan(says(api, "There are three.", (12, 5)))

    assert Say("There are three.", Usage(12, 5)) == await connect(api=api).next(turn())
    assert "test-model" == server.bodies[0]["model"]


@pytest.mark.parametrize("api", BOTH)
async def test_parallel_calls_keep_their_order_and_ids(
    api: str, server: ModelServer, connect: Connect
) -> None:
    """Calls of both functions in one answer come in its order, with what was said beside."""
    server.plan(
        calls(
            api,
            ("call_1", "shell", {"commands": ["ls", "pwd"], "timeout_ms": 500, "max_output_length": 10}),
            ("call_2", "python", {"code": "print(1)"}),
            ("call_3", "shell", {"commands": ["id"], "timeout_ms": None}),
            text="I look.",
            usage=(7, 8),
        )
    )

    step = await connect(api=api).next(turn(tools=frozenset({"shell", "code_interpreter"})))

    expected = (
        ShellCall(("ls", "pwd"), 500, 10, "call_1"),
        CodeCall("print(1)", "call_2"),
        ShellCall(("id",), call_id="call_3"),
    )
    assert Use(expected, Usage(7, 8), "I look.") == step
    names = [tool.get("function", tool)["name"] for tool in server.bodies[0]["tools"]]
    assert ["shell", "python"] == names


@pytest.mark.parametrize("api", BOTH)
@pytest.mark.parametrize(
    ("choice", "function"),
    [("none", None), ("auto", None), ("required", None), ("shell", "shell"), ("code_interpreter", "python")],
)
async def test_the_choice_of_tools_is_handed_on(
    api: str, choice: str, function: str | None, server: ModelServer, connect: Connect
) -> None:
    """The words are the same in both APIs; a tool becomes the name of its function."""
    server.plan(says(api, "Yes."))
    tools = frozenset({"shell", "code_interpreter"})

    await connect(api=api).next(turn(tools=tools, tool_choice=choice))

    named = {"type": "function", "name": function}
    if api == "chat":
        named = {"type": "function", "function": {"name": function}}  # type: ignore[dict-item]
    assert (choice if function is None else named) == server.bodies[0]["tool_choice"]


@pytest.mark.parametrize("api", BOTH)
async def test_without_tools_none_are_offered(api: str, server: ModelServer, connect: Connect) -> None:
    """A request without tools has neither functions nor a choice, nor notes on a container."""
    server.plan(says(api, "Yes."))

    await connect(api=api).next(turn(tools=frozenset(), instructions="Be short."))

    assert not {"tools", "tool_choice"} & set(server.bodies[0])
    assert "Be short." == prompt(api, server.bodies[0])


@pytest.mark.parametrize("api", BOTH)
async def test_the_prompt_has_instructions_container_and_skills(
    api: str, server: ModelServer, connect: Connect
) -> None:
    """The instructions come first, then what a model has to know of its container."""
    server.plan(says(api, "Yes."))

    await connect(api=api).next(turn(instructions="Be short.", skills=(SKILL,), max_output_tokens=50))

    text = prompt(api, server.bodies[0])
    assert text.startswith("Be short.\n\nYou work in a Linux container.")
    assert "/mnt/data" in text
    assert text.endswith("\n- report (/home/oai/skills/report-1/SKILL.md): Makes reports.")
    limit = "max_completion_tokens" if api == "chat" else "max_output_tokens"
    assert 50 == server.bodies[0][limit]


async def test_settings_are_handed_on(server: ModelServer, connect: Connect) -> None:
    """What a request says of how to answer has its own names in each API."""
    settings = {"temperature": 0.5, "top_p": 0.9, "parallel_tool_calls": False, "verbosity": "low"}
    asked = turn(settings={**settings, "reasoning": {"effort": "low", "summary": "auto"}})
    server.plan(chat("A."), response(message("B.")), chat("C."), chat("D."))

    await connect(api="chat").next(asked)
    await connect(api="responses").next(asked)
    await connect(api="chat").next(turn(settings=settings, tools=frozenset()))
    await connect(api="chat").next(turn())

    known = {*settings, "reasoning", "reasoning_effort", "text"}
    first, second, third, last = (
        {name: value for name, value in body.items() if name in known} for body in server.bodies
    )
    assert {**settings, "reasoning_effort": "low"} == first
    del settings["verbosity"]
    reasoning = {"effort": "low", "summary": "auto"}
    assert {**settings, "reasoning": reasoning, "text": {"verbosity": "low"}} == second
    assert {"temperature": 0.5, "top_p": 0.9, "verbosity": "low"} == third
    assert {} == last


@pytest.mark.parametrize("api", BOTH)
async def test_history_becomes_calls_and_their_outputs(
    api: str, server: ModelServer, connect: Connect
) -> None:
    """Each call is followed by its output under its id, whatever the order of the items."""
    server.plan(says(api, "Done."))
    items = (
        user("Look."),
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        shell_call("call_a", "ls", "pwd", timeout_ms=100),
        shell_call("call_b", "false"),
        shell_output("call_b", ("", "no\n", 1)),
        shell_output("call_a", ("x\n", "", 0), ("/mnt/data\n", "", None)),
        {
            "type": "code_interpreter_call",
            "id": "ci_1",
            "code": "print(2)",
            "status": "completed",
            "outputs": [{"type": "logs", "logs": "2\n"}],
        },
        user("And?"),
    )

    await connect(api=api).next(turn(*items))

    body = server.bodies[0]
    expected = [
        ("call_a", "$ ls\nx\n[exit code 0]\n\n$ pwd\n/mnt/data\n[ended: it took too long]"),
        ("call_b", "[stderr]\nno\n[exit code 1]"),
        ("ci_1", "2"),
    ]
    assert expected == outputs(api, body)
    if api == "chat":
        roles = ["system", "user", "assistant", "tool", "tool", "assistant", "tool", "user"]
        assert roles == [one["role"] for one in body["messages"]]
        together = body["messages"][2]
        assert "I look." == together["content"]
        assert ["call_a", "call_b"] == [call["id"] for call in together["tool_calls"]]
        arguments = json.loads(together["tool_calls"][0]["function"]["arguments"])
    else:
        kinds = [one["type"] for one in body["input"]]
        assert ["message", "message", "function_call", "function_call"] == kinds[:4]
        arguments = json.loads(body["input"][2]["arguments"])
    assert {"commands": ["ls", "pwd"], "timeout_ms": 100} == arguments


@pytest.mark.parametrize("api", BOTH)
async def test_calls_and_outputs_without_each_other(api: str, server: ModelServer, connect: Connect) -> None:
    """A call that was never answered gets an output that says so; an output of no call becomes a message."""
    server.plan(says(api, "Done."))

    await connect(api=api).next(
        turn(user("Look."), shell_call("call_a", "ls"), shell_output("call_x", ("lost\n", "", 0)))
    )

    body = server.bodies[0]
    assert [("call_a", "No output was kept of this call.")] == outputs(api, body)
    last = (body["messages"] if api == "chat" else body["input"])[-1]
    assert ("user", "Output of an earlier command:\nlost\n[exit code 0]") == (last["role"], last["content"])


@pytest.mark.parametrize("api", BOTH)
async def test_long_outputs_lose_their_middle(api: str, server: ModelServer, connect: Connect) -> None:
    """A model gets the start and the end of what is too long for it."""
    server.plan(says(api, "Done."))
    long = "a" * 30_000 + "b" * 60_000 + "c" * 30_000

    await connect(api=api).next(turn(shell_call("call_a", "cat"), shell_output("call_a", (long, "", 0))))

    ((_, text),) = outputs(api, server.bodies[0])
    assert len(text) < 41_000
    assert text.startswith("aaa")
    assert text.endswith("ccc\n[exit code 0]")
    assert "80000 characters left out" in text


async def test_pictures_and_files_are_handed_on(server: ModelServer, connect: Connect) -> None:
    """What both APIs can carry arrives; an id of a file is refused where there is no container."""
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    file = {"type": "input_file", "file_data": "data:text/plain;base64,AA==", "filename": "a.txt"}
    text = {"type": "input_text", "text": "Look."}
    item = {"type": "message", "role": "user", "content": [text, image, file]}
    server.plan(chat("A."), response(message("B.")))

    await connect(api="chat").next(turn(item))
    await connect(api="responses").next(turn(item))

    chat_parts = server.bodies[0]["messages"][-1]["content"]
    assert ["text", "image_url", "file"] == [part["type"] for part in chat_parts]
    assert [text, image, file] == server.bodies[1]["input"][-1]["content"]
    by_id = {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}
    for api in BOTH:
        with pytest.raises(ModelError, match="content of type 'input_file' cannot be handed to"):
            await connect(api=api).next(turn(by_id, tools=frozenset()))


@pytest.mark.parametrize("api", BOTH)
async def test_files_by_id_are_said_to_be_in_the_container(
    api: str, server: ModelServer, connect: Connect
) -> None:
    """The local server has copied them there; their ids mean nothing to the model's server."""
    server.plan(says(api, "Yes."))
    parts = [{"type": "input_text", "text": "Look."}, {"type": "input_file", "file_id": "file-1"}]

    await connect(api=api).next(turn({"type": "message", "role": "user", "content": parts}))

    body = server.bodies[0]
    last = (body["messages"] if api == "chat" else body["input"])[-1]
    assert "Look.\n[The file file-1 is attached: it is in the container, in /mnt/data.]" == last["content"]


async def test_developers_are_systems_in_chat(server: ModelServer, connect: Connect) -> None:
    """Few servers of Chat Completions know the role of developers."""
    item = {"type": "message", "role": "developer", "content": "Be kind."}
    server.plan(chat("A."), response(message("B.")))

    await connect(api="chat").next(turn(item, user("x")))
    await connect(api="responses").next(turn(item, user("x")))

    assert {"role": "system", "content": "Be kind."} == server.bodies[0]["messages"][1]
    assert {"type": "message", "role": "developer", "content": "Be kind."} == server.bodies[1]["input"][0]


@pytest.mark.parametrize("api", BOTH)
@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("shell", '{"commands": ["ls"', "The arguments are not valid JSON"),
        ("shell", "[1]", "have to be a JSON object, but were [1]."),
        ("shell", {}, "'commands' has to be a list with at least one command."),
        ("shell", {"commands": []}, "'commands' has to be a list with at least one command."),
        ("shell", {"commands": ["ls", 3]}, "'commands[1]' has to be a text that is not empty."),
        ("shell", {"commands": [" "]}, "'commands[0]' has to be a text that is not empty."),
        ("shell", {"commands": ["a\0b"]}, "'commands[0]' has a NUL character."),
        ("shell", {"commands": ["x"] * 65}, "at most 64 commands, but has 65."),
        ("shell", {"commands": ["ls"], "timeout_ms": 0}, "'timeout_ms' has to be a whole number"),
        ("shell", {"commands": ["ls"], "timeout_ms": "soon"}, "'timeout_ms' has to be a whole number"),
        ("shell", {"commands": ["ls"], "max_output_length": 1.5}, "'max_output_length' has to be"),
        ("shell", '{"commands": ["\\ud800"]}', "half a surrogate pair"),
        ("bash", {"commands": ["ls"]}, "There is no function 'bash'. The functions are: 'shell'."),
        ("python", {"code": "1"}, "There is no function 'python'. The functions are: 'shell'."),
    ],
    ids=str,
)
async def test_calls_that_make_no_sense_are_told_back(
    api: str, name: str, arguments: Any, told: str, server: ModelServer, connect: Connect
) -> None:
    """The model learns what was wrong with its call and makes a better one; nothing ran meanwhile."""
    server.plan(
        calls(api, ("call_1", name, arguments), ("call_2", "shell", {"commands": ["id"]}), usage=(1, 2)),
        calls(api, ("call_3", "shell", {"commands": ["ls"]}), usage=(10, 20)),
    )

    step = await connect(api=api).next(turn())

    assert Use((ShellCall(("ls",), call_id="call_3"),), Usage(11, 22)) == step
    (_, wrong), (_, beside) = outputs(api, server.bodies[1])
    assert told in wrong
    assert "not carried out, because another one beside it was wrong" in beside


@pytest.mark.parametrize("api", BOTH)
async def test_nonsense_ends(api: str, server: ModelServer, connect: Connect) -> None:
    """A model that does not learn is asked four times, and then the turn fails with what was wrong."""
    server.plan(*(calls(api, ("call_1", "ls", {})) for _ in range(4)))

    with pytest.raises(ModelError, match=r"no sense 4 times in a row; at last: There is no function 'ls'\."):
        await connect(api=api).next(turn())


@pytest.mark.parametrize("api", BOTH)
async def test_calls_that_may_not_be_made_are_told_back(
    api: str, server: ModelServer, connect: Connect
) -> None:
    """A model that calls although it was told not to has to answer."""
    server.plan(calls(api, ("call_1", "shell", {"commands": ["ls"]})), says(api, "All right."))

    assert Say("All right.") == await connect(api=api).next(turn(tool_choice="none"))
    ((_, text),) = outputs(api, server.bodies[1])
    assert "The functions are: none." in text


@pytest.mark.parametrize("api", BOTH)
@pytest.mark.parametrize("call_id", ["", None, 7, "x" * 65, "é", "call_old", "a\nb"], ids=repr)
async def test_ids_that_will_not_do_are_left_to_the_server(
    api: str, call_id: Any, server: ModelServer, connect: Connect
) -> None:
    """An id that is missing, too long, odd or used already is not taken over."""
    server.plan(calls(api, (call_id, "shell", {"commands": ["ls"]}), ("new", "shell", {"commands": ["id"]})))

    step = await connect(api=api).next(
        turn(user("x"), shell_call("call_old", "ls"), shell_output("call_old", ("", "", 0)))
    )

    assert isinstance(step, Use)
    assert [None, "new"] == [call.call_id for call in step.calls]


async def test_what_small_models_mean_is_understood(server: ModelServer, connect: Connect) -> None:
    """A single command, an object instead of its text, a whole number with a point."""
    server.plan(
        chat(
            None,
            chat_call("a", "shell", {"command": "ls"}),
            chat_call("b", "shell", {"commands": "id", "timeout_ms": 1000.0}),
            {"id": "c", "type": "function", "function": {"name": "shell", "arguments": {"commands": ["w"]}}},
        )
    )

    step = await connect(api="chat").next(turn())

    expected = (ShellCall(("ls",), None, None, "a"), ShellCall(("id",), 1000, None, "b"))
    assert Use((*expected, ShellCall(("w",), None, None, "c"))) == step


@pytest.mark.parametrize(
    ("api", "answer", "expected"),
    [
        ("chat", chat(None, message={"refusal": "I will not."}), Say("I will not.")),
        ("responses", response(message("I will not.", "refusal")), Say("I will not.")),
        ("chat", chat("Once up", finish_reason="length"), Say("Once up", cut="max_output_tokens")),
        ("chat", chat("Once", finish_reason="content_filter"), Say("Once", cut="content_filter")),
        (
            "chat",
            chat(None, chat_call("a", "shell", '{"comm'), finish_reason="length"),
            Say("", cut="max_output_tokens"),
        ),
        (
            "responses",
            response(
                message("Once"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
            ),
            Say("Once", cut="max_output_tokens"),
        ),
        (
            "responses",
            response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            Say("", cut="content_filter"),
        ),
        ("chat", chat(None), Say("")),
        ("chat", chat(None, message={"content": [{"type": "text", "text": "Hi."}]}), Say("Hi.")),
        ("chat", chat("\ud800."), Say("?.")),
        ("chat", Planned(body={"choices": [{"message": {"content": "No tokens."}}]}), Say("No tokens.")),
        ("responses", response({"type": "reasoning", "summary": []}, message("A.")), Say("A.")),
    ],
    ids=str,
)
async def test_other_answers(
    api: str, answer: Planned, expected: Say, server: ModelServer, connect: Connect
) -> None:
    """Refusals are texts; what was cut says why; what is no text of ours is left out."""
    server.plan(answer)

    assert expected == await connect(api=api).next(turn())


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
@settings(deadline=None)
def test_any_arguments_are_read_or_refused(value: Any) -> None:
    """Arguments of any shape give a call that can be run, or a text for the model."""
    keys = ("commands", "command", "code", "timeout_ms", "max_output_length")
    for name, arguments in (
        ("shell", dict.fromkeys(keys, value)),
        ("shell", {"commands": ["ls"], "timeout_ms": value}),
        ("python", {"code": value}),
        ("shell", value),
        (value, "{}"),
    ):
        for given_arguments in (arguments, json.dumps(arguments)):
            try:
                call = read_call(
                    FunctionCall(value, name, given_arguments), {"shell", "code_interpreter"}, set()
                )
            except CallError as error:
                str(error).encode()
                continue
            texts = call.commands if isinstance(call, ShellCall) else (call.code,)
            assert texts
            for text in texts:
                assert text.strip()
                assert b"\0" not in text.encode()
            assert call.call_id is None or 1 <= len(call.call_id) <= 64


_ITEMS = st.lists(
    st.one_of(
        st.sampled_from(["user", "assistant", "system"]).map(
            lambda role: {"type": "message", "role": role, "content": "text"}
        ),
        st.sampled_from("abc").map(lambda call_id: shell_call(call_id, "ls")),
        st.sampled_from("abc").map(lambda call_id: shell_output(call_id, ("", "", 0))),
        st.just({"type": "code_interpreter_call", "id": "ci", "code": "1", "outputs": None}),
    ),
    max_size=12,
)


@given(items=_ITEMS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_makes_a_request_that_servers_take(items: list[dict[str, Any]]) -> None:
    """Whatever stands in a conversation, every call has one output and every output a call."""
    asked = turn(user("x"), *items)

    assert chat_problem(remote_chat.request(asked, "m")) is None
    assert responses_problem(remote_responses.request(asked, "m")) is None
