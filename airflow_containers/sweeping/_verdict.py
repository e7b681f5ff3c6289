"""Which containers a sweep covers, and what is to become of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from airflow_containers import identity, pricing
from airflow_containers.api.models import Container
from airflow_containers.identity import Run
from airflow_containers.sweeping._runs import RunState, State

Action = Literal["keep", "delete"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is swept.

    :param deployment_id: this deployment's id; an empty one proves no run.
    :param prefix: only containers whose names start so.
    :param older_than: age above which a container is deleted whose run is not proven; ``None`` keeps it. It
        has to be longer than the longest run of any deployment that shares the account.
    :param live_runs: runs that were live when the sweep began, each as its
        :func:`~airflow_containers.identity.run_hash`: those that could be listed. They protect containers
        whose names have no ids.
    :raises ValueError: if ``older_than`` is not above zero.
    """

    deployment_id: str
    prefix: str | None = None
    older_than: timedelta | None = None
    live_runs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.older_than is not None and self.older_than <= timedelta(0):
            raise ValueError(f"older_than: got {self.older_than}, expected a time span above zero")

    def covers(self, container: Container) -> bool:
        """Whether the container was made by this package, and is asked for."""
        name = container.name or ""
        return identity.has_owner_token(name) and name.startswith(self.prefix or "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of one container.

    :param reason: why, in words.
    :param owner: what is known of the run that made it.
    :param minutes: minutes alive, begun ones counted; ``None`` if the service does not tell its start.
    :param cost: US dollars so far; ``None`` if the price or the start is not known.
    """

    container: Container
    action: Action
    reason: str
    owner: State
    minutes: int | None
    cost: Decimal | None


def judge(
    container: Container, *, rules: Rules, state_of: Callable[[Run], RunState], now: float
) -> Verdict | None:
    """Decide about one container.

    :param state_of: asked only if the name proves the run.
    :param now: seconds since 1970.
    :returns: ``None`` for one that is not to be looked at: its name has no owner token or another prefix, or
        it has ended already.
    """
    if not rules.covers(container) or not container.is_alive:
        return None
    action: Action
    minutes = None if container.created_at is None else max(0, math.ceil((now - container.created_at) / 60))
    run = identity.owner_run(container.name or "", rules.deployment_id) if rules.deployment_id else None
    if run is None and _hash_of_run(container.name or "") in rules.live_runs:
        owner: State = "live"
        action, reason = "keep", "the owner token is that of a live run"
    elif run is None:
        owner = "unknown"
        action, reason = _by_age(container, rules, now)
    else:
        answer = state_of(run)
        owner = answer.state
        action = "delete" if owner == "over" else "keep"
        reason = f"run {run.run_id} of {run.dag_id} {answer.words}"
    return Verdict(
        container=container,
        action=action,
        reason=reason,
        owner=owner,
        minutes=minutes,
        cost=None if minutes is None else pricing.cost(container.memory_limit, minutes),
    )


def _hash_of_run(name: str) -> str:
    return name[-identity.TOKEN_LENGTH :][len(identity.OWNER_PREFIX) :][: identity.RUN_LENGTH]


def _by_age(container: Container, rules: Rules, now: float) -> tuple[Action, str]:
    if not rules.deployment_id:
        why = "no run can be proven without this deployment's id"
    else:
        why = "the name proves no run of this deployment"
    if rules.older_than is None:
        return "keep", f"{why}, and no age limit was given"
    if container.created_at is None:
        return "keep", f"{why}, and its age is not told"
    if now - container.created_at > rules.older_than.total_seconds():
        return "delete", f"{why}, and it is older than {rules.older_than}"
    return "keep", f"{why}, and it is not older than {rules.older_than}"
