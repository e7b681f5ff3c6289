"""Runs that are ended in every way, and what became of their containers: one row for each."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from airflow_containers.testing import LocalServer
from tests.support.isolation import REPOSITORY
from tests.support.standalone import wait_for

KILL_DAGS = REPOSITORY / "tests" / "support" / "kill_dags"
DOCS = REPOSITORY / "docs" / "kill-table.md"

BEFORE_INTENT = "before the intent is remembered"
BEFORE_REQUEST = "before the request"
IN_REQUEST_BEFORE = "in the request, before the service acts"
IN_REQUEST_AFTER = "in the request, after the service acted"
AFTER_ANSWER = "after the answer"
AFTER_CREATED = "after the container is remembered"
AFTER_XCOM = "after the XComs"
IN_HAND_OVER = "while the hand-over is remembered"
AFTER_HAND_OVER = "after the hand-over"
LATE = "in the request, and the service acts after the patience"
USED = "after success and use"

IN_REQUEST = (IN_REQUEST_BEFORE, IN_REQUEST_AFTER, LATE)
STEPS = (
    BEFORE_INTENT,
    BEFORE_REQUEST,
    IN_REQUEST_BEFORE,
    IN_REQUEST_AFTER,
    AFTER_ANSWER,
    AFTER_CREATED,
    AFTER_XCOM,
    IN_HAND_OVER,
    AFTER_HAND_OVER,
)
"""Every step of a create task, in the order in which it takes them."""

PATIENCE = 150.0
"""Seconds for one thing to happen; many runs share two cores."""

_OPEN_SECONDS = 8
"""A request is open so long: more than two looks of an ``on_kill``, less than the tasks' patience."""

_LATE_SECONDS = 40
"""As above, and longer than a retry needs to start and to lose its patience."""

_ENDLESS_SECONDS = 60
"""As above, and longer than Airflow lets a task live that is to end."""

_FINAL_RUN_STATES = ("success", "failed")


def environment(server: LocalServer, notes: Path) -> dict[str, str]:
    """The connection, and where the tasks note what happens."""
    connection = {
        "conn_type": "openai_containers",
        "host": server.base_url,
        "password": server.api_key,
        "extra": {"max_retries": 0},
    }
    return {
        "AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT": json.dumps(connection),
        "KILL_TABLE_NOTES": str(notes),
    }


class Airflow(Protocol):
    """What a scene does to Airflow."""

    database: Path
    home: Path

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run."""

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set a task instance's state, as a user does."""

    def clear_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task instance and those downstream."""

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed."""

    def restart_triggerer(self, kind: signal.Signals) -> None:
        """End the triggerer by a signal, and start another one."""


@dataclass(frozen=True)
class Row:
    """What happened to a create task, and what it left.

    :param end: how the first try ended: ``killed``, ``returned``, or the exception that it raised.
    :param on_kill: whether the operator's method was called in the first try.
    :param requests: create requests that all tries have sent.
    :param result: whether the container that other tasks got was ``adopted`` by the last try, or is a ``new``
        one of it. Exactly one was alive then.
    :param left: containers alive when the run was over.
    :param swept: containers alive after a sweep.
    """

    what: str
    when: str
    store: str
    end: str
    on_kill: str
    requests: int
    result: str
    run: str
    left: int
    swept: int = 0

    HEAD: ClassVar[tuple[str, ...]] = (
        "Event",
        "When",
        "Task state",
        "Try 1",
        "`on_kill`",
        "Create requests",
        "Result",
        "Run",
        "Alive after the run",
        "After the sweep",
    )


@dataclass(frozen=True)
class KeepRow:
    """What happened to a deferred task that keeps a container alive, and what became of the container.

    :param during: whether the container was alive and touched again while the run went on.
    :param task: the state of the task in the end.
    """

    what: str
    during: str
    task: str
    run: str
    left: int
    swept: int = 0

    HEAD: ClassVar[tuple[str, ...]] = (
        "Event",
        "Container meanwhile",
        "Task",
        "Run",
        "Alive after the run",
        "After the sweep",
    )


@dataclass(frozen=True)
class Case:
    """One run of the create task.

    :param action: what the test does from outside when the point is reached; ``None`` if the task does it.
    """

    what: str
    when: str
    store: bool = True
    action: str | None = None
    dag_id: str = "kill_create"

    @property
    def key(self) -> str:
        """The first columns of the row."""
        return f"{self.what}, {self.when}, {'store' if self.store else 'no store'}"


