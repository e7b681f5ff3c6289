"""What Airflow tells of a task and its run, and what is made of silence."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_containers.triggers import _states

AIRFLOW_VERSION = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
TI = SimpleNamespace(dag_id="reports", run_id="manual__1", task_id="keep", map_index=-1)
ASKED = [(_states.run_is_over, "_run_state"), (_states.task_is_over, "_task_state")]


@pytest.mark.parametrize(
    ("state", "run_over", "task_over"),
    [
        ("success", True, True),
        ("failed", True, True),
        ("skipped", False, True),
        ("upstream_failed", False, True),
        ("removed", False, True),
        ("queued", False, False),
        ("running", False, False),
        ("scheduled", False, False),
        ("deferred", False, False),
        ("up_for_retry", False, False),
        ("up_for_reschedule", False, False),
        ("restarting", False, False),
        (None, False, False),
    ],
)
async def test_states(
    state: str | None, run_over: bool, task_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what nothing follows is over; a cleared task has no state, and will run."""
    for (question, name), expected in zip(ASKED, (run_over, task_over), strict=True):
        monkeypatch.setattr(_states, name, lambda ti: state)
        assert expected is await question(TI)


@pytest.mark.parametrize(("question", "name"), ASKED)
async def test_silence(question: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody to ask, an error or no answer in time: not known to be over."""
    assert not await question(None)

    def fail(ti: Any) -> None:
        raise RuntimeError("no supervisor")

    monkeypatch.setattr(_states, name, fail)
    assert not await question(TI)

    monkeypatch.setattr(_states, "PATIENCE", 0.05)
    monkeypatch.setattr(_states, name, lambda ti: time.sleep(0.2) or "success")
    started = asyncio.get_running_loop().time()
    assert not await question(TI)
    assert 0.19 > asyncio.get_running_loop().time() - started
    await asyncio.sleep(0.2)


@pytest.mark.airflow("3.0")
@pytest.mark.parametrize(("map_index", "key"), [(-1, "keep"), (3, "keep_3")])
async def test_questions_to_the_supervisor(map_index: int, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 3 is asked as its own triggers ask it; a mapped task has its index in its key."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def get_task_states(**asked: Any) -> dict[str, Any]:
        assert {
            "dag_id": "reports",
            "task_ids": ["keep"],
            "run_ids": ["manual__1"],
            "map_index": map_index,
        } == asked
        return {"manual__1": {key: "failed"}}

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
    monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", staticmethod(lambda *_: "failed"))
    ti = SimpleNamespace(**{**vars(TI), "map_index": map_index})
    assert await _states.task_is_over(ti)
    assert await _states.run_is_over(ti)


if AIRFLOW_VERSION < (3, 0):

    @pytest.mark.usefixtures("airflow_database")
    async def test_questions_to_the_database() -> None:
        """Airflow 2 is asked through its database; a run that is not there is not known to be over."""
        assert not await _states.task_is_over(TI)
        assert not await _states.run_is_over(TI)


def test_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dag.test` is known by who answers questions there."""

    class InProcessSupervisorComms:
        """As Airflow calls it."""

    assert not _states.is_inline()
    name = "airflow.sdk.execution_time.task_runner"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(SUPERVISOR_COMMS=InProcessSupervisorComms()))
    assert _states.is_inline()


async def test_a_kill_keeps_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that comes while Airflow is asked tells its reason on: Airflow calls `on_kill` by it."""
    asked = threading.Event()
    released = threading.Event()

    def slow(_: Any) -> str:
        asked.set()
        released.wait(5)
        return "running"

    monkeypatch.setattr(_states, "_run_state", slow)
    task = asyncio.ensure_future(_states.run_is_over(object()))
    await asyncio.to_thread(asked.wait, 5)
    task.cancel("killed by its user")

    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    released.set()
    assert ("killed by its user",) == caught.value.args
