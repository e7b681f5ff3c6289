"""A skill in a folder: checking it, and packing it into a zip that is the same on every machine.

Free of Airflow::

    from airflow_containers.skills import pack_skill

    packed = pack_skill(Path("skills/report"), Path("report.zip"))

The rules are those of https://agentskills.io/specification and of the service's guide to skills. Three
decisions are ours:

- **Files are stored, not compressed.** What deflate makes of a file depends on the zlib that Python was built
  with, so only a stored zip has the same bytes everywhere. A folder's files may have 50 MB together
  therefore; what compresses well can be kept in the folder compressed.
- **Of a file's permissions only the owner's executable bit is kept**, as Git does; its times are not.
- **A link to a file inside of the folder is packed as that file**, a link to anything else is refused.

Whether a skill has changed is told by its :class:`Contents`: names, executable bits and hashes of the
contents, never the bytes of a zip.
"""

from __future__ import annotations

from airflow_containers.skills._contents import Contents, FileContent, read_zip
from airflow_containers.skills._errors import SkillChangedError, SkillError
from airflow_containers.skills._folder import SkillFile, SkillFolder, check_skill_folder
from airflow_containers.skills._inline import packed_inline
from airflow_containers.skills._limits import MAX_FILE_BYTES, MAX_FILES, MAX_ZIP_BYTES
from airflow_containers.skills._pack import PackedSkill, pack_skill

__all__ = [
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "MAX_ZIP_BYTES",
    "Contents",
    "FileContent",
    "PackedSkill",
    "SkillChangedError",
    "SkillError",
    "SkillFile",
    "SkillFolder",
    "check_skill_folder",
    "pack_skill",
    "packed_inline",
    "read_zip",
]
