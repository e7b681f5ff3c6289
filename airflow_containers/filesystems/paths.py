"""The path class of the scheme, so that universal_pathlib takes it as one that is known."""

from __future__ import annotations

from upath import UPath


class ContainerPath(UPath):  # type: ignore[misc, unused-ignore]
    """A path such as ``openai-container://cntr_…/mnt/data/report.csv``, as ``UPath`` makes it.

    It differs in nothing from other paths of universal_pathlib. The storage option ``conn_id`` names the
    Airflow connection.
    """

    __slots__ = ()
