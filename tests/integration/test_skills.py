"""Skills with the local server: inline ones of a create task, and published ones."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_containers.api import (
    AmbiguousUploadError,
    AsyncContainersClient,
    BadRequestError,
    BytesSource,
    ClientOptions,
    ContainersClient,
    CreateContainerRequest,
    InvalidResponseError,
    NotFoundError,
    ServerError,
    SourceChangedError,
    endpoints,
)
from airflow_containers.hooks import _publish
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators.container import CreateContainerOperator
from airflow_containers.operators.skill import PublishSkillOperator
from airflow_containers.skills import packed_inline, read_zip
from airflow_containers.testing import LocalServer
from tests.support.contexts import STARTED, task_context
from tests.support.dag_runs import load_dag, run_dag
from tests.support.isolation import EXAMPLE_DAGS
from tests.support.skills import make_skill

EXAMPLE = EXAMPLE_DAGS / "skills" / "report"

pytestmark = pytest.mark.usefixtures("containers_connection")


@pytest.fixture
def hook(containers_connection: str) -> Iterator[ContainerHook]:
    """A hook that reaches the local server."""
    with ContainerHook(containers_connection) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks after a lost answer follow one another at once."""
    monkeypatch.setattr(_publish, "PAUSES", (0.0, 0.0))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, to see that none is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def in_container(server: LocalServer, name: str = "report") -> dict[str, tuple[bytes, bool]]:
    """The files of a skill in the only container, and whether they can be executed."""
    (main,) = server.state_dir.rglob(f"skills/{name}-*/**/SKILL.md")
    return {
        str(path.relative_to(main.parent)): (path.read_bytes(), os.access(path, os.X_OK))
        for path in main.parent.rglob("*")
        if path.is_file()
    }


