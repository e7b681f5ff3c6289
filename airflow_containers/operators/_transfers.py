"""Several transfers at a time: within a budget of requests, and all ended soon after the first that fails."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators._stores import StoreError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

KILL_PATIENCE: Final = 1.2
"""Seconds that a killed task waits for what is under way. A worker gives about 5 seconds in all."""

_LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether the task is to end."""

_SHOWN: Final = 10


class FileTransferError(AirflowException):  # type: ignore[misc, unused-ignore]
    """A file was not transferred, for a reason that may pass: Airflow's retries apply."""


class TransfersStoppedError(Exception):
    """This transfer was given up because the task is ending."""


def go_on(stopped: threading.Event) -> None:
    """Return unless the task is ending.

    :raises TransfersStoppedError: if it is.
    """
    if stopped.is_set():
        raise TransfersStoppedError


class LimitError(AirflowFailException):  # type: ignore[misc, unused-ignore]
    """There is more to transfer than the task is allowed to."""


class Limits:
    """Counts files and bytes against what a task may transfer.

    :param max_files: files in all.
    :param max_bytes: bytes in all.
    """

    def __init__(self, max_files: int, max_bytes: int) -> None:
        self.max_files = max_files
        self.max_bytes = max_bytes
        self._files = 0
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes_left(self) -> int:
        """How many bytes more there may be."""
        return self.max_bytes - self._bytes

    def add(self, name: str, size: int = 0, *, files: int = 1) -> None:
        """Count a file, or some bytes more of one.

        :param name: the file, for the message.
        :raises LimitError: if that is too much.
        """
        with self._lock:
            self._files += files
            self._bytes += size
            if self._files > self.max_files:
                raise LimitError(
                    f"{name} is one file more than max_files allows, which is {self.max_files:,}; raise it, "
                    "or give a pattern that matches less"
                )
            if self._bytes > self.max_bytes:
                raise LimitError(
                    f"with {name} there are more bytes than max_bytes allows, which is "
                    f"{size_text(self.max_bytes)} for all files of the task; raise it, or transfer less"
                )


class Budget:
    """Lets at most so many requests through in any minute; all of them at once if nothing was sent before.

    Of one task, as everything that keeps to the connection's ``requests_per_minute`` counts in its own
    process only.

    :param requests_per_minute: 1 or more.
    """

    def __init__(self, requests_per_minute: int) -> None:
        self._turns: deque[float] = deque(maxlen=requests_per_minute)
        self._lock = threading.Lock()

    def turn(self, stopped: threading.Event) -> None:
        """Wait until one more request may be sent.

        :param stopped: ends the waiting.
        :raises TransfersStoppedError: if that happens.
        """
        with self._lock:
            now = time.monotonic()
            full = len(self._turns) == self._turns.maxlen
            at = max(now, self._turns[0] + 60) if full else now
            self._turns.append(at)
        if stopped.wait(max(at - now, 0)):
            raise TransfersStoppedError


class Transfers(Generic[ItemT, ResultT]):
    """The transfers of one task.

    :param work: transfers one item; called in several threads.
    :param parallel: how many at a time.
    :param stopped: set when the first has failed, or by :meth:`stop`; what is under way looks at it.
    """

    def __init__(self, work: Callable[[ItemT], ResultT], *, parallel: int, stopped: threading.Event) -> None:
        self._work = work
        self._parallel = parallel
        self._stopped = stopped
        self._lock = threading.Lock()
        self.done: list[tuple[ItemT, ResultT]] = []
        """What was transferred, in the order in which that ended."""
        self._failure: TransferFailure | None = None

    def run(self, items: Sequence[ItemT]) -> list[ResultT]:
        """Transfer all items, and return the results in the order of the items.

        :raises TransferFailure: when one fails; those that wait are not begun, and those under way have
            ended.
        """
        pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="container-files")
        futures: dict[Future[ResultT], ItemT] = {}
        patience: float | None = KILL_PATIENCE
        try:
            for item in items:
                futures[pool.submit(self._one, item)] = item
            failure = self._first_failure(futures)
            if failure is None:
                return [future.result() for future in futures]
            if not isinstance(failure.error, TransfersStoppedError):
                patience = None
            raise failure
        finally:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # After a kill or a time-out there are a few seconds for everything. Of what was cancelled in the
            # queue nobody would ever be told that it has ended.
            wait([future for future in futures if not future.cancelled()], timeout=patience)

    def _one(self, item: ItemT) -> ResultT:
        try:
            go_on(self._stopped)
            result = self._work(item)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or TransferFailure(item, error)
            self._stopped.set()
            raise
        with self._lock:
            self.done.append((item, result))
        return result

    def _first_failure(self, futures: dict[Future[ResultT], ItemT]) -> TransferFailure | None:
        waiting: set[Future[ResultT]] = set(futures)
        while waiting and not self._stopped.is_set():
            _, waiting = wait(waiting, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
        with self._lock:
            if self._failure is None and waiting:
                self._failure = TransferFailure(futures[waiting.pop()], TransfersStoppedError())
            return self._failure


class TransferFailure(Exception):  # noqa: N818 - it says which item, and is never seen by an author
    """One item was not transferred.

    :param item: which.
    :param error: why.
    """

    def __init__(self, item: Any, error: BaseException) -> None:
        super().__init__(str(error))
        self.item = item
        self.error = error


@contextmanager
def named_errors(task_id: str) -> Iterator[None]:
    """Put the task's name in front of what is wrong with its files.

    :raises AirflowFailException: for what a retry cannot mend.
    :raises FileTransferError: for what it may mend.
    """
    from airflow_containers.api.errors import ContainersError

    try:
        yield
    except (InvalidTaskArgumentError, ContainersError):
        raise
    except (FileTransferError, AirflowFailException) as error:
        raise type(error)(f"Task {task_id!r}: {error}") from error.__cause__
    except TransfersStoppedError:
        raise FileTransferError(f"Task {task_id!r}: the task was killed before the first transfer") from None
    except StoreError as error:
        raise AirflowFailException(f"Task {task_id!r}: {error}") from error.__cause__
    except OSError as error:
        raise FileTransferError(f"Task {task_id!r}: {_told(error)}") from error


def failed_task(name: str, failure: TransferFailure, message: str) -> Exception:
    """Return how a task fails for one of its transfers.

    :param name: what the author calls the file.
    :param message: what to tell the author beside the error. The cause of what is returned is set.
    """
    from airflow_containers.api.errors import ContainersError

    error = failure.error
    if isinstance(error, TransfersStoppedError):
        return FileTransferError(f"the task was killed; {message}")
    text = f"{name}: {_told(error)}; {message}"
    final = isinstance(error, AirflowFailException | NotImplementedError) or (
        isinstance(error, ContainersError) and not error.retryable
    )
    made = AirflowFailException(text) if final else FileTransferError(text)
    # A cause that is told in full already would only repeat itself under a second traceback.
    made.__cause__ = None if isinstance(error, ContainersError | AirflowException) else error
    return made


def _told(error: BaseException) -> str:
    from airflow_containers.api.errors import ContainersError

    if isinstance(error, ContainersError | AirflowException):
        return str(error)
    return f"{type(error).__name__}: {error}"


def some(entries: Iterable[str]) -> str:
    """Return the first entries, and how many more there are."""
    each = list(entries)
    more = f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return ", ".join(each[:_SHOWN]) + more


def size_text(size: int) -> str:
    """Return a size as people read it: ``1,234 bytes (1.2 KiB)``."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << power:
            return f"{size:,} bytes ({size / (1 << power):.1f} {unit})"
    return f"{size:,} byte{'s'[: size != 1]}"
