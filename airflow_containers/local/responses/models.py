"""State of responses: what is kept, for how long, and what an answer shows of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_containers.local.clock import Clock
from airflow_containers.local.ids import Ids
from airflow_containers.local.responses.exceptions import (
    ContextTooLongError,
    PreviousResponseNotDoneError,
    PreviousResponseNotFoundError,
    ResponseNotFoundError,
)
from airflow_containers.local.responses.inputs import ID_DIGITS
from airflow_containers.local.store import Store

MAX_CONTEXT = 32 << 20
"""Characters of JSON that a model is given at most: input and all that came before."""

UNSTORED_SECONDS = 600.0
"""How long a background response that is not to be stored can be asked for after its end."""

UNFINISHED = ("queued", "in_progress")

_COLUMNS = "id, created, completed, expires, status, previous_id, request, input, output, result"
_HIDDEN = frozenset({"include", "stream", "settings"})
_OUTPUTS = "code_interpreter_call.outputs"


@dataclass(slots=True)
class StoredResponse:
    """One response.

    :param created: Unix time in seconds, with fractions; so are the other times.
    :param expires: when one is forgotten that is not to be stored.
    :param request: what answers repeat of the request, with its ``include``, ``stream`` and ``settings``.
    :param input: items of this request.
    :param output: items, as far as there are.
    :param usage: tokens in and out.
    """

    id: str
    created: float
    completed: float | None
    expires: float | None
    status: str
    previous_id: str | None
    request: dict[str, Any]
    input: list[dict[str, Any]]
    output: list[dict[str, Any]] = field(default_factory=list)
    model: str = ""
    usage: tuple[int, int] | None = None
    error: dict[str, Any] | None = None
    incomplete: str | None = None

    @property
    def in_background(self) -> bool:
        """Whether it runs without anybody who waits."""
        return bool(self.request["background"])

    @property
    def is_streamed(self) -> bool:
        """Whether it was asked for as a stream of events."""
        return bool(self.request["stream"])

    @property
    def is_done(self) -> bool:
        """Whether nothing will change any more."""
        return self.status not in UNFINISHED

    @property
    def is_kept(self) -> bool:
        """Whether it can be asked for: it is stored, or runs in the background."""
        return self.in_background or bool(self.request["store"])

    def at_start(self, status: str) -> StoredResponse:
        """How it was before anything was done."""
        return replace(
            self, status=status, output=[], usage=None, error=None, incomplete=None, completed=None
        )


class ResponseBackend:
    """The responses of one server. What ran when another server on the same state ended has failed."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._recover()

    def _recover(self) -> None:
        rows = self._store.execute(
            f"SELECT {_COLUMNS} FROM responses WHERE status IN (?, ?)",  # noqa: S608 - our own names
            UNFINISHED,
        ).fetchall()
        for row in rows:
            response = _from_row(row)
            self.end(response, "failed", error="The server was stopped while this response ran.")

    def new_id(self, prefix: str, digits: int = ID_DIGITS) -> str:
        """An id of an item, or of a response."""
        with self._store.transaction():
            return self._ids.new(prefix, digits, "responses" if prefix == "resp_" else None)

    def now(self) -> float:
        """The server's time."""
        return self._clock.now()

    def insert(self, response: StoredResponse) -> None:
        """Keep a new response, if it is to be kept."""
        if response.is_kept:
            self._store.execute(
                f"INSERT INTO responses ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (
                    response.id,
                    response.created,
                    response.completed,
                    response.expires,
                    response.status,
                    response.previous_id,
                    json.dumps(response.request),
                    json.dumps(response.input),
                    json.dumps(response.output),
                    _result(response),
                ),
            )

    def save(self, response: StoredResponse) -> None:
        """Keep what has become of a response; one that was deleted stays so."""
        self._store.execute(
            "UPDATE responses SET completed = ?, expires = ?, status = ?, output = ?, result = ?"
            " WHERE id = ?",
            (
                response.completed,
                response.expires,
                response.status,
                json.dumps(response.output),
                _result(response),
                response.id,
            ),
        )

    def end(
        self,
        response: StoredResponse,
        status: str,
        *,
        error: str | None = None,
        incomplete: str | None = None,
    ) -> None:
        """Give a response its last status, and keep it.

        :param error: why it failed.
        :param incomplete: why it is incomplete.
        """
        now = self._clock.now()
        response.status = status
        response.completed = now
        response.incomplete = incomplete
        if error is not None:
            response.error = {"code": "server_error", "message": error}
        if not response.request["store"]:
            response.expires = now + UNSTORED_SECONDS
        for item in response.output:
            if item["status"] in {"in_progress", "interpreting"}:
                item["status"] = "incomplete"
        self.save(response)

    def get(self, response_id: str) -> StoredResponse:
        """Find a response.

        :raises ResponseNotFoundError: when there is none.
        """
        found = self._find(response_id)
        if found is None:
            raise ResponseNotFoundError(response_id)
        return found

    def _find(self, response_id: str) -> StoredResponse | None:
        row = self._store.execute(
            f"SELECT {_COLUMNS} FROM responses WHERE id = ? AND (expires IS NULL OR expires > ?)",  # noqa: S608
            (response_id, self._clock.now()),
        ).fetchone()
        return None if row is None else _from_row(row)

    def delete(self, response_id: str) -> None:
        """Forget a response.

        :raises ResponseNotFoundError: when there is none.
        """
        self.get(response_id)
        self._store.execute("DELETE FROM responses WHERE id = ?", (response_id,))

    def sweep(self) -> None:
        """Forget what is not to be stored, once its time is over."""
        self._store.execute("DELETE FROM responses WHERE expires <= ?", (self._clock.now(),))

    def history(self, response_id: str | None) -> list[dict[str, Any]]:
        """All items up to and with a response, oldest first; none for ``None``.

        Where they are more than a model is given, the oldest are missing; :func:`fit` refuses the rest then,
        or cuts it.

        :raises PreviousResponseNotFoundError: when it, or one before it, is not there.
        :raises PreviousResponseNotDoneError: when it still runs.
        """
        turns: list[list[dict[str, Any]]] = []
        left = MAX_CONTEXT
        while response_id is not None and left >= 0:
            found = self._find(response_id)
            if found is None:
                raise PreviousResponseNotFoundError(response_id)
            if not found.is_done:
                raise PreviousResponseNotDoneError(response_id)
            turns.append(found.input + found.output)
            left -= sum(map(_size, turns[-1]))
            response_id = found.previous_id
        return [item for turn in reversed(turns) for item in turn]


