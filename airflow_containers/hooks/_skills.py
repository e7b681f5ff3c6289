"""The hook's methods for skills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Literal

    from airflow_containers.api import (
        ContainersClient,
        DeletedSkill,
        DeletedSkillVersion,
        SkillPage,
        SkillResource,
        SkillVersion,
        SkillVersionPage,
    )
    from airflow_containers.api.bodies import Source
    from airflow_containers.api.transfers import Downloaded
    from airflow_containers.hooks._publish import PublishedSkill

    Order = Literal["asc", "desc"]
    Upload = Path | Source | Sequence[Source]


class SkillMethods:
    """Skills and their versions; a part of :class:`~airflow_containers.hooks.container.ContainerHook`."""

    if TYPE_CHECKING:
        log: Any

        def get_conn(self) -> ContainersClient:
            """Return the client."""

    def create_skill(self, files: Upload) -> SkillResource:
        """Upload a new skill. Name and description are those of its SKILL.md.

        :param files: a folder, which is checked and packed, or the path of a zip; a zip as a source; or a
            list of sources, each named by its path with one top-level folder in front (``report/SKILL.md``).
        :raises AmbiguousUploadError: if it may have been made and no usable answer came.
            :meth:`publish_skill` looks then.
        """
        from airflow_containers.api import endpoints
        from airflow_containers.hooks._publish import as_upload

        with as_upload(files) as upload:
            return self.get_conn().send(endpoints.create_skill(upload))

    def create_skill_version(self, skill_id: str, files: Upload, *, default: bool = False) -> SkillVersion:
        """Upload a new version of a skill.

        :param files: as in :meth:`create_skill`.
        :param default: whether it becomes the version that is used where none is named.
        :raises AmbiguousUploadError: if it may have been made and no usable answer came.
        """
        from airflow_containers.api import endpoints
        from airflow_containers.hooks._publish import as_upload

        with as_upload(files) as upload:
            call = endpoints.create_skill_version(skill_id, upload, default=default or None)
            return self.get_conn().send(call)

    def publish_skill(
        self, path: Path, *, skill_id: str | None = None, default: bool = False
    ) -> PublishedSkill:
        """Make sure that the newest version of a skill is what is in a folder: upload it only if it is not.

        The newest version is downloaded and compared, so nothing has to be remembered, and a repeated call
        uploads nothing. After a lost answer it looks before it uploads again.

        :param path: the folder that SKILL.md is in.
        :param skill_id: the skill; the one with the name in SKILL.md if left out, and if there is none, a new
            one is made.
        :param default: whether that version becomes the default one, as a new skill's first version is.
        :raises InvalidRequestError: if the folder is no skill, or more than one skill has its name.
        """
        from airflow_containers.hooks._publish import publish

        return publish(self.get_conn, path, skill_id=skill_id, default=default, log=self.log)

    def list_skills(
        self, *, after: str | None = None, limit: int | None = None, order: Order | None = None
    ) -> SkillPage:
        """Return one page of the account's skills.

        :param after: id of the last skill of the page before.
        :param limit: skills on the page, 1 to 100; the service's default is 20.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.list_skills(after=after, limit=limit, order=order))

    def iterate_skills(self, *, order: Order | None = None, limit: int = 100) -> Iterator[SkillResource]:
        """Yield every skill of the account, page after page."""
        from airflow_containers.api import endpoints

        for page in self.get_conn().pages(endpoints.list_skills(limit=limit, order=order)):
            yield from page.data

    def retrieve_skill(self, skill_id: str) -> SkillResource:
        """Return a skill.

        :raises NotFoundError: if there is none.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.retrieve_skill(skill_id))

    def set_default_skill_version(self, skill_id: str, version: str | int) -> SkillResource:
        """Make a version the one that is used where none is named."""
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.set_default_skill_version(skill_id, version))

    def delete_skill(self, skill_id: str) -> DeletedSkill:
        """Delete a skill with all its versions."""
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.delete_skill(skill_id))

    def list_skill_versions(
        self, skill_id: str, *, after: str | None = None, limit: int | None = None, order: Order | None = None
    ) -> SkillVersionPage:
        """Return one page of a skill's versions.

        :param after: id (``skillver_…``) of the last version of the page before.
        :param limit: versions on the page, 1 to 100; the service's default is 20.
        """
        from airflow_containers.api import endpoints

        call = endpoints.list_skill_versions(skill_id, after=after, limit=limit, order=order)
        return self.get_conn().send(call)

    def iterate_skill_versions(
        self, skill_id: str, *, order: Order | None = None, limit: int = 100
    ) -> Iterator[SkillVersion]:
        """Yield every version of a skill, page after page."""
        from airflow_containers.api import endpoints

        call = endpoints.list_skill_versions(skill_id, limit=limit, order=order)
        for page in self.get_conn().pages(call):
            yield from page.data

    def retrieve_skill_version(self, skill_id: str, version: str | int) -> SkillVersion:
        """Return a version.

        :raises NotFoundError: if there is none.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.retrieve_skill_version(skill_id, version))

    def delete_skill_version(self, skill_id: str, version: str | int) -> DeletedSkillVersion:
        """Delete a version; the skill goes with its last one.

        :raises BadRequestError: if it is the default version: make another one that first.
        """
        from airflow_containers.api import endpoints

        return self.get_conn().send(endpoints.delete_skill_version(skill_id, version))

    def download_skill(self, skill_id: str, target: Path, *, version: str | int | None = None) -> Downloaded:
        """Save a skill's zip.

        :param target: path of the file to be; its folder must be there.
        :param version: the default version if left out.
        """
        from airflow_containers.api import endpoints

        if version is None:
            call = endpoints.skill_content(skill_id)
        else:
            call = endpoints.skill_version_content(skill_id, version)
        return self.get_conn().download(call, target)
