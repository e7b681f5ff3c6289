"""Folders in `skills` of a create task and in `path` of a publish task, while a DAG is parsed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_containers.operators import _skill_folders
from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators.container import CreateContainerOperator, container
from airflow_containers.operators.skill import PublishSkillOperator
from tests.support.canary import new_canary
from tests.support.contexts import STARTED, task_context
from tests.support.skills import make_skill


@pytest.fixture
def dag(tmp_path: Path) -> DAG:
    """A DAG of a file in the temporary folder."""
    made = DAG("reports", schedule=None, start_date=STARTED)
    made.fileloc = str(tmp_path / "dag.py")
    return made


def create(skills: Any, **arguments: Any) -> CreateContainerOperator:
    """A create task with these skills."""
    return CreateContainerOperator(task_id="make", skills=skills, **arguments)


class TestCreate:
    """Folders of a create task."""

    @pytest.mark.parametrize("path", ["skills/report", "./skills/report/", Path("skills/report")])
    def test_beside_the_dag_file(self, path: Any, dag: DAG, tmp_path: Path) -> None:
        """A relative path begins at the DAG file, not where the process is."""
        make_skill(tmp_path / "skills" / "report")
        create([{"path": path}], dag=dag)

    def test_text_of_a_list(self, dag: DAG, tmp_path: Path) -> None:
        """A list that is written as text is looked at as well."""
        with pytest.raises(InvalidTaskArgumentError, match="there is no such folder"):
            create('[{"path": "skills/report"}]', dag=dag)

    @pytest.mark.parametrize("mapped", [False, True])
    def test_missing(self, mapped: bool, dag: DAG, tmp_path: Path) -> None:
        """The error names the task, the entry and the absolute path, also for a mapped task."""
        skills = ["skill_1", {"path": "skills/none"}]
        partial = CreateContainerOperator.partial(task_id="make", dag=dag, memory_limit="1g")
        with pytest.raises(InvalidTaskArgumentError) as caught:
            partial.expand(skills=[["skill_1"], skills]) if mapped else create(skills, dag=dag)

        wanted = f"skills[1].path: {tmp_path}/skills/none: there is no such folder; check the path"
        assert f"Task 'make': {wanted}" == str(caught.value)

    def test_in_a_scope(self, dag: DAG, tmp_path: Path) -> None:
        """`container()` hands folders on."""
        make_skill(tmp_path / "report")
        with dag, container(skills=[{"path": "report"}]):
            pass
        with dag, pytest.raises(InvalidTaskArgumentError, match="skills/none"):
            container("other", skills=[{"path": "skills/none"}])

    def test_every_problem_is_told(self, dag: DAG, tmp_path: Path) -> None:
        """All that is wrong with a folder is in the one error."""
        make_skill(tmp_path / "report", {"x/SKILL.md": "", "bad\nname": ""}, name="Wrong")

        with pytest.raises(InvalidTaskArgumentError) as caught:
            create([{"path": "report"}], dag=dag)
        assert 2 == str(caught.value).count("skills[0].path: ")

    @pytest.mark.parametrize("skills", ["{{ params.skills }}", [{"path": "{{ params.path }}"}], None, []])
    def test_templates_are_not_looked_at(self, skills: Any, dag: DAG) -> None:
        """What is known only when the task runs is left to then."""
        create(skills, dag=dag)

    def test_without_dag(self, tmp_path: Path) -> None:
        """A relative path of a task that has no DAG yet is not looked at; an absolute one is."""
        create([{"path": "skills/none"}])
        with pytest.raises(InvalidTaskArgumentError, match="there is no such folder"):
            create([{"path": str(tmp_path / "none")}])

    def test_dag_without_file(self, dag: DAG) -> None:
        """A DAG from a prompt has no folder; at run time that is said."""
        dag.fileloc = "<stdin>"
        task = create([{"path": "skills/none"}], dag=dag)

        with (
            _skill_folders.SkillPacker(dag, task.log) as pack,
            pytest.raises(ValueError, match="it is relative, and the DAG has no file"),
        ):
            task.build_request(task_context(task), pack)

    def test_file_being_parsed(self, dag: DAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While Airflow imports a file, its folder counts and not that of the module that makes the DAG."""
        contexts = [sys.modules[name] for name in _skill_folders._CONTEXT_MODULES if name in sys.modules]
        (context,) = {module.DagContext for module in contexts if hasattr(module, "DagContext")}
        module = ModuleType("unusual_prefix_1_dag")
        module.__file__ = str(tmp_path / "dags" / "dag.py")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(context, "current_autoregister_module_name", module.__name__)
        make_skill(tmp_path / "dags" / "skills" / "report")

        create([{"path": "skills/report"}], dag=dag)

    def test_only_a_task_packs(self) -> None:
        """A request that is built without a packer refuses a folder, and says who packs."""
        task = create(None)
        task.skills = [{"path": "/nowhere"}]
        with pytest.raises(ValueError, match=r"skills\[0\]: a folder is packed by a create task only"):
            task.build_request(task_context(task))

    def test_packed_once(self, dag: DAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The request is built twice where there are secrets to look up; the folder is packed once."""
        make_skill(tmp_path / "report")
        monkeypatch.setenv("TOKEN", new_canary())
        secret = {"domain": "api.example.com", "name": "TOKEN", "env": "TOKEN"}
        task = create(
            [{"path": "report"}], dag=dag, domains=["api.example.com"], domain_secrets=[secret], name="n",
            unique_name=False,
        )  # fmt: skip
        with _skill_folders.SkillPacker(dag, task.log) as pack:
            request = task.build_request(task_context(task), pack)
            assert request.skills == [pack(Path("report"))]
            assert pack(Path("report")) is pack(tmp_path / "report")


class TestPublish:
    """Arguments of a publish task."""

    def test_valid(self, dag: DAG, tmp_path: Path) -> None:
        """A folder beside the DAG, templates, and an id."""
        make_skill(tmp_path / "report")
        PublishSkillOperator(task_id="one", path="report", dag=dag, skill_id="skill_1", default=True)
        PublishSkillOperator(task_id="two", path="{{ params.path }}", dag=dag, skill_id="{{ params.id }}")
        PublishSkillOperator(task_id="three", path=Path("report"), dag=dag)
        assert {"path", "skill_id", "conn_id"} == set(PublishSkillOperator.template_fields)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"path": "none"}, "path: {}/none: there is no such folder; check the path"),
            ({"path": ""}, "path: got an empty text, expected the path of a folder with a SKILL.md in it"),
            ({"path": None}, "path: got None, expected the path of a folder"),
            ({"path": 5}, "path: got the number 5, expected the path of a folder"),
            ({"path": "a\0b"}, "path: expected the path of a folder"),
            ({"path": "report", "skill_id": ""}, "skill_id: got an empty text, expected the id of a skill"),
            ({"path": "report", "skill_id": "a b"}, "skill_id: 'a b' has characters that no id has"),
            ({"path": "report", "default": "yes"}, "default: expected True or False; it takes no template"),
            ({"path": "report", "conn_id": ""}, "conn_id: got an empty text, expected the id of an Airflow"),
        ],
    )
    def test_wrong(self, arguments: dict[str, Any], message: str, dag: DAG, tmp_path: Path) -> None:
        """A wrong literal is an error of the DAG."""
        make_skill(tmp_path / "report")

        with pytest.raises(InvalidTaskArgumentError) as caught:
            PublishSkillOperator(task_id="publish", dag=dag, **arguments)
        assert str(caught.value).startswith(f"Task 'publish': {message.format(tmp_path)}")

    def test_paths_are_rendered_as_texts(self, dag: DAG, tmp_path: Path) -> None:
        """Airflow's rendering, which would resolve a path object in some versions, gets none."""
        make_skill(tmp_path / "report")
        publish = PublishSkillOperator(task_id="publish", path=Path("report"), dag=dag)
        make = create([{"path": Path("report")}], dag=dag)
        for task in (publish, make):
            task.render_template_fields(task_context(task))

        assert ("report", [{"path": "report"}]) == (publish.path, make.skills)

    @pytest.mark.parametrize("rendered", ["None", "", "none"])
    def test_wrong_when_rendered(self, rendered: str, dag: DAG) -> None:
        """A rendered path that is none fails the task at once, before the connection is read."""
        task = PublishSkillOperator(task_id="publish", path="{{ value }}", dag=dag)
        task.render_template_fields(task_context(task, value=rendered))

        with pytest.raises(InvalidTaskArgumentError, match="path: "):
            task.execute(task_context(task))