def in_folder(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """The files of a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestInline:
    """A folder that a create task names."""

    def create(self, skills: Any, dag_file: Path, **context: Any) -> str:
        """Run a create task of a DAG in that file."""
        dag = DAG("reports", schedule=None, start_date=STARTED)
        dag.fileloc = str(dag_file)
        task = CreateContainerOperator(task_id="make", skills=skills, dag=dag)
        values = task_context(task, **context)
        task.render_template_fields(values)
        return str(task.execute(values))

    def test_folder_beside_the_dag(
        self, containers_server: LocalServer, tmp_path: Path, scratch: Path
    ) -> None:
        """The container has the folder's files, executable ones executable, and no temporary file is left."""
        folder = make_skill(tmp_path / "skills" / "report", {"run.sh": "#!/bin/sh\n", "a/é": b"\x00\xff"})
        (folder / "run.sh").chmod(0o755)

        self.create([{"path": "skills/report"}], tmp_path / "dag.py")

        assert in_folder(folder) == in_container(containers_server)
        (entry,) = containers_server.requests("POST")
        assert entry.body is not None
        (skill,) = entry.body["skills"]
        assert ("inline", "report", "Makes reports.") == (skill["type"], skill["name"], skill["description"])
        assert [] == list(scratch.iterdir())

    @pytest.mark.parametrize(
        "skills",
        [
            [{"path": "skills/{{ which }}"}],
            '[{"path": "skills/{{ which }}"}]',
            "{{ [{'path': 'skills/' + which}] }}",
        ],
    )
    def test_templates(self, skills: Any, containers_server: LocalServer, tmp_path: Path) -> None:
        """A path may come from a template, and so may the whole list."""
        make_skill(tmp_path / "skills" / "report")

        self.create(skills, tmp_path / "dag.py", which="report")
        assert {"SKILL.md"} == in_container(containers_server).keys()

    def test_missing_folder_at_run_time(
        self, containers_server: LocalServer, tmp_path: Path, scratch: Path
    ) -> None:
        """A rendered path that leads nowhere fails the task at once, before any request."""
        with pytest.raises(AirflowFailException) as caught:
            self.create([{"path": "{{ which }}"}], tmp_path / "dag.py", which="none")

        wanted = f"skills[0].path: {tmp_path}/none: there is no such folder; check the path"
        assert str(caught.value).endswith(wanted)
        assert [] == containers_server.requests()
        assert [] == list(scratch.iterdir())

    def test_refused_create_leaves_nothing(
        self, containers_server: LocalServer, tmp_path: Path, scratch: Path
    ) -> None:
        """What the service refuses, too, leaves no temporary file."""
        make_skill(tmp_path / "report")
        containers_server.order_fault(method="POST", path="/v1/containers", status=400)

        with pytest.raises(AirflowFailException):
            self.create([{"path": "report"}], tmp_path / "dag.py")
        assert [] == list(scratch.iterdir())

    def test_retry_sends_the_whole_zip_again(self, containers_server: LocalServer, tmp_path: Path) -> None:
        """An attempt that was refused for its pace is repeated with the zip from its start."""
        folder = make_skill(tmp_path / "report", {"data": os.urandom(1_000_000)})
        containers_server.order_fault(method="POST", path="/v1/containers", status=429)

        self.create([{"path": "report"}], tmp_path / "dag.py")

        assert [429, 200] == [entry.status for entry in containers_server.requests("POST")]
        assert 1 == len({entry.body_bytes for entry in containers_server.requests("POST")})
        assert in_folder(folder) == in_container(containers_server)

    @pytest.mark.parametrize(
        "fault", [{"reset": True, "when": "after"}, {"status": 500, "when": "after"}, {"reset": True}]
    )
    def test_lost_answer(self, fault: dict[str, Any], containers_server: LocalServer, tmp_path: Path) -> None:
        """After a lost answer there is one container, whether the lost request has made it or the second."""
        folder = make_skill(tmp_path / "report")
        containers_server.order_fault(method="POST", path="/v1/containers", **fault)
        dag = DAG("reports", schedule=None, start_date=STARTED)
        dag.fileloc = str(tmp_path / "dag.py")
        task = CreateContainerOperator(
            task_id="make", skills=[{"path": "report"}], dag=dag, visibility_timeout=1
        )

        container_id = task.execute(task_context(task))

        assert [container_id] == [container["id"] for container in containers_server.alive()]
        assert in_folder(folder) == in_container(containers_server)

    def test_changed_folder_is_another_request(self, containers_server: LocalServer, tmp_path: Path) -> None:
        """A fingerprint goes by the content: the same folder is the same request, a changed one is not."""
        from airflow_containers.creation import fingerprint

        folder = make_skill(tmp_path / "report", {"a": "1"})
        found = []
        for content in ("1", "1", "2"):
            (folder / "a").write_text(content)
            with packed_inline(folder) as skill:
                found.append(fingerprint(CreateContainerRequest(name="n", skills=[skill])))
        assert found[0] == found[1] != found[2]

    async def test_clients(self, containers_server: LocalServer) -> None:
        """Both clients send a packed folder without Airflow."""
        options = ClientOptions(api_key=containers_server.api_key, base_url=containers_server.base_url)
        with packed_inline(EXAMPLE) as skill:
            request = CreateContainerRequest(name="n", skills=[skill])
            with ContainersClient(options) as client:
                client.create(request)
            async with AsyncContainersClient(options) as other:
                await other.create(request)

        one, two = containers_server.requests("POST")
        assert one.body == two.body

    def test_file_that_grows_while_it_is_sent(self, containers_server: LocalServer, tmp_path: Path) -> None:
        """A zip that changes before it is sent makes no container."""
        from airflow_containers.api import InlineSkill, InlineSkillSource, PathSource, SkillZip

        path = tmp_path / "s.zip"
        path.write_bytes(b"PK" * 1000)
        source = InlineSkillSource(data=SkillZip(PathSource(path), "0"))
        skill = InlineSkill(name="s", description="d", source=source)
        path.write_bytes(b"PK" * 1001)
        options = ClientOptions(api_key=containers_server.api_key, base_url=containers_server.base_url)

        with ContainersClient(options) as client, pytest.raises(SourceChangedError):
            client.create(CreateContainerRequest(name="n", skills=[skill]))
        containers_server.assert_nothing_left()


class TestHook:
    """Each operation of the Skills API."""

    def test_all_operations(self, hook: ContainerHook, tmp_path: Path) -> None:
        """A skill with versions, from its upload to its end."""
        folder = make_skill(tmp_path / "folder", {"a": "1"})
        skill = hook.create_skill(folder)
        assert ("report", "Makes reports.", "1", "1") == (
            skill.name,
            skill.description,
            skill.default_version,
            skill.latest_version,
        )

        (folder / "a").write_text("2")
        second = hook.create_skill_version(skill.id, folder)
        third = hook.create_skill_version(skill.id, folder, default=True)
        assert ("2", "3") == (second.version, third.version)
        assert ("3", "3") == (
            hook.retrieve_skill(skill.id).default_version,
            hook.retrieve_skill(skill.id).latest_version,
        )
        assert "2" == hook.set_default_skill_version(skill.id, 2).default_version
        assert second == hook.retrieve_skill_version(skill.id, "2")
        assert ["3", "2", "1"] == [v.version for v in hook.iterate_skill_versions(skill.id, limit=1)]
        assert ["3"] == [v.version for v in hook.list_skill_versions(skill.id, limit=1).data]
        assert [skill.id] == [s.id for s in hook.iterate_skills()] == [s.id for s in hook.list_skills().data]

        with pytest.raises(BadRequestError):
            hook.delete_skill_version(skill.id, 2)
        assert "1" == hook.delete_skill_version(skill.id, 1).version
        hook.delete_skill(skill.id)
        with pytest.raises(NotFoundError):
            hook.retrieve_skill(skill.id)

    def test_download(self, hook: ContainerHook, tmp_path: Path) -> None:
        """What comes back has the names and contents of what was sent."""
        folder = make_skill(tmp_path / "folder", {"a": os.urandom(300_000)})
        skill = hook.create_skill(folder)
        (folder / "a").write_text("2")
        hook.create_skill_version(skill.id, folder)

        found = hook.download_skill(skill.id, tmp_path / "default.zip")
        hook.download_skill(skill.id, tmp_path / "second.zip", version=2)

        assert found.bytes == (tmp_path / "default.zip").stat().st_size > 300_000
        default, second = read_zip(tmp_path / "default.zip"), read_zip(tmp_path / "second.zip")
        assert "changed: a" == default.difference(second)
        with pytest.raises(NotFoundError):
            hook.download_skill(skill.id, tmp_path / "none.zip", version=9)
        assert not (tmp_path / "none.zip").exists()

    def test_forms(self, hook: ContainerHook, tmp_path: Path) -> None:
        """A zip, and a list of files with one folder in front, make the same skill."""
        folder = make_skill(tmp_path / "folder", {"a": "1"})
        from airflow_containers.skills import pack_skill

        pack_skill(folder, tmp_path / "report.zip")
        files = [BytesSource(f"report/{path.name}", path.read_bytes()) for path in sorted(folder.iterdir())]
        for number, form in enumerate([tmp_path / "report.zip", files, folder]):
            hook.download_skill(hook.create_skill(form).id, tmp_path / str(number))

        assert 1 == len(
            {tuple((f.path, f.sha256) for f in read_zip(tmp_path / str(n)).files) for n in range(3)}
        )

    async def test_async(self, hook: ContainerHook, tmp_path: Path) -> None:
        """The same calls go by the async client."""
        async with await hook.get_async_conn() as client:
            with _publish.as_upload(make_skill(tmp_path / "folder")) as upload:
                skill = await client.send(endpoints.create_skill(upload))
            pages = [page async for page in client.pages(endpoints.list_skills(limit=1))]
            target = tmp_path / "skill.zip"
            await client.download(endpoints.skill_content(skill.id), target)
        assert [[skill.id]] == [page.entry_ids for page in pages]
        assert ["SKILL.md"] == [file.path for file in read_zip(target).files]

    def test_upload_is_not_repeated_blindly(
        self, hook: ContainerHook, containers_server: LocalServer, tmp_path: Path
    ) -> None:
        """A lost answer of an upload is told, with what to do, and made no second one."""
        containers_server.order_fault(method="POST", path="/v1/skills", reset=True, when="after")
        with pytest.raises(AmbiguousUploadError, match=r"report\.zip"):
            hook.create_skill(make_skill(tmp_path / "folder"))
        assert 1 == len(hook.list_skills().data)


class TestPublish:
    """A folder becomes a version only if the newest one is something else."""

    def test_created_unchanged_updated(self, hook: ContainerHook, tmp_path: Path, scratch: Path) -> None:
        """The first call creates, the second does nothing, a change makes a version; the default stays."""
        folder = make_skill(tmp_path / "folder", {"run.sh": "1"})
        first = hook.publish_skill(folder)
        again = hook.publish_skill(folder)
        (folder / "run.sh").chmod(0o755)
        second = hook.publish_skill(folder)

        assert ["created", "unchanged", "updated"] == [p.outcome for p in (first, again, second)]
        assert [f"{first.skill_id}@{n}" for n in (1, 1, 2)] == [p.reference for p in (first, again, second)]
        assert "1" == hook.retrieve_skill(first.skill_id).default_version
        assert [] == list(scratch.iterdir())

    def test_default(self, hook: ContainerHook, containers_server: LocalServer, tmp_path: Path) -> None:
        """A new version becomes the default in its upload; one that is there already in a call of its own."""
        folder = make_skill(tmp_path / "folder", {"a": "1"})
        skill_id = hook.publish_skill(folder).skill_id
        (folder / "a").write_text("2")
        hook.publish_skill(folder, default=True)
        assert "2" == hook.retrieve_skill(skill_id).default_version

        (folder / "a").write_text("3")
        hook.publish_skill(folder)
        assert "2" == hook.retrieve_skill(skill_id).default_version
        assert "unchanged" == hook.publish_skill(folder, default=True).outcome
        assert "3" == hook.retrieve_skill(skill_id).default_version
        containers_server.clear_requests()
        hook.publish_skill(folder, default=True)
        assert {"GET"} == {entry.method for entry in containers_server.requests()}

    def test_back_to_an_older_content(self, hook: ContainerHook, tmp_path: Path) -> None:
        """Only the newest version counts: a change that is taken back is a new version."""
        folder = make_skill(tmp_path / "folder", {"a": "1"})
        for content in ("1", "2", "1"):
            (folder / "a").write_text(content)
            published = hook.publish_skill(folder)
        assert "3" == published.version

    def test_a_version_that_is_no_zip(
        self, hook: ContainerHook, containers_server: LocalServer, tmp_path: Path, scratch: Path
    ) -> None:
        """What cannot be compared is told with what to do about it, and nothing is uploaded over it."""
        folder = make_skill(tmp_path / "folder")
        skill_id = hook.publish_skill(folder).skill_id
        containers_server.clear_requests()
        containers_server.order_fault(method="GET", path="*/content", body="<html>", status=200)
        with pytest.raises(InvalidResponseError) as caught:
            hook.publish_skill(folder)

        assert (
            f"Version 1 of skill {skill_id} cannot be compared: it is no zip that can be read (BadZipFile); "
            "if it stays so, delete that version, or publish to another skill with skill_id"
        ) == str(caught.value)
        assert [] == containers_server.requests("POST")
        assert [] == list(scratch.iterdir())

    def test_by_id(self, hook: ContainerHook, tmp_path: Path) -> None:
        """An id tells two skills of one name apart; without it nothing is uploaded."""
        folder = make_skill(tmp_path / "folder", {"a": "1"})
        one, two = hook.create_skill(folder).id, hook.create_skill(folder).id
        (folder / "a").write_text("2")

        with pytest.raises(ValueError, match=r"^skill_id: 2 skills are named 'report' \(skill_"):
            hook.publish_skill(folder)
        assert f"{one}@2" == hook.publish_skill(folder, skill_id=one).reference
        assert "1" == hook.retrieve_skill(two).latest_version

    @pytest.mark.parametrize("exists", [False, True])
    @pytest.mark.parametrize(
        "fault",
        [
            {"reset": True, "when": "after"},
            {"status": 500, "when": "after"},
            {"body": "<html>", "when": "after"},
            {"reset": True},
            {"status": 503},
            {"reset_reading_after": 100},
        ],
        ids=str,
    )
    def test_lost_answer(
        self,
        fault: dict[str, Any],
        exists: bool,
        hook: ContainerHook,
        containers_server: LocalServer,
        tmp_path: Path,
        scratch: Path,
    ) -> None:
        """Whether the lost upload was carried out or not, there is exactly one version of the content."""
        folder = make_skill(tmp_path / "folder", {"a": os.urandom(100_000)})
        if exists:
            hook.publish_skill(folder)
            (folder / "a").write_text("2")
        containers_server.order_fault(method="POST", **fault)

        published = hook.publish_skill(folder)

        assert ("2" if exists else "1") == published.version
        assert ("updated" if exists else "created") == published.outcome
        (skill,) = hook.iterate_skills()
        assert published.version == skill.latest_version
        assert "unchanged" == hook.publish_skill(folder).outcome
        assert [] == list(scratch.iterdir())

    def test_service_that_stays_broken(
        self, hook: ContainerHook, containers_server: LocalServer, tmp_path: Path
    ) -> None:
        """After two uploads of unknown outcome the task's retries go on."""
        containers_server.order_fault(method="POST", path="/v1/skills", status=500, times=10)
        with pytest.raises(AmbiguousUploadError) as caught:
            hook.publish_skill(make_skill(tmp_path / "folder"))
        assert caught.value.retryable
        assert 2 == len(containers_server.requests("POST"))

    def test_version_that_cannot_be_read(
        self, hook: ContainerHook, containers_server: LocalServer, tmp_path: Path
    ) -> None:
        """Where the newest version cannot be downloaded nothing is uploaded."""
        folder = make_skill(tmp_path / "folder")
        hook.publish_skill(folder)
        containers_server.order_fault(method="GET", path="*/content", status=500, times=10)
        with pytest.raises(ServerError):
            hook.publish_skill(folder)
        assert 1 == len(containers_server.requests("POST"))

    def test_what_happened_is_logged(
        self, hook: ContainerHook, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log names the files that make the difference."""
        folder = make_skill(tmp_path / "folder", {"a": "1", "b": "1"})
        log = logging.getLogger("test")
        with caplog.at_level("INFO", "test"):
            for content in ("1", "2"):
                (folder / "a").write_text(content)
                _publish.publish(hook.get_conn, folder, skill_id=None, default=False, log=log)
        text = caplog.text
        assert "There is no skill named 'report' yet" in text
        assert "differs: changed: a" in text


class TestOperator:
    """The publish task."""

    def run(self, folder: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Run a publish task."""
        task = PublishSkillOperator(task_id="publish", path=folder, **fields)
        context = task_context(task)
        return task.execute(context), context["ti"].pushed

    def test_result(self, hook: ContainerHook, tmp_path: Path) -> None:
        """It returns `id@version` and pushes what happened."""
        folder = make_skill(tmp_path / "folder")
        reference, pushed = self.run(str(folder), default=True)

        (skill,) = hook.iterate_skills()
        assert f"{skill.id}@1" == reference
        wanted = {"skill_id": skill.id, "version": "1", "name": "report", "outcome": "created"}
        assert {"skill": wanted} == pushed
        assert "unchanged" == self.run(folder, skill_id=skill.id)[1]["skill"]["outcome"]

    def test_unknown_skill(self, tmp_path: Path) -> None:
        """An id of no skill is not retried."""
        with pytest.raises(AirflowFailException, match="404"):
            self.run(str(make_skill(tmp_path / "folder")), skill_id="skill_none")


DAG_SOURCE = """
    from datetime import datetime, timezone
    from airflow.providers.common.compat.sdk import DAG
    from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
    from airflow_containers.operators.skill import PublishSkillOperator

    with DAG("skills", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        publish = PublishSkillOperator(task_id="publish", path="skills/shared")
        create = CreateContainerOperator(
            task_id="create", skills=[publish.output, {{"path": "{path}"}}]
        )
        DeleteContainerOperator(task_id="delete", container_id=create.output)
    """

LoadDag = Callable[[str], Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> LoadDag:
    """Load a DAG with that folder as its inline skill, from a bundle of its own."""
    bundle = {
        "name": "skills",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))

    def make(path: str) -> Any:
        (tmp_path / "dag.py").write_text(textwrap.dedent(DAG_SOURCE.format(path=path)))
        return load_dag(tmp_path / "dag.py")

    return make


def test_published_and_inline(
    load: LoadDag, containers_server: LocalServer, airflow_database: Path, tmp_path: Path
) -> None:
    """On real Airflow, a published skill reaches the create task by XCom, beside one from a folder."""
    make_skill(tmp_path / "skills" / "shared", name="shared")
    make_skill(tmp_path / "skills" / "own", name="own")

    run = run_dag(load("skills/own"), airflow_database)

    assert dict.fromkeys((("publish", -1), ("create", -1), ("delete", -1)), "success") == run.tasks
    (entry,) = containers_server.requests("POST", "/v1/containers")
    assert entry.body is not None
    assert ["skill_reference", "inline"] == [skill["type"] for skill in entry.body["skills"]]
    containers_server.assert_nothing_left()


def test_missing_folder_is_an_import_error(load: LoadDag, tmp_path: Path) -> None:
    """A literal folder that is not there is found when the DAG is parsed, by its absolute path."""
    make_skill(tmp_path / "skills" / "shared", name="shared")

    with pytest.raises(AssertionError) as caught:
        load("skills/none")
    wanted = f"Task 'create': skills[1].path: {tmp_path}/skills/none: there is no such folder; check the path"
    assert wanted in str(caught.value)


def test_dag_made_by_another_module(load: LoadDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is looked for beside the DAG file, also where a function of another module makes the DAG."""
    make_skill(tmp_path / "skills" / "shared", name="shared")
    make_skill(tmp_path / "skills" / "own", name="own")
    load("skills/own")
    (tmp_path / "lib").mkdir()
    source = (tmp_path / "dag.py").read_text()
    body = source.partition("with DAG")[2].replace("\n", "\n    ")
    header = source.partition("with DAG")[0]
    factory = f"{header}\ndef make():\n    with DAG{body.replace('):', ') as dag:', 1)}\n    return dag\n"
    (tmp_path / "lib" / "skill_factory_module.py").write_text(factory)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    (tmp_path / "made.py").write_text(
        "from skill_factory_module import make  # airflow DAG\n\ndag = make()\n"
    )

    dag = load_dag(tmp_path / "made.py")
    assert str(tmp_path / "made.py") == dag.fileloc