@dataclass(frozen=True)
class KeepCase:
    """One run of the keep-alive task."""

    what: str
    action: str
    dag_id: str = "kill_keep"

    @property
    def key(self) -> str:
        """The first column of the row."""
        return f"{self.what}, deferred"


def kill_9(stores: Sequence[bool]) -> list[Case]:
    """`kill -9` at every step."""
    return [Case("`kill -9`", when, store) for when in (*STEPS, LATE) for store in stores]


def sigterm(stores: Sequence[bool]) -> list[Case]:
    """SIGTERM at every step."""
    return [Case("SIGTERM", when, store, "SIGTERM") for when in STEPS for store in stores]


class Scene:
    """One run, its notes and its containers."""

    def __init__(self, stage: Stage, dag_id: str, run_id: str) -> None:
        self.stage = stage
        self.dag_id = dag_id
        self.run_id = run_id

    def notes(self) -> list[dict[str, Any]]:
        """What the create task has noted so far."""
        file = self.stage.notes / f"{self.run_id}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def noted(self, *events: str, number: int = 1) -> dict[str, Any]:
        """Wait until one of the events was noted in a try."""

        def probe() -> dict[str, Any] | None:
            found = (each for each in self.notes() if each["event"] in events and each["try"] == number)
            return next(found, None)

        return self.wait(f"{events} in try {number}", probe)

    def wait(self, what: str, probe: Callable[[], Any]) -> Any:
        """Wait for something about this run."""
        return wait_for(f"{what} of {self.run_id}", probe, PATIENCE, pause=0.3)

    def containers(self) -> list[dict[str, Any]]:
        """Every container that was made in this run, oldest first."""
        mine = f"{self.run_id} "
        return [each for each in self.stage.server.containers() if each["name"].startswith(mine)]

    def alive(self) -> int:
        """How many of them are alive."""
        return sum(each["status"] == "running" for each in self.containers())

    def task(self, task_id: str) -> tuple[str | None, int]:
        """State and number of the current try of a task."""
        query = "SELECT state, try_number FROM task_instance WHERE dag_id = ? AND run_id = ? AND task_id = ?"
        rows = self.stage.rows(query, self.dag_id, self.run_id, task_id)
        return rows[0] if rows else (None, 0)

    def state(self) -> str:
        """The state of the run."""
        query = "SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?"
        rows = self.stage.rows(query, self.dag_id, self.run_id)
        return str(rows[0][0]) if rows else "none"

    def ended(self) -> str:
        """Wait for the end of the run, and return its state."""

        def probe() -> str | None:
            state = self.state()
            return state if state in _FINAL_RUN_STATES else None

        state: str = self.wait("the end", probe)
        return state

    def quiet(self) -> None:
        """Wait until the processes of this run's create task are gone."""
        pids = {each["pid"] for each in self.notes()}
        self.wait("the last process", lambda: None if any(map(_is_task, pids)) else True)

    def act(self, action: str, task_id: str) -> None:
        """Do something to the run."""
        airflow = self.stage.airflow
        if action in ("failed", "success"):
            airflow.mark_task(self.dag_id, self.run_id, task_id, action)
        elif action == "clear":
            airflow.clear_task(self.dag_id, self.run_id, task_id)
        elif action == "fail run":
            airflow.fail_run(self.dag_id, self.run_id)
        elif action in ("SIGTERM", "SIGKILL"):
            os.kill(self.notes()[-1]["pid"], signal.Signals[action])
        elif action == "sweep":
            self.stage.sweep(f"sweep-{self.run_id}"[:90])
        elif action == "triggerer TERM":
            airflow.restart_triggerer(signal.SIGTERM)
        elif action == "triggerer KILL":
            airflow.restart_triggerer(signal.SIGKILL)
        elif action != "timeout":
            raise ValueError(action)


