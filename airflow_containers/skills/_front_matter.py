"""The front matter of a SKILL.md: the YAML between two lines ``---`` at its start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from airflow_containers.skills._errors import SkillError
from airflow_containers.skills._limits import (
    MAX_COMPATIBILITY_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_FRONT_MATTER_BYTES,
    MAX_NAME_LENGTH,
)

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME_RULE: Final = (
    f"1 to {MAX_NAME_LENGTH} characters of a-z, 0-9 and single hyphens, with no hyphen at either end"
)
_EXAMPLE: Final = "'---', 'name: …', 'description: …', '---'"
_MAX_SHOWN: Final = 80
_BLANKS: Final = b" \t\r"
"""What may follow the three hyphens. A line ends with LF or CR LF: not every reader knows a CR alone."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What the service reads of a SKILL.md.

    :param name: 1 to 64 lower-case letters, digits and single hyphens.
    :param description: 1 to 1,024 characters; what a model decides by whether it reads the skill.
    """

    name: str
    description: str


def read_front_matter(text: bytes, file: str = "SKILL.md") -> FrontMatter:
    """Read the front matter.

    :param text: the start of the file, 64 KiB are enough.
    :param file: what messages call it.
    :raises SkillError: with one problem for each field that is wrong.
    """
    fields = _fields(_yaml_part(text, file), file)
    problems = [*_name_problems(fields), *_description_problems(fields), *_other_problems(fields)]
    if problems:
        raise SkillError(*(f"{file}: {problem}" for problem in problems))
    return FrontMatter(fields["name"], fields["description"].strip())


def _yaml_part(text: bytes, file: str) -> str:
    if text.startswith(b"\xef\xbb\xbf"):
        raise SkillError(f"{file}: it begins with a byte order mark; save it as UTF-8 without one")
    lines = text[:MAX_FRONT_MATTER_BYTES].split(b"\n")
    if lines[0].rstrip(_BLANKS) != b"---":
        first = lines[0][:_MAX_SHOWN].decode("utf-8", "replace")
        found = f"it begins with {first!r}" if text else "it is empty"
        raise SkillError(f"{file}: {found}, expected front matter at its start: the lines {_EXAMPLE}")
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip(_BLANKS) == b"---":
            try:
                return b"\n".join(lines[1:number]).decode()
            except UnicodeDecodeError as error:
                raise SkillError(
                    f"{file}: the front matter has the byte 0x{error.object[error.start]:02x}, which is not "
                    "UTF-8; save the file as UTF-8"
                ) from None
    raise SkillError(
        f"{file}: no line '---' ends the front matter within the first {MAX_FRONT_MATTER_BYTES // 1024} KB; "
        "add one after its last field"
    )


def _fields(text: str, file: str) -> dict[Any, Any]:
    from yaml import YAMLError  # type: ignore[import-untyped, unused-ignore]

    from airflow_containers.skills._yaml import load

    try:
        fields = load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The first line of the file is not part of the text.
        where = f" in line {mark.line + 2}" if mark is not None else ""
        what = getattr(error, "problem", None) or "it cannot be read"
        raise SkillError(
            f"{file}: the front matter is no YAML{where}: {what}; "
            "put a text with ': ' or other signs in quotes"
        ) from None
    except Exception as error:  # noqa: BLE001 - the parser raises many kinds of errors, for odd values and deep nesting
        raise SkillError(
            f"{file}: the front matter cannot be read ({type(error).__name__}), expected plain texts"
        ) from None
    if not isinstance(fields, dict):
        raise SkillError(f"{file}: the front matter is {_shape(fields)}, expected the lines {_EXAMPLE}")
    return fields


def _name_problems(fields: dict[Any, Any]) -> list[str]:
    expected = f"expected {_NAME_RULE}"
    if "name" not in fields:
        return [f"name is missing, {expected}"]
    name = fields["name"]
    if not isinstance(name, str):
        return [f"name is {_shape(name)}, {expected}; write it in quotes if it looks like something else"]
    if len(name) > MAX_NAME_LENGTH:
        return [f"name has {len(name)} characters, {expected}"]
    return [] if _NAME.fullmatch(name) else [f"name is {name!r}, {expected}"]


def _description_problems(fields: dict[Any, Any]) -> list[str]:
    expected = (
        f"expected 1 to {MAX_DESCRIPTION_LENGTH} characters that say what the skill does and when to use it"
    )
    if "description" not in fields:
        return [f"description is missing, {expected}"]
    description = fields["description"]
    if not isinstance(description, str):
        return [f"description is {_shape(description)}, {expected}; write it in quotes"]
    if not description.strip():
        return [f"description is blank, {expected}"]
    if len(description) > MAX_DESCRIPTION_LENGTH:
        return [f"description has {len(description)} characters, {expected}"]
    if any("\ud800" <= character <= "\udfff" for character in description):
        return ["description has half of a surrogate pair, which no request can carry; remove it"]
    return []


def _other_problems(fields: dict[Any, Any]) -> list[str]:
    problems = []
    for field, most in (("license", None), ("compatibility", MAX_COMPATIBILITY_LENGTH)):
        value = fields.get(field, "unset")
        if not isinstance(value, str) or not value.strip() or (most and len(value) > most):
            bound = f" of 1 to {most} characters" if most else ""
            problems.append(f"{field} is {_shape(value)}, expected a text{bound}; or leave it out")
    metadata = fields.get("metadata", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in metadata.items()
    ):
        problems.append("metadata is no mapping of texts to texts; write each value in quotes")
    return problems


def _shape(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return f"a {type(value).__name__}"
