"""What is refused, before anything is run, and with which words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.testing import LocalServer
from tests.unit.local.responses.conftest import sh, shell_in

SHELL: Any = {"type": "shell", "environment": {"type": "container_auto"}}
CODE: Any = {"type": "code_interpreter", "container": {"type": "auto"}}


def post(server: LocalServer, body: Any) -> httpx.Response:
    """Create a response, without the package, which would not send all of these."""
    return httpx.post(
        f"{server.base_url}/responses", json=body, headers={"authorization": "Bearer any"}, timeout=60
    )


def _environment(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "shell", "environment": {"type": "container_auto", **fields}}]}


_CALL: Any = {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}}
_OUTPUT: Any = {"type": "shell_call_output", "call_id": "c1", "output": []}


@pytest.mark.parametrize(
    ("change", "param", "code", "said"),
    [
        ({"model": None}, "model", "invalid_type", "expected a string"),
        ({"input": None}, "input", "missing_required_parameter", "Missing required parameter: 'input'"),
        ({"input": []}, "input", "empty_array", "empty array"),
        ({"input": 3}, "input", "invalid_type", "one of a string or an array of items"),
        ({"nonsense": 1}, "nonsense", "unknown_parameter", "Unknown parameter: 'nonsense'."),
        ({"conversation": "c"}, "conversation", "unsupported_parameter", "previous_response_id"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter", "no prompt templates"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value", "<= 2"),
        ({"top_logprobs": 3}, "top_logprobs", "integer_above_max_value", "<= 0"),
        ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value", ">= 16"),
        ({"max_tool_calls": 0, "tools": [SHELL]}, "max_tool_calls", "integer_below_min_value", ">= 1"),
        ({"max_tool_calls": 1}, "max_tool_calls", None, "only allowed when there are 'tools'"),
        ({"include": ["x"]}, "include[0]", "invalid_value", "code_interpreter_call.outputs"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type", "but got an integer"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "string_above_max_length", "512"),
        (
            {"metadata": {str(key): "" for key in range(17)}},
            "metadata",
            "object_above_max_properties",
            "at most 16",
        ),
        ({"stream_options": {}}, "stream_options", None, "only allowed when 'stream'"),
        ({"background_options": {"completion_window": "2h"}}, None, "invalid_value", "'soonest'"),
        (
            {"text": {"format": {"type": "json_object"}}},
            "text.format.type",
            "invalid_value",
            "plain text only",
        ),
        ({"tool_choice": "maybe"}, "tool_choice", "invalid_value", "'none', 'auto', and 'required'"),
        ({"tool_choice": "required"}, "tool_choice", None, "must be specified with 'tools'"),
        ({"tool_choice": {"type": "shell"}}, "tool_choice", None, "'shell' not found in 'tools'"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type", "invalid_value", "'code_interpreter'"),
        (
            {"tools": [{"type": "function", "name": "f"}]},
            "tools[0].type",
            "invalid_value",
            "run in a container",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "invalid_value", "'web_search'"),
        ({"tools": [SHELL, SHELL]}, "tools[1]", "invalid_value", "already"),
        ({"tools": [{"type": "shell"}]}, "tools[0].environment", "missing_required_parameter", "Missing"),
        (
            {"tools": [{"type": "shell", "environment": {"type": "local"}}]},
            "tools[0].environment.type",
            "invalid_value",
            "in its containers only",
        ),
        (
            {"tools": [SHELL | {"allowed_callers": ["programmatic"]}]},
            "tools[0].allowed_callers",
            "unsupported_parameter",
            "'direct'",
        ),
        (_environment(name="x"), "tools[0].environment.name", "unknown_parameter", "Unknown"),
        (_environment(memory_limit="2g"), "tools[0].environment.memory_limit", "invalid_value", "'1g'"),
        (
            _environment(file_ids=["f"] * 51),
            "tools[0].environment.file_ids",
            "array_above_max_length",
            "maximum length 50",
        ),
        (
            _environment(file_ids=["file-none"]),
            "tools[0].environment.file_ids[0]",
            "invalid_value",
            "'tools[0].environment.file_ids[0]': No such File",
        ),
        (
            _environment(skills=[{"type": "skill_reference", "skill_id": "skill_none"}]),
            "tools[0].environment.skills[0].skill_id",
            "invalid_value",
            "skill_none",
        ),
        (
            _environment(network_policy={"type": "allowlist", "allowed_domains": ["*.example.com"]}),
            "tools[0].environment.network_policy.allowed_domains[0]",
            "invalid_value",
            "wildcard",
        ),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "skills": []}}]},
            "tools[0].container.skills",
            "unknown_parameter",
            "Unknown",
        ),
        ({"input": [{"role": "tool", "content": ""}]}, "input[0].role", "invalid_value", "'developer'"),
        ({"input": [{"type": "reasoning"}]}, "input[0].type", "invalid_value", "'shell_call_output'"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].type",
            "invalid_value",
            "texts and Files",
        ),
        ({"input": [_CALL]}, "input", None, "No tool output found for shell call 'c1'."),
        ({"input": [_OUTPUT]}, "input", None, "No tool call found for shell call output with call_id 'c1'."),
        ({"input": [_CALL, _OUTPUT, _CALL]}, "input[2].call_id", None, "Duplicate item"),
        (
            {"input": [{"type": "code_interpreter_call", "id": "ci_1"}]},
            "input[0].container_id",
            "missing_required_parameter",
            "Missing",
        ),
        (
            {"input": [{"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_gone"}]},
            None,
            None,
            "Expected container_id: cntr_gone",
        ),
        ({"input": "x" * (10_485_760 + 1)}, "input", "string_above_max_length", "10485760"),
        (
            {"input": [{"role": "user", "content": "x" * 10_000_000}] * 4},
            "input",
            "context_length_exceeded",
            "context window",
        ),
    ],
    ids=lambda value: None,
)
def test_what_is_refused(
    containers_server: LocalServer, change: dict[str, Any], param: str | None, code: str | None, said: str
) -> None:
    """The field, the code and the reason; no container is made, nothing is kept."""
    answer = post(containers_server, {"model": "m", "input": "hello", **change})

    error = answer.json()["error"]
    assert (400, "invalid_request_error", code) == (answer.status_code, error["type"], error["code"])
    assert said in error["message"]
    assert param == error["param"] or change.keys() == {"background_options"}
    assert [] == containers_server.containers()


def test_a_body_without_model(containers_server: LocalServer) -> None:
    """It is asked for, though it decides nothing here."""
    error = post(containers_server, {"input": "hello"}).json()["error"]

    assert ("model", "Missing required parameter: 'model'.") == (error["param"], error["message"])


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("?stream=yes", "stream"),
        ("?stream=true&starting_after=x", "starting_after"),
        ("?include=x", "include"),
        ("?stream=true&stream=true", "stream"),
        ("?nonsense=1", "nonsense"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?order=up", "order"),
    ],
)
def test_queries_that_are_refused(containers_server: LocalServer, path: str, param: str) -> None:
    """The parameter is named."""
    made = post(containers_server, {"model": "m", "input": "hello"}).json()["id"]

    answer = httpx.get(
        f"{containers_server.base_url}/responses/{made}{path}", headers={"authorization": "Bearer any"}
    )

    assert (400, param) == (answer.status_code, answer.json()["error"]["param"])


def test_what_is_taken(containers_server: LocalServer) -> None:
    """Every field that the service has and this server can honour; the answer repeats them."""
    same = {
        "instructions": "Be brief.",
        "max_output_tokens": 4000,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "reasoning": {"effort": "low", "summary": None},
        "safety_identifier": "s",
        "service_tier": "flex",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "shell"}, {"type": "code_interpreter"}],
        },
        "tools": [SHELL | {"allowed_callers": ["direct"]}, CODE],
        "top_logprobs": 0,
        "top_p": 0.9,
        "truncation": "auto",
        "user": "u",
        "max_tool_calls": 3,
        "store": True,
    }

    answer = post(
        containers_server,
        {
            "model": "gpt-5.2",
            "input": [{"role": "user", "content": sh("true")}],
            **same,
            "stream": False,
            "background": None,
            "background_options": {"completion_window": "soonest"},
            "include": ["reasoning.encrypted_content"],
        },
    )

    assert 200 == answer.status_code, answer.text
    assert same == {name: answer.json()[name] for name in same}


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["shell", "auto", "message", "user", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "environment", "container", "tools", "mode", "action"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            ["input", "tools", "tool_choice", "metadata", "include", "text", "reasoning", "stream"]
        ),
        _JSON,
        max_size=4,
    )
)
def test_any_body_gets_an_answer(containers_server: LocalServer, body: dict[str, Any]) -> None:
    """No body makes the server fail: it is answered, or refused with a reason."""
    answer = post(containers_server, {"model": "m", **body})

    assert answer.status_code in {200, 400}, json.dumps(body)
    assert answer.status_code == 200 or answer.json()["error"]["message"]


def test_without_a_sandbox_nothing_is_run() -> None:
    """The reason comes before anything is made; without tools there is an answer all the same."""
    with LocalServer(options=["--no-sandbox"]) as server:
        refused = post(server, {"model": "m", "input": sh("true"), "tools": [SHELL]})
        answered = post(server, {"model": "m", "input": "hello"})
        made = server.containers()

    assert (400, "invalid_request_error") == (refused.status_code, refused.json()["error"]["type"])
    assert "cannot run commands: " in refused.json()["error"]["message"]
    assert [] == made
    assert (200, "completed") == (answered.status_code, answered.json()["status"])


def test_a_container_that_is_gone(containers_server: LocalServer) -> None:
    """Deleted or never there, 404; expired, 400; both without a code."""

    def use(container_id: str) -> tuple[int, Any]:
        answer = post(
            containers_server, {"model": "m", "input": sh("true"), "tools": [shell_in(container_id)]}
        )
        return answer.status_code, answer.json()["error"]

    url = f"{containers_server.base_url}/containers"
    made = httpx.post(url, json={"name": "x"}, headers={"authorization": "Bearer any"}).json()["id"]
    containers_server.advance_clock(1201)

    expired, unknown = use(made), use("cntr_none")

    shape = {"type": "invalid_request_error", "param": None, "code": None}
    assert (400, shape | {"message": "Container is expired."}) == expired
    assert (404, shape | {"message": "Container with id 'cntr_none' not found."}) == unknown
