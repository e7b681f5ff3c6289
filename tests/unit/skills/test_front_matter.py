"""What the front matter of a SKILL.md may say."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.skills import SkillError
from airflow_containers.skills._front_matter import FrontMatter, read_front_matter

NAME_RULE = "1 to 64 characters of a-z, 0-9 and single hyphens, with no hyphen at either end"


def text(*lines: str) -> bytes:
    """A SKILL.md with these lines as front matter."""
    return "\n".join(["---", *lines, "---", "# Text"]).encode()


@pytest.mark.parametrize("name", ["a", "7", "a-b", "report-2-csv", "a" * 64, "0-0"])
def test_names(name: str) -> None:
    """Lower-case letters, digits and single hyphens make a name."""
    assert FrontMatter(name, "d") == read_front_matter(text(f'name: "{name}"', "description: d"))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("name: Report", "name is 'Report'"),
        ("name: -a", "name is '-a'"),
        ("name: a-", "name is 'a-'"),
        ("name: a--b", "name is 'a--b'"),
        ("name: a_b", "name is 'a_b'"),
        ("name: é", "name is 'é'"),
        ('name: "a\\nb"', r"name is 'a\nb'"),
        ('name: "a\\n"', r"name is 'a\n'"),
        ('name: ""', "name is ''"),
        (f"name: {'a' * 65}", "name has 65 characters"),
        ("name:", "name is empty"),
        ("name: 12", "name is a number"),
        ("name: yes", "name is the truth value true"),
        ("name: [a]", "name is a list"),
        ("name: {a: b}", "name is a mapping"),
        ("name: 2026-01-01", "name is a date"),
        ("title: a", "name is missing"),
    ],
)
def test_wrong_names(line: str, found: str) -> None:
    """Everything else is refused with what was found and the rule."""
    with pytest.raises(SkillError) as caught:
        read_front_matter(text(line, "description: d"))

    (problem,) = caught.value.problems
    assert problem.startswith(f"SKILL.md: {found}, expected {NAME_RULE}")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("title: a", "description is missing"),
        ('description: " "', "description is blank"),
        ("description:", "description is empty"),
        ("description: 5", "description is a number"),
        (f"description: {'d' * 1025}", "description has 1025 characters"),
    ],
)
def test_wrong_descriptions(line: str, found: str) -> None:
    """A description has 1 to 1,024 characters."""
    with pytest.raises(SkillError, match=re.escape(f"SKILL.md: {found}, expected 1 to 1024 characters")):
        read_front_matter(text("name: a", line))


def test_longest_description() -> None:
    """A description of 1,024 characters is taken."""
    assert 1024 == len(read_front_matter(text("name: a", f"description: {'é' * 1024}")).description)


def test_all_problems_are_told_together() -> None:
    """Each wrong field is a problem of its own."""
    with pytest.raises(SkillError) as caught:
        read_front_matter(text("name: A", "license: 5", "compatibility: ''", "metadata: {a: 1}"))

    assert ["name", "description", "license", "compatibility", "metadata"] == [
        problem.removeprefix("SKILL.md: ").partition(" ")[0] for problem in caught.value.problems
    ]


def test_optional_fields() -> None:
    """License, compatibility, metadata and fields of the future are taken."""
    lines = ("license: MIT", "compatibility: Python", "metadata: {a: b}", "allowed-tools: [x]", "later: 1")

    assert FrontMatter("a", "d") == read_front_matter(text("name: a", "description: d", *lines))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty, expected front matter"),
        (b"# Report\n", "it begins with '# Report', expected front matter"),
        (b"\n---\nname: a\n---\n", "it begins with '', expected front matter"),
        (b"\xef\xbb\xbf---\nname: a\n---\n", "it begins with a byte order mark"),
        (b"---\nname: a\n", "no line '---' ends the front matter"),
        (b"---\nname: \xff\n---\n", "the front matter has the byte 0xff, which is not UTF-8"),
        (b"---\n- a\n---\n", "the front matter is a list"),
        (b"---\n---\n", "the front matter is empty"),
        (b"---\nname: a\ndescription: use: this\n---\n", "the front matter is no YAML in line 3"),
        (b"---\nname: a\nname: [\n---\n", "the front matter is no YAML"),
        (b"---\nname: !!python/object:os.system a\n---\n", "the front matter is no YAML in line 2"),
        (b"---\nname: \x00\n---\n", "the front matter is no YAML"),
        (b"---\n" + b"[" * 5000 + b"\n---\n", "the front matter cannot be read (RecursionError)"),
        (b"---\n" + b"a: b\n" * 20_000 + b"---\n", "within the first 64 KB"),
    ],
)
def test_what_is_no_front_matter(content: bytes, found: str) -> None:
    """A file without front matter, or with one that cannot be read, is refused with the reason."""
    with pytest.raises(SkillError, match=re.escape(found)):
        read_front_matter(content)


def test_line_ends_of_windows() -> None:
    """CR LF ends a line as LF does."""
    assert FrontMatter("a", "d") == read_front_matter(b"---\r\nname: a\r\ndescription: d\r\n---\r\n")


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(content: bytes, fenced: bool) -> None:
    """Whatever a file holds, it is front matter or a `SkillError`."""
    if fenced:
        content = b"---\nname: a\n" + content + b"\n---\n"
    with suppress(SkillError):
        found = read_front_matter(content)
        assert re.fullmatch("[a-z0-9-]{1,64}", found.name)
        assert 1 <= len(found.description) <= 1024


def test_merge_keys_are_refused() -> None:
    """Each line doubles what the one before makes, so forty of them would fill any memory."""
    lines = [f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}" for n in range(1, 41)]
    with pytest.raises(SkillError, match=r"no YAML in line 5: a merge key \(<<\) is not taken here"):
        read_front_matter(text("name: s", "description: d", "m0: &m0 {k: 1}", *lines))


@pytest.mark.parametrize("line", ["x: !!int ''", "x: !!bool nope", "x: 2026-02-31", f"x: {'[' * 3000}"])
def test_values_that_the_parser_trips_over(line: str) -> None:
    """Whatever the parser raises, the file is named and the rule told."""
    with pytest.raises(SkillError, match=r"SKILL\.md: the front matter (cannot be read|is no YAML)"):
        read_front_matter(text("name: s", "description: d", line))


def test_lines_that_end_with_a_carriage_return_alone() -> None:
    """Not every reader takes that for the end of a line, the local server among them."""
    with pytest.raises(SkillError, match="expected front matter at its start"):
        read_front_matter(text("name: s", "description: d").replace(b"\n", b"\r"))
    assert FrontMatter("s", "d") == read_front_matter(
        text("name: s", "description: d").replace(b"\n", b"\r\n")
    )
