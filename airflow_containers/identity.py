"""Which task instance a container belongs to, written into the container's name.

The API keeps no tags, so the name is the only place. A name is made of three parts::

    report [daily_report scheduled__2026-03-01T00:00:00+00:00]-afcq3k5zt7wmvb2h4xd6yoe
    label   dag_id       run_id                               owner token

The **owner token** is ``-afc``, 8 characters for the run and 12 for the task instance in it, both Base32 of a
hash that takes the deployment's id in. It is the same for each try of a task instance, also after a clear,
and different for everything else: a create task finds its own container by it.

The **ids in brackets** are the way back to the run. A task may ask Airflow for the state of a run whose ids
it knows, on every Airflow line; listing the live runs, from which tokens could be computed forward, is
possible for no task of Airflow 3. The hash proves the ids: a name that somebody else wrote, or another
deployment's, is not taken for ours. Where label and ids do not fit into a name together, the ids are left
out, and then only a container's age tells when it is over.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from airflow_containers.api.errors import InvalidRequestError

OWNER_PREFIX: Final = "-afc"
RUN_LENGTH: Final = 8
"""Characters for the run: 40 bits."""

TASK_LENGTH: Final = 12
"""Characters for the task instance in its run: 60 bits."""

TOKEN_LENGTH: Final = len(OWNER_PREFIX) + RUN_LENGTH + TASK_LENGTH
"""Characters of an owner token."""

MAX_DEFAULT_NAME_LENGTH: Final = 100
"""Characters of a name made from dag, task and run; longer ones are cut."""

_TOKEN: Final = re.compile(rf"{OWNER_PREFIX}[a-z2-7]{{{RUN_LENGTH + TASK_LENGTH}}}\Z")


@dataclass(frozen=True, slots=True)
class Owner:
    """A task instance of one deployment.

    :param deployment_id: tells apart two deployments that share an account and run the same DAG.
    :param map_index: ``-1`` for a task that is not mapped.
    """

    deployment_id: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def token(self) -> str:
        """The owner token: the same for each try, different for everything else."""
        task = _hash(
            TASK_LENGTH, self.deployment_id, self.dag_id, self.run_id, self.task_id, str(self.map_index)
        )
        return f"{OWNER_PREFIX}{run_hash(self.deployment_id, self.dag_id, self.run_id)}{task}"

    def name(self, label: str, *, max_length: int) -> str:
        """Return a container's name: ``label``, the ids where there is room for them, and the token.

        The ids are left out as well where a name cannot hold them: a character that cannot be printed.

        :param max_length: characters of the whole name.
        :raises InvalidRequestError: if label and token are longer than that.
        """
        longest = max_length - TOKEN_LENGTH
        if len(label) > longest:
            raise InvalidRequestError(
                f"name: got a text of {len(label)} characters, expected at most {longest} "
                f"(the owner token takes {TOKEN_LENGTH} of {max_length})"
            )
        ids = f" [{self.dag_id} {self.run_id}]"
        if len(label) + len(ids) > longest or not ids.isprintable():
            ids = ""
        return f"{label}{ids}{self.token}"


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run, by its ids."""

    dag_id: str
    run_id: str


def run_hash(deployment_id: str, dag_id: str, run_id: str) -> str:
    """Return the part of an owner token that stands for the run."""
    return _hash(RUN_LENGTH, deployment_id, dag_id, run_id)


def has_owner_token(name: str) -> bool:
    """Whether a container of that name was made by this package with ``unique_name=True``."""
    return _TOKEN.search(name) is not None


def owner_run(name: str, deployment_id: str) -> Run | None:
    """Return the run that a container of that name was made in.

    :returns: ``None`` for a name without owner token, without ids, or of another deployment.
    """
    found = _TOKEN.search(name)
    if found is None:
        return None
    proof = found[0][len(OWNER_PREFIX) :][:RUN_LENGTH]
    for run in _possible_runs(name[: found.start()]):
        if run_hash(deployment_id, run.dag_id, run.run_id) == proof:
            return run
    return None


def default_name(*, dag_id: str, task_id: str, run_id: str, owned: bool) -> str:
    """Return a name that tells a person which task made the container, at most 100 characters.

    :param owned: whether the ids of dag and run will be appended to it.
    """
    text = task_id if owned else f"{dag_id}.{task_id}.{run_id}"
    printable = "".join(character if character.isprintable() else "-" for character in text)
    return printable[:MAX_DEFAULT_NAME_LENGTH]


def _possible_runs(text: str) -> Iterator[Run]:
    """Yield each way to read ids in brackets at the end of ``text``: a label may have brackets of its own."""
    if not text.endswith("]"):
        return
    start = text.rfind(" [")
    while start >= 0:
        dag_id, space, run_id = text[start + 2 : -1].partition(" ")
        if space:
            yield Run(dag_id, run_id)
        start = text.rfind(" [", 0, start)


def _hash(length: int, *parts: str) -> str:
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=length * 5 // 8 + 1).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:length]
