"""A server on the loopback interface that speaks the two APIs of models, and checks what it gets."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from airflow_containers.local.responses.model import SkillNote, Turn

KEY = "sk-canary-of-the-model-0123456789"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


def _strict(kind: Any) -> SchemaValidator:
    """A validator of a request's type that takes no unknown fields, and looks into each list at once."""

    def strict(schema: Any) -> Any:
        if isinstance(schema, list | tuple):
            return [strict(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        found = {name: strict(value) for name, value in schema.items()}
        if found.get("type") == "generator":
            found["type"] = "list"
        if found.get("type") == "typed-dict":
            found["extra_behavior"] = "forbid"
        return found

    return SchemaValidator(strict(TypeAdapter(kind).core_schema))


_CHAT_REQUEST = _strict(CompletionCreateParamsNonStreaming)
_RESPONSES_REQUEST = _strict(ResponseCreateParamsNonStreaming)


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Planned:
    """One answer."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    drop: bool = False


def chat(
    text: str | None = None, *calls: dict[str, Any], usage: tuple[int, int] = (0, 0), **changed: Any
) -> Planned:
    """A Chat Completion."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = list(calls)
    message |= changed.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop", **changed}
    tokens = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Planned(body={"id": "c", "object": "chat.completion", "choices": [choice], "usage": tokens})


def chat_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """One call in a Chat Completion."""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def response(*output: dict[str, Any], usage: tuple[int, int] = (0, 0), **changed: Any) -> Planned:
    """A response of the Responses API."""
    tokens = {"input_tokens": usage[0], "output_tokens": usage[1], "total_tokens": sum(usage)}
    body = {"id": "resp_1", "object": "response", "status": "completed", "error": None}
    return Planned(body={**body, "output": list(output), "usage": tokens, **changed})


def message(text: str, kind: str = "output_text") -> dict[str, Any]:
    """A message in a response."""
    part = {"type": kind, "refusal" if kind == "refusal" else "text": text}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def function_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """A call in a response."""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    call = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
    return {**call, "arguments": arguments, "status": "completed"}


class ModelServer:
    """Gives the planned answers one after the other, and refuses requests that break the API's rules."""

    def __init__(self, paths: Sequence[str] = (CHAT, RESPONSES)) -> None:
        self.paths = set(paths)
        self.answers: deque[Planned] = deque()
        self.received: list[Received] = []
        self.asked = threading.Event()
        self.problems: list[str] = []
        self.missing: Planned = Planned(404, {"error": {"message": "no such page", "code": None}})
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.serve(self)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the requests to paths that are there."""
        return [one.body for one in self.received if one.path.partition("?")[0] in self.paths]

    def plan(self, *answers: Planned) -> None:
        """Give these answers next."""
        self.answers.extend(answers)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        content = handler.rfile.read(int(handler.headers["content-length"]))
        body = json.loads(content)
        received = Received(
            handler.path, {name.lower(): value for name, value in handler.headers.items()}, body
        )
        self.received.append(received)
        path = handler.path.partition("?")[0]
        if path not in self.paths:
            answer = self.missing
        else:
            problem = chat_problem(body) if path == CHAT else responses_problem(body)
            if problem is not None:
                self.problems.append(problem)
                answer = Planned(400, {"error": {"message": problem}})
            elif self.answers:
                answer = self.answers.popleft()
                self.asked.set()
            else:
                self.problems.append("a request that no answer was planned for")
                answer = Planned(400, {"error": {"message": "nothing planned"}})
        time.sleep(answer.delay)
        if answer.drop:
            handler.close_connection = True
            return
        raw = json.dumps(answer.body).encode() if answer.raw is None else answer.raw
        try:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("content-type", "application/json")
            handler.send_header("content-length", str(len(raw)))
            handler.end_headers()
            handler.wfile.write(raw)
        except OSError:
            handler.close_connection = True

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def chat_problem(body: dict[str, Any]) -> str | None:
    """What breaks the rules of Chat Completions."""
    problem = _typed(_CHAT_REQUEST, body)
    if problem is not None:
        return problem
    waiting: list[str] = []
    for one in body["messages"]:
        if one["role"] == "tool":
            if one["tool_call_id"] not in waiting:
                return f"a tool message of no call: {one}"
            waiting.remove(one["tool_call_id"])
        elif waiting:
            return f"tool calls without answers: {waiting}"
        elif one["role"] == "assistant":
            if not one.get("content") and not one.get("tool_calls"):
                return "an assistant message with nothing in it"
            calls = one.get("tool_calls", ())
            waiting = [call["id"] for call in calls if json.loads(call["function"]["arguments"]) is not None]
    return f"tool calls without answers: {waiting}" if waiting else None


def responses_problem(body: dict[str, Any]) -> str | None:
    """What breaks the rules of the Responses API."""
    problem = _typed(_RESPONSES_REQUEST, body)
    if problem is not None:
        return problem
    calls, outputs = [], []
    for item in body["input"]:
        if item["type"] == "function_call":
            calls.append(item["call_id"])
            json.loads(item["arguments"])
        elif item["type"] == "function_call_output":
            if item["call_id"] not in calls:
                return f"No tool call found for function call output with call_id {item['call_id']}."
            outputs.append(item["call_id"])
    return None if sorted(calls) == sorted(outputs) else "No tool output found for function call."


def _typed(validator: SchemaValidator, body: dict[str, Any]) -> str | None:
    try:
        validator.validate_json(json.dumps(body))
    except ValidationError as error:
        return str(error)
    return None


def user(text: str) -> dict[str, Any]:
    """A message of the user, as an item."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def shell_call(call_id: str, *commands: str, **action: Any) -> dict[str, Any]:
    """A call of the shell, as an item."""
    full = {"commands": list(commands), "timeout_ms": None, "max_output_length": None, **action}
    return {
        "type": "shell_call",
        "id": f"sh_{call_id}",
        "call_id": call_id,
        "action": full,
        "status": "completed",
    }


def shell_output(call_id: str, *results: tuple[str, str, int | None]) -> dict[str, Any]:
    """What came of it, as an item."""
    output = [
        {
            "stdout": out,
            "stderr": err,
            "outcome": {"type": "timeout"} if code is None else {"type": "exit", "exit_code": code},
        }
        for out, err, code in results
    ]
    return {"type": "shell_call_output", "id": f"sho_{call_id}", "call_id": call_id, "output": output}


def turn(*items: dict[str, Any], **changed: Any) -> Turn:
    """A turn with the shell."""
    given: dict[str, Any] = {
        "instructions": None,
        "items": items or (user("List the files."),),
        "tools": frozenset({"shell"}),
        "tool_choice": "auto",
        "skills": (),
        "model": "asked-model",
    }
    return Turn(**{**given, **changed})


SKILL = SkillNote("report", "Makes reports.", "/home/oai/skills/report-1")
