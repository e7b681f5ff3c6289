"""The operator that publishes skills."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators._errors import InvalidTaskArgumentError, fail_if_final
from airflow_containers.operators._literals import check_id, is_dynamic, without_path_objects
from airflow_containers.operators._skill_folders import located

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_EXPECTED_PATH = "the path of a folder with a SKILL.md in it, absolute or relative to the DAG file"
_EXPECTED_CONNECTION = "the id of an Airflow connection"


class PublishSkillOperator(BaseOperator):
    """Upload a folder as a skill of the account, or as a new version of one, if its content has changed.

    Returns ``id@version``, which ``skills`` of a create task takes::

        publish = PublishSkillOperator(task_id="publish", path="skills/report")
        create = CreateContainerOperator(task_id="create", skills=[publish.output])

    The newest version is downloaded and compared with the folder, file by file, so a task that runs again,
    or is retried after a lost answer, uploads nothing twice. Two tasks that publish the same skill at the
    same time are not kept apart. The XCom key ``skill`` has ``skill_id``, ``version``, ``name``, and as
    ``outcome`` one of ``created``, ``updated`` and ``unchanged``.

    :param path: the folder, absolute or relative to the DAG file. A literal is looked at while the DAG is
        parsed. (templated)
    :param skill_id: the skill that gets the version; if ``None``, the one with the name in SKILL.md, and if
        there is none, a new one is made. (templated)
    :param default: whether the version becomes the one that is used where none is named. A new skill's first
        version is that anyway.
    :param conn_id: the connection to use. (templated)
    :raises InvalidTaskArgumentError: if an argument is wrong, or the folder no skill; such a task is not
        retried.
    """

    template_fields: Collection[str] = ("path", "skill_id", "conn_id")
    ui_color = "#ecebf6"

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        skill_id: str | None = None,
        default: bool = False,
        conn_id: str = ContainerHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = without_path_objects(path)
        self.skill_id = skill_id
        self.default = default
        self.conn_id = conn_id
        if not isinstance(default, bool):
            raise InvalidTaskArgumentError(
                f"Task {self.task_id!r}: default: expected True or False; it takes no template"
            )
        if not is_dynamic(conn_id):
            check_id(self.task_id, "conn_id", conn_id, _EXPECTED_CONNECTION)
        if skill_id is not None and not is_dynamic(skill_id):
            self._check_skill_id()
        if isinstance(path, os.PathLike) or not is_dynamic(path):
            self._check_folder()

    @cached_property
    def hook(self) -> ContainerHook:
        """The hook for :attr:`conn_id`; it reads the connection on first use."""
        return ContainerHook(self.conn_id)

    def execute(self, context: Context) -> str:
        """Publish the skill and return ``id@version``.

        :raises AirflowFailException: for what a retry cannot mend: a wrong argument, folder, key or
            connection, two skills of that name, a request that the service refuses.
        :raises ContainersError: for what it may mend: no connection, too many requests, an error of the
            service, a file that changed meanwhile.
        """
        check_id(self.task_id, "conn_id", self.conn_id, _EXPECTED_CONNECTION)
        if self.skill_id is not None:
            self._check_skill_id()
        folder = self._located()
        if folder is None:
            raise InvalidTaskArgumentError(
                f"Task {self.task_id!r}: path: {str(self.path)!r} is relative, and the DAG has no file, "
                "expected an absolute path"
            )
        with fail_if_final(self.task_id), self.hook as hook:
            published = hook.publish_skill(folder, skill_id=self.skill_id, default=self.default)
        answer = {
            "skill_id": published.skill_id,
            "version": published.version,
            "name": published.name,
            "outcome": published.outcome,
        }
        context["ti"].xcom_push(key="skill", value=answer)
        return published.reference

    def _located(self) -> Path | None:
        path = os.fspath(self.path) if isinstance(self.path, os.PathLike) else self.path
        check_id(self.task_id, "path", path, _EXPECTED_PATH)
        if "\0" in path:
            raise InvalidTaskArgumentError(f"Task {self.task_id!r}: path: expected {_EXPECTED_PATH}")
        return located(Path(path), self.get_dag())

    def _check_folder(self) -> None:
        """Look at the folder: the one I/O of the constructor, because a wrong one is known already."""
        folder = self._located()
        if folder is None:
            return
        from airflow_containers.skills import SkillError, check_skill_folder

        try:
            check_skill_folder(folder)
        except SkillError as error:
            raise InvalidTaskArgumentError(f"Task {self.task_id!r}: path: {error}") from None

    def _check_skill_id(self) -> None:
        check_id(self.task_id, "skill_id", self.skill_id, "the id of a skill, such as 'skill_123'")
        from airflow_containers.api.endpoints import retrieve_skill
        from airflow_containers.api.errors import InvalidRequestError

        try:
            retrieve_skill(str(self.skill_id))
        except InvalidRequestError as error:
            raise InvalidTaskArgumentError(f"Task {self.task_id!r}: {error}") from None
