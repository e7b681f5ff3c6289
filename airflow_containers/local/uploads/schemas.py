"""The rules for requests to ``/v1/uploads``.

Limits are the published ones, with MB and GB taken for MiB and GiB. The specification lists four purposes,
the ``openai`` package six; six are taken.
"""

from __future__ import annotations

import re

from airflow_containers.local.files.schemas import EXPIRES_AFTER, PURPOSES
from airflow_containers.local.forms import FileRule, FormRule
from airflow_containers.local.schema import Array, Enum, Integer, Object, Text

MAX_UPLOAD_BYTES = 8 << 30
MAX_PART_BYTES = 64 << 20

CREATE = Object(
    {
        "filename": Text(min_length=1),
        "purpose": Enum(PURPOSES),
        "bytes": Integer(minimum=1, maximum=MAX_UPLOAD_BYTES),
        "mime_type": Text(min_length=1),
        "expires_after": EXPIRES_AFTER,
    },
    required=("filename", "purpose", "bytes", "mime_type"),
)
"""The body of ``POST /v1/uploads``."""

PART = FormRule({"data": FileRule(MAX_PART_BYTES)}, MAX_PART_BYTES)
"""The form of ``POST /v1/uploads/{upload_id}/parts``."""

COMPLETE = Object(
    {
        "part_ids": Array(Text(min_length=1), min_items=1),
        "md5": Text(pattern=re.compile(r"[0-9a-fA-F]{32}")),
    },
    required=("part_ids",),
)
"""The body of ``POST /v1/uploads/{upload_id}/complete``."""

CANCEL = Object({})
"""The body of ``POST /v1/uploads/{upload_id}/cancel``, where there is one."""
