"""The sweeper with real Airflow and the local server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_containers import pricing
from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest
from airflow_containers.hooks import runs
from airflow_containers.hooks.deployment import DEPLOYMENT_VARIABLE
from airflow_containers.identity import Owner, Run, run_hash
from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators.sweep import SweepContainersOperator
from airflow_containers.sweeping import RunState, Sweep, SweepIncompleteError
from airflow_containers.testing import LocalServer
from tests.support.contexts import task_context, templated
from tests.support.dag_runs import FinishedRun, load_dag, run_dag
from tests.support.isolation import REPOSITORY

DEPLOYMENT = "tests"
"""What `tests.support.isolation` sets as this deployment's id."""

Make = Callable[..., str]
LoadDag = Callable[[str], Any]


@pytest.fixture(autouse=True)
def connection(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The default connection, without repeated attempts and without pauses."""
    fields = {
        "conn_type": "openai_containers",
        "host": containers_server.base_url,
        "password": containers_server.api_key,
        "extra": {"max_retries": 0, "requests_per_minute": 1_000_000},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
    return fields


@pytest.fixture
def make(containers_server: LocalServer) -> Iterator[Make]:
    """Make a container with a name, or with that of a task of a run; returns its id."""
    options = ClientOptions(api_key=containers_server.api_key, base_url=containers_server.base_url)
    with ContainersClient(options) as client:

        def create(
            run_id: str | None = None,
            *,
            name: str = "report",
            dag_id: str = "no_such_dag",
            deployment: str = DEPLOYMENT,
            memory_limit: Any = None,
        ) -> str:
            if run_id is not None:
                name = Owner(deployment, dag_id, run_id, "make").name(name, max_length=256)
            return client.create(CreateContainerRequest(name=name, memory_limit=memory_limit)).id

        yield create


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> LoadDag:
    """Load a DAG from its source, in a bundle of its own: Airflow 3 runs nothing that is in none."""
    bundle = {
        "name": "sweeping",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    header = """\
        from datetime import datetime, timezone
        from airflow.providers.common.compat.sdk import DAG
        from airflow_containers.operators.container import CreateContainerOperator
        from airflow_containers.operators.sweep import SweepContainersOperator
        START = datetime(2026, 1, 1, tzinfo=timezone.utc)
        """

    def load_source(source: str) -> Any:
        file = tmp_path / f"dag_{len(list(tmp_path.iterdir()))}.py"
        source = textwrap.dedent(source)
        file.write_text(source if source.startswith("from ") else textwrap.dedent(header) + source)
        return load_dag(file)

    return load_source


LEAVES_ONE = """
    with DAG("leaves_one", start_date=START, schedule=None):
        CreateContainerOperator(task_id="make", name="left")
    """
SWEEPS = """
    with DAG("sweeps", start_date=START, schedule=None):
        make = CreateContainerOperator(task_id="make", name="live")
        look = SweepContainersOperator(task_id="look", dry_run=True)
        make >> look >> SweepContainersOperator(task_id="sweep")
    """


def leave_one(load: LoadDag, database: Path) -> FinishedRun:
    """Run a DAG that creates a container and never deletes it."""
    return run_dag(load(LEAVES_ONE), database)


def sweep(**arguments: Any) -> dict[str, Any]:
    """Run one sweep as a worker does."""
    task = SweepContainersOperator(task_id="sweep", **arguments)
    return task.execute(task_context(task))


def test_only_what_is_over_is_deleted(
    load: LoadDag, make: Make, containers_server: LocalServer, airflow_database: Path
) -> None:
    """A finished run's container and that of a run that Airflow does not know are deleted, in a real task.

    The live run's own container stays, and so do another deployment's and everybody else's.
    """
    leave_one(load, airflow_database)
    unknown_run = make("deleted_run")
    another = make("live", deployment="another")
    somebodys = make(name="somebody's")
    before = {seen["id"]: seen["name"].split()[0] for seen in containers_server.alive()}
    (left,) = (known for known, name in before.items() if name == "left")
    containers_server.clear_requests()

    run = run_dag(load(SWEEPS), airflow_database)

    assert "success" == run.state
    (live,) = run.xcoms("make").values()
    assert {live, another, somebodys} == {seen["id"] for seen in containers_server.alive()}
    (looked,), (swept,) = run.xcoms("look").values(), run.xcoms("sweep").values()
    counts = ("dry_run", "listed", "others", "found", "live", "unknown", "due", "deleted", "failed")
    assert [True, 5, 1, 4, 1, 1, 2, 0, 0] == [looked[name] for name in counts]
    assert [False, 5, 1, 4, 1, 1, 2, 2, 0] == [swept[name] for name in counts]
    assert {left, unknown_run} == set(looked["container_ids"]) == set(swept["container_ids"])
    assert "$0.0150" == swept["cost"]


def test_sweeping_touches_nothing(make: Make, containers_server: LocalServer, airflow_database: Path) -> None:
    """No container is asked for by id, so nobody's idle time starts again."""
    make("live", deployment="another")
    make("deleted_run")
    before = [seen["last_active_at"] for seen in containers_server.containers()]
    containers_server.clear_requests()
    containers_server.advance_clock(60)

    sweep()

    assert before == [seen["last_active_at"] for seen in containers_server.containers()]
    assert [("GET", "/v1/containers"), ("DELETE", "/v1/containers/")] == [
        (request.method, re.sub("cntr_.*", "", request.path)) for request in containers_server.requests()
    ]


def test_dry_run_changes_nothing(make: Make, containers_server: LocalServer, airflow_database: Path) -> None:
    """It lists, says what is due, and that is all."""
    container_id = make("deleted_run", memory_limit="64g")
    containers_server.clear_requests()

    summary = sweep(dry_run=True, older_than=timedelta(seconds=1))

    assert (1, 0, "$0.4800", [container_id]) == (
        summary["due"],
        summary["deleted"],
        summary["cost"],
        summary["container_ids"],
    )
    assert ["GET"] == [request.method for request in containers_server.requests()]


def test_pages(make: Make, containers_server: LocalServer, airflow_database: Path) -> None:
    """More than one page is swept to the end, although the cursors' containers are deleted on the way."""
    for number in range(205):
        make(f"deleted_{number}")

    summary = sweep()

    assert (3, 205, 205) == (summary["pages"], summary["listed"], summary["deleted"])
    assert 100 == len(summary["container_ids"])
    containers_server.assert_nothing_left()


def test_ghosts(make: Make, containers_server: LocalServer, airflow_database: Path) -> None:
    """What a list shows on: expired containers are left alone, one that it calls running is gone already."""
    make("expired_run")
    containers_server.advance_clock(1201)
    containers_server.quirks(ghost_seconds=600)
    make("deleted_run")
    sweep()

    summary = sweep()

    counts = ("listed", "ended", "found", "due", "gone", "deleted", "failed", "minutes", "cost")
    assert [2, 1, 1, 1, 1, 0, 0, 0, "$0.0000"] == [summary[name] for name in counts]


def test_prefix(make: Make, containers_server: LocalServer, airflow_database: Path) -> None:
    """Only names that start so; the prefix is a template."""
    make("deleted_run", name="report")
    kept = make("deleted_run", name="other")
    task = templated(SweepContainersOperator, {"prefix": "rep"}, native=False)

    task.execute(task_context(task))

    assert [kept] == [seen["id"] for seen in containers_server.alive()]


def test_age_decides_without_a_run(
    make: Make, containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers of unknown runs are deleted when they are older than the limit, and only then."""
    make("live", deployment="another")
    make("too_long", name="x" * 230)
    assert (2, 0) == unknown_and_deleted()
    assert (2, 0) == unknown_and_deleted(older_than=timedelta(hours=1))

    monkeypatch.setitem(Sweep.__init__.__kwdefaults__, "now", lambda: time.time() + 3700)

    assert (2, 0) == unknown_and_deleted()
    assert (0, 2) == unknown_and_deleted(older_than=timedelta(hours=1))


def test_own_run_is_live_without_ids(
    make: Make, containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of the sweeping run itself stays, although its name has no room for ids."""
    task = SweepContainersOperator(task_id="sweep", older_than=timedelta(hours=1))
    context = task_context(task)
    own = make(context["ti"].run_id, dag_id=context["ti"].dag_id, name="x" * 230)
    make("another", dag_id=context["ti"].dag_id, name="x" * 230)
    monkeypatch.setitem(Sweep.__init__.__kwdefaults__, "now", lambda: time.time() + 3700)

    summary = task.execute(context)

    assert (1, 1) == (summary["live"], summary["deleted"])
    assert [own] == [seen["id"] for seen in containers_server.alive()]


def unknown_and_deleted(**arguments: Any) -> tuple[int, int]:
    """Sweep, and tell how many were kept because their owner is unknown, and how many deleted."""
    summary = sweep(**arguments)
    return summary["unknown"], summary["deleted"]


class TestErrors:
    """What fails, and whether Airflow tries again."""

    @pytest.mark.parametrize(
        ("status", "error", "deleted"),
        [(500, SweepIncompleteError, 2), (429, SweepIncompleteError, 2), (403, AirflowFailException, 2)],
    )
    def test_failed_delete(
        self,
        status: int,
        error: type[Exception],
        deleted: int,
        make: Make,
        containers_server: LocalServer,
        airflow_database: Path,
    ) -> None:
        """The others are deleted, then the task fails with how many were not."""
        for _ in range(3):
            make("deleted_run")
        containers_server.order_fault(method="DELETE", path="/v1/containers/*", status=status)

        with pytest.raises(error, match="1 of 3 containers could not be deleted: DELETE"):
            sweep()

        assert 3 - deleted == len(containers_server.alive())

    def test_gone_meanwhile(self, make: Make, containers_server: LocalServer, airflow_database: Path) -> None:
        """A container that ended between list and delete is no failure."""
        container_id = make("deleted_run")
        message = f"Container with id '{container_id}' not found."
        containers_server.order_fault(method="DELETE", status=404, error={"message": message})

        summary = sweep()

        assert (1, 0, 1, 0) == tuple(summary[name] for name in ("due", "deleted", "gone", "failed"))

    @pytest.mark.parametrize(("status", "final"), [(401, True), (500, False)])
    def test_list_fails(self, status: int, final: bool, containers_server: LocalServer) -> None:
        """Without a list there is no sweep."""
        containers_server.order_fault(method="GET", status=status)
        with pytest.raises(Exception, match="GET /containers") as caught:
            sweep()
        assert final is isinstance(caught.value, AirflowFailException)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"older_than": 3600}, "older_than: got 3600, expected a timedelta above zero"),
            ({"older_than": timedelta(0)}, "older_than: got datetime.timedelta"),
            ({"dry_run": "false"}, "dry_run: got 'false', expected True or False"),
            ({"prefix": ""}, "prefix: got an empty text, expected the start of a container's name"),
            ({"prefix": 7}, "prefix: got the number 7"),
            ({"conn_id": ""}, "conn_id: got an empty text"),
        ],
        ids=str,
    )
    def test_literals(self, arguments: dict[str, Any], message: str) -> None:
        """Wrong literals are errors of the DAG."""
        with pytest.raises(InvalidTaskArgumentError, match=f"Task 'sweep': {re.escape(message)}"):
            SweepContainersOperator(task_id="sweep", **arguments)

    @pytest.mark.parametrize("native", [False, True])
    def test_prefix_that_renders_to_nothing(self, native: bool, containers_server: LocalServer) -> None:
        """It is not taken for "everything"."""
        task = templated(SweepContainersOperator, {"prefix": None}, native=native)
        if native:
            task.prefix = ""
        with pytest.raises(InvalidTaskArgumentError, match="prefix"):
            task.execute(task_context(task))
        assert [] == containers_server.requests()


