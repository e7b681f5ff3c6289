"""Several transfers at a time: limits, the budget of requests, and the end of all when one fails."""

from __future__ import annotations

import threading
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import APIConnectionError, NotFoundError
from airflow_containers.operators import _transfers
from airflow_containers.operators._stores import StoreError
from airflow_containers.operators._transfers import (
    Budget,
    FileTransferError,
    LimitError,
    Limits,
    TransferFailure,
    Transfers,
    TransfersStoppedError,
    failed_task,
    named_errors,
    size_text,
    some,
)


class TestLimits:
    """Counts files and bytes."""

    def test_files(self) -> None:
        """The last file that is allowed is, the next is not."""
        limits = Limits(2, 100)
        limits.add("a")
        limits.add("b")
        with pytest.raises(
            LimitError, match=r"c is one file more than max_files allows, which is 2; raise it"
        ):
            limits.add("c")

    def test_bytes(self) -> None:
        """The last byte that is allowed is, the next is not, wherever it comes from."""
        limits = Limits(9, 100)
        limits.add("a", 60)
        limits.add("b", 40)
        with pytest.raises(LimitError, match=r"with b there are more bytes .*, which is 100 bytes for all"):
            limits.add("b", 1, files=0)

    def test_retrying_does_not_help(self) -> None:
        """A limit is the author's to change."""
        assert issubclass(LimitError, AirflowFailException)


class TestBudget:
    """Paces requests."""

    def test_a_burst_is_free(self) -> None:
        """As many as fit into a minute go at once."""
        budget, stopped = Budget(50), threading.Event()
        started = time.monotonic()
        for _ in range(50):
            budget.turn(stopped)
        assert time.monotonic() - started < 0.5

    def test_no_more_in_any_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next waits until the first is a minute old, whatever the pace was."""
        clock = 0.0
        waits = []

        class Stopped(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                nonlocal clock
                assert timeout is not None
                waits.append(timeout)
                clock += timeout
                return False

        monkeypatch.setattr(_transfers.time, "monotonic", lambda: clock)
        budget, stopped = Budget(3), Stopped()
        turns = []
        for number in range(9):
            budget.turn(stopped)
            turns.append(clock)
            clock += number
        assert all(later - earlier >= 60 for earlier, later in zip(turns, turns[3:], strict=False))
        assert [57, 48] == [wait for wait in waits if wait]

    def test_stopped(self) -> None:
        """Whoever waits when the task ends is told so at once."""
        budget, stopped = Budget(1), threading.Event()
        budget.turn(stopped)
        threading.Timer(0.1, stopped.set).start()
        started = time.monotonic()
        with pytest.raises(TransfersStoppedError):
            budget.turn(stopped)
        assert time.monotonic() - started < 5


class TestTransfers:
    """Runs them."""

    def test_results_are_in_order(self) -> None:
        """Whatever ends first, the results are those of the items in their order."""

        def work(number: int) -> int:
            time.sleep((20 - number) / 1000)
            return number * 2

        transfers = Transfers(work, parallel=5, stopped=threading.Event())
        assert [number * 2 for number in range(20)] == transfers.run(range(20))
        assert {(number, number * 2) for number in range(20)} == set(transfers.done)

    @given(st.integers(1, 8))
    def test_parallel(self, parallel: int) -> None:
        """Never more at a time than allowed."""
        lock, now, most = threading.Lock(), 0, 0

        def work(_: int) -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.001)
            with lock:
                now -= 1

        Transfers(work, parallel=parallel, stopped=threading.Event()).run(range(20))
        assert most <= parallel

    def test_first_failure_ends_all(self) -> None:
        """What waits is not begun, what is under way ends before, and it is told what was done."""
        stopped = threading.Event()
        begun: list[int] = []

        def work(number: int) -> int:
            begun.append(number)
            if number == 1:
                time.sleep(0.05)
                raise OSError("broken")
            if number and not stopped.wait(10):
                raise AssertionError("nobody said that it is over")
            return number

        transfers = Transfers(work, parallel=3, stopped=stopped)
        with pytest.raises(TransferFailure) as caught:
            transfers.run(range(100))
        assert (1, "broken") == (caught.value.item, str(caught.value.error))
        assert len(begun) <= 4
        assert {(number, number) for number in begun} - {(1, 1)} == set(transfers.done)

    def test_killed(self) -> None:
        """Set from outside, the end comes soon, also when what is under way does not hear of it."""
        stopped, never = threading.Event(), threading.Event()
        threading.Timer(0.1, stopped.set).start()
        started = time.monotonic()
        with pytest.raises(TransferFailure) as caught:
            Transfers(lambda _: never.wait(20), parallel=2, stopped=stopped).run(range(9))
        assert isinstance(caught.value.error, TransfersStoppedError)
        assert time.monotonic() - started < 4
        never.set()

    def test_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A time-out that Airflow raises in the task's own thread goes on its way, after a short wait."""

        class TaskTimeoutError(BaseException):
            pass

        def interrupted(*_: object, **__: object) -> None:
            raise TaskTimeoutError

        stopped = threading.Event()
        transfers = Transfers(lambda _: stopped.wait(20), parallel=2, stopped=stopped)
        monkeypatch.setattr(transfers, "_first_failure", interrupted)
        started = time.monotonic()
        with pytest.raises(TaskTimeoutError):
            transfers.run(range(9))
        assert time.monotonic() - started < 4
        assert 2 >= len(transfers.done)


class TestErrors:
    """What a task fails with."""

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (APIConnectionError("refused"), FileTransferError),
            (NotFoundError("HTTP 404", status_code=404), AirflowFailException),
            (OSError("disk full"), FileTransferError),
            (LimitError("too much"), AirflowFailException),
            (KeyError("a bug in a store"), FileTransferError),
            (NotImplementedError("no folders there"), AirflowFailException),
            (TransfersStoppedError(), FileTransferError),
        ],
        ids=repr,
    )
    def test_of_a_transfer(self, error: Exception, kind: type[Exception]) -> None:
        """What may pass is left to Airflow's retries, what cannot is not."""
        made = failed_task("a.csv", TransferFailure("a.csv", error), "1 of 2 files were sent")
        assert kind is type(made)
        assert str(made).endswith("1 of 2 files were sent")
        assert str(error).strip("'") in str(made)

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (StoreError("no such store"), AirflowFailException),
            (OSError("no such file"), FileTransferError),
            (LimitError("too much"), LimitError),
            (FileTransferError("not there"), FileTransferError),
            (TransfersStoppedError(), FileTransferError),
        ],
        ids=repr,
    )
    def test_names_the_task(self, error: Exception, kind: type[Exception]) -> None:
        """Every message says which task it is about."""
        with pytest.raises(kind, match="Task 'make': ") as caught, named_errors("make"):
            raise error
        assert kind is type(caught.value)


def test_some() -> None:
    """A list in a message has an end."""
    assert "a, b" == some("ab")
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more" == some(map(str, range(12)))


def test_size_text() -> None:
    """Exact, and readable."""
    sizes = [0, 1, 1023, 1024, 5_000_000, 4 << 30]
    assert [
        "0 bytes",
        "1 byte",
        "1,023 bytes",
        "1,024 bytes (1.0 KiB)",
        "5,000,000 bytes (4.8 MiB)",
        "4,294,967,296 bytes (4.0 GiB)",
    ] == [size_text(size) for size in sizes]
