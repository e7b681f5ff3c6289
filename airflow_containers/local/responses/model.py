"""What a response asks of a model, and what a model may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ShellCall:
    """Commands to run in the container, each in a shell of its own, at the same time.

    :param timeout_ms: milliseconds that each command may take; ``None`` for the server's own limit.
    :param max_output_length: characters of each stream that are kept; ``None`` for the server's own limit.
    :param call_id: the model's own id of the call; ``None`` lets the server make one.
    """

    commands: tuple[str, ...]
    timeout_ms: int | None = None
    max_output_length: int | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class CodeCall:
    """Python code to run in the container.

    :param call_id: the model's own id of the call; ``None`` lets the server make one.
    """

    code: str
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one turn, as the model counts them."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Say:
    """The model's answer; nothing is to be run any more.

    :param cut: why the text ends early, if it does; the response is ``incomplete`` then.
    """

    text: str
    usage: Usage = field(default_factory=Usage)
    cut: Literal["max_output_tokens", "content_filter"] | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """The model wants something run, in this order, before it goes on.

    :param text: what it says beside.
    """

    calls: tuple[ShellCall | CodeCall, ...]
    usage: Usage = field(default_factory=Usage)
    text: str = ""


@dataclass(frozen=True, slots=True)
class SkillNote:
    """What a model is told of one skill in the container.

    :param path: of its folder, inside.
    """

    name: str
    description: str
    path: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model is asked.

    :param instructions: of this request.
    :param items: the conversation so far as items of the API, oldest first: ``message`` (``content`` is a
        list of parts), ``shell_call``, ``shell_call_output``, ``code_interpreter_call`` (with its outputs).
    :param tools: which of ``shell`` and ``code_interpreter`` may be used in this turn.
    :param tool_choice: ``none``, ``auto``, ``required``, ``shell`` or ``code_interpreter``, for this turn:
        once a tool was used, what had to be used need not be used again.
    :param model: name in the request; empty when it has none.
    :param max_output_tokens: what is left of the request's; ``None`` when it has no limit.
    :param files: paths of the files that this response's commands have made so far.
    :param own: where in ``items`` those of this request begin; what is before was dealt with earlier.
    :param settings: what else the request says of how to answer, and is not null: ``temperature``, ``top_p``,
        ``parallel_tool_calls``, ``reasoning`` (``effort`` and ``summary``) and ``verbosity``.
    """

    instructions: str | None
    items: tuple[dict[str, Any], ...]
    tools: frozenset[str]
    tool_choice: str
    skills: tuple[SkillNote, ...]
    model: str
    max_output_tokens: int | None = None
    files: tuple[str, ...] = ()
    own: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """Decides what is run."""

    @property
    def name(self) -> str:
        """What answers give as ``model``."""

    async def next(self, turn: Turn) -> Say | Use:
        """The next step.

        :raises ModelError: when the model cannot give one; the response fails with its message.
        """


class ModelError(Exception):
    """The model gave no answer; the message says why, and may be shown to whoever sent the request."""