def fit(history: list[dict[str, Any]], own: list[dict[str, Any]], *, truncate: bool) -> list[dict[str, Any]]:
    """The items of ``history`` that a model can be given with a request's own.

    :param truncate: whether the oldest ones are left out where there are too many.
    :raises ContextTooLongError: when there are too many all the same.
    """
    left = MAX_CONTEXT - sum(map(_size, own))
    fitting = len(history)
    for item in reversed(history):
        left -= _size(item)
        if left < 0:
            break
        fitting -= 1
    if left < 0 and (fitting == len(history) or not truncate):
        raise ContextTooLongError
    while fitting < len(history) and history[fitting]["type"] == "shell_call_output" and fitting:
        # Its call was left out.
        fitting += 1
    return history[fitting:]


def _size(item: dict[str, Any]) -> int:
    """Characters in the texts of an item, roughly, without writing it as JSON."""
    return sum(_size_of(value) for value in item.values())


def _size_of(value: object) -> int:
    if isinstance(value, str):
        return len(value) + 8
    if isinstance(value, dict):
        return sum(_size_of(item) for item in value.values()) + 8
    if isinstance(value, list):
        return sum(_size_of(item) for item in value) + 8
    return 8


def show(response: StoredResponse, include: Sequence[str] = ()) -> dict[str, Any]:
    """A response as the API shows it.

    :param include: what is shown beyond that, besides what the request asked for.
    """
    request = {key: value for key, value in response.request.items() if key not in _HIDDEN}
    wanted = {*include, *response.request["include"]}
    usage = None
    if response.usage is not None:
        tokens_in, tokens_out = response.usage
        usage = {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + tokens_out,
        }
    return {
        "id": response.id,
        "object": "response",
        "created_at": int(response.created),
        "status": response.status,
        "completed_at": int(response.completed or 0) if response.status == "completed" else None,
        "error": response.error,
        "incomplete_details": None if response.incomplete is None else {"reason": response.incomplete},
        "model": response.model,
        "output": [show_item(item, wanted) for item in response.output],
        "previous_response_id": response.previous_id,
        "usage": usage,
        **request,
    }


def show_item(item: dict[str, Any], include: Sequence[str] | set[str]) -> dict[str, Any]:
    """An item as the API shows it: a copy, with what code has put out only where that was asked for."""
    if item["type"] == "code_interpreter_call" and _OUTPUTS not in include:
        return item | {"outputs": None}
    return dict(item)


def _result(response: StoredResponse) -> str:
    return json.dumps([response.model, response.usage, response.error, response.incomplete])


def _from_row(row: tuple[Any, ...]) -> StoredResponse:
    (response_id, created, completed, expires, status, previous_id, request, own, output, result) = row
    model, usage, error, incomplete = json.loads(result)
    return StoredResponse(
        response_id,
        created,
        completed,
        expires,
        status,
        previous_id,
        request=json.loads(request),
        input=json.loads(own),
        output=json.loads(output),
        model=model,
        usage=None if usage is None else (usage[0], usage[1]),
        error=error,
        incomplete=incomplete,
    )
