"""The rules for requests to ``/v1/containers/{container_id}/files``.

Where nothing is published, the cautious reading is built, each in one place here: 512 MB for a file, one of
``file`` and ``file_id``.
"""

from __future__ import annotations

from airflow_containers.local.forms import FileRule, FormRule
from airflow_containers.local.schema import Enum, Integer, Object, Text

MAX_FILE_BYTES = 512 << 20
MAX_PAGE = 100

FORM = FormRule({"file": FileRule(MAX_FILE_BYTES)}, MAX_FILE_BYTES, frozenset({"file_id"}))
"""The form of ``POST …/files``; a ``file_id`` in it gets an error that says where it belongs."""

COPY = Object({"file_id": Text(min_length=1)}, required=("file_id",))
"""The JSON body of ``POST …/files``."""

LIST = Object(
    {
        "limit": Integer(minimum=1, maximum=MAX_PAGE),
        "order": Enum(("asc", "desc")),
        "after": Text(min_length=1),
    }
)
"""The query of ``GET …/files``."""
