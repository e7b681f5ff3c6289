"""A model on another server: any that speaks Chat Completions or the Responses API with function calls."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit, urlunsplit

from airflow_containers.local.egress.secrets import SecretText
from airflow_containers.local.responses import remote_chat, remote_responses
from airflow_containers.local.responses.model import CodeCall, ModelError, Say, ShellCall, Turn, Usage, Use
from airflow_containers.local.responses.remote_calls import (
    MAX_CALLS,
    CallError,
    FunctionCall,
    Reply,
    printable,
    read_call,
)
from airflow_containers.local.responses.remote_history import AnsweredCall, Calls

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "AIRFLOW_CONTAINERS_MODEL_API_KEY"

MAX_ANSWER_BYTES = 16 << 20
"""Longest answer of the model's server, unpacked."""

MAX_CORRECTIONS = 3
"""How often in one turn a model is told that its calls make no sense, before the response fails."""

ATTEMPTS = 4
"""How often a request is sent at most."""

MAX_PAUSE = 60.0
"""Longest pause, in seconds, that the model's server may ask for."""

_CONNECT = 10.0
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_FINAL_CODES = frozenset({"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"})
_SHOWN = 500
_KEY = re.compile(r"\b(?:sk|key)-[A-Za-z0-9_*.-]{6,}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


class RemoteModel:
    """Asks a model on another server what to run.

    The shell and Python are offered to it as functions. Requests that break or are refused for now are sent
    again; calls that make no sense are told back to the model.

    :param url: base URL, such as ``http://127.0.0.1:11434/v1``, or that of ``/responses`` or
        ``/chat/completions`` below it.
    :param api_key: sent as a bearer token, to Azure as ``api-key``; ``None`` sends none.
    :param model: the model to ask for; ``None`` for the one that a request names.
    :param api: which API the server speaks; ``None`` finds out: by the URL's end, else Responses first.
    :param timeout: seconds that one answer may take.
    :param pause: seconds before a request is sent again; twice as long each time.
    :raises ValueError: when the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        api_key: SecretText | None,
        model: str | None = None,
        api: Literal["chat", "responses"] | None = None,
        *,
        timeout: float = 600.0,
        pause: float = 0.5,
    ) -> None:
        key = None if api_key is None else api_key.reveal()
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key != ""):
            raise ValueError("the key for the model's server has characters that no key has")
        self.name = model or ""
        self._key = api_key
        self._timeout = timeout
        self._pause = pause
        self._base, self._dialect = _split(url)
        if self._dialect is None and api is not None:
            self._dialect = remote_chat if api == "chat" else remote_responses
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<RemoteModel {self.name or 'any model'} at {self._shown_url()}>"

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def next(self, turn: Turn) -> Say | Use:
        """Ask for the next step.

        :raises ModelError: when there is none; the message never has the key.
        """
        model = self.name or turn.model
        if not model:
            raise ModelError("no model was named: name one in the request, or start the server with --model")
        wrong: list[Calls] = []
        usage = Usage()
        problem = ""
        for _ in range(1 + MAX_CORRECTIONS):
            reply = await self._ask(turn, model, wrong)
            usage = Usage(
                usage.input_tokens + reply.usage.input_tokens, usage.output_tokens + reply.usage.output_tokens
            )
            cut = cast("Literal['max_output_tokens', 'content_filter'] | None", reply.incomplete)
            if not reply.calls:
                return Say(reply.text, usage, cut)
            if len(reply.calls) > MAX_CALLS:
                raise ModelError(f"the model made {len(reply.calls)} calls at once; {MAX_CALLS} are allowed")
            calls, told = _read_calls(reply, turn)
            if not any(told):
                return Use(calls, usage, reply.text)
            if cut is not None:
                # A call that was cut cannot be carried out, and the next one would be cut, too.
                return Say(reply.text, usage, cut)
            wrong.append(_told_back(reply, told, len(wrong)))
            problem = next(text for text in told if text)
        times = 1 + MAX_CORRECTIONS
        raise ModelError(
            f"the model made calls that make no sense {times} times in a row; at last: {problem}"
        )

    async def _ask(self, turn: Turn, model: str, wrong: Sequence[Calls]) -> Reply:
        candidates = [self._dialect] if self._dialect else [remote_responses, remote_chat]
        for last, dialect in zip([False, True][-len(candidates) :], candidates, strict=True):
            body = json.dumps(dialect.request(turn, model, wrong)).encode()
            status, payload = await self._send(dialect.PATH, body)
            # Servers without the Responses API do not know its path; some say so by 405 or 501.
            if status in (404, 405, 501) and not last and _code(payload) != "model_not_found":
                continue
            if status != 200:
                raise ModelError(self._refusal(status, payload, dialect.NAME))
            if not isinstance(payload, dict):
                raise ModelError(f"the model's server answered with something that is no {dialect.NAME} JSON")
            if payload.get("error"):
                raise ModelError(f"the model's server answered with an error: {self._said(payload)}")
            self._dialect = dialect
            return cast("Reply", dialect.read(payload))
        raise AssertionError("the last candidate returns or raises")

    async def _send(self, path: str, body: bytes) -> tuple[int, Any]:
        """Send a request, again if that may help; return the status and the JSON of the answer."""
        import httpx

        pause = self._pause
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(self._timeout):
                    status, headers, payload = await self._send_once(path, body)
            except (TimeoutError, httpx.ReadTimeout) as error:
                raise ModelError(
                    f"the model's server gave no answer within {self._timeout:g} seconds"
                ) from error
            except (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError) as error:
                if attempt == ATTEMPTS:
                    reason = self._clean(str(error) or type(error).__name__)
                    raise ModelError(
                        f"the model's server at {self._shown_url()} cannot be reached: {reason}"
                    ) from None
                wait = pause
            else:
                asked = _retry_after(headers)
                if status not in _RETRIED or _code(payload) in _FINAL_CODES or attempt == ATTEMPTS:
                    return status, payload
                if asked is not None and asked > MAX_PAUSE:
                    return status, payload
                wait = pause if asked is None else asked
            await asyncio.sleep(wait)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(self, path: str, body: bytes) -> tuple[int, httpx.Headers, Any]:
        client = self._connected()
        base, query = self._base
        url = f"{base}{path}{query}"
        async with client.stream("POST", url, content=body, headers=self._headers()) as answer:
            content = bytearray()
            async for chunk in answer.aiter_bytes(65536):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise ModelError(
                        f"the model's server sent an answer of more than {MAX_ANSWER_BYTES >> 20} MiB"
                    )
        return answer.status_code, answer.headers, _json(bytes(content))

    def _connected(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            host = urlsplit(self._base[0]).hostname or ""
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(None, connect=_CONNECT),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                # A proxy of the environment cannot reach a model on this machine.
                trust_env=host not in ("localhost", "127.0.0.1", "::1"),
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._key is not None:
            key = self._key.reveal()
            host = urlsplit(self._base[0]).hostname or ""
            if host.endswith(_AZURE):
                headers["api-key"] = key
            else:
                headers["authorization"] = f"Bearer {key}"
        return headers

    def _refusal(self, status: int, payload: Any, api: str) -> str:
        if status == 401:
            # Servers repeat parts of a wrong key.
            what = "the key in" if self._key is not None else "a request without a key; set"
            return f"the model's server refused {what} ${KEY_VARIABLE} (401)"
        said = self._said(payload)
        if status == 404:
            return (
                f"the model's server has no such model, or does not speak {api} at {self._shown_url()} "
                f"(404): {said}"
            )
        if 300 <= status < 400:
            return f"the model's server redirects ({status}); give --model-url the address that it leads to"
        if status == 429:
            return f"the model's server takes no more requests for now (429): {said}"
        kind = "failed" if status >= 500 else "refused the request"
        return f"the model's server {kind} ({status}): {said}"

    def _said(self, payload: Any) -> str:
        """Return what the server says about an error, in one short line without the key."""
        error = payload.get("error", payload) if isinstance(payload, dict) else payload
        if isinstance(error, dict):
            error = error.get("message") or error.get("detail") or error
        if isinstance(error, list) and error and isinstance(error[0], dict):
            error = error[0].get("msg") or error
        text = error if isinstance(error, str) else json.dumps(error)
        return self._clean(text) or "it does not say why"

    def _clean(self, text: str) -> str:
        if self._key is not None:
            text = text.replace(self._key.reveal(), "***")
        text = " ".join(printable(_KEY.sub("***", text)).split())
        text = "".join(character for character in text if character.isprintable())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

    def _shown_url(self) -> str:
        return self._base[0]


def _split(url: str) -> tuple[tuple[str, str], ModuleType | None]:
    """Return the base of a URL and its query, and the API that its end names."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    dialect = None
    for candidate in (remote_chat, remote_responses):
        if path.endswith(candidate.PATH):
            path, dialect = path.removesuffix(candidate.PATH), candidate
            break
    base = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return (base, f"?{parts.query}" if parts.query else ""), dialect


def _read_calls(reply: Reply, turn: Turn) -> tuple[tuple[ShellCall | CodeCall, ...], list[str]]:
    """Return the calls that make sense, and for each call what is wrong with it, or ``""``."""
    tools = turn.tools if turn.tool_choice != "none" else frozenset()
    known = {item.get("call_id") or item.get("id") or "" for item in turn.items}
    calls: list[ShellCall | CodeCall] = []
    told = []
    for call in reply.calls:
        try:
            calls.append(read_call(call, tools, known))
        except CallError as error:
            told.append(str(error))
        else:
            told.append("")
    return tuple(calls), told


def _told_back(reply: Reply, told: Sequence[str], number: int) -> Calls:
    """Return the wrong calls as a part of the conversation, with what is wrong as their outputs."""
    beside = "This call was not carried out, because another one beside it was wrong. Make it again."
    return Calls(
        reply.text,
        [
            AnsweredCall(
                # Nine letters and digits: some servers take no other ids.
                f"wrong{number % 100:02}{index:02}",
                call.name if isinstance(call.name, str) and _NAME.fullmatch(call.name) else "unknown",
                _valid_arguments(call),
                text or beside,
            )
            for index, (call, text) in enumerate(zip(reply.calls, told, strict=True))
        ],
    )


def _valid_arguments(call: FunctionCall) -> str:
    """Return arguments that a server can read again; what they were is in the output, if they were none."""
    arguments = _json(call.arguments.encode("utf-8", "replace")) if isinstance(call.arguments, str) else None
    if isinstance(call.arguments, dict):
        arguments = call.arguments
    return printable(json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else "{}"


def _json(content: bytes) -> Any:
    """Return the value of a JSON text; what is none, as a text."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content[: 4 * _SHOWN].decode(errors="replace")


def _code(payload: Any) -> object:
    error = payload.get("error") if isinstance(payload, dict) else None
    return error.get("code") or error.get("type") if isinstance(error, dict) else None


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the pause that the server asks for, in seconds, if it names one."""
    for name, unit in ("retry-after-ms", 0.001), ("retry-after", 1.0):
        text = headers.get(name, "")
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            return float(text) * unit
    return None
