"""The head of a SKILL.md: its YAML front matter and the rules for it, as agentskills.io has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

from airflow_containers.local.skills.exceptions import BadSkillError
from airflow_containers.local.skills.limits import MAX_FRONT_MATTER_BYTES

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_FENCE = re.compile(rb"---[ \t]*\r?\n")
_END = re.compile(rb"^---[ \t]*\r?$", re.MULTILINE)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a skill says of itself."""

    name: str
    description: str


class _Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """YAML without merge keys (``<<``): a few lines of them grow to more than any memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem="it has a merge key (<<)", problem_mark=key.start_mark
                )
        super().flatten_mapping(node)


def read_front_matter(content: bytes, folder: str) -> FrontMatter:
    """Read and check the head of a SKILL.md.

    :param content: the file, or its first bytes, more than :data:`MAX_FRONT_MATTER_BYTES` of them.
    :param folder: that it is in, which must be called as the skill.
    :raises BadSkillError: when it breaks a rule.
    """
    fields = _parse(content)
    name = _text(fields, "name", 64)
    if not _NAME.fullmatch(name):
        raise BadSkillError(
            f"the name {name!r} in the front matter of SKILL.md is not valid. "
            "Expected lower-case letters a-z, digits and single hyphens between them."
        )
    if not same_name(name, folder):
        raise BadSkillError(
            f"the name {name!r} in the front matter of SKILL.md is not that of its folder, {folder[:100]!r}."
        )
    description = _text(fields, "description", 1024)
    if "license" in fields:
        _text(fields, "license", None)
    if "compatibility" in fields:
        _text(fields, "compatibility", 500)
    _check_metadata(fields.get("metadata"))
    return FrontMatter(name, description)


def same_name(name: str, folder: str) -> bool:
    """Whether a skill's name is that of a folder.

    The specification wants them equal; the service's own examples have ``basic-math`` in ``basic_math``.
    """
    return folder.replace("_", "-") == name


def _parse(content: bytes) -> dict[str, Any]:
    content = content.removeprefix(_BOM)
    start = _FENCE.match(content)
    if start is None:
        raise BadSkillError("SKILL.md has no front matter. Expected '---' in its first line.")
    end = _END.search(content, start.end(), MAX_FRONT_MATTER_BYTES)
    if end is None:
        raise BadSkillError(
            "the front matter of SKILL.md does not end. Expected a line '---' after it, "
            f"within the first {MAX_FRONT_MATTER_BYTES} bytes."
        )
    try:
        text = content[start.end() : end.start()].decode()
    except UnicodeDecodeError:
        raise BadSkillError("the front matter of SKILL.md is not UTF-8.") from None
    try:
        loader = _Loader(text)
        try:
            fields = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 2}"
        raise BadSkillError(f"the front matter of SKILL.md is not YAML: {error.problem}{line}.") from None
    except Exception:  # noqa: BLE001 - the parser raises many kinds of errors, deep nesting included
        raise BadSkillError("the front matter of SKILL.md is not YAML.") from None
    if not isinstance(fields, dict):
        raise BadSkillError(
            "the front matter of SKILL.md is not a mapping. Expected 'name' and 'description'."
        )
    return fields


def _text(fields: dict[str, Any], key: str, limit: int | None) -> str:
    value = fields.get(key)
    if value is None:
        raise BadSkillError(f"the front matter of SKILL.md has no '{key}'.")
    if not isinstance(value, str):
        raise BadSkillError(f"'{key}' in the front matter of SKILL.md is not a text; put it into quotes.")
    if not value.strip():
        raise BadSkillError(f"'{key}' in the front matter of SKILL.md is empty.")
    if limit is not None and len(value) > limit:
        raise BadSkillError(
            f"'{key}' in the front matter of SKILL.md is too long. Expected at most {limit} characters, "
            f"but got {len(value)}."
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadSkillError(
            f"'{key}' in the front matter of SKILL.md has characters that no text has."
        ) from None
    return value


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(
        isinstance(key, str) and isinstance(value, str | int | float) for key, value in metadata.items()
    ):
        raise BadSkillError("'metadata' in the front matter of SKILL.md is not a mapping of texts to texts.")
