"""Keeps the tests away from the user's Airflow, keys and settings; runs before Airflow is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE_DAGS = REPOSITORY / "example_dags"

_FOREIGN_PREFIXES = ("AIRFLOW_", "AIRFLOW__", "OPENAI_", "AZURE_OPENAI_")
_PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def clean_environment() -> dict[str, str]:
    """The environment without anything that would lead Airflow or a client out of the tests."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name.upper() not in _PROXY_NAMES
    }


def airflow_settings(home: Path, dags: Path = EXAMPLE_DAGS) -> dict[str, str]:
    """Settings, as environment variables, of an Airflow that keeps everything it writes under `home`."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Operators run without Airflow's database in many tests.
        "AIRFLOW_VAR_OPENAI_CONTAINERS_DEPLOYMENT_ID": "tests",
    }


def isolate() -> Path:
    """Point this process, and all that it starts, at an empty Airflow home that goes away with it."""
    home = Path(tempfile.mkdtemp(prefix="airflow-containers-tests-"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked task must not take the home from the test session
            shutil.rmtree(home, ignore_errors=True)

    atexit.register(remove)
    environment = clean_environment() | airflow_settings(home) | {"AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    return home
