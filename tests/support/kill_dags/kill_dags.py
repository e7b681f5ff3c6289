"""DAGs for the kill table: a create task that ends, or waits for its end, at a step that the conf names.

The conf: ``point`` (see ``Trial.reach``), ``mode`` (``kill`` or ``block``) and ``store`` (``False`` hides
Airflow's task state store, as if this were an Airflow before 3.3). The point holds for the first try alone.
What happens is noted in a file per run, in the directory ``KILL_TABLE_NOTES``.
"""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_containers.creation import Post, Remember
from airflow_containers.hooks._creation import ContainerCreation
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.operators.keep_alive import KeepContainerAliveOperator
from airflow_containers.operators.sweep import SweepContainersOperator

NOTES = Path(os.environ.get("KILL_TABLE_NOTES", "/nonexistent"))
PATIENCE = 10
"""Seconds until a container that is in no list is taken not to exist."""

BLOCKED = 90
"""Seconds to wait for the end that a test gives, at most."""

TIMEOUT = timedelta(seconds=25)


class Trial:
    """One try of the create task, with the end that is meant for it."""

    def __init__(self, context: Any) -> None:
        ti = context["ti"]
        self.conf: dict[str, Any] = context["dag_run"].conf or {}
        self.number: int = ti.try_number
        self.over = False
        self._file = NOTES / f"{ti.run_id}.jsonl"

    def note(self, event: str, **more: Any) -> None:
        """Append one line to the run's notes; a single write, so that it is there whole or not at all."""
        line = json.dumps({"event": event, "try": self.number, "pid": os.getpid(), **more}) + "\n"
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line.encode())
        os.close(handle)

    def reach(self, point: str) -> None:
        """Do what the conf asks for at this point of the first try."""
        if self.number > 1 or self.conf.get("point") != point:
            return
        self.note("reached")
        if self.conf["mode"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + BLOCKED
        while not self.over and time.monotonic() < deadline:
            time.sleep(0.05)


class KillableCreation(ContainerCreation):
    """Tells the trial about each step."""

    trial: Trial

    def _perform(self, step: Any) -> Any:
        phase = step.record.phase if isinstance(step, Remember) and step.record else None
        if phase == "intent":
            self.trial.reach("before the intent is remembered")
        if isinstance(step, Post):
            self.trial.note("posting")
        result = super()._perform(step)
        if phase == "intent":
            self.trial.reach("before the request")
        elif phase == "created":
            self.trial.reach("after the container is remembered")
        elif isinstance(step, Post):
            self.trial.reach("after the answer")
        return result

    def _keep(self, record: Any) -> None:
        super()._keep(record)
        if record is not None and record.phase == "handed_over":
            self.trial.reach("while the hand-over is remembered")

    def hand_over(self) -> None:
        """As the base does."""
        self.trial.reach("after the XComs")
        super().hand_over()
        self.trial.reach("after the hand-over")


class KillableCreate(CreateContainerOperator):
    """Creates a container as its base does, and can be ended at each step."""

    trial: Trial | None = None

    def execute(self, context: Any) -> str:
        """Create the container, and note how that ends."""
        self.trial = trial = Trial(context)
        if not trial.conf.get("store", True):
            context.pop("task_state_store", None)
        # This process runs one task and ends, so nothing has to be put back.
        KillableCreation.trial = trial
        make = ContainerHook.creation

        def creation(hook: ContainerHook, *args: Any, **kwargs: Any) -> ContainerCreation:
            made = make(hook, *args, **kwargs)
            made.__class__ = KillableCreation
            return made

        ContainerHook.creation = creation
        trial.note("begun")
        try:
            container_id = super().execute(context)
        except BaseException as error:
            trial.note("raised", kind=type(error).__name__)
            raise
        with ContainerHook(self.conn_id) as hook:
            mine = f"{context['ti'].run_id} "
            alive = [
                each.id for each in hook.iterate_containers() if each.is_alive and each.name.startswith(mine)
            ]
        trial.note("returned", container=container_id, alive=alive)
        return container_id

    def on_kill(self) -> None:
        """As the base does."""
        self.log.info("on_kill was called")
        if self.trial is not None:
            self.trial.note("on_kill")
        super().on_kill()
        if self.trial is not None:
            self.trial.over = True


def _dag(dag_id: str, **kwargs: Any) -> DAG:
    return DAG(
        dag_id,
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=100,
        max_active_tasks=100,
        default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
        **kwargs,
    )


def _create(**kwargs: Any) -> KillableCreate:
    return KillableCreate(
        task_id="create", name="{{ run_id }}", visibility_timeout=PATIENCE, expires_after=20, **kwargs
    )


def _create_and_delete(dag_id: str, **kwargs: Any) -> DAG:
    with _dag(dag_id, **kwargs) as dag:
        # A run with a time limit must not wait for the others.
        create = _create(priority_weight=100 if kwargs else 1)
        DeleteContainerOperator(task_id="delete", container_id=create.output).as_teardown(setups=create)
    return dag


def _create_keep_and_delete(dag_id: str, *, delete_when_run_ends: bool = False, **kwargs: Any) -> DAG:
    with _dag(dag_id, **kwargs) as dag:
        create = _create(priority_weight=100 if kwargs else 1)
        keep = KeepContainerAliveOperator(
            task_id="keep",
            container_id=create.output,
            interval=2,
            delete_when_run_ends=delete_when_run_ends,
            priority_weight=100 if kwargs else 1,
        )
        delete = DeleteContainerOperator(task_id="delete", container_id=create.output)
        create >> keep >> delete.as_teardown(setups=create)
    return dag


kill_create = _create_and_delete("kill_create")
kill_create_timeout = _create_and_delete("kill_create_timeout", dagrun_timeout=TIMEOUT)
kill_keep = _create_keep_and_delete("kill_keep")
kill_keep_timeout = _create_keep_and_delete("kill_keep_timeout", dagrun_timeout=TIMEOUT)
kill_keep_delete = _create_keep_and_delete("kill_keep_delete", delete_when_run_ends=True)
kill_keep_delete_timeout = _create_keep_and_delete(
    "kill_keep_delete_timeout", delete_when_run_ends=True, dagrun_timeout=TIMEOUT
)
with _dag("kill_sweep") as kill_sweep:
    SweepContainersOperator(task_id="sweep")
