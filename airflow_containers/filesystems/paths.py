"""The path class of the scheme, so that universal_pathlib takes it as one that is known."""

from __future__ import annotations

from fsspec import register_implementation  # type: ignore[import-untyped]
from upath import UPath

from airflow_containers.filesystems.containers import SCHEME, ContainerFileSystem

# The entry point has told fsspec where the class is. universal_pathlib wants the class, and warns otherwise.
register_implementation(SCHEME, ContainerFileSystem, clobber=True)


class ContainerPath(UPath):  # type: ignore[misc, unused-ignore]
    """A path such as ``openai-container://cntr_…/mnt/data/report.csv``, as ``UPath`` makes it.

    It differs in nothing from other paths of universal_pathlib. The storage option ``conn_id`` names the
    Airflow connection.
    """

    __slots__ = ()
