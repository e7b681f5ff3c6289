"""Which task instance a container belongs to, written into the container's name.

The API keeps no tags, so the name is the only place. An owner token looks like ``-afc`` and 16 characters
of Base32 at the end of a name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Final

from airflow_containers.api.errors import InvalidRequestError

OWNER_PREFIX: Final = "-afc"
_TOKEN_BYTES: Final = 10
_TOKEN: Final = re.compile(rf"{OWNER_PREFIX}[a-z2-7]{{16}}\Z")
TOKEN_LENGTH: Final = len(OWNER_PREFIX) + 16
"""Characters of an owner token."""

MAX_DEFAULT_NAME_LENGTH: Final = 100
"""Characters of a name made from dag, task and run, without the token; longer ones are cut."""


def owner_token(
    *, dag_id: str, run_id: str, run_started_at: datetime | None, task_id: str, map_index: int
) -> str:
    """Return the token of a task instance: the same for each of its tries, different for everything else.

    The start time of the run tells apart two deployments that run the same DAG for the same date: 80 bits of
    a hash over it and the ids. Clearing a task of a finished run starts the run anew in Airflow, and with it
    comes another token.

    :param run_started_at: when the DAG run started; ``None`` where Airflow does not know.
    :param map_index: ``-1`` for a task that is not mapped.
    """
    started = run_started_at.astimezone(UTC).isoformat(timespec="microseconds") if run_started_at else ""
    identity = json.dumps([dag_id, run_id, started, task_id, map_index])
    digest = hashlib.blake2b(identity.encode(), digest_size=_TOKEN_BYTES).digest()
    return OWNER_PREFIX + base64.b32encode(digest).decode("ascii").lower()


def has_owner_token(name: str) -> bool:
    """Whether a container of that name was made by this package with ``unique_name=True``."""
    return _TOKEN.search(name) is not None


def with_owner_token(name: str, token: str, *, max_length: int) -> str:
    """Return ``name`` with ``token`` at its end.

    :raises InvalidRequestError: if that is longer than ``max_length`` characters.
    """
    if len(name) + len(token) > max_length:
        raise InvalidRequestError(
            f"name: got a text of {len(name)} characters, expected at most {max_length - len(token)}"
            + (f" (the owner token takes {len(token)} of {max_length})" if token else "")
        )
    return name + token


def default_name(*, dag_id: str, task_id: str, run_id: str) -> str:
    """Return a name that tells a person which task made the container, at most 100 characters."""
    text = f"{dag_id}.{task_id}.{run_id}"
    printable = "".join(character if character.isprintable() else "-" for character in text)
    return printable[:MAX_DEFAULT_NAME_LENGTH]
