"""What is told about files that somebody waits for: for the sensor and its trigger."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_containers.container_paths import ListedFile

MAX_PATHS_LENGTH: Final = 32_768
"""Characters of all paths together, as JSON, that are told. They go through Airflow's database."""


def paths_to_tell(files: Iterable[ListedFile]) -> list[str]:
    """Return the paths of files, as many of the first as fit."""
    paths: list[str] = []
    left = MAX_PATHS_LENGTH
    for file in files:
        left -= len(json.dumps(file.path)) + 2
        if left < 0:
            break
        if file.path is not None:
            paths.append(file.path)
    return paths


def found_message(container_id: str, path: str, count: int) -> str:
    """Say that what was awaited is there."""
    return f"Container {container_id} has {count} file{'s'[: count != 1]} for {path!r}"


def late_message(container_id: str, path: str, min_files: int) -> str:
    """Say that it did not come in time."""
    return (
        f"Container {container_id} had no {min_files} file{'s'[: min_files != 1]} for {path!r} before the "
        "sensor's timeout"
    )


def gone_message(container_id: str, path: str, error: Exception) -> str:
    """Say why there is nothing left to wait for."""
    return (
        f"Container {container_id} is gone, and {path!r} cannot appear any more: {error}. Check that its id "
        "comes from this DAG run, and that nothing before this task deletes it"
    )
