"""Identifiers of containers, files, skills and requests: random, or repeatable after a seed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_containers.local.store import Store

_SEED = "seed"
_MADE = "seed.made"


class Ids:
    """Makes identifiers.

    Seeded container ids go on where they stopped after a restart; seeded request ids start again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.seed: int | None = None
        self._requests = 0
        self.load()

    def load(self) -> None:
        """Take the seed from the store."""
        seed = self._store.get_meta(_SEED)
        self.seed = None if seed is None else int(seed, 16)
        self._requests = 0

    def reseed(self, seed: int) -> None:
        """Make ids repeatable from here on: the same seed gives the same ids in the same order."""
        with self._store.transaction():
            self._store.set_meta(_SEED, hex(seed))
            self._store.set_meta(_MADE, "0")
            self._store.execute("DELETE FROM meta WHERE key LIKE ?", (f"{_MADE}.%",))
        self.load()

    def request_id(self) -> str:
        """The next ``x-request-id``."""
        if self.seed is None:
            return f"req_{secrets.token_hex(16)}"
        self._requests += 1
        return f"req_{_derive(self.seed, 'request', self._requests)[:32]}"

    def new(self, prefix: str, length: int, table: str | None = None) -> str:
        """An id of a file, an upload, a skill or the like: ``prefix`` and ``length`` (at most 64) hex digits.

        Call it in the transaction of the insert, as a seeded one counts in the store.

        :param table: where no row has it yet, also if the same seed was set twice.
        """
        if self.seed is None:
            return f"{prefix}{secrets.token_hex(length // 2)}"
        key = f"{_MADE}.{prefix}"
        made = int(self._store.get_meta(key) or 0)
        while True:
            made += 1
            candidate = f"{prefix}{_derive(self.seed, prefix, made)[:length]}"
            known = (
                table
                and self._store.execute(
                    f"SELECT 1 FROM {table} WHERE id = ?",  # noqa: S608 - our own name
                    (candidate,),
                ).fetchone()
            )
            if not known:
                break
        self._store.set_meta(key, str(made))
        return candidate

    @contextmanager
    def container_ids(self) -> Iterator[Iterator[str]]:
        """Give candidates for a new container's id.

        Use it around the insert, and take the next candidate when one exists already: how many were
        taken is remembered in the same transaction as the insert.
        """
        if self.seed is None:
            yield (f"cntr_{secrets.token_hex(24)}" for _ in iter(int, 1))
            return
        with self._store.transaction():
            made = int(self._store.get_meta(_MADE) or 0)
            seed = self.seed

            def candidates() -> Iterator[str]:
                nonlocal made
                while True:
                    made += 1
                    yield f"cntr_{_derive(seed, 'container', made)[:48]}"

            yield candidates()
            self._store.set_meta(_MADE, str(made))


def _derive(seed: int, kind: str, number: int) -> str:
    return hashlib.sha256(f"{seed:x}:{kind}:{number}".encode()).hexdigest()
