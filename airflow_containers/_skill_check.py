"""``airflow-containers skill check``: whether folders are skills, for people and for CI."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from airflow_containers.skills import PackedSkill, SkillError, pack_skill


def run(folders: Sequence[Path], *, as_json: bool) -> int:
    """Check folders and print what was found: skills to the output, problems to the error output.

    :param as_json: print one JSON list to the output instead.
    :returns: 0 if each folder is a skill, 1 if one is not, 2 if one is no folder at all.
    """
    results = [_result(folder) for folder in folders]
    try:
        if as_json:
            _print(json.dumps(results, indent=2, ensure_ascii=False), sys.stdout)
        else:
            _tell(results)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough. The status still counts; the interpreter's last flush needs a place.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not all(folder.is_dir() for folder in folders):
        return 2
    return 1 if any(result["problems"] for result in results) else 0


def _result(folder: Path) -> dict[str, Any]:
    try:
        packed, files = _packed(folder)
    except SkillError as error:
        return {"path": str(folder), "problems": list(error.problems)}
    except OSError as error:
        return {"path": str(folder), "problems": [str(error)]}
    return {
        "path": str(folder),
        "problems": [],
        "name": packed.name,
        "description": packed.description,
        "files": files,
        "zip_bytes": packed.size,
        "digest": packed.sha256,
    }


def _packed(folder: Path) -> tuple[PackedSkill, int]:
    import tempfile

    # Packed in earnest: so each file is read, and the digest is that of what would be sent.
    with tempfile.TemporaryFile() as target:
        packed = pack_skill(folder, target)  # type: ignore[arg-type, unused-ignore]
    return packed, len(packed.contents.files)


def _tell(results: Sequence[dict[str, Any]]) -> None:
    for result in results:
        for problem in result["problems"]:
            _print(f"error: {problem}", sys.stderr)
        if not result["problems"]:
            files = f"{result['files']} file{'s'[: result['files'] != 1]}"
            _print(f"{_printable(result['path'])}: skill {result['name']!r} is fine", sys.stdout)
            _print(f"  {_printable(' '.join(result['description'].split()))}", sys.stdout)
            _print(f"  {files}, zip of {result['zip_bytes']} bytes, digest {result['digest']}", sys.stdout)
    broken = sum(bool(result["problems"]) for result in results)
    if broken:
        total = sum(len(result["problems"]) for result in results)
        _print(f"{total} problem{'s'[: total != 1]} in {broken} of {len(results)}", sys.stderr)


def _printable(text: str) -> str:
    """Return a text on one line, without what a terminal obeys."""
    return text if text.isprintable() else ascii(text)


def _print(text: str, file: TextIO) -> None:
    """Print a text, with escapes for what the output's encoding does not have."""
    encoding = file.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=file)
