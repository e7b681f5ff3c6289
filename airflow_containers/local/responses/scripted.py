"""A model that is none: it runs what the input says, and tells what came out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from airflow_containers.local.responses.fences import Block, find_blocks
from airflow_containers.local.responses.model import CodeCall, ModelError, Say, ShellCall, Turn, Usage, Use

NAME = "scripted-local"
"""What answers give as ``model``."""

_BYTES_A_TOKEN = 4
_SHOWN = 2000
_INSTRUCTIVE = ("system", "developer")


class ScriptedModel:
    """Runs exactly the fenced ``sh``, ``bash`` and ``python`` blocks of the last user message, in order.

    Each block is a call of its own, in a turn of its own, and all are run whatever comes out of them; user
    messages that follow each other count as one, and those of earlier responses never do. Shell blocks need
    the ``shell`` tool. Python blocks are run by ``code_interpreter`` where there is one, else by ``python3``
    in the shell. Behind the language, a block may have ``timeout_ms=…`` and ``max_output_length=…``, and
    ``parallel`` to run each of its lines as a command of its own. Nothing else in the input, and no
    instructions, change what is done. Tokens are counted as four bytes each.
    """

    name = NAME

    async def next(self, turn: Turn) -> Say | Use:
        """The next block, or what came out of all of them.

        :raises ModelError: when a tool must be called and there is nothing to call it for.
        """
        blocks, done = _read(turn.items[turn.own :])
        runnable = [block for block in blocks if _tool(block, turn) is not None]
        spent = sum(_tokens(text) for item in turn.items for text in _texts(item))
        if turn.tool_choice not in {"auto", "none"} and not runnable and not done:
            raise ModelError(
                "The scripted model has nothing to run: the request wants a tool call, but the last user "
                "message has no fenced sh, bash or python block that its tools can run."
            )
        if len(done) < len(runnable):
            block = runnable[len(done)]
            call = _call(block, _tool(block, turn))
            written = call.code if isinstance(call, CodeCall) else "".join(call.commands)
            return Use((call,), Usage(spent, _tokens(written)))
        text = _report(blocks, done, turn)
        tokens = _tokens(text)
        if turn.max_output_tokens is not None and tokens > turn.max_output_tokens:
            raw = text.encode()[: turn.max_output_tokens * _BYTES_A_TOKEN]
            return Say(raw.decode(errors="ignore"), Usage(spent, turn.max_output_tokens), "max_output_tokens")
        return Say(text, Usage(spent, tokens))


def _tool(block: Block, turn: Turn) -> str | None:
    """Which tool runs a block, if one may."""
    allowed = turn.tools
    if turn.tool_choice in {"shell", "code_interpreter"}:
        allowed &= {turn.tool_choice}
    if block.language == "python" and "code_interpreter" in allowed:
        return "code_interpreter"
    return "shell" if "shell" in allowed else None


def _call(block: Block, tool: str | None) -> ShellCall | CodeCall:
    if tool == "code_interpreter":
        return CodeCall(block.text)
    commands: tuple[str, ...] = (block.text,)
    if block.language == "python":
        end = "EOF"
        while end in block.text:
            end = f"EOF_{secrets.token_hex(4)}"
        commands = (f"python3 - <<'{end}'\n{block.text}\n{end}",)
    elif block.is_parallel:
        commands = tuple(line for line in block.text.split("\n") if line.strip())
    return ShellCall(commands, block.timeout_ms, block.max_output_length)


def _read(items: Sequence[dict[str, Any]]) -> tuple[list[Block], list[list[dict[str, Any]]]]:
    """The blocks of the last user messages, and the calls since then, each with its output."""
    last = max((index for index, item in enumerate(items) if _is_from(item, "user")), default=-1)
    first = last
    while first > 0 and _is_from(items[first - 1], "user", *_INSTRUCTIVE):
        first -= 1
    texts = ["\n".join(_texts(item)) for item in items[max(first, 0) : last + 1] if _is_from(item, "user")]
    blocks = [block for text in texts for block in find_blocks(text)]
    done: list[list[dict[str, Any]]] = []
    by_call: dict[str, list[dict[str, Any]]] = {}
    for item in items[last + 1 :]:
        if item["type"] == "shell_call":
            by_call[item["call_id"]] = []
            done.append(by_call[item["call_id"]])
        elif item["type"] == "shell_call_output" and item["call_id"] in by_call:
            by_call[item["call_id"]].extend(item["output"])
        elif item["type"] == "code_interpreter_call":
            done.append(item.get("outputs") or [])
    return blocks, done


def _is_from(item: dict[str, Any], *roles: str) -> bool:
    return item["type"] == "message" and item["role"] in roles


def _texts(item: dict[str, Any]) -> list[str]:
    """All texts of an item that a model reads."""
    kind = item["type"]
    if kind == "message":
        return [part.get("text") or part.get("refusal") or "" for part in item["content"]]
    if kind == "shell_call":
        return list(item["action"]["commands"])
    if kind == "shell_call_output":
        return [output[name] for output in item["output"] for name in ("stdout", "stderr")]
    return [item.get("code") or "", *(output.get("logs") or "" for output in item.get("outputs") or ())]


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_A_TOKEN)


def _report(blocks: list[Block], done: list[list[dict[str, Any]]], turn: Turn) -> str:
    if not blocks:
        return (
            "There was nothing to run: this is the scripted model of the local server, which runs the fenced "
            "sh, bash and python blocks of the last user message, and there are none."
        )
    lines = [
        f"Ran {len(done)} of {len(blocks)} blocks." if len(blocks) > 1 else f"Ran {len(done)} of 1 block."
    ]
    if len(done) < len(blocks):
        lines.append("The others need a tool that this response has not, or not any more.")
    for number, outputs in enumerate(done, 1):
        lines += _lines(f"Block {number}", outputs)
    if turn.files:
        lines += ["", "Files:", *(f"- {path}" for path in turn.files)]
    return "\n".join(lines)


def _lines(title: str, outputs: list[dict[str, Any]]) -> list[str]:
    lines = []
    for number, output in enumerate(outputs, 1):
        name = f"{title}, command {number}" if len(outputs) > 1 else title
        if "outcome" not in output:
            lines += ["", f"{name}:", _shown(output.get("logs") or output.get("url") or "")]
            continue
        outcome = output["outcome"]
        ended = "timed out" if outcome["type"] == "timeout" else f"exit code {outcome['exit_code']}"
        lines += ["", f"{name}: {ended}"]
        lines += [f"{stream}:\n{_shown(output[stream])}" for stream in ("stdout", "stderr") if output[stream]]
    return lines or ["", f"{title}: no output"]


def _shown(text: str) -> str:
    text = re.sub(r"\n+\Z", "", text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text) - _SHOWN} more characters)"
