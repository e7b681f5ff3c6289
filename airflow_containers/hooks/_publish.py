"""Publishing a skill: uploading a folder only if the newest version is something else."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from airflow_containers.api import ContainersClient, PathSource, SkillResource, endpoints
from airflow_containers.api.bodies import Source
from airflow_containers.api.errors import (
    AmbiguousUploadError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    SourceChangedError,
)
from airflow_containers.skills import PackedSkill, SkillChangedError, SkillError, pack_skill, read_zip

PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the looks after a lost answer. How soon a new skill is in the list is not documented."""

MAX_UPLOADS: Final = 2
"""Uploads whose outcome may be unknown; after that the task's own retries go on."""


@dataclass(frozen=True, slots=True)
class PublishedSkill:
    """A version of a skill with the content of a folder.

    :param outcome: a new skill was ``created``, a skill was ``updated`` by a new version, or its newest one
        was left ``unchanged``.
    """

    skill_id: str
    version: str
    name: str
    outcome: Literal["created", "updated", "unchanged"]

    @property
    def reference(self) -> str:
        """``id@version``, as ``skills`` of a create task takes it."""
        return f"{self.skill_id}@{self.version}"


@contextmanager
def as_upload(files: Path | Source | Sequence[Source]) -> Iterator[Source | Sequence[Source]]:
    """Give what can be sent for a folder, a zip or sources, for as long as the block lasts.

    :raises InvalidRequestError: if the folder is no skill.
    """
    if not isinstance(files, Path):
        yield files
    elif not files.is_dir():
        yield PathSource(files)
    else:
        with _packed(files, "files") as (_, source):
            yield source


def publish(
    connect: Callable[[], ContainersClient],
    path: Path,
    *,
    skill_id: str | None,
    default: bool,
    log: Any,
    sleep: Callable[[float], None] = time.sleep,
) -> PublishedSkill:
    """Publish a folder; see :meth:`~airflow_containers.hooks.container.ContainerHook.publish_skill`.

    :param connect: gives the client, once the folder is known to be a skill.
    """
    with _packed(path, "path") as (packed, source):
        return _Publication(connect(), packed, source, skill_id, log, sleep).run(default=default)


@contextmanager
def _packed(folder: Path, field: str) -> Iterator[tuple[PackedSkill, Source]]:
    with tempfile.TemporaryDirectory(prefix="airflow-containers-") as scratch:
        try:
            packed = pack_skill(folder, Path(scratch) / "skill.zip")
        except SkillChangedError as error:
            raise SourceChangedError(f"{field}: {error}") from None
        except SkillError as error:
            problems = "; ".join(f"{field}: {problem}" for problem in error.problems)
            raise InvalidRequestError(problems) from None
        yield packed, PathSource(Path(scratch) / "skill.zip", f"{packed.name}.zip")


class _Publication:
    def __init__(
        self,
        client: ContainersClient,
        packed: PackedSkill,
        source: Source,
        skill_id: str | None,
        log: Any,
        sleep: Callable[[float], None],
    ) -> None:
        self._client = client
        self._packed = packed
        self._source = source
        self._skill_id = skill_id
        self._log = log
        self._sleep = sleep

    def run(self, *, default: bool) -> PublishedSkill:
        skill = self._find()
        published = self._unchanged(skill)
        if published is None:
            published = self._upload(skill, default=default)
            self._log.info("Published skill %r as %s", published.name, published.reference)
        if default:
            self._make_default(published)
        return published

    def _find(self) -> SkillResource | None:
        """Return the skill to publish to, if it is there."""
        if self._skill_id is not None:
            return self._client.send(endpoints.retrieve_skill(self._skill_id))
        call = endpoints.list_skills(limit=endpoints.MAX_PAGE_SIZE)
        found = [
            skill
            for page in self._client.pages(call)
            for skill in page.data
            if skill.name == self._packed.name
        ]
        if len(found) > 1:
            ids = ", ".join(skill.id for skill in found[:5])
            raise InvalidRequestError(
                f"skill_id: {len(found)} skills are named {self._packed.name!r} ({ids}), expected the id of "
                "the one to publish to; or delete the others"
            )
        return found[0] if found else None

    def _unchanged(self, skill: SkillResource | None) -> PublishedSkill | None:
        """Return the newest version of a skill, if it has the folder's content."""
        if skill is None:
            self._log.info("There is no skill named %r yet", self._packed.name)
            return None
        version = skill.latest_version
        if version is None:
            raise InvalidResponseError(f"The service does not say what the latest version of {skill.id} is")
        with tempfile.TemporaryDirectory(prefix="airflow-containers-") as scratch:
            target = Path(scratch) / f"{skill.id}.zip"
            try:
                self._client.download(endpoints.skill_version_content(skill.id, version), target)
                difference = read_zip(target).difference(self._packed.contents)
            except NotFoundError:
                difference = "it is gone"
            except SkillError as error:
                problem = str(error).replace(f"{target}: ", "")
                raise InvalidResponseError(
                    f"Version {version} of skill {skill.id} cannot be compared: {problem}; if it stays so, "
                    "delete that version, or publish to another skill with skill_id"
                ) from None
        if difference is None:
            self._log.info("Version %s of skill %s has this content already", version, skill.id)
            return PublishedSkill(skill.id, version, self._packed.name, "unchanged")
        self._log.info("Version %s of skill %s differs: %s", version, skill.id, difference)
        return None

    def _upload(self, skill: SkillResource | None, *, default: bool) -> PublishedSkill:
        for upload in range(1, MAX_UPLOADS + 1):
            try:
                return self._send(skill, default=default)
            except AmbiguousUploadError as error:
                self._log.warning("%s", error)
                published = self._look_after_lost_answer(is_new=skill is None)
                if published is not None:
                    return published
                if upload == MAX_UPLOADS:
                    raise
                # Somebody may have made it meanwhile.
                skill = self._find()
        raise AssertionError("the loop returns or raises")

    def _send(self, skill: SkillResource | None, *, default: bool) -> PublishedSkill:
        name = self._packed.name
        if skill is None:
            made = self._client.send(endpoints.create_skill(self._source))
            return PublishedSkill(made.id, made.latest_version or "1", name, "created")
        call = endpoints.create_skill_version(skill.id, self._source, default=default or None)
        version = self._client.send(call)
        if version.version is None:
            raise InvalidResponseError(f"{call}: the answer has no version; publish again to find it")
        return PublishedSkill(skill.id, version.version, name, "updated")

    def _look_after_lost_answer(self, *, is_new: bool) -> PublishedSkill | None:
        """Look whether the lost request has made what it should."""
        for pause in (0.0, *PAUSES):
            self._sleep(pause)
            found = self._unchanged(self._find())
            if found is not None:
                outcome: Literal["created", "updated"] = "created" if is_new else "updated"
                return PublishedSkill(found.skill_id, found.version, found.name, outcome)
        return None

    def _make_default(self, published: PublishedSkill) -> None:
        skill = self._client.send(endpoints.retrieve_skill(published.skill_id))
        if skill.default_version == published.version:
            return
        self._client.send(endpoints.set_default_skill_version(published.skill_id, published.version))
        self._log.info("Version %s is the default of skill %s now", published.version, published.skill_id)
