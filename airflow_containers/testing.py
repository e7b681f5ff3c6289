"""A pytest plugin with a running local server, and the classes behind it.

The fixtures are there as soon as the package is installed::

    def test_dag_leaves_nothing(containers_server, containers_connection):
        dag.test()
        containers_server.assert_requested("POST", "/v1/containers", times=1)
        containers_server.assert_nothing_left()

:class:`LocalServer` works without pytest too.
"""

from __future__ import annotations

from airflow_containers.local.process import LocalServer, LocalServerError
from airflow_containers.local.records import CommandResult, JournalEntry

__all__ = ["CONNECTION_ID", "CommandResult", "JournalEntry", "LocalServer", "LocalServerError"]

CONNECTION_ID = "openai_containers_default"
"""The connection that :func:`containers_connection` sets."""

try:
    import pytest
except ImportError:  # LocalServer is of use without pytest
    pass
else:
    import json
    import os
    from collections.abc import Iterator

    @pytest.fixture(scope="session")
    def containers_server_process() -> Iterator[LocalServer]:
        """One local server for the whole session, on a free port with a temporary state directory."""
        with LocalServer() as server:
            yield server

    @pytest.fixture
    def containers_server(containers_server_process: LocalServer) -> LocalServer:
        """The session's local server, emptied for this test (and started again if a test ended it)."""
        if containers_server_process.pid is None:
            containers_server_process.restart()
        containers_server_process.reset()
        return containers_server_process

    @pytest.fixture
    def containers_connection(containers_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> str:
        """Point the default Airflow connection at the local server; returns the connection's id.

        Clients reach the server directly, also where ``HTTP_PROXY`` is set: ``NO_PROXY`` gets its address.
        """
        connection = {
            "conn_type": "openai_containers",
            "host": containers_server.base_url,
            "password": containers_server.api_key,
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION_ID.upper()}", json.dumps(connection))
        own = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
        for name, other in ("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY"):
            known = own[name] if own[name] is not None else own[other]
            monkeypatch.setenv(name, _with_loopback(known or ""))
        return CONNECTION_ID

    def _with_loopback(no_proxy: str) -> str:
        hosts = [host.strip() for host in no_proxy.split(",") if host.strip()]
        # With `*` there is no proxy at all, but only as long as it stands alone.
        return no_proxy if "127.0.0.1" in hosts or hosts == ["*"] else ",".join([*hosts, "127.0.0.1"])
