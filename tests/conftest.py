"""Set-up of every test: an Airflow home of its own, and what all integration tests run against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_containers.testing import LocalServer
from tests.support.canary import new_canary
from tests.support.collection import (
    pytest_collection_modifyitems,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)
from tests.support.connections import Secrets
from tests.support.gateway import Gateway
from tests.support.isolation import isolate

__all__ = ["pytest_collection_modifyitems", "pytest_make_collect_report", "pytest_runtest_makereport"]

# Fixtures that several files share assert as well: a failure shows the values as it does in a test.
pytest.register_assert_rewrite(
    *(f"tests.support.{name}" for name in ("file_operators", "file_system", "transfer_faults"))
)

# Airflow reads its settings when it is first imported, so this comes before any test module is.
_AIRFLOW_HOME = isolate()


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The Airflow home of this test session; empty but for what the tests make."""
    return _AIRFLOW_HOME


@pytest.fixture(scope="session")
def airflow_database(airflow_home: Path) -> Path:
    """The file of Airflow's metadata database, with all tables."""
    from airflow.utils.db import initdb

    initdb()
    return airflow_home / "airflow.db"


@pytest.fixture(scope="session")
def example_secrets() -> Secrets:
    """The values behind every secret that the example DAGs refer to; each is unlike any other text."""
    return Secrets(
        api_key=new_canary(), buildkite=new_canary(), data_token=new_canary(), example_token=new_canary()
    )


@pytest.fixture(scope="session")
def gateway_process(example_secrets: Secrets) -> Iterator[Gateway]:
    """A local server that takes one API key only, behind a gateway that knows the Responses API as well."""
    with LocalServer(api_key=example_secrets.api_key) as server, Gateway(server) as gateway:
        yield gateway


@pytest.fixture
def gateway(gateway_process: Gateway) -> Gateway:
    """The session's gateway and local server, emptied for this test."""
    gateway_process.reset()
    return gateway_process


@pytest.fixture
def example_connections(gateway: Gateway, example_secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the example DAGs need, as environment variables."""
    for name, value in example_secrets.environment(gateway.base_url).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def file_systems() -> None:
    """Makes Airflow forget the file systems that it keeps for the life of a process."""
    try:
        from airflow.sdk.io import store
    except ImportError:  # before Airflow 3.0
        from airflow.io import store
    store._STORE_CACHE.clear()