class TestAsking:
    """The state of a run."""

    def test_database(self, load: LoadDag, airflow_database: Path) -> None:
        """A finished run is over, and one that is not there is absent."""
        run = leave_one(load, airflow_database)
        assert RunState.of("success") == runs.ask_database(Run("leaves_one", run.run_id))
        assert RunState.absent() == runs.ask_database(Run("leaves_one", "no_such_run"))
        assert runs.ask_database is runs.ask_airflow()

    def test_live_runs(self, load: LoadDag, airflow_database: Path) -> None:
        """Queued and running ones are listed from the database, as their part of the token."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from sqlalchemy import update

        run = leave_one(load, airflow_database)
        expected = run_hash(DEPLOYMENT, "leaves_one", run.run_id)
        assert expected not in runs.live_runs(DEPLOYMENT)
        for state, listed in (("queued", True), ("running", True), ("failed", False)):
            with create_session() as session:
                session.execute(update(DagRun).where(DagRun.run_id == run.run_id).values(state=state))
            assert listed is (expected in runs.live_runs(DEPLOYMENT))

    def test_database_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No answer is no state, and the error's text, which may have a password, is not told."""

        def create_session() -> Any:
            raise OSError("postgres://user:password@db.example.com")

        monkeypatch.setattr("airflow.utils.session.create_session", create_session)
        assert RunState.unanswered("OSError") == runs.ask_database(Run("a", "b"))
        assert frozenset() == runs.live_runs(DEPLOYMENT)

    @pytest.mark.airflow("3.0")
    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (404, {"detail": {"reason": "not_found", "message": "was not found"}}, RunState.absent()),
            (404, {"detail": "Not Found"}, None),
            (404, None, None),
            (404, {"detail": {"reason": "other"}}, None),
            (403, {"detail": {"reason": "not_found"}}, None),
            (500, {"detail": {"reason": "not_found"}}, None),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("in_worker", [False, True])
    def test_only_airflows_own_404_is_an_answer(
        self,
        status: int,
        body: Any,
        expected: RunState | None,
        in_worker: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As the supervisor passes it on in a worker, and as it is raised where there is none."""
        import httpx
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        error: Exception
        if in_worker:
            detail = {"status_code": status, "message": "Server returned error", "detail": body}
            error = AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        else:
            request = httpx.Request("GET", "http://api.example.com/execution/dag-runs/a/b/state")
            answer = httpx.Response(status, json=body, request=request)
            error = httpx.HTTPStatusError("error", request=request, response=answer)

        def fail(dag_id: str, run_id: str) -> str:
            raise error

        monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", staticmethod(fail))

        assert (expected or RunState.unanswered(type(error).__name__)) == runs.ask_execution_api(
            Run("a", "b")
        )

    @pytest.mark.airflow("3.0")
    @pytest.mark.parametrize("run_id", ["a/b", "a?b", "a#b", "a%20b", "a\\b", "..", "."])
    def test_ids_that_lead_elsewhere(self, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Airflow puts the ids into a path: these could be answered for another run."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", None)
        for run in (Run("reports", run_id), Run(run_id, "run")):
            assert "unknown" == runs.ask_execution_api(run).state

    @pytest.mark.airflow("3.0")
    def test_execution_api(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a task of Airflow 3 the supervisor is asked."""
        from airflow.sdk.execution_time import task_runner

        sent: list[Any] = []
        comms = SimpleNamespace(
            send=lambda msg: sent.append(msg) or SimpleNamespace(state="running"),
            send_request=lambda log, msg: sent.append(msg),
            get_message=lambda: SimpleNamespace(state="running"),
        )
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)

        ask = runs.ask_airflow()

        assert RunState.of("running") == ask(Run("reports", "scheduled__2026-03-01T00:00:00+00:00"))
        assert ("reports", "scheduled__2026-03-01T00:00:00+00:00") == (sent[0].dag_id, sent[0].run_id)


