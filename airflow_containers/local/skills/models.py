"""State and rules of skills and their versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_containers.local.blobs import Blobs, put
from airflow_containers.local.clock import Clock
from airflow_containers.local.contents import Content
from airflow_containers.local.ids import Ids
from airflow_containers.local.paging import select_page
from airflow_containers.local.skills.exceptions import (
    DefaultVersionError,
    SkillNotFoundError,
    SkillVersionNotFoundError,
)
from airflow_containers.local.skills.front_matter import FrontMatter
from airflow_containers.local.store import Store

_SKILL = "seq, id, created, default_version"
_VERSION = "seq, id, skill_id, version, created, name, description, bytes, sha256"
_MAX_VERSION_DIGITS = 9


@dataclass(frozen=True, slots=True)
class SkillVersion:
    """One version of a skill, which never changes.

    :param version: counts up from 1 for each skill.
    :param created: Unix time in seconds, with fractions.
    :param bytes: of the zip.
    """

    seq: int
    id: str
    skill_id: str
    version: int
    created: float
    name: str
    description: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill.

    :param default: the version that is taken when none is named; name and description are its.
    :param latest: number of the newest version that is there.
    """

    id: str
    created: float
    default: SkillVersion
    latest: int


@dataclass(frozen=True, slots=True)
class PackedSkill:
    """A skill as it came in: its zip in a temporary place, and what it says of itself."""

    content: Content
    front_matter: FrontMatter


