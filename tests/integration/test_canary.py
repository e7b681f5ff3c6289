"""No secret stays anywhere, also when the service answers with errors, garbage or an echo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_containers.operators.container import CreateContainerOperator
from tests.support import canary
from tests.support.connections import Secrets
from tests.support.dag_runs import load_dag, run_dag
from tests.support.gateway import Gateway
from tests.support.isolation import EXAMPLE_DAGS

TROUBLE: dict[str, Callable[[Gateway], object]] = {
    "none": lambda gateway: None,
    "400": lambda gateway: gateway.server.order_fault(status=400, times=50),
    "401": lambda gateway: gateway.server.order_fault(status=401, times=50),
    "500 before": lambda gateway: gateway.server.order_fault(status=500, times=50),
    "500 after": lambda gateway: gateway.server.order_fault(status=500, when="after", times=50),
    "garbage": lambda gateway: gateway.server.order_fault(
        body="<html>?</html>", content_type="text/html", times=50
    ),
    "malformed": lambda gateway: gateway.server.order_fault(malformed=True, times=50),
    "echo": lambda gateway: gateway.echo(50),
    "echo of GET": lambda gateway: gateway.echo(50, "GET"),
    "echo of DELETE": lambda gateway: gateway.echo(50, "DELETE"),
    "babble": lambda gateway: gateway.babble(50),
}
SURVIVED = {"none", "babble", "echo of DELETE"}
"""Trouble that does not fail the run; a failed teardown does not."""

CASES = [
    *(("container_lifecycle", trouble) for trouble in TROUBLE),
    *(("container_templates", trouble) for trouble in ("none", "echo", "babble")),
    ("container_with_responses", "none"),
]


@pytest.mark.parametrize(("dag_id", "trouble"), CASES)
def test_secrets_stay_nowhere(
    dag_id: str,
    trouble: str,
    gateway: Gateway,
    example_secrets: Secrets,
    example_connections: None,
    airflow_home: Path,
    airflow_database: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run sends the secrets to the service, and leaves them in no table, file, output, journal or state."""
    dag = load_dag(EXAMPLE_DAGS / f"{dag_id}.py")
    for task in dag.tasks:
        if isinstance(task, CreateContainerOperator):
            # Nothing more is sent while a task looks for a container that is in no list.
            task.visibility_timeout = 1
    TROUBLE[trouble](gateway)

    run = run_dag(dag, airflow_database)

    written = capfd.readouterr()
    told = "\n".join(
        (written.out, written.err, caplog.text, str(gateway.server.requests()), gateway.server.stderr)
    )
    assert ("success" if trouble in SURVIVED else "failed") == run.state
    assert any(canary.in_text(request, example_secrets.api_key) for request in gateway.received)
    for secret in example_secrets.all():
        assert [] == canary.in_lines(told, secret), "in the output or the journal"
        assert [] == canary.in_database(airflow_database, secret)
        assert [] == canary.in_files(airflow_home, secret)
        assert [] == canary.in_files(gateway.server.state_dir, secret)


def test_domain_secrets_reach_the_service(
    gateway: Gateway, example_secrets: Secrets, example_connections: None, airflow_database: Path
) -> None:
    """What is found nowhere afterwards was sent: by connection, Variable and environment variable."""
    run_dag(load_dag(EXAMPLE_DAGS / "container_templates.py"), airflow_database)

    sent = "\n".join(gateway.received)
    assert all(secret in sent for secret in example_secrets.all())
