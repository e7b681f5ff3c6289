"""Takes in skills as they come: in forms, in the bodies of create calls, by reference."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from airflow_containers.local.blobs import Blobs, remove_tree
from airflow_containers.local.contents import Content
from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.forms import Form
from airflow_containers.local.schema import missing_parameter
from airflow_containers.local.skills.exceptions import BadSkillError, InvalidSkillError
from airflow_containers.local.skills.front_matter import FrontMatter
from airflow_containers.local.skills.models import PackedSkill
from airflow_containers.local.skills.pack import pack
from airflow_containers.local.skills.schemas import DIRECTORY, ZIP
from airflow_containers.local.skills.unpack import unpack


@contextlib.asynccontextmanager
async def taken_in(form: Form, blobs: Blobs) -> AsyncIterator[PackedSkill]:
    """The skill of a form, checked; its zip is removed at the end, unless it was moved.

    :raises InvalidSkillError: when it breaks a rule.
    :raises InvalidRequestError: when there is none, or a zip and files.
    """
    zips = [file for file in form.files if file.name == ZIP]
    files = [(file.filename, file.content.path) for file in form.files if file.name == DIRECTORY]
    if zips and files:
        raise InvalidRequestError(
            f"Invalid '{ZIP}': give either one zip as '{ZIP}' or the files of a folder as '{DIRECTORY}'.",
            param=ZIP,
            code="invalid_value",
        )
    if zips:
        content = Content.of(zips[0].content)
        try:
            front_matter = await asyncio.to_thread(check_zip, content.path, blobs)
        except BadSkillError as error:
            raise InvalidSkillError(ZIP, error) from None
        yield PackedSkill(content, front_matter)
        return
    if not files:
        raise missing_parameter(ZIP)
    target = blobs.temporary()
    try:
        yield await asyncio.to_thread(_pack, files, target)
    except BadSkillError as error:
        raise InvalidSkillError(ZIP, error) from None
    finally:
        target.unlink(missing_ok=True)


def check_zip(path: Path, blobs: Blobs) -> FrontMatter:
    """Check a zip by unpacking it; blocks.

    :raises BadSkillError: when it, or the skill in it, breaks a rule.
    """
    target = blobs.temporary()
    target.mkdir(mode=0o700)
    try:
        with path.open("rb") as source:
            return unpack(source, target)
    finally:
        remove_tree(target)


def _pack(files: list[tuple[str, Path]], target: Path) -> PackedSkill:
    front_matter = pack(files, target)
    with target.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return PackedSkill(Content(target, target.stat().st_size, sha256), front_matter)
