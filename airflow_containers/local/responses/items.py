"""Makes the items of a response's output."""

from __future__ import annotations

from typing import Any

from airflow_containers.local.responses.model import CodeCall, ShellCall
from airflow_containers.local.sandbox.commands import Outcome

KILLED = 137
"""Exit code of what was killed without leaving one: that of a shell for SIGKILL."""

_REASONS = {"deleted": "the container is gone"}
"""Reasons in other words: a container that has expired ends its commands as one that was deleted."""

_WORST = 4
"""Bytes of a character in UTF-8, at most."""


def message(item_id: str, text: str, phase: str | None = None) -> dict[str, Any]:
    """What the model says, with room for citations."""
    item: dict[str, Any] = {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }
    if phase is not None:
        item["phase"] = phase
    return item


def shell_call(item_id: str, call_id: str, call: ShellCall, container_id: str) -> dict[str, Any]:
    """Commands that the model wants run."""
    return {
        "id": item_id,
        "type": "shell_call",
        "status": "completed",
        "call_id": call_id,
        "action": {
            "commands": list(call.commands),
            "timeout_ms": call.timeout_ms,
            "max_output_length": call.max_output_length,
        },
        "environment": {"type": "container_reference", "container_id": container_id},
    }


def shell_output(item_id: str, call_id: str, max_output_length: int | None) -> dict[str, Any]:
    """What commands put out, before they have run."""
    return {
        "id": item_id,
        "type": "shell_call_output",
        "status": "in_progress",
        "call_id": call_id,
        "max_output_length": max_output_length,
        "output": [],
    }


def code_call(item_id: str, call: CodeCall, container_id: str) -> dict[str, Any]:
    """Code that the model wants run, before it has."""
    return {
        "id": item_id,
        "type": "code_interpreter_call",
        "status": "in_progress",
        "container_id": container_id,
        "code": call.code,
        "outputs": None,
    }


def citation(container_id: str, file_id: str, path: str, text: str) -> dict[str, Any]:
    """Names a file that commands have made; its place in ``text`` is where its path is, or 0."""
    filename = path.rpartition("/")[2]
    start = max(text.find(path), 0)
    return {
        "type": "container_file_citation",
        "container_id": container_id,
        "file_id": file_id,
        "filename": filename,
        "start_index": start,
        "end_index": start + len(path) if text.startswith(path, start) else start,
    }


def content(outcome: Outcome, limit: int) -> dict[str, Any]:
    """What one command put out and how it ended.

    :param limit: characters of both streams together.
    """
    stdout, stderr = texts(outcome, limit)
    ended: dict[str, Any] = {"type": "timeout"}
    if outcome.ended != "timeout":
        ended = {"type": "exit", "exit_code": KILLED if outcome.exit_code is None else outcome.exit_code}
    return {"stdout": stdout, "stderr": stderr, "outcome": ended}


def logs(outcome: Outcome, limit: int) -> list[dict[str, Any]]:
    """What code put out: both streams in one text, none if there is nothing.

    :param limit: characters.
    """
    stdout, stderr = texts(outcome, limit)
    gap = "\n" if stdout and stderr and not stdout.endswith("\n") else ""
    text = f"{stdout}{gap}{stderr}"
    if outcome.ended == "timeout":
        text += f"{'' if not text or text.endswith(chr(10)) else chr(10)}The time limit was reached.\n"
    return [{"type": "logs", "logs": text}] if text else []


def texts(outcome: Outcome, limit: int) -> tuple[str, str]:
    """Both streams as text, cut to ``limit`` characters together: half for each if both need it."""
    stdout = _decode(outcome.stdout, is_cut=outcome.stdout_truncated)
    stderr = _decode(outcome.stderr, is_cut=outcome.stderr_truncated)
    if outcome.ended == "killed":
        gap = "" if not stderr or stderr.endswith("\n") else "\n"
        reason = _REASONS.get(outcome.reason or "", outcome.reason)
        stderr += f"{gap}Killed{f': {reason}' if reason else ''}\n"
    if len(stdout) + len(stderr) > limit:
        half = limit // 2
        stdout = stdout[: max(limit - half, limit - len(stderr))]
        stderr = stderr[: limit - len(stdout)]
    return stdout, stderr


def limit_in_bytes(limit: int) -> int:
    """Bytes that are enough for ``limit`` characters."""
    return limit * _WORST


def _decode(data: bytes, *, is_cut: bool) -> str:
    text = data.decode(errors="replace")
    # The cut may be inside of a character.
    return text.rstrip("\ufffd") if is_cut and data[-1:] > b"\x7f" else text
