"""Finding the blocks that can be run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.local.responses.fences import Block, find_blocks

_LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
_WORDS = {"sh": "shell", "bash": "shell", "Shell": "shell", "python": "python", "py": "python"}


@st.composite
def _fenced(draw: st.DrawFn) -> tuple[str, Block | None]:
    """A block with its fences, and what is to be found."""
    lines = draw(st.lists(_LINE, min_size=1, max_size=5))
    text = "\n".join(lines)
    mark = draw(st.sampled_from("`~"))
    longest = max((len(part) for line in lines for part in [line.strip()] if set(part) == {mark}), default=0)
    fence = mark * max(3, longest + 1)
    indent = draw(st.sampled_from(["", "  ", "\t", "        "]))
    word = draw(st.sampled_from(sorted(_WORDS)))
    body = "\n".join(f"{indent}{line}" for line in lines)
    block = None
    if text.strip():
        block = Block("shell" if _WORDS[word] == "shell" else "python", text)
    return f"{indent}{fence}{word}\n{body}\n{indent}{fence}", block


@given(st.lists(_fenced(), max_size=4))
def test_what_is_fenced_is_found(fenced: list[tuple[str, Block | None]]) -> None:
    """Any lines between fences come out as they are, in order, whatever the fences look like."""
    text = "Do this:\n" + "\nand then\n".join(source for source, _ in fenced) + "\nThanks."

    assert [block for _, block in fenced if block is not None] == find_blocks(text)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    """No text makes it fail, and each block has something to run."""
    assert all(block.text.strip() for block in find_blocks(text))


def test_other_languages_are_left_out() -> None:
    """Blocks of another language, or of none, are not run."""
    text = "```\nls\n```\n```json\n{}\n```\n```sh\ntrue\n```\n```shellsession\n$ ls\n```"

    assert [Block("shell", "true")] == find_blocks(text)


def test_inline_code_opens_nothing() -> None:
    """Three backticks within a line are no fence."""
    assert [] == find_blocks("```sh ls``` is nice\nls\n```")


def test_a_block_without_end_goes_on_to_the_end() -> None:
    """As in Markdown, the text ends the last block."""
    assert [Block("shell", "ls\nid\n")] == find_blocks("```bash\nls\nid\n")


def test_a_longer_fence_holds_a_shorter_one() -> None:
    """A script that writes Markdown needs a longer fence, as in Markdown."""
    text = "````sh\ncat <<X\n```sh\nrm -r x\n```\nX\n````"

    assert [Block("shell", "cat <<X\n```sh\nrm -r x\n```\nX")] == find_blocks(text)


def test_limits_stand_behind_the_language() -> None:
    """Time, output and side by side can be said; what is no number is left out."""
    text = (
        "~~~sh timeout_ms=1500 max_output_length=10 parallel\na\nb\n~~~\n```py timeout_ms=x other=1\n1\n```"
    )

    assert [Block("shell", "a\nb", 1500, 10, is_parallel=True), Block("python", "1")] == find_blocks(text)