class Stage:
    """Airflow, the service, and where the tasks note what happens."""

    def __init__(self, airflow: Airflow, server: LocalServer, notes: Path) -> None:
        self.airflow = airflow
        self.server = server
        self.notes = notes

    def rows(self, query: str, *arguments: str) -> list[Any]:
        """Read Airflow's database."""
        for _ in range(20):
            with (
                contextlib.suppress(sqlite3.OperationalError),
                contextlib.closing(
                    sqlite3.connect(f"file:{self.airflow.database}?mode=ro", uri=True, timeout=10)
                ) as connection,
            ):
                return connection.execute(query, arguments).fetchall()
            time.sleep(0.2)
        raise AssertionError("Airflow's database stays locked")

    def play(
        self, cases: Sequence[Case | KeepCase], *, at_once: int, disturbing: Sequence[KeepCase] = ()
    ) -> dict[str, Row | KeepRow | str]:
        """Run all cases, then sweep; returns a row for each, or what went wrong.

        :param at_once: how many runs go on at the same time.
        :param disturbing: cases that affect other runs, so they go one by one when the others are over.
        """
        with ThreadPoolExecutor(at_once) as pool:
            played = list(pool.map(self._attempt, range(len(cases)), cases))
        for case in disturbing:
            played.append(self._attempt(len(played), case))
        self.sweep("sweep-all")
        found: dict[str, Row | KeepRow | str] = {}
        for case, (scene, row) in zip((*cases, *disturbing), played, strict=True):
            found[case.key] = row if isinstance(row, str) else replace(row, swept=scene.alive())
        return found

    def sweep(self, run_id: str) -> Scene:
        """Run the sweeper in a DAG run of its own."""
        scene = Scene(self, "kill_sweep", run_id)
        self.airflow.trigger(scene.dag_id, scene.run_id, {})
        assert "success" == scene.ended()
        return scene

    def _attempt(self, index: int, case: Case | KeepCase) -> tuple[Scene, Row | KeepRow | str]:
        name = re.sub("[^a-z0-9]+", "-", case.key.lower()).strip("-")
        for again in ("", "a", "b"):
            scene = Scene(self, case.dag_id, f"r{index}{again}-{name}"[:90])
            try:
                row = _play_keep(scene, case) if isinstance(case, KeepCase) else _play_create(scene, case)
            except Exception as error:  # noqa: BLE001 - the other runs go on, and this one's test tells
                told = f"{type(error).__name__}: {error}; {scene.notes()}"
                if not self._broken_database(scene):
                    break
            else:
                return scene, row
        return scene, told

    def _broken_database(self, scene: Scene) -> bool:
        """Whether Airflow itself failed to write to its database in a run: SQLite is not for production.

        Airflow 2.11 sometimes forgets a trigger that the task of a cleared run still names. Nothing of that
        is this package's, so such a run tells nothing.
        """
        logs = self.airflow.home.glob(f"logs/dag_id={scene.dag_id}/run_id={scene.run_id}/**/*.log")
        marks = ("sqlite3.IntegrityError", "sqlite3.OperationalError")
        return any(mark in log.read_text(errors="replace") for log in logs for mark in marks)


def _play_create(scene: Scene, case: Case) -> Row:
    conf: dict[str, Any] = {"store": case.store}
    in_request = case.when in IN_REQUEST
    if in_request:
        when = "after" if case.when == IN_REQUEST_AFTER else "before"
        endless = when == "after" and case.action != "SIGTERM"
        delay = _LATE_SECONDS if case.when == LATE else _ENDLESS_SECONDS if endless else _OPEN_SECONDS
        order = {"method": "POST", "path": "/v1/containers", "name": f"{scene.run_id} *"}
        # The local server carries a request out, also when nobody waits for its answer any more.
        scene.stage.server.order_fault(**order, when=when, delay=delay)
    elif case.when != USED:
        conf |= {"point": case.when, "mode": "block" if case.action else "kill"}
    scene.stage.airflow.trigger(scene.dag_id, scene.run_id, conf)
    if in_request:
        scene.noted("posting")
        if case.when == IN_REQUEST_AFTER:
            scene.wait("the container", lambda: scene.alive() or None)
        else:
            time.sleep(1)
        scene.act(case.action or "SIGKILL", "create")
    elif case.when == USED:
        _wait_for_use(scene)
        scene.act(case.action or "", "create")
        scene.noted("returned", "raised", number=2)
        _wait_for_use(scene)
        scene.act("success", "keep")
    elif case.action:
        scene.noted("reached")
        scene.act(case.action, "create")
    run = scene.ended()
    scene.quiet()
    if case.when == LATE:
        scene.wait("the second container", lambda: len(scene.containers()) == 2 or None)
    return _row(scene, case, run)


def _row(scene: Scene, case: Case, run: str) -> Row:
    notes = scene.notes()
    first = [each for each in notes if each["try"] == 1]
    last = [each for each in notes if each["try"] == max(each["try"] for each in notes)]
    end = next(
        (each.get("kind", each["event"]) for each in first if each["event"] in ("raised", "returned")),
        "killed",
    )
    returned = next((each for each in last if each["event"] == "returned"), None)
    result = "none"
    # What a task returns after Airflow has given it up reaches nobody.
    if returned is not None and scene.task("create")[0] == "success":
        result = "new" if any(each["event"] == "posting" for each in last) else "adopted"
        assert [returned["container"]] == returned["alive"], f"alive: {returned}"
    sent = sum(each["event"] == "posting" for each in notes)
    return Row(
        case.what,
        case.when,
        "kept" if case.store else "none",
        end,
        _yes(any(each["event"] == "on_kill" for each in first)),
        sent,
        result,
        run,
        scene.alive(),
    )


