"""Create happens once: a protocol over an API that has no idempotency key.

A container is known by its name, which is fixed before the request is sent (see
:mod:`airflow_containers.identity`), and what a create task has reached is remembered, where Airflow can, in a
:class:`Record`. The protocol is a generator: it yields what to do next (a :data:`Step`) and is sent what came
of it (a :data:`Result`). It does no I/O and reads no clock of its own, so a test can try every interleaving.

On the first try it POSTs at once. After an answer that leaves open whether a container was made, it looks for
the name with growing pauses, takes the container it finds, and POSTs again only when the whole patience
brought none. On a later try it looks first: a container of ours that nobody can have used and that was asked
for in the same way is taken over, every other one is deleted, and then there is none or one.

It rests on two assumptions about the service: a container appears in lists within the patience
(:attr:`Plan.pauses`), and one that was asked for is made before that, or not at all. Where they do not hold,
a container that turns up late ends by its idle time or by a sweep.
"""

from __future__ import annotations

from airflow_containers.creation._fitness import difference, fingerprint, is_unused
from airflow_containers.creation._protocol import (
    CLOCK_SKEW,
    DEFAULT_PATIENCE,
    MAX_POSTS,
    ON_RETRY,
    OnRetry,
    Plan,
    create_once,
    growing_pauses,
)
from airflow_containers.creation._record import Record
from airflow_containers.creation._steps import (
    Alive,
    Delete,
    Deleted,
    Found,
    Gone,
    LookUp,
    Made,
    NotMade,
    Pause,
    Post,
    Protocol,
    Remember,
    Result,
    Settled,
    Step,
    Touch,
    Unavailable,
    Unclear,
)

__all__ = [
    "CLOCK_SKEW",
    "DEFAULT_PATIENCE",
    "MAX_POSTS",
    "ON_RETRY",
    "Alive",
    "Delete",
    "Deleted",
    "Found",
    "Gone",
    "LookUp",
    "Made",
    "NotMade",
    "OnRetry",
    "Pause",
    "Plan",
    "Post",
    "Protocol",
    "Record",
    "Remember",
    "Result",
    "Settled",
    "Step",
    "Touch",
    "Unavailable",
    "Unclear",
    "create_once",
    "difference",
    "fingerprint",
    "growing_pauses",
    "is_unused",
]
