"""The operators with real Airflow and the local server."""

from __future__ import annotations

import copy
import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, redact
from pydantic import SecretStr

from airflow_containers.api import Container, ContainersClient, DomainSecret
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.identity import has_owner_token
from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.canary import new_canary
from tests.support.contexts import STARTED, task_context, templated
from tests.support.dag_runs import load_dag, run_dag

pytestmark = pytest.mark.usefixtures("connection")

HOST = "api.example.com"
LoadDag = Callable[[str], Any]


@pytest.fixture
def connection(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default connection, without repeated attempts."""
    fields = {
        "conn_type": "openai_containers",
        "host": containers_server.base_url,
        "password": containers_server.api_key,
        "extra": {"max_retries": 0},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> LoadDag:
    """Load a DAG from its source, in a bundle of its own: Airflow 3 runs nothing that is in none."""
    bundle = {
        "name": "operators",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    header = """\
        from datetime import datetime, timedelta, timezone
        from pydantic import SecretStr
        from airflow.providers.common.compat.sdk import DAG, task
        from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
        START = datetime(2026, 1, 1, tzinfo=timezone.utc)
        """

    def make(source: str) -> Any:
        file = tmp_path / f"dag_{len(list(tmp_path.iterdir()))}.py"
        file.write_text(textwrap.dedent(header) + textwrap.dedent(source))
        return load_dag(file)

    return make


def create(context: dict[str, Any] | None = None, **fields: Any) -> Any:
    """Run a create task, and return what it returned with what it pushed."""
    task = CreateContainerOperator(task_id="make", **fields)
    context = task_context(task, **(context or {}))
    return task.execute(context), context["ti"].pushed


def delete(container_id: str) -> None:
    """Run a delete task."""
    task = DeleteContainerOperator(task_id="end", container_id=container_id)
    task.execute(task_context(task))


class TestCreateAndDelete:
    """One task after the other, as a worker runs them."""

    def test_lifecycle(self, containers_server: LocalServer) -> None:
        """Create returns the id and pushes the answer, delete leaves nothing."""
        container_id, pushed = create(name="report", memory_limit="4g", domains=[HOST], expires_after=5)
        (container,) = containers_server.alive()
        assert container["id"] == container_id == pushed["container"]["id"]
        assert "4g" == pushed["container"]["memory_limit"]
        assert "container_link" not in pushed

        delete(container_id)

        containers_server.assert_nothing_left()
        assert ["POST", "DELETE", "GET"] == [request.method for request in containers_server.requests()]

    def test_gone_already(self, containers_server: LocalServer) -> None:
        """Deleting a container that was deleted, or never was, is done."""
        container_id, _ = create()
        delete(container_id)
        delete(container_id)
        delete("cntr_of_nobody")
        assert [200, 404, 404] == [request.status for request in containers_server.requests("DELETE")]

    def test_name(self, containers_server: LocalServer) -> None:
        """A name is the author's and the token, or the author's alone, or one made for the task."""
        create(name="report")
        create(name="report", unique_name=False)
        create()
        create(unique_name=False)
        unique, exact, default, bare = [container["name"] for container in containers_server.containers()]
        assert has_owner_token(unique)
        assert "report" == exact == unique[: len(exact)]
        assert "reports.make.manual__1" == bare
        assert unique.removeprefix("report") == default.removeprefix("make")
        assert unique.startswith("report [reports manual__1]-afc")

    def test_token_tells_task_instances_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each try has one name, also after a clear; another run, map index or deployment has another."""
        task = CreateContainerOperator(task_id="make", name="report")

        def name(**changed: Any) -> str:
            return task.build_request(task_context(task, **changed)).name

        mine = name()
        assert {mine} == {name(try_number=2), name(started=None), name(try_number=3, max_tries=5)}
        others = {mine, name(run_id="manual__2"), name(map_index=0), name(dag_id="x")}
        monkeypatch.setenv("AIRFLOW_VAR_OPENAI_CONTAINERS_DEPLOYMENT_ID", "another")
        assert 5 == len({*others, name()})


@pytest.mark.parametrize(
    ("fault", "final"),
    [
        ({"status": 401}, True),
        ({"status": 403}, True),
        ({"status": 400}, True),
        ({"status": 404}, True),
        ({"status": 429, "error": {"code": "insufficient_quota"}}, True),
        ({"status": 429}, False),
        ({"status": 500}, False),
        ({"status": 503}, False),
    ],
    ids=str,
)
def test_errors(fault: dict[str, Any], final: bool, containers_server: LocalServer) -> None:
    """What a retry cannot mend fails the task for good; the rest is left to Airflow's retries."""
    containers_server.order_fault(method="POST", path="/v1/containers", times=10, **fault)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the test
        create(visibility_timeout=0)
    assert final is isinstance(caught.value, AirflowFailException), repr(caught.value)
    assert caught.value.__cause__ is None


def test_refused_connection_is_retried(containers_server: LocalServer) -> None:
    """A server that is away may come back."""
    containers_server.kill()
    with pytest.raises(Exception, match="refused") as caught:
        create()
    assert not isinstance(caught.value, AirflowFailException)


def test_missing_connection() -> None:
    """A connection that does not exist is final, and the message says how to make it."""
    with pytest.raises(AirflowFailException, match="airflow connections add absent"):
        create(conn_id="absent")


class TestSecrets:
    """Values by reference, and where they must not be seen."""

    @pytest.mark.parametrize(
        ("source", "variable", "text"),
        [
            ({"conn_id": "vault"}, "AIRFLOW_CONN_VAULT", '{{"conn_type": "http", "password": "{}"}}'),
            (
                {"conn_id": "vault", "field": "login"},
                "AIRFLOW_CONN_VAULT",
                '{{"conn_type": "http", "login": "{}"}}',
            ),
            (
                {"conn_id": "vault", "field": "token"},
                "AIRFLOW_CONN_VAULT",
                '{{"conn_type": "http", "extra": {{"token": "{}"}}}}',
            ),
            ({"variable": "place"}, "AIRFLOW_VAR_PLACE", "{}"),
            ({"env": "A_PLACE"}, "A_PLACE", "{}"),
            ({"value": SecretStr}, None, "{}"),
        ],
        ids=str,
    )
    def test_value_is_sent_and_masked(
        self,
        source: dict[str, Any],
        variable: str | None,
        text: str,
        containers_server: LocalServer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The value goes to the server, is masked in Airflow's logs from then on, and is nowhere else."""
        canary = new_canary()
        if variable:
            monkeypatch.setenv(variable, text.format(canary))
        source = {key: value(canary) if key == "value" else value for key, value in source.items()}
        sent = []
        real = ContainersClient.create
        monkeypatch.setattr(
            ContainersClient,
            "create",
            lambda client, request: sent.append(request) or real(client, request),
        )

        container_id, pushed = create(
            domains=[HOST], domain_secrets=[{"domain": HOST, "name": "TOKEN", **source}]
        )

        assert [canary] == sent[0].secret_values()
        assert "it is ***" == redact(f"it is {canary}")
        assert canary not in caplog.text
        assert canary not in str(pushed)
        assert canary not in str([request.body for request in containers_server.requests()])
        assert container_id == containers_server.alive()[0]["id"]

    @pytest.mark.usefixtures("airflow_database")
    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({"conn_id": "absent"}, "'password' of the connection 'absent' does not exist"),
            ({"conn_id": "vault"}, "'password' of the connection 'vault' does not exist"),
            ({"conn_id": "vault", "field": "token"}, "'token' of the connection 'vault' does not exist"),
            ({"env": "ABSENT"}, "the environment variable 'ABSENT' does not exist"),
        ],
        ids=str,
    )
    def test_missing_value(
        self,
        source: dict[str, str],
        message: str,
        containers_server: LocalServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The task fails for good, says which place is empty, and sends nothing."""
        monkeypatch.setenv("AIRFLOW_CONN_VAULT", '{"conn_type": "http"}')
        with pytest.raises(AirflowFailException, match=message):
            create(domains=[HOST], domain_secrets=[{"domain": HOST, "name": "TOKEN", **source}])
        assert [] == containers_server.requests()

    def test_nothing_is_looked_up_for_a_wrong_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A look-up may cost a call to a secrets backend: every other mistake is told first."""
        monkeypatch.setattr("airflow_containers.hooks.domain_secrets._variable", pytest.fail)
        secret = {"domain": HOST, "name": "TOKEN", "variable": "place"}
        fields = {"domains": ["data.example.org"], "domain_secrets": [secret]}
        task = templated(CreateContainerOperator, fields, native=True)
        with pytest.raises(AirflowFailException, match="is not one of the allowed domains"):
            task.execute(task_context(task))

    def test_serialized_dag(self) -> None:
        """What the database keeps of a DAG has the references, and no value."""
        canary = new_canary()
        model = DomainSecret(domain=HOST, name="OTHER", value=SecretStr(canary))
        literal = {"domain": HOST, "name": "TOKEN", "value": SecretStr(canary)}
        with DAG("serialized", schedule=None, start_date=STARTED) as dag:
            CreateContainerOperator(
                task_id="make",
                domains=[HOST],
                domain_secrets=[literal, model, {"domain": HOST, "name": "T3", "env": "A_PLACE"}],
            )
            CreateContainerOperator.partial(task_id="each", domains=[HOST]).expand(
                domain_secrets=[[literal], [model]]
            )

        stored = json.dumps(_serialize(dag), default=str)

        assert canary not in stored
        assert "A_PLACE" in stored


def _serialize(dag: Any) -> Any:
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization
    return Serialization.to_dict(dag)


@pytest.mark.parametrize("operator", [CreateContainerOperator, DeleteContainerOperator])
def test_template_fields_are_arguments(operator: type[Any]) -> None:
    """Airflow renders attributes named like the arguments; each must be set as it came."""
    parameters = inspect.signature(operator.__init__).parameters
    assert set(operator.template_fields) <= parameters.keys()
    values = {name: f"{{{{ {name} }}}}" for name in operator.template_fields}
    task = operator(task_id="make", **values)
    assert values == {name: getattr(task, name) for name in operator.template_fields}
    assert values == {name: getattr(copy.deepcopy(task), name) for name in operator.template_fields}


def test_default_arguments() -> None:
    """`default_args` of the DAG reach the tasks, and count when a mapped task is checked."""
    secret = {"domain": HOST, "name": "TOKEN", "env": "A_PLACE"}
    with DAG("good", schedule=None, start_date=STARTED, default_args={"domains": [HOST]}):
        task = CreateContainerOperator(task_id="make", domain_secrets=[secret])
        CreateContainerOperator.partial(task_id="each", domain_secrets=[secret]).expand(name=["a"])
    assert [HOST] == task.domains

    with DAG("bad", schedule=None, start_date=STARTED, default_args={"memory_limit": "2g"}):
        partial = CreateContainerOperator.partial(task_id="each")
        with pytest.raises(AirflowFailException, match="Task 'each': memory_limit: got '2g'"):
            partial.expand(name=["a"])


def test_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the connection leads to OpenAI, the link of both tasks goes to its dashboard."""
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM", '{"conn_type": "openai_containers", "password": "sk-1"}')
    monkeypatch.setattr(ContainersClient, "create", lambda *_: Container(id="cntr_1"))
    monkeypatch.setattr(ContainerHook, "end_container", lambda *_: True)
    _, pushed = create(conn_id="platform")
    assert pushed["container_link"].startswith("https://platform.openai.com/")
    assert "cntr_1" in pushed["container_link"]

    task = DeleteContainerOperator(task_id="end", container_id="cntr_1", conn_id="platform")
    context = task_context(task)
    task.execute(context)
    assert pushed["container_link"] == context["ti"].pushed["container_link"]


MAPPED = """
    with DAG("mapped", schedule=None, start_date=START, render_template_as_native_obj={native}):
        @task
        def rows():
            return [
                {{"name": "one", "domains": ["api.example.com"], "expires_after": {{"minutes": 5}}}},
                {{"name": "two", "domains": [], "skills": ["skill_1@2"], "file_ids": ["file-1"]}},
            ]

        @task(multiple_outputs=True)
        def whole():
            return {{"domains": ["data.example.org"], "minutes": 7, "limit": "4g"}}

        Create = CreateContainerOperator
        by_kwargs = Create.partial(task_id="by_kwargs", unique_name=False).expand_kwargs(rows())
        by_value = Create.partial(task_id="by_value", name="v {{{{ ti.map_index }}}}").expand(
            memory_limit=["1g", "4g"]
        )
        answer = whole()
        from_xcom = CreateContainerOperator(
            task_id="from_xcom",
            name="x",
            domains=answer["domains"],
            expires_after=answer["minutes"],
            memory_limit=answer["limit"],
        )
        from_text = CreateContainerOperator(
            task_id="from_text",
            name="t",
            domains="{{{{ ti.xcom_pull(task_ids='whole')['domains'] }}}}",
            expires_after={{"minutes": "{{{{ ti.xcom_pull(task_ids='whole')['minutes'] }}}}"}},
        )
        answer >> from_text
        for number, made in enumerate([by_kwargs, by_value]):
            DeleteContainerOperator.partial(task_id=f"delete_{{number}}").expand(
                container_id=made.output
            ).as_teardown(setups=made)
        for made in (from_xcom, from_text):
            DeleteContainerOperator(
                task_id=f"delete_{{made.task_id}}", container_id=made.output
            ).as_teardown(setups=made)
    """


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
def test_mapping_and_xcom(
    native: bool, load: LoadDag, containers_server: LocalServer, airflow_database: Path
) -> None:
    """Mapped tasks and arguments from XCom send what they should, with text and with native rendering."""
    containers_server.add_file("file-1")
    for _ in range(2):
        containers_server.add_skill("skill_1")
    run = run_dag(load(MAPPED.format(native=native)), airflow_database)

    assert {"success"} == set(run.tasks.values()), run.tasks
    bodies = {
        request.body["name"].partition("-afc")[0].partition(" [")[0]: {
            key: request.body[key] for key in request.body if key != "name"
        }
        for request in containers_server.requests("POST", "/v1/containers")
    }
    data = {"network_policy": {"type": "allowlist", "allowed_domains": ["data.example.org"]}}
    seven = {"expires_after": {"anchor": "last_active_at", "minutes": 7}}
    assert {
        "one": {
            "network_policy": {"type": "allowlist", "allowed_domains": ["api.example.com"]},
            "expires_after": {"anchor": "last_active_at", "minutes": 5},
        },
        "two": {
            "network_policy": {"type": "disabled"},
            "skills": [{"type": "skill_reference", "skill_id": "skill_1", "version": "2"}],
            "file_ids": ["file-1"],
        },
        "v 0": {"memory_limit": "1g"},
        "v 1": {"memory_limit": "4g"},
        "x": {"memory_limit": "4g", **data, **seven},
        "t": {**data, **seven},
    } == bodies
    containers_server.assert_nothing_left()


WRONG = """
    patient = {"retries": 3, "retry_delay": timedelta(days=1)}
    with DAG("wrong", schedule=None, start_date=START, default_args=patient):
        @task
        def limits():
            return ["1g", "2g"]

        each = CreateContainerOperator.partial(task_id="each").expand(memory_limit=limits())
        DeleteContainerOperator.partial(task_id="delete").expand(container_id=each.output).as_teardown(setups=each)
        one = CreateContainerOperator(task_id="one", domains="{{ none }}")
    """


ABSENT = """
    with DAG("absent", schedule=None, start_date=START, default_args={"retries": 3}):
        secret = {"domain": "api.example.com", "name": "TOKEN", "variable": "absent"}
        CreateContainerOperator(task_id="create", domains=["api.example.com"], domain_secrets=[secret])
    """


def test_missing_variable(load: LoadDag, containers_server: LocalServer, airflow_database: Path) -> None:
    """A Variable that is not there fails the task for good. Only a running task of 3.0 can ask for one."""
    run = run_dag(load(ABSENT), airflow_database)

    assert {("create", -1): "failed"} == run.tasks
    assert [] == containers_server.requests()


def test_wrong_value_from_xcom(load: LoadDag, containers_server: LocalServer, airflow_database: Path) -> None:
    """A wrong value that comes when the DAG runs fails its own task, without a retry, and sends nothing."""
    run = run_dag(load(WRONG), airflow_database)

    tasks = run.tasks
    assert ("success", "failed", "failed") == (tasks["each", 0], tasks["each", 1], tasks["one", -1]), tasks
    containers_server.assert_requested("POST", "/v1/containers", times=1)
    containers_server.assert_nothing_left()