def _wait_for_use(scene: Scene) -> None:
    """Wait until the newest container was active after its creation, and the keep-alive task's trigger runs.

    On SQLite a trigger that was never started leaves its id, and then its event, to the next try's.
    """

    def used() -> bool | None:
        newest = scene.containers()[-1]
        touches = scene.stage.server.requests("GET", f"/v1/containers/{newest['id']}")
        # The first one is the task's own.
        return True if newest["last_active_at"] > newest["created_at"] and len(touches) > 1 else None

    scene.wait("the deferral", lambda: scene.task("keep")[0] == "deferred" or None)
    scene.wait("the use", used)


def _play_keep(scene: Scene, case: KeepCase) -> KeepRow:
    scene.stage.airflow.trigger(scene.dag_id, scene.run_id, {})
    _wait_for_use(scene)
    tries = scene.task("keep")[1]
    scene.act(case.action, "keep")
    during = "-"
    if case.action == "clear":

        def waits_again() -> bool | None:
            state, number = scene.task("keep")
            # Airflow 2.11 sometimes counts two tries for one clear.
            return (state == "deferred" and number > tries) or None

        scene.wait("the next try", waits_again)
    if case.action in ("clear", "sweep") or case.action.startswith("triggerer"):
        during = _life(scene)
        scene.act("success", "keep")
    run = scene.ended()
    state = scene.task("keep")[0]
    # Airflow tells the trigger some seconds after the run's end, and it may ask and delete then.
    deadline = time.monotonic() + 8
    while scene.alive() and time.monotonic() < deadline:
        time.sleep(0.5)
    return KeepRow(case.what, during, str(state), run, scene.alive())


def _life(scene: Scene) -> str:
    """Say whether the container is kept alive: touched, not only once, in the seconds that come now."""
    # A trigger that was told to end may end only now.
    time.sleep(4)
    path = f"/v1/containers/{scene.containers()[-1]['id']}"
    seen = len(scene.stage.server.requests("GET", path))
    scene.wait("two touches", lambda: len(scene.stage.server.requests("GET", path)) >= seen + 2 or None)
    return "alive, touched" if scene.alive() else "gone"


def _is_task(pid: int) -> bool:
    try:
        # A process that has ended and was not waited for has none.
        return b"airflow" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _yes(value: object) -> str:
    return "yes" if value else "no"


def assert_row(row: Row | KeepRow | str, expected: Sequence[object]) -> None:
    """Assert on all but the first columns, which name the case; a cell may be one of several values."""
    assert not isinstance(row, str), row
    cells = astuple(row)[3 if isinstance(row, Row) else 1 :]
    assert len(expected) == len(cells)
    for cell, wanted in zip(cells, expected, strict=True):
        assert str(cell) in str(wanted).split(" or "), f"{row}, expected {expected}"


def expected_rows(outcomes: Mapping[Case | KeepCase, Sequence[Any]]) -> list[Row | KeepRow]:
    """The rows of an expected table."""
    return [
        KeepRow(case.what, *outcome)
        if isinstance(case, KeepCase)
        else Row(case.what, case.when, "kept" if case.store else "none", *outcome)
        for case, outcome in outcomes.items()
    ]


def as_markdown(rows: Sequence[Row | KeepRow]) -> str:
    """The rows as a table; those that differ by the task state alone become one."""
    merged: list[tuple[Any, ...]] = []
    for row in rows:
        cells = astuple(row)
        if isinstance(row, Row) and merged and _but_store(merged[-1]) == _but_store(cells):
            merged[-1] = (*cells[:2], f"{merged[-1][2]}, {cells[2]}", *cells[3:])
        else:
            merged.append(cells)
    head = type(rows[0]).HEAD
    lines: list[Sequence[Any]] = [head, ["---"] * len(head), *merged]
    return "\n".join("| " + " | ".join(str(cell) for cell in cells) + " |" for cells in lines)


def _but_store(cells: Sequence[Any]) -> Sequence[Any]:
    return (*cells[:2], *cells[3:])


def tables_in_docs() -> list[str]:
    """Each table of the page, in its order."""
    return [part.strip() for part in DOCS.read_text().split("\n\n") if part.lstrip().startswith("|")]
