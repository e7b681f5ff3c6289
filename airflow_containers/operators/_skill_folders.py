"""Folders that ``skills`` of a create task names: looked at while the DAG is parsed, packed when it runs."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from airflow_containers.api.models import InlineSkill, SkillReference

_CONTEXT_MODULES = ("airflow.sdk.definitions._internal.contextmanager", "airflow.models.dag")


def literal_check(dag: Any) -> Callable[[Path], SkillReference]:
    """Return what checks a folder while the DAG is parsed: the status of its files, and SKILL.md's start.

    A constructor does no other I/O; a wrong folder should not be found by the first run. A relative path is
    not looked at while the task has no DAG.
    """

    def check(path: Path) -> SkillReference:
        from airflow_containers.api.models import SkillReference
        from airflow_containers.skills import check_skill_folder

        if (place := located(path, dag)) is not None:
            check_skill_folder(place)
        return SkillReference(skill_id="stand-in")

    return check


def located(path: Path, dag: Any) -> Path | None:
    """Return an absolute path: a relative one begins in the folder of the DAG's file.

    :returns: ``None`` for a relative path while there is no DAG, or one that was made in no file.
    """
    if path.is_absolute():
        return path
    file = _file_being_parsed() or getattr(dag, "fileloc", None)
    if dag is None or not file or file.startswith("<"):
        return None
    return Path(file).absolute().parent / path


class SkillPacker:
    """Packs folders for one request; what it made is gone when the block ends.

    :param dag: whose file relative paths begin at.
    :param log: where to tell what was packed.
    """

    def __init__(self, dag: Any, log: Any) -> None:
        self._dag = dag
        self._log = log
        self._stack = ExitStack()
        self._packed: dict[Path, InlineSkill] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __call__(self, path: Path) -> InlineSkill:
        """Return the folder as an inline skill, packed on the first call for it.

        :raises SkillError: if it is no skill.
        """
        from airflow_containers.skills import SkillError, packed_inline

        place = located(path, self._dag)
        if place is None:
            raise SkillError(f"{path}: it is relative, and the DAG has no file; give an absolute path")
        if place not in self._packed:
            skill = self._stack.enter_context(packed_inline(place))
            self._log.info("Packed skill %r from %s: %s", skill.name, place, skill.source.data)
            self._packed[place] = skill
        return self._packed[place]


def _file_being_parsed() -> str | None:
    """Return the file that Airflow imports right now.

    It becomes the DAG's ``fileloc`` once the file is read. Before that a DAG made by a function of another
    module has that module's file there.
    """
    for name in _CONTEXT_MODULES:
        context = getattr(sys.modules.get(name), "DagContext", None)
        module = sys.modules.get(getattr(context, "current_autoregister_module_name", None) or "")
        if file := getattr(module, "__file__", None):
            return str(file)
    return None
