"""Makes the zip of a skill that was uploaded file by file, and checks it like one that came as a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from airflow_containers.local.skills.exceptions import BadSkillError
from airflow_containers.local.skills.front_matter import FrontMatter, read_front_matter
from airflow_containers.local.skills.limits import MAX_FRONT_MATTER_BYTES, MAX_ZIP_BYTES
from airflow_containers.local.skills.tree import SkillTree

_OLDEST = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16


def pack(files: Sequence[tuple[str, Path]], target: Path) -> FrontMatter:
    """Check files and zip them; the same files give the same bytes.

    :param files: their paths as they were sent, each with the place of its contents.
    :param target: the zip, which is made.
    :raises BadSkillError: when they are no skill, or the zip is too long.
    """
    tree = SkillTree()
    for name, _ in files:
        tree.add_file(name)
    skill_file = tree.find_skill_file()
    places = dict(files)
    with places[skill_file].open("rb") as content:
        front_matter = read_front_matter(content.read(2 * MAX_FRONT_MATTER_BYTES), tree.folder)
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(places):
            info = zipfile.ZipInfo(name, _OLDEST)
            info.create_system, info.external_attr, info.compress_type = 3, _MODE, zipfile.ZIP_DEFLATED
            with places[name].open("rb") as content, archive.open(info, "w") as packed:
                while piece := content.read(1 << 20):
                    packed.write(piece)
    size = target.stat().st_size
    if size > MAX_ZIP_BYTES:
        raise BadSkillError(
            f"too large. Expected at most {MAX_ZIP_BYTES} bytes once it is zipped, but got {size}."
        )
    return front_matter
