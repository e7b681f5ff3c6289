"""Finds the fenced blocks of a text that can be run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SHELLS = frozenset({"bash", "sh", "shell"})
PYTHONS = frozenset({"py", "python", "python3"})

_OPENING = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>.*)")
_NUMBERS = ("timeout_ms", "max_output_length")
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    :param text: what is between the fences, without the indentation of the first one.
    :param timeout_ms: said behind the language, as ``timeout_ms=1000``.
    :param max_output_length: said likewise.
    :param is_parallel: ``parallel`` is said: each line is a command of its own.
    """

    language: Literal["shell", "python"]
    text: str
    timeout_ms: int | None = None
    max_output_length: int | None = None
    is_parallel: bool = False


def find_blocks(text: str) -> list[Block]:
    """The blocks of ``text`` in its order; those of other languages, or of none, are left out.

    A fence is three or more backticks or tildes, at any indentation; a block ends at a fence of the same
    kind that is at least as long, or with the text.
    """
    blocks: list[Block] = []
    lines = iter(re.split(r"\r\n|\n|\r", text))
    for line in lines:
        match = _OPENING.fullmatch(line)
        if match is None or (match["fence"][0] == "`" and "`" in match["info"]):
            continue
        closing = re.compile(rf"[ \t]*{re.escape(match['fence'][0])}{{{len(match['fence'])},}}[ \t]*")
        inside: list[str] = []
        for inner in lines:
            if closing.fullmatch(inner):
                break
            inside.append(_without(inner, match["indent"]))
        block = _block(match["info"].split(), "\n".join(inside))
        if block is not None:
            blocks.append(block)
    return blocks


def _without(line: str, indent: str) -> str:
    common = 0
    while common < min(len(line), len(indent)) and line[common] == indent[common]:
        common += 1
    return line[common:]


def _block(info: list[str], text: str) -> Block | None:
    language = info[0].lower() if info else ""
    if not text.strip() or language not in SHELLS | PYTHONS:
        return None
    limits: dict[str, int] = {}
    for word in info[1:]:
        name, _, value = word.partition("=")
        if name in _NUMBERS and value.isascii() and value.isdigit():
            limits[name] = int(value[:_DIGITS])
    return Block(
        language="shell" if language in SHELLS else "python",
        text=text,
        is_parallel="parallel" in info[1:],
        **limits,
    )
