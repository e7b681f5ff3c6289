"""The rules for requests to ``/v1/files``. Limits are the published ones, with MB taken for MiB."""

from __future__ import annotations

from airflow_containers.local.forms import FileRule, FormRule
from airflow_containers.local.schema import Enum, Integer, Object, Schema, Text

MAX_FILE_BYTES = 512 << 20
MAX_PAGE = 10_000
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_ALL_PURPOSES = (*PURPOSES, "assistants_output", "batch_output", "fine-tune-results")

EXPIRES_AFTER: Schema = Object(
    {"anchor": Enum(("created_at",)), "seconds": Integer(minimum=3600, maximum=2_592_000)},
    required=("anchor", "seconds"),
)
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"

FORM = FormRule({"file": FileRule(MAX_FILE_BYTES)}, MAX_FILE_BYTES, frozenset({"purpose", ANCHOR, SECONDS}))
"""The form of ``POST /v1/files``."""

FIELDS = Object({"purpose": Enum(PURPOSES), "expires_after": EXPIRES_AFTER}, required=("purpose",))
"""Its fields, once those of ``expires_after`` were put together."""

LIST = Object(
    {
        "purpose": Enum(_ALL_PURPOSES),
        "limit": Integer(minimum=1, maximum=MAX_PAGE),
        "order": Enum(("asc", "desc")),
        "after": Text(min_length=1),
    }
)
"""The query of ``GET /v1/files``."""
