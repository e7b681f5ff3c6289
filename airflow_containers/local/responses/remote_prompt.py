"""What a remote model is told: of its container, and of what its calls did."""

from __future__ import annotations

from typing import Any

from airflow_containers.local.responses.model import Turn

MAX_OUTPUT = 40_000
"""Characters of one call's outputs that the model gets to see; the middle of longer ones is left out."""

NO_OUTPUT = "No output was kept of this call."

_CONTAINER = (
    "You work in a Linux container. {how} Files belong into /mnt/data, the working folder: what is written "
    "there is kept and handed on; /tmp is kept for later commands only; everything else is read-only. "
    "Nothing else is kept from one command to the next: no variables, no working folder, no processes. "
    "There is no terminal and no administrator. The network, if there is any, leads to allowed hosts only, "
    "through the proxy that is set in the environment. Variables with secrets hold placeholders, which are "
    "replaced in request headers on their way out."
)

_HOW = {
    frozenset({"shell"}): "Use the function shell to run commands in it.",
    frozenset({"code_interpreter"}): "Use the function python to run Python code in it.",
    frozenset({"shell", "code_interpreter"}): "Use the functions shell and python to run commands and Python "
    "code in it.",
}

_SKILLS = "Skills are folders with instructions. Read the SKILL.md of one before you do what it is for:"


def system_prompt(turn: Turn) -> str:
    """Return the instructions of a request, followed by notes on the container and its skills."""
    parts = [turn.instructions] if turn.instructions else []
    how = _HOW.get(turn.tools)
    if how is not None:
        parts.append(_CONTAINER.format(how=how))
        if turn.skills:
            skills = [f"- {skill.name} ({skill.path}/SKILL.md): {skill.description}" for skill in turn.skills]
            parts.append("\n".join([_SKILLS, *skills]))
    return "\n\n".join(parts)


def shell_text(call: dict[str, Any] | None, output: dict[str, Any]) -> str:
    """Return what a ``shell_call_output`` says, as a text for the model.

    :param call: the ``shell_call``, for the commands; ``None`` if it is not in the conversation.
    """
    results = output.get("output")
    if isinstance(results, str):
        return _bounded(results, MAX_OUTPUT)
    if not isinstance(results, list) or not results:
        return NO_OUTPUT
    commands = (call or {}).get("action", {}).get("commands", ())
    room = MAX_OUTPUT // len(results)
    texts = []
    for index, result in enumerate(results):
        head = [f"$ {commands[index]}"] if len(results) > 1 and index < len(commands) else []
        body = [_bounded(result.get("stdout") or "", room).rstrip("\n")]
        if result.get("stderr"):
            body += ["[stderr]", _bounded(result["stderr"], room).rstrip("\n")]
        texts.append("\n".join(part for part in [*head, *body, _outcome(result)] if part))
    return "\n\n".join(texts)


def code_text(item: dict[str, Any]) -> str:
    """Return what a ``code_interpreter_call`` printed, as a text for the model."""
    outputs = item.get("outputs")
    if not isinstance(outputs, list):
        return NO_OUTPUT
    logs = "\n".join(
        output.get("logs") or "" if output.get("type") == "logs" else f"[{output.get('type')}]"
        for output in outputs
    )
    text = _bounded(logs, MAX_OUTPUT).rstrip("\n")
    if item.get("status") == "failed":
        text = f"{text}\n[failed]".lstrip("\n")
    return text or "[nothing was printed]"


def _outcome(result: dict[str, Any]) -> str:
    outcome = result.get("outcome") or {}
    if outcome.get("type") == "timeout":
        return "[ended: it took too long]"
    return f"[exit code {outcome.get('exit_code')}]"


def _bounded(text: str, room: int) -> str:
    """Return a text, without its middle if it is too long: errors are at the end, headings at the start."""
    if len(text) <= room:
        return text
    half = room // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
