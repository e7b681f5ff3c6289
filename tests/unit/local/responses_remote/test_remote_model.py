"""Reaching a model on another server: which API, what is sent again, what is said when it fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_containers.local.egress.secrets import SecretText
from airflow_containers.local.responses.model import ModelError, Say, ShellCall, Use
from airflow_containers.local.responses.remote_model import MAX_ANSWER_BYTES, RemoteModel
from tests.support.model_server import (
    CHAT,
    KEY,
    RESPONSES,
    ModelServer,
    Planned,
    chat,
    chat_call,
    message,
    response,
    turn,
)

Connect = Callable[..., RemoteModel]


def refused(status: int, text: str = "Sorry.", headers: dict[str, str] | None = None, **more: Any) -> Planned:
    """An error in the platform's envelope."""
    return Planned(status, {"error": {"message": text, "type": None, "code": None, **more}}, headers or {})


def paths(server: ModelServer) -> list[str]:
    """The paths that were asked for."""
    return [one.path for one in server.received]


async def test_the_responses_api_is_tried_first(server: ModelServer, connect: Connect) -> None:
    """A server with both APIs is asked by the newer one, each time."""
    server.plan(response(message("A.")), response(message("B.")))
    model = connect()

    assert [Say("A."), Say("B.")] == [await model.next(turn()), await model.next(turn())]
    assert [RESPONSES, RESPONSES] == paths(server)


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_of_chat_completions_is_found_out_once(
    status: int, server: ModelServer, connect: Connect
) -> None:
    """A server that does not know the newer API is asked by the older one from then on."""
    server.paths = {CHAT}
    server.missing = refused(status)
    server.plan(chat("A."), chat("B."))
    model = connect()

    assert [Say("A."), Say("B.")] == [await model.next(turn()), await model.next(turn())]
    assert [RESPONSES, CHAT, CHAT] == paths(server)


@pytest.mark.parametrize(("path", "api"), [("/chat/completions", "chat"), ("/responses/", "responses")])
async def test_the_end_of_the_url_names_the_api(
    path: str, api: str, server: ModelServer, connect: Connect
) -> None:
    """A whole address is taken as it is, with its query."""
    server.plan(chat("A.") if api == "chat" else response(message("A.")))

    assert Say("A.") == await connect(f"{server.url}{path}?api-version=preview").next(turn())
    assert [f"/v1{path.rstrip('/')}?api-version=preview"] == paths(server)


async def test_a_model_that_is_not_there_is_not_looked_for_elsewhere(
    server: ModelServer, connect: Connect
) -> None:
    """A 404 for the model is none for the API."""
    server.plan(refused(404, "The model 'x' does not exist.", code="model_not_found"))

    with pytest.raises(ModelError, match=r"has no such model.*\(404\): The model 'x' does not exist\."):
        await connect().next(turn())
    assert [RESPONSES] == paths(server)


async def test_neither_api(server: ModelServer, connect: Connect) -> None:
    """An address that leads to no API at all is said with the address."""
    server.paths = set()

    with pytest.raises(ModelError, match=r"does not speak Chat Completions at http://127\.0\.0\.1:\d+/v1"):
        await connect().next(turn())


async def test_the_model_is_the_operators_else_the_requests(server: ModelServer, connect: Connect) -> None:
    """What the server was started with counts; without it, what the request names; one is needed."""
    server.plan(response(message("A.")), response(message("B.")))
    free = connect(model=None)

    await connect().next(turn())
    await free.next(turn())

    assert ["test-model", "asked-model"] == [body["model"] for body in server.bodies]
    assert ("test-model", "") == (connect().name, free.name)
    with pytest.raises(ModelError, match="name one in the request, or start the server with --model"):
        await free.next(turn(model=""))


async def test_the_key_is_a_bearer_token_or_not_sent(server: ModelServer, connect: Connect) -> None:
    """The key is in one header only; without one there is none."""
    server.plan(response(message("A.")), response(message("B.")))

    await connect().next(turn())
    await connect(key=None).next(turn())

    first, second = server.received
    assert f"Bearer {KEY}" == first.headers["authorization"]
    assert 1 == str(first).count(KEY)
    assert "authorization" not in second.headers