class SkillBackend:
    """The skills of one server."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids

    def create(self, packed: PackedSkill, skill_id: str | None = None) -> Skill:
        """Make a skill with its first version.

        :param skill_id: instead of one of the server's choice; it must be free.
        """
        with self._store.transaction():
            if skill_id is None:
                skill_id = self._ids.new("skill_", 48, "skills")
            else:
                self._store.execute("DELETE FROM skills WHERE id = ?", (skill_id,))
                self._store.execute("DELETE FROM skill_versions WHERE skill_id = ?", (skill_id,))
            self._store.execute(
                "INSERT INTO skills (id, created, default_version, versions_made) VALUES (?, ?, 1, 0)",
                (skill_id, self._clock.now()),
            )
            self.create_version(skill_id, packed, default=True)
        return self.retrieve(skill_id)

    def create_version(self, skill_id: str, packed: PackedSkill, *, default: bool) -> SkillVersion:
        """Add a version.

        :param default: whether it becomes the default version.
        :raises SkillNotFoundError: when there is no such skill.
        """
        self._row(skill_id)
        content, front_matter, now = packed.content, packed.front_matter, self._clock.now()
        with self._store.transaction():
            self._store.execute(
                "UPDATE skills SET versions_made = versions_made + 1 WHERE id = ?", (skill_id,)
            )
            (version,) = self._store.execute(
                "SELECT versions_made FROM skills WHERE id = ?", (skill_id,)
            ).fetchone()
            values = (
                self._ids.new("skillver_", 48, "skill_versions"),
                skill_id,
                version,
                now,
                front_matter.name,
                front_matter.description,
                content.size,
                content.sha256,
            )
            cursor = self._store.execute(
                "INSERT INTO skill_versions (id, skill_id, version, created, name, description, bytes,"
                " sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            if default:
                self._store.execute("UPDATE skills SET default_version = ? WHERE id = ?", (version, skill_id))
            put(content.path, self._blobs.skill_version(skill_id, version))
        return SkillVersion(cursor.lastrowid or 0, *values)

    def exists(self, skill_id: str) -> bool:
        """Whether there is such a skill."""
        row = self._store.execute(
            "SELECT 1 FROM skills WHERE id = ? AND deleted IS NULL", (skill_id,)
        ).fetchone()
        return row is not None

    def retrieve(self, skill_id: str) -> Skill:
        """Find a skill.

        :raises SkillNotFoundError: when there is none.
        """
        return self._from_row(self._row(skill_id))

    def find_version(self, skill_id: str, version: str | None) -> SkillVersion:
        """Find a version by its number, ``latest``, or ``None`` for the default.

        :raises SkillNotFoundError: when there is no such skill.
        :raises SkillVersionNotFoundError: when it has no such version.
        """
        skill = self.retrieve(skill_id)
        if version is None:
            return skill.default
        return self._version(skill_id, str(skill.latest) if version == "latest" else version)

    def retrieve_version(self, skill_id: str, version: str) -> SkillVersion:
        """Find a version by its number.

        :raises SkillNotFoundError: when there is no such skill.
        :raises SkillVersionNotFoundError: when it has no such version.
        """
        self._row(skill_id)
        return self._version(skill_id, version)

    def content(self, version: SkillVersion) -> Content:
        """The zip of a version."""
        path = self._blobs.skill_version(version.skill_id, version.version)
        return Content(path, version.bytes, version.sha256)

    def set_default(self, skill_id: str, version: str) -> Skill:
        """Make a version the default.

        :raises SkillNotFoundError: when there is no such skill.
        :raises SkillVersionNotFoundError: when it has no such version.
        """
        number = self.retrieve_version(skill_id, version).version
        self._store.execute("UPDATE skills SET default_version = ? WHERE id = ?", (number, skill_id))
        return self.retrieve(skill_id)

    def delete(self, skill_id: str) -> None:
        """Delete a skill with all its versions; what containers have of it stays there.

        :raises SkillNotFoundError: when there is none.
        """
        self._row(skill_id)
        now = self._clock.now()
        with self._store.transaction():
            self._store.execute("UPDATE skills SET deleted = ? WHERE id = ?", (now, skill_id))
            self._store.execute(
                "UPDATE skill_versions SET deleted = ? WHERE skill_id = ? AND deleted IS NULL",
                (now, skill_id),
            )
        self._blobs.remove(self._blobs.skill(skill_id))

    def delete_version(self, skill_id: str, version: str) -> SkillVersion:
        """Delete a version; the last one takes the skill with it.

        :raises DefaultVersionError: when it is the default version and there are others.
        :raises SkillNotFoundError: when there is no such skill.
        :raises SkillVersionNotFoundError: when it has no such version.
        """
        skill = self.retrieve(skill_id)
        doomed = self._version(skill_id, version)
        if doomed.version == skill.default.version:
            (count,) = self._store.execute(
                "SELECT count(*) FROM skill_versions WHERE skill_id = ? AND deleted IS NULL", (skill_id,)
            ).fetchone()
            if count > 1:
                raise DefaultVersionError(doomed.version)
            self.delete(skill_id)
            return doomed
        self._store.execute(
            "UPDATE skill_versions SET deleted = ? WHERE seq = ?", (self._clock.now(), doomed.seq)
        )
        self._blobs.remove(self._path(doomed))
        return doomed

    def page(
        self, *, limit: int = 20, order: str = "desc", after: str | None = None
    ) -> tuple[list[Skill], bool]:
        """One page of skills, by age, and whether there are more.

        :raises UnknownCursorError: when ``after`` was never a skill.
        """
        rows, has_more = select_page(
            self._store, "skills", _SKILL, {}, "skill", limit=limit, order=order, after=after
        )
        return [self._from_row(row) for row in rows], has_more

    def version_page(
        self, skill_id: str, *, limit: int = 20, order: str = "desc", after: str | None = None
    ) -> tuple[list[SkillVersion], bool]:
        """One page of versions, by number, and whether there are more.

        :param after: id (``skillver_…``) of the version before the page.
        :raises SkillNotFoundError: when there is no such skill.
        :raises UnknownCursorError: when ``after`` was never a version of it.
        """
        self._row(skill_id)
        where = {"skill_id": skill_id}
        rows, has_more = select_page(
            self._store,
            "skill_versions",
            _VERSION,
            where,
            "skill version",
            limit=limit,
            order=order,
            after=after,
        )
        return [SkillVersion(*row) for row in rows], has_more

    def sweep(self) -> None:
        """Remove contents of skills and versions that were deleted or never came to be."""
        for skill_id in self._blobs.names("skills"):
            rows = self._store.execute(
                "SELECT version FROM skill_versions WHERE skill_id = ? AND deleted IS NULL", (skill_id,)
            )
            kept = {self._blobs.skill_version(skill_id, version) for (version,) in rows}
            if not kept:
                self._blobs.remove(self._blobs.skill(skill_id))
                continue
            for path in set(self._blobs.skill(skill_id).iterdir()) - kept:
                self._blobs.remove(path)

    def _row(self, skill_id: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._store.execute(
            f"SELECT {_SKILL} FROM skills WHERE id = ? AND deleted IS NULL",  # noqa: S608
            (skill_id,),
        ).fetchone()
        if row is None:
            raise SkillNotFoundError(skill_id)
        return row

    def _from_row(self, row: tuple[Any, ...]) -> Skill:
        _, skill_id, created, default = row
        (latest,) = self._store.execute(
            "SELECT max(version) FROM skill_versions WHERE skill_id = ? AND deleted IS NULL", (skill_id,)
        ).fetchone()
        return Skill(skill_id, created, self._version(skill_id, str(default)), latest)

    def _version(self, skill_id: str, version: str) -> SkillVersion:
        # SQLite has no integers as long as a path can be, and takes only ASCII digits for one.
        is_number = version.isascii() and version.isdecimal() and len(version) <= _MAX_VERSION_DIGITS
        row = self._store.execute(
            f"SELECT {_VERSION} FROM skill_versions"  # noqa: S608
            " WHERE skill_id = ? AND version = ? AND deleted IS NULL",
            (skill_id, int(version) if is_number else -1),
        ).fetchone()
        if row is None:
            raise SkillVersionNotFoundError(skill_id, version)
        return SkillVersion(*row)

    def _path(self, version: SkillVersion) -> Path:
        return self._blobs.skill_version(version.skill_id, version.version)
