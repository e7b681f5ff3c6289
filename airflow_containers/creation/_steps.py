"""What the create protocol asks for, and what it is answered."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from airflow_containers.api.errors import AmbiguousCreateError, ContainersError
from airflow_containers.api.models import Container
from airflow_containers.creation._record import Record


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep ``record`` for later tries; ``None`` forgets it. Answered by ``None``."""

    record: Record | None


@dataclass(frozen=True, slots=True)
class Post:
    """Send the create request. Answered by :class:`Made`, :class:`NotMade` or :class:`Unclear`."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """List containers, which touches none. Answered by :class:`Found` or :class:`Unavailable`.

    :param name: only those that have exactly this name, whatever the server's own filter lets through.
    :param created_since: ``None`` asks the server for the name and follows every page. A time (seconds since
        1970) asks for no name, and reads the newest pages until one has nothing made since: a server's filter
        may hide what its list has.
    """

    name: str
    created_since: float | None = None


@dataclass(frozen=True, slots=True)
class Touch:
    """Get one container by its id. Answered by :class:`Alive`, :class:`Gone` or :class:`Unavailable`."""

    container_id: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one container. Answered by :class:`Deleted`, :class:`Gone` or :class:`Unavailable`."""

    container_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait. Answered by ``None``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Made:
    """The service has made this container."""

    container: Container


@dataclass(frozen=True, slots=True)
class NotMade:
    """The service has certainly made none."""

    error: ContainersError


@dataclass(frozen=True, slots=True)
class Unclear:
    """The service may have made one."""

    error: AmbiguousCreateError


@dataclass(frozen=True, slots=True)
class Found:
    """The containers of that name which the list does not call over, in the list's order."""

    containers: Sequence[Container] = ()


@dataclass(frozen=True, slots=True)
class Alive:
    """The container, which is not over."""

    container: Container


@dataclass(frozen=True, slots=True)
class Deleted:
    """It was there, and is no more."""


@dataclass(frozen=True, slots=True)
class Gone:
    """It was gone already: deleted or expired."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The service did not say."""

    error: ContainersError


@dataclass(frozen=True, slots=True)
class Settled:
    """The container of this task instance.

    :param adopted: why it is one that was there before this try's last request; ``None`` for a new one.
    """

    container: Container
    adopted: str | None = None


Step = Remember | Post | LookUp | Touch | Delete | Pause
Result = Made | NotMade | Unclear | Found | Alive | Deleted | Gone | Unavailable | None
Protocol = Generator[Step, Result, Settled]
