"""What OpenLineage is told about files in containers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_containers.filesystems.assets import to_openlineage


def _dataset(uri: str) -> Any:
    dataset = to_openlineage(SimpleNamespace(uri=uri), None)
    return dataset and (dataset.namespace, dataset.name)


@pytest.mark.parametrize(
    ("uri", "dataset"),
    [
        ("openai-container://cntr_1/mnt/data/a.csv", ("openai-container://cntr_1", "/mnt/data/a.csv")),
        ("openai-container://my_conn@cntr_1/mnt/data/a%20b", ("openai-container://cntr_1", "/mnt/data/a b")),
        ("openai-container://cntr_1", None),
        ("openai-container://cntr_1/", None),
        ("openai-container:///mnt/data/a", None),
    ],
)
def test_a_file_is_a_dataset_of_its_container(
    uri: str, dataset: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection by which a task reaches a container does not make another dataset of its file."""
    # Without OpenLineage's client the class is one that keeps nothing.
    monkeypatch.setattr("airflow.providers.common.compat.openlineage.facet.Dataset", SimpleNamespace)

    assert dataset == _dataset(uri)


def test_airflow_finds_the_converter() -> None:
    """The entry of the provider info is one that Airflow takes, and a URI stays what it is."""
    try:
        from airflow.sdk import Asset
    except ImportError:  # Airflow 2.11
        from airflow.datasets import Dataset as Asset
    try:
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime as Manager
    except ImportError:  # before Airflow 3.2
        from airflow.providers_manager import ProvidersManager as Manager
    manager = Manager()
    name = "to_openlineage_converters"
    converters = getattr(manager, f"asset_{name}", None) or getattr(manager, f"dataset_{name}")

    assert to_openlineage is converters["openai-container"]
    uri = "openai-container://cntr_1/mnt/data/a.csv"
    assert uri == Asset(uri).uri
