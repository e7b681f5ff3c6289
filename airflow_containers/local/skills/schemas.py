"""The rules for requests to ``/v1/skills``."""

from __future__ import annotations

import re

from airflow_containers.local.forms import FileRule, FormRule
from airflow_containers.local.schema import Enum, Integer, Object, Text
from airflow_containers.local.skills.limits import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_UNPACKED_BYTES,
    MAX_ZIP_BYTES,
)

MAX_PAGE = 100
ZIP, DIRECTORY = "files", "files[]"
_FILES = {
    ZIP: FileRule(MAX_ZIP_BYTES, breaks_rule=True),
    DIRECTORY: FileRule(MAX_FILE_BYTES, MAX_FILES, breaks_rule=True),
}

CREATE = FormRule(_FILES, MAX_UNPACKED_BYTES)
"""The form of ``POST /v1/skills``: one zip in ``files``, or the files of a folder in ``files[]``."""

CREATE_VERSION = FormRule(_FILES, MAX_UNPACKED_BYTES, frozenset({"default"}))
"""The form of ``POST /v1/skills/{skill_id}/versions``."""

BOOLEAN = Enum(("true", "false"))

SET_DEFAULT = Object(
    {"default_version": Text(pattern=re.compile(r"[1-9][0-9]*"))}, required=("default_version",)
)
"""The body of ``POST /v1/skills/{skill_id}``."""

LIST = Object(
    {
        "limit": Integer(minimum=0, maximum=MAX_PAGE),
        "order": Enum(("asc", "desc")),
        "after": Text(min_length=1),
    }
)
"""The query of both lists."""