async def test_azure_gets_its_own_header() -> None:
    """Azure takes keys in another header."""
    model = RemoteModel("https://here.openai.azure.com/openai/v1/", SecretText(KEY), "m")

    headers = model._headers()

    assert KEY == headers["api-key"]
    assert "authorization" not in headers


@pytest.mark.parametrize("key", ["", " a", "a\nb", "schlüssel"], ids=repr)
def test_a_key_that_cannot_be_one(key: str) -> None:
    """A key with odd characters is refused at once, and not repeated."""
    with pytest.raises(ValueError, match=r"^the key for the model's server has characters that no key has$"):
        RemoteModel("http://127.0.0.1/v1", SecretText(key), "m")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
async def test_what_may_pass_is_sent_again(status: int, server: ModelServer, connect: Connect) -> None:
    """A server that cannot for now is asked again; what was asked is the same."""
    server.plan(refused(status), Planned(drop=True), response(message("A.")))

    assert Say("A.") == await connect().next(turn())
    assert 3 == len(server.bodies)
    assert server.bodies[0] == server.bodies[1] == server.bodies[2]


async def test_the_servers_pause_is_kept(server: ModelServer, connect: Connect) -> None:
    """`Retry-After` counts, in both of its forms."""
    server.plan(
        refused(429, headers={"retry-after": "0.2"}),
        refused(503, headers={"retry-after-ms": "200", "retry-after": "50"}),
        response(message("A.")),
    )
    start = time.monotonic()

    await connect().next(turn())

    assert 0.4 <= time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refused(429, headers={"retry-after": "3600"}), r"takes no more requests for now \(429\): Sorry\."),
        (refused(429, "No money.", code="insufficient_quota"), r"\(429\): No money\."),
        (refused(400, "Bad tool."), r"refused the request \(400\): Bad tool\."),
        (refused(403, f"Not for {KEY}."), r"refused the request \(403\): Not for \*\*\*\."),
        (
            refused(401, f"Incorrect API key provided: {KEY[:9]}."),
            r"^[^:]*refused the key in \$AIRFLOW.* \(401\)$",
        ),
        (
            Planned(307, "", {"location": "http://127.0.0.1:1/"}),
            "give --model-url the address that it leads to",
        ),
        (Planned(422, {"detail": [{"msg": "Field required"}]}), r"\(422\): .*Field required"),
        (Planned(400, {"error": "Plain."}), r"\(400\): Plain\."),
        (Planned(400, {"message": "Plain."}), r"\(400\): Plain\."),
        (Planned(400, raw=b"<html>\x1b[31m\nNo\x00."), r"\(400\): <html>\[31m No\."),
        (Planned(400, raw=b""), r"\(400\): it does not say why"),
        (Planned(400, raw=b"x" * 100_000), r"\(400\): x{500}…$"),
        (Planned(200, raw=b"data: {}\n\n"), "no Responses JSON"),
        (Planned(200, raw=b"[" * 100_000), "no Responses JSON"),
        (Planned(200, {"error": {"message": "Overloaded."}}), "answered with an error: Overloaded."),
        (Planned(200, {"object": "response"}), "sent no response: it has no output"),
        (response(status="failed", error=None), "with the status 'failed'"),
        (response(status="failed", error={"message": "Fell."}), "answered with an error: Fell."),
        (response(*[{"type": "function_call"}] * 65), "made 65 calls at once; 64 are allowed"),
    ],
    ids=str,
)
async def test_what_cannot_be_mended_is_said_at_once(
    answer: Planned, expected: str, server: ModelServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One request, one reason, and nothing of the key."""
    server.plan(answer)

    with caplog.at_level(logging.DEBUG), pytest.raises(ModelError, match=expected) as caught:
        await connect(f"{server.url}/responses").next(turn())

    assert 1 == len(server.received)
    assert KEY[:9] not in f"{caught.value!r}{caught.value.__cause__!r}{caplog.text}"


@pytest.mark.parametrize(
    "answer",
    [
        Planned(200, {"choices": []}),
        Planned(200, {"choices": None}),
        Planned(200, {"choices": ["x"]}),
        Planned(200, {"choices": [{"message": "x"}]}),
        Planned(200, {"choices": [{"message": {"tool_calls": 3}}]}),
        Planned(200, []),
    ],
    ids=str,
)
async def test_what_is_no_chat_completion(answer: Planned, server: ModelServer, connect: Connect) -> None:
    """An answer of another shape is no answer."""
    server.plan(answer)

    with pytest.raises(ModelError, match="Chat Completion"):
        await connect(api="chat").next(turn())


async def test_odd_calls_in_a_chat_completion_are_told_back(server: ModelServer, connect: Connect) -> None:
    """A call without a function, or that is no object, is a wrong call and no crash."""
    odd = chat(None, message={"tool_calls": ["x", {"id": "a"}, {"id": "b", "function": None}]})
    server.plan(odd, chat(None, chat_call("c", "shell", {"commands": ["ls"]})))

    assert Use((ShellCall(("ls",), call_id="c"),)) == await connect(api="chat").next(turn())


async def test_a_server_that_stays_away(connect: Connect) -> None:
    """An address that nobody listens on is said, after a few tries."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        with pytest.raises(ModelError, match=rf"^the model's server at {url} cannot be reached: ."):
            await connect(url).next(turn())


async def test_a_server_that_stays_broken(server: ModelServer, connect: Connect) -> None:
    """After four tries the last reason is said."""
    server.plan(*[refused(500, "Broken.")] * 4)

    with pytest.raises(ModelError, match=r"server failed \(500\): Broken\."):
        await connect().next(turn())


async def test_a_silent_server(server: ModelServer, connect: Connect) -> None:
    """A server that takes too long is not waited for, and not asked again."""
    server.plan(Planned(200, {}, delay=1.0))

    with pytest.raises(ModelError, match=r"gave no answer within 0\.2 seconds"):
        await connect(timeout=0.2).next(turn())
    assert 1 == len(server.received)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_huge_answer_is_not_read(packed: bool, server: ModelServer, connect: Connect) -> None:
    """An answer is bounded by what it unpacks to."""
    raw = b" " * (MAX_ANSWER_BYTES + 1)
    headers = {"content-encoding": "gzip"} if packed else {}
    server.plan(Planned(200, raw=gzip.compress(raw) if packed else raw, headers=headers))

    with pytest.raises(ModelError, match="an answer of more than 16 MiB"):
        await connect().next(turn())


async def test_broken_packing_is_no_crash(server: ModelServer, connect: Connect) -> None:
    """What calls itself gzip and is none is a failure of the server."""
    server.plan(*[Planned(200, raw=b"no gzip", headers={"content-encoding": "gzip"})] * 4)

    with pytest.raises(ModelError, match="cannot be reached"):
        await connect().next(turn())


async def test_giving_up_ends_the_request(server: ModelServer, connect: Connect) -> None:
    """A task that is cancelled ends at once, and the model can be asked again."""
    server.plan(Planned(200, {}, delay=0.5), response(message("A.")))
    model = connect()
    asking = asyncio.create_task(model.next(turn()))
    assert await asyncio.to_thread(server.asked.wait, 10)

    asking.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert time.monotonic() - start < 0.4
    assert Say("A.") == await model.next(turn())


async def test_many_turns_at_once(server: ModelServer, connect: Connect) -> None:
    """Turns of several responses do not wait for each other."""
    server.plan(*[Planned(200, response(message("A.")).body, delay=0.2)] * 20)
    model = connect(api="responses")
    start = time.monotonic()

    assert [Say("A.")] * 20 == await asyncio.gather(*(model.next(turn()) for _ in range(20)))
    assert time.monotonic() - start < 3


async def test_a_proxy_of_the_environment_is_not_for_this_machine(
    server: ModelServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model on this machine is reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.plan(response(message("A.")))

    assert Say("A.") == await connect().next(turn())


def test_nothing_shows_the_key() -> None:
    """Neither the object nor its state prints the key."""
    model = RemoteModel("http://127.0.0.1:1/v1", SecretText(KEY), "m")

    assert "<RemoteModel m at http://127.0.0.1:1/v1>" == repr(model)
    assert KEY not in json.dumps({name: repr(value) for name, value in vars(model).items()})