class TestCommand:
    """`airflow-containers sweep` in a process of its own."""

    @pytest.fixture
    def environment(self, connection: dict[str, Any], airflow_database: Path) -> Iterator[dict[str, str]]:
        """Connection and deployment id are in the metadata database alone, as in many deployments."""
        from airflow.configuration import conf
        from airflow.models.connection import Connection
        from airflow.models.variable import Variable
        from airflow.utils.session import create_session

        fields = {**connection, "extra": json.dumps(connection["extra"])}
        rows = [Connection(conn_id="swept", **fields), Variable(key=DEPLOYMENT_VARIABLE, val=DEPLOYMENT)]
        with create_session() as session:
            session.add_all(rows)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))
        }
        # In unit-test mode each process would make a key of its own, and could not read the connection.
        key = conf.get("core", "fernet_key")
        yield environment | {"AIRFLOW__CORE__FERNET_KEY": key, "NO_PROXY": "127.0.0.1"}
        with create_session() as session:
            session.query(Connection).filter(Connection.conn_id == "swept").delete()
        without_id_in_database()

    def test_look_then_delete(
        self,
        environment: dict[str, str],
        load: LoadDag,
        make: Make,
        airflow_database: Path,
        containers_server: LocalServer,
    ) -> None:
        """A dry run unless told otherwise; it ends with the command that deletes."""
        finished = leave_one(load, airflow_database)
        another = make("live", deployment="another", name="other")
        (left,) = (seen["id"] for seen in containers_server.alive() if seen["id"] != another)

        looked = command(environment, "--conn-id", "swept")

        assert 0 == looked.returncode, looked.stderr
        lines = looked.stdout.splitlines()
        assert f"Dry run at {containers_server.base_url}, connection 'swept'" == lines[0]
        assert lines[3].startswith("WHAT")
        assert lines[4].startswith("keep ")
        assert re.fullmatch(
            rf"delete +1 +1g +\$0\.0075  {left}  left \[leaves_one .*  run {re.escape(finished.run_id)} "
            r"of leaves_one is success",
            lines[5],
        )
        assert "Dry run, nothing was deleted. To delete: 1 (minutes alive 1, cost $0.0075" in looked.stdout
        assert "To delete them: airflow-containers sweep --delete --conn-id swept" == lines[-1]
        assert 2 == len(containers_server.alive())

        deleted = command(environment, "--conn-id", "swept", "--delete")

        assert 0 == deleted.returncode, deleted.stderr
        assert "Deleted: 1, gone meanwhile: 0, failed: 0, of 1" in deleted.stdout
        assert [another] == [seen["id"] for seen in containers_server.alive()]

    def test_failures(self, environment: dict[str, str], make: Make, containers_server: LocalServer) -> None:
        """Status 1 for a delete that failed, 2 for a wrong key or connection."""
        make("deleted_run")
        containers_server.order_fault(method="DELETE", status=500)
        failed = command(environment, "--conn-id", "swept", "--delete")
        assert (1, True) == (failed.returncode, "A delete failed: DELETE" in failed.stdout)

        containers_server.order_fault(method="GET", status=401)
        refused = command(environment, "--conn-id", "swept", "--delete")
        assert (2, True) == (refused.returncode, "the sweep was not finished" in refused.stderr)

        absent = command(environment, "--conn-id", "absent")
        assert (2, "") == (absent.returncode, absent.stdout)
        assert "airflow connections add absent" in absent.stderr

        other = command(environment, "--conn-id", "swept", "--deployment-id", "another")
        assert (2, True) == (other.returncode, "this Airflow's id is 'tests'" in other.stderr)
        assert 1 == len(containers_server.alive())

    def test_without_the_database(
        self, connection: dict[str, Any], make: Make, containers_server: LocalServer, tmp_path: Path
    ) -> None:
        """No run can be looked up, nothing is deleted, and the report says so."""
        for number in range(4):
            make(f"run_{number}")
        environment = {
            **os.environ,
            "AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT": json.dumps(connection),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/empty.db",
            "NO_PROXY": "127.0.0.1",
        }

        swept = command(environment, "--delete")

        assert 0 == swept.returncode, swept.stderr
        assert "could not be looked up (OperationalError)" in swept.stdout
        assert "The database gave no answer about 3 runs" in swept.stdout
        assert 4 == len(containers_server.alive())

    def test_without_a_deployment_id(
        self, environment: dict[str, str], make: Make, containers_server: LocalServer, airflow_database: Path
    ) -> None:
        """None is made here; one that is given proves runs, but a missing run is then no deleted one."""
        make("run")
        without_id_in_database()

        swept = command(environment, "--conn-id", "swept", "--delete")
        given = command(environment, "--conn-id", "swept", "--delete", "--deployment-id", DEPLOYMENT)

        assert "This Airflow has no deployment id" in swept.stdout
        assert "no run can be proven without this deployment's id" in swept.stdout
        assert "run run of no_such_dag is not in this database" in given.stdout
        assert [0, 0] == [swept.returncode, given.returncode]
        assert 1 == len(containers_server.alive())

    def test_id_from_elsewhere(
        self, environment: dict[str, str], make: Make, containers_server: LocalServer, airflow_database: Path
    ) -> None:
        """An id from the environment does not show that this is the database of the runs."""
        make("run")
        without_id_in_database()
        environment[f"AIRFLOW_VAR_{DEPLOYMENT_VARIABLE.upper()}"] = DEPLOYMENT

        swept = command(environment, "--conn-id", "swept", "--delete")

        assert "run run of no_such_dag is not in this database" in swept.stdout
        assert 1 == len(containers_server.alive())


