"""Zips of skills, made by hand, so that they can also be wrong ones."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from typing import Any


def skill_md(name: str = "s", description: str = "d") -> bytes:
    """A SKILL.md that is right."""
    return f"---\nname: {name}\ndescription: {description}\n---\nDo it.\n".encode()


def make_zip(entries: Mapping[str | zipfile.ZipInfo, bytes | str]) -> bytes:
    """A zip with these entries, the same whenever it is made."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(_undated(name) if isinstance(name, str) else name, data)
    return content.getvalue()


def _undated(name: str) -> zipfile.ZipInfo:
    """What `zipfile` makes of a name, but for the time."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o40775 << 16 | 0x10 if name.endswith("/") else 0o600 << 16
    return info


def skill_zip(name: str = "s", description: str = "d", **files: bytes) -> bytes:
    """A zip of a skill that is right, with further files in its folder."""
    entries: dict[str | zipfile.ZipInfo, bytes | str] = {f"{name}/SKILL.md": skill_md(name, description)}
    return make_zip(entries | {f"{name}/{path}": data for path, data in files.items()})


def inline_skill(name: str = "s", description: str = "d", data: bytes | None = None) -> dict[str, Any]:
    """An inline skill of a create call."""
    content = base64.b64encode(skill_zip(name, description) if data is None else data).decode()
    source = {"type": "base64", "media_type": "application/zip", "data": content}
    return {"type": "inline", "name": name, "description": description, "source": source}
