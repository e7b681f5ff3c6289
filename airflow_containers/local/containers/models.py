"""State and rules of containers: what is there, what is alive, what a list shows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from airflow_containers.local.blobs import Blobs
from airflow_containers.local.clock import Clock
from airflow_containers.local.containers.exceptions import (
    ContainerExpiredError,
    ContainerNotFoundError,
    DomainNotAllowedError,
    UnknownCursorError,
)
from airflow_containers.local.ids import Ids
from airflow_containers.local.store import Store

DEFAULT_MINUTES = 20
DEFAULT_MEMORY = "1g"
_DISABLED: dict[str, Any] = {"type": "disabled"}
_COLUMNS = "seq, id, name, created, last_active, minutes, memory_limit, network_policy, requested, deleted"


@dataclass(slots=True)
class Container:
    """One container.

    :param created: Unix time in seconds, with fractions; so are the other times.
    :param minutes: idle minutes after which it expires.
    :param network_policy: as answers show it: type and allowed domains.
    :param requested: what else was asked for, without secret values and skill data.
    :param deleted: when it was deleted, or ``None``.
    """

    seq: int
    id: str
    name: str
    created: float
    last_active: float
    minutes: int
    memory_limit: str
    network_policy: dict[str, Any]
    requested: dict[str, Any]
    deleted: float | None

    def status(self, now: float) -> str:
        """``running``, or ``expired`` once it was idle for its minutes."""
        return "expired" if now >= self.last_active + self.minutes * 60 else "running"


@dataclass(slots=True)
class Quirks:
    """Oddities of the hosted service, off by default.

    :param ghost_seconds: how long a deleted container stays in lists.
    :param visibility_delay_seconds: how long a new container is missing from lists.
    :param ranges: whether contents have an ``ETag`` and may be asked for in parts; on by default.
    """

    ghost_seconds: float = 0.0
    visibility_delay_seconds: float = 0.0
    ranges: bool = True


class ContainerBackend:
    """The containers of one server.

    :param allow_domains: all that a container may be let reach; ``None`` for any.
    :ivar began: told of each new container that has a network, with its request.
    :ivar ended: told of each container that is over and why, ``deleted`` or ``expired``, before its contents
        go; perhaps more than once.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        ids: Ids,
        quirks: Quirks,
        allow_domains: Collection[str] | None = None,
    ) -> None:
        self.began: Callable[[Container, dict[str, Any]], None] = lambda _container, _request: None
        self.ended: Callable[[str, str], None] = lambda _container_id, _reason: None
        self._allow_domains = None if allow_domains is None else frozenset(allow_domains)
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._quirks = quirks

    def create(self, request: dict[str, Any], install: Callable[[str], None] | None = None) -> Container:
        """Make a container from a checked request; it is on disk when this returns.

        Values of domain secrets are not kept here; :attr:`began` may take them.

        :param install: puts into the container with this id what the request gives it.
        :raises DomainNotAllowedError: when it asks for a domain that the operator does not allow.
        """
        policy = request.get("network_policy", _DISABLED)
        self._check_domains(policy)
        if install is None:
            container = self._insert(request, policy)
        else:
            with self._store.transaction():
                container = self._insert(request, policy)
                install(container.id)
        if policy["type"] != "disabled":
            self.began(container, request)
        return container

    def _check_domains(self, policy: dict[str, Any]) -> None:
        if self._allow_domains is not None:
            for index, domain in enumerate(policy.get("allowed_domains", ())):
                if domain not in self._allow_domains:
                    raise DomainNotAllowedError(index)

    def _insert(self, request: dict[str, Any], policy: dict[str, Any]) -> Container:
        now = self._clock.now()
        shown: dict[str, Any] = {key: policy[key] for key in ("type", "allowed_domains") if key in policy}
        minutes = request.get("expires_after", {}).get("minutes", DEFAULT_MINUTES)
        memory = request.get("memory_limit", DEFAULT_MEMORY)
        requested = _requested(request)
        rest = (
            request["name"],
            now,
            now,
            minutes,
            memory,
            json.dumps(shown),
            json.dumps(requested) if requested else "{}",
        )
        with self._ids.container_ids() as candidates:
            for container_id in candidates:
                try:
                    cursor = self._store.execute(
                        "INSERT INTO containers (id, name, created, last_active, minutes, memory_limit,"
                        " network_policy, requested) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (container_id, *rest),
                    )
                    break
                except sqlite3.IntegrityError:
                    # Only a seed that was set twice gives an id again; it moves on to its next one.
                    continue
        return Container(
            cursor.lastrowid or 0,
            container_id,
            request["name"],
            now,
            now,
            minutes,
            memory,
            shown,
            requested,
            None,
        )

    def retrieve(self, container_id: str) -> Container:
        """Look at a container, which counts as activity unless it has expired.

        :raises ContainerNotFoundError: when there is none, or it was deleted.
        """
        container = self._get(container_id)
        now = self._clock.now()
        if container.status(now) != "running":
            self._drop_contents(container_id, "expired")
        else:
            self._store.execute("UPDATE containers SET last_active = ? WHERE seq = ?", (now, container.seq))
            container.last_active = now
        return container

    def use(self, container_id: str) -> Container:
        """Look at a container for an operation on what is in it, which counts as activity.

        :raises ContainerNotFoundError: when there is none, or it was deleted.
        :raises ContainerExpiredError: when it has expired.
        """
        container = self.retrieve(container_id)
        if container.status(self._clock.now()) != "running":
            raise ContainerExpiredError
        return container

    def check(self, container_id: str) -> None:
        """Refuse a container that nothing can be put into; this is no activity.

        :raises ContainerNotFoundError: when there is none, or it was deleted.
        :raises ContainerExpiredError: when it has expired.
        """
        if self._get(container_id).status(self._clock.now()) != "running":
            raise ContainerExpiredError

    def sweep(self) -> None:
        """Remove what is left on disk of containers that have expired, were deleted, or never came to be."""
        now = self._clock.now()
        for container_id in self._blobs.names("containers"):
            row = self._store.execute(
                f"SELECT {_COLUMNS} FROM containers WHERE id = ?",  # noqa: S608
                (container_id,),
            ).fetchone()
            container = None if row is None else _from_row(row)
            if container is None or container.deleted is not None:
                self._drop_contents(container_id, "deleted")
            elif container.status(now) != "running":
                self._drop_contents(container_id, "expired")

    def _drop_contents(self, container_id: str, reason: str) -> None:
        # What runs in it could write while its files go.
        self.ended(container_id, reason)
        self._store.execute("DELETE FROM container_files WHERE container_id = ?", (container_id,))
        self._blobs.remove(self._blobs.container(container_id))

    def delete(self, container_id: str) -> None:
        """Delete a container, alive or expired, with all that is in it.

        :raises ContainerNotFoundError: when there is none, or it was deleted already.
        """
        container = self._get(container_id)
        self._store.execute(
            "UPDATE containers SET deleted = ? WHERE seq = ?", (self._clock.now(), container.seq)
        )
        self._drop_contents(container_id, "deleted")

    def page(
        self, *, limit: int = 20, order: str = "desc", after: str | None = None, name: str | None = None
    ) -> tuple[list[Container], bool]:
        """One page, by age, and whether there are more. Does not count as activity.

        :param after: id of the container before the page; one that was deleted since still marks its place.
        :raises UnknownCursorError: when ``after`` was never a container.
        """
        now = self._clock.now()
        sql = [
            f"SELECT {_COLUMNS} FROM containers WHERE (deleted IS NULL OR deleted > ?) AND created <= ?"  # noqa: S608
        ]
        values: list[Any] = [now - self._quirks.ghost_seconds, now - self._quirks.visibility_delay_seconds]
        if self._quirks.ghost_seconds == 0:
            values[0] = float("inf")
        if name is not None:
            sql.append("AND name = ?")
            values.append(name)
        if after is not None:
            row = self._store.execute("SELECT seq FROM containers WHERE id = ?", (after,)).fetchone()
            if row is None:
                raise UnknownCursorError
            sql.append(f"AND seq {'<' if order == 'desc' else '>'} ?")
            values.extend(row)
        # The clock never goes back, so this is the order of `created_at`, and stable where it is equal.
        sql.append(f"ORDER BY seq {'DESC' if order == 'desc' else 'ASC'} LIMIT ?")
        values.append(limit + 1)
        rows = self._store.execute(" ".join(sql), tuple(values)).fetchall()
        return [_from_row(row) for row in rows[:limit]], len(rows) > limit

    def all(self) -> list[Container]:
        """Every container that ever was, deleted ones too, oldest first."""
        rows = self._store.execute(f"SELECT {_COLUMNS} FROM containers ORDER BY seq")  # noqa: S608
        return [_from_row(row) for row in rows]

    def skills_of(self, container_id: str) -> list[str]:
        """Names of the skills that are unpacked for a container, each with its version."""
        return sorted(self._blobs.names(f"containers/{container_id}/skills"))

    def name_of(self, container_id: str) -> str | None:
        """The name of a container, deleted or not."""
        row = self._store.execute("SELECT name FROM containers WHERE id = ?", (container_id,)).fetchone()
        return None if row is None else str(row[0])

    def _get(self, container_id: str) -> Container:
        row = self._store.execute(
            f"SELECT {_COLUMNS} FROM containers WHERE id = ? AND deleted IS NULL",  # noqa: S608
            (container_id,),
        ).fetchone()
        if row is None:
            raise ContainerNotFoundError(container_id)
        return _from_row(row)


def _from_row(row: tuple[Any, ...]) -> Container:
    seq, container_id, name, created, last_active, minutes, memory, policy, requested, deleted = row
    return Container(
        seq,
        container_id,
        name,
        created,
        last_active,
        minutes,
        memory,
        json.loads(policy),
        json.loads(requested),
        deleted,
    )


def _requested(request: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if "file_ids" in request:
        kept["file_ids"] = request["file_ids"]
    if "skills" in request:
        kept["skills"] = [
            {key: value for key, value in skill.items() if key != "source"} for skill in request["skills"]
        ]
    secrets = request.get("network_policy", {}).get("domain_secrets")
    if secrets:
        kept["domain_secrets"] = [{"domain": secret["domain"], "name": secret["name"]} for secret in secrets]
    return kept
