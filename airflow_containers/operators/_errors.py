"""What a task does with the errors of the layers below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException


class InvalidTaskArgumentError(AirflowFailException, ValueError):
    """An argument of a task is wrong: an import error of the DAG, or a failed task that is not retried."""


@contextmanager
def fail_if_final(task_id: str) -> Iterator[None]:
    """Fail the task at once on errors that a retry cannot mend; let the others go to Airflow's retries.

    :raises InvalidTaskArgumentError: for a wrong argument.
    :raises AirflowFailException: for any other error that would come again.
    """
    from airflow_containers.api.errors import ContainersError, InvalidRequestError

    try:
        yield
    except InvalidRequestError as error:
        raise InvalidTaskArgumentError(f"Task {task_id!r}: {error}") from None
    except ContainersError as error:
        if error.retryable:
            raise
        # The cause would repeat the message under a second traceback.
        raise AirflowFailException(str(error)) from None
