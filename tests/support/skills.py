"""Folders that are skills, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FRONT_MATTER = "---\nname: {name}\ndescription: {description}\n---\n\n# Text\n"


def make_skill(
    folder: Path,
    files: Mapping[str, bytes | str] | None = None,
    *,
    name: str = "report",
    description: str = "Makes reports.",
) -> Path:
    """Make a folder with a SKILL.md and ``files``, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(FRONT_MATTER.format(name=name, description=description))
    for path, content in (files or {}).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