def without_id_in_database() -> None:
    """Take the deployment's id out of the metadata database."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(Variable).filter(Variable.key == DEPLOYMENT_VARIABLE).delete()


class TestGuide:
    """`docs/sweeping.md` as it stands there."""

    GUIDE = (REPOSITORY / "docs" / "sweeping.md").read_text()

    def blocks(self, language: str) -> list[str]:
        """The code blocks in one language."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.GUIDE, re.MULTILINE | re.DOTALL)

    def test_commands(
        self, connection: dict[str, Any], make: Make, containers_server: LocalServer, airflow_database: Path
    ) -> None:
        """The first changes nothing, the second deletes."""
        from airflow.configuration import conf
        from airflow.models.variable import Variable
        from airflow.utils.session import create_session

        make("deleted_run")
        with create_session() as session:
            session.add(Variable(key=DEPLOYMENT_VARIABLE, val=DEPLOYMENT))
        left = []
        for block in self.blocks("console"):
            done = subprocess.run(
                ["bash", "-ec", block.removeprefix("$ ")],
                env={
                    **os.environ,
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "NO_PROXY": "127.0.0.1",
                    "AIRFLOW__CORE__FERNET_KEY": conf.get("core", "fernet_key"),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            assert 0 == done.returncode, done.stderr
            left.append(len(containers_server.alive()))
        without_id_in_database()
        assert [1, 0] == left

    def test_dag(
        self, load: LoadDag, make: Make, containers_server: LocalServer, airflow_database: Path
    ) -> None:
        """The hourly DAG shows what is due, and deletes nothing yet."""
        container_id = make("deleted_run")
        (source,) = self.blocks("python")

        run = run_dag(load(source), airflow_database)

        assert ("success", [container_id]) == (run.state, run.xcoms("sweep")[-1]["container_ids"])
        assert 1 == len(containers_server.alive())

    def test_prices(self) -> None:
        """The guide's prices are those that are reckoned with."""
        text = " ".join(self.GUIDE.split())
        prices = ", ".join(f"{memory} ${price}" for memory, price in pricing.PER_MINUTE.items())
        assert f"looked up on {pricing.AS_OF} at <{pricing.SOURCE}>: {prices}." in text


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "airflow_containers.cli", "sweep", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
