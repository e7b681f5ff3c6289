"""What a container's status means for somebody who waits for one: rules, for the sensor and its trigger."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_containers.api.errors import ContainerGoneError

EXPIRED: Final = "expired"
DELETED: Final = "deleted"

VISIBLE_AFTER: Final = 60.0
"""Seconds. A new container may be missing from lists at first; before this time absence means nothing."""


class Verdict(Enum):
    """What follows from a look."""

    MET = "the status is one of those awaited"
    WAITING = "it may still come"
    HOPELESS = "it cannot come any more"


def status_of(error: ContainerGoneError) -> str:
    """Return the status that an answer by id without a container amounts to.

    Expired containers are answered with 400 "Container is expired.", deleted ones with 404.
    """
    expired = error.status_code != 404 or EXPIRED in (error.detail or "").lower()
    return EXPIRED if expired else DELETED


def status_in_lists(status: str | None, *, seen: bool, waited: float) -> str | None:
    """Return the status that a look through all lists tells, ``None`` for not known yet.

    :param status: what the list says; ``None`` if the container is on no page.
    :param seen: whether it was in a list before.
    :param waited: seconds since the first look.
    """
    if status is None and (seen or waited >= VISIBLE_AFTER):
        return DELETED
    return status


def judge(status: str | None, wanted: Collection[str]) -> Verdict:
    """Compare what was found with what is awaited, in any capitals.

    An expired container stays expired until it is deleted; a deleted one stays deleted.
    """
    found = (status or "").lower()
    awaited = {each.lower() for each in wanted}
    if found in awaited:
        return Verdict.MET
    over = found == DELETED or (found == EXPIRED and DELETED not in awaited)
    return Verdict.HOPELESS if over else Verdict.WAITING


def hopeless_message(container_id: str, status: str | None, wanted: Collection[str]) -> str:
    """Say why there is nothing left to wait for."""
    return (
        f"Container {container_id} is {status}, and cannot become {' or '.join(wanted)} any more. "
        "Check that its id comes from this DAG run, and that nothing before this task deletes it"
    )
