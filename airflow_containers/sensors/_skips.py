"""Why a sensor is skipped, in its task's log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException


@contextmanager
def reasons_told(sensor: Any) -> Iterator[None]:
    """Log an error that ``soft_fail`` or ``never_fail`` turns into a skipped task.

    Airflow 3 says of such a task only that it skips it.
    """
    try:
        yield
    except AirflowSkipException:
        raise
    except Exception as error:
        if sensor.soft_fail or getattr(sensor, "never_fail", False):
            sensor.log.warning("%s", error)
        raise
