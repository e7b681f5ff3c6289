"""The hook: which connection it reads, what it keeps, what it imports."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import pickle
import subprocess
import sys
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook, Connection, redact

from airflow_containers import provider_info
from airflow_containers.api import AsyncContainersClient, ClientOptions, ConfigurationError, ContainersClient
from airflow_containers.hooks.container import ContainerHook

KEY = "sk-canary-hook-1b9c"


def connect(
    monkeypatch: pytest.MonkeyPatch, value: str | dict[str, Any], conn_id: str = "mine"
) -> ContainerHook:
    """Define a connection as users do, in an environment variable."""
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)
    return ContainerHook(conn_id)


def test_attributes() -> None:
    """What Airflow asks of a hook class, equal to what the provider info says."""
    assert issubclass(ContainerHook, BaseHook)
    assert ContainerHook.conn_name_attr == "conn_id"
    assert ContainerHook.default_conn_name == "openai_containers_default"
    assert ContainerHook.conn_type == "openai_containers"
    assert ContainerHook.hook_name == "OpenAI Containers"
    assert ContainerHook().conn_id == "openai_containers_default"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"conn_type": "openai_containers", "password": KEY}, ClientOptions(api_key=KEY)),
        (
            {
                "conn_type": "openai-containers",
                "password": KEY,
                "host": "https://gw.example.com/v1",
                "port": "8443",
                "extra": {"timeout": 5, "headers": {"X-Team": "data"}},
            },
            ClientOptions(
                api_key=KEY, base_url="https://gw.example.com:8443/v1", timeout=5, headers={"X-Team": "data"}
            ),
        ),
        (
            {"conn_type": "openai_containers", "password": KEY, "extra": '{"verify": false}'},
            ClientOptions(api_key=KEY, verify=False),
        ),
        (f"openai-containers://:{KEY}@", ClientOptions(api_key=KEY)),
        (
            f"openai-containers://:{KEY}@/?organization=org-1&timeout=60.5&max_retries=1&verify=false&project=",
            ClientOptions(api_key=KEY, organization="org-1", timeout=60.5, max_retries=1, verify=False),
        ),
        (
            f"openai-containers://https://:{KEY}@gw.example.com:8443/v1",
            ClientOptions(api_key=KEY, base_url="https://gw.example.com:8443/v1"),
        ),
        (
            f"openai-containers://:{KEY}@gw.example.com:8443/https",
            ClientOptions(api_key=KEY, base_url="https://gw.example.com:8443"),
        ),
        (
            f"openai-containers://:{KEY}@http%3A%2F%2F127.0.0.1%3A8645%2Fv1/",
            ClientOptions(api_key=KEY, base_url="http://127.0.0.1:8645/v1"),
        ),
        (
            f"openai-containers://http://:{KEY}@[::1]:8645/v1",
            ClientOptions(api_key=KEY, base_url="http://[::1]:8645/v1"),
        ),
        (
            f"openai-containers://:{KEY}@?__extra__=%7B%22headers%22%3A%20%7B%22X-A%22%3A%20%22a%22%7D%7D",
            ClientOptions(api_key=KEY, headers={"X-A": "a"}),
        ),
        (
            f"openai-containers://:{KEY}@team.openai.azure.com/openai%2Fv1%2F?auth=api-key",
            ClientOptions(api_key=KEY, base_url="https://team.openai.azure.com/openai/v1", auth="api-key"),
        ),
        (
            f"openai://:{KEY}@/?__extra__=%7B%22openai_client_kwargs%22%3A%20%7B%22timeout%22%3A%205%7D%7D",
            ClientOptions(api_key=KEY, timeout=5),
        ),
    ],
)
def test_connections_as_users_write_them(
    monkeypatch: pytest.MonkeyPatch, value: str | dict[str, Any], expected: ClientOptions
) -> None:
    """JSON and URI, through Airflow's own parsing."""
    hook = connect(monkeypatch, value)
    assert expected == hook.get_options()
    assert expected == asyncio.run(ContainerHook("mine").aget_options())


@pytest.mark.parametrize(
    "host", ["https://gw.example.com:8443/v1", "gw.example.com", "http://127.0.0.1:8645/v1"]
)
def test_a_uri_round_trip_changes_nothing(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Airflow exports connections as URIs; reading one back gives the same options."""
    fields = {"conn_type": "openai_containers", "host": host, "password": KEY, "extra": '{"timeout": 5}'}
    uri = Connection(conn_id="mine", **fields).get_uri()
    assert connect(monkeypatch, fields).get_options() == connect(monkeypatch, uri).get_options()


class TestWithoutConnection:
    """The default connection may be missing, another one may not."""

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key of the environment serves the default connection."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", "https://gw.example.com/v1")
        expected = ClientOptions(api_key=KEY, base_url="https://gw.example.com/v1")
        assert expected == ContainerHook().get_options()
        assert expected == asyncio.run(ContainerHook().aget_options())

    def test_not_for_other_ids(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mistyped id must not run with somebody else's key."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with pytest.raises(ConfigurationError, match="airflow connections add typo --conn-type") as caught:
            ContainerHook("typo").get_conn()
        assert "OPENAI_API_KEY on the workers" not in str(caught.value)
        with pytest.raises(ConfigurationError, match="There is no connection 'typo'"):
            asyncio.run(ContainerHook("typo").get_async_conn())

    def test_not_beside_an_existing_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection without a key is a mistake, not a missing connection."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        hook = connect(monkeypatch, "openai-containers://gw.example.com", ContainerHook.default_conn_name)
        with pytest.raises(ConfigurationError, match="password: it is empty"):
            hook.get_conn()

    def test_nothing_at_all(self) -> None:
        """The error has a command to copy and the alternative."""
        with pytest.raises(ConfigurationError) as caught:
            ContainerHook().get_conn()
        expected = (
            "There is no connection 'openai_containers_default'. Make it with:\n"
            "  airflow connections add openai_containers_default --conn-type openai_containers "
            '--conn-password "$OPENAI_API_KEY"\n'
            "or in the UI, or set OPENAI_API_KEY on the workers"
        )
        assert expected == str(caught.value)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_secrets_are_masked_before_anything_can_fail(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """Key, header values, proxy and its password vanish from logs, also if the connection is refused."""
    mark = f"{asynchronous}".lower()
    secrets = [f"sk-masked-{mark}", f"header-value-{mark}", f"proxy-pass-{mark}"]
    hook = connect(
        monkeypatch,
        {
            "conn_type": "openai_containers",
            "password": secrets[0],
            "extra": {
                "headers": {"X-Plain": f"Bearer {secrets[1]}"},
                "proxy": f"http://me:{secrets[2]}@proxy.example.com",
                "timeout": 0,
            },
        },
    )
    with pytest.raises(ConfigurationError, match="timeout"):
        asyncio.run(hook.aget_options()) if asynchronous else hook.get_options()
    assert redact(f"{secrets[0]} {secrets[1]} {secrets[2]}", name=None) == "*** *** ***"


def test_the_key_of_the_environment_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow masks connections by itself, environment variables it does not."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    ContainerHook().get_options()
    assert redact("key sk-of-the-environment", name=None) == "key ***"


def test_one_client_per_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is made once, closed by close(), and made again when it is needed again."""
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": KEY})
    client = hook.get_conn()
    assert isinstance(client, ContainersClient)
    assert client is hook.get_conn()
    hook.close()
    hook.close()
    again = hook.get_conn()
    assert again is not client
    hook.close()


def test_close_reads_the_connection_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was replaced counts from the next client on."""
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": "sk-old"})
    assert ClientOptions(api_key="sk-old") == hook.get_options()
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": "sk-new"})
    hook.close()
    assert ClientOptions(api_key="sk-new") == hook.get_options()


def test_a_forked_process_makes_its_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are not shared with the parent, and the child's close() leaves the parent's alone."""
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": KEY})
    client = hook.get_conn()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def in_child() -> None:
        closed: list[bool] = []
        monkeypatch.setattr(ContainersClient, "close", lambda _: closed.append(True))
        hook.close()
        left_alone = closed == []
        sender.send((left_alone, hook.get_conn() is not client))

    process = context.Process(target=in_child)
    process.start()
    process.join(60)
    assert receiver.poll(0)
    assert receiver.recv() == (True, True)
    assert client is hook.get_conn()
    hook.close()


async def test_async_clients_belong_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call makes one: it is bound to an event loop."""
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": KEY})
    async with await hook.get_async_conn() as first, await hook.get_async_conn() as second:
        assert isinstance(first, AsyncContainersClient)
        assert first is not second
        assert ClientOptions(api_key=KEY) == first.options


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_ca_bundle_that_is_not_there(monkeypatch: pytest.MonkeyPatch, asynchronous: bool) -> None:
    """What only the client can find out names the connection all the same."""
    hook = connect(
        monkeypatch,
        {"conn_type": "openai_containers", "password": KEY, "extra": {"verify": "/does/not/exist.pem"}},
    )
    with pytest.raises(
        ConfigurationError, match=r"Connection 'mine': verify: '/does/not/exist.pem' cannot be read"
    ):
        asyncio.run(hook.get_async_conn()) if asynchronous else hook.get_conn()


def test_nothing_is_read_in_the_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG file may make a hook where there is no connection at all."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the constructor read a connection")

    monkeypatch.setattr(BaseHook, "get_connection", refuse)
    assert pickle.loads(pickle.dumps(ContainerHook("mine"))).conn_id == "mine"


def test_a_subclass_may_bring_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way of reading goes through get_connection, as Airflow's connection test needs it."""
    asked = []

    class OwnHook(ContainerHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            asked.append(conn_id)
            return Connection(conn_id=conn_id, conn_type="openai_containers", password=KEY)

    assert ClientOptions(api_key=KEY) == OwnHook("unsaved").get_options()
    assert asked == ["unsaved"]


def test_dashboard_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI has a dashboard, other services do not."""
    openai = connect(monkeypatch, f"openai-containers://:{KEY}@")
    other = connect(monkeypatch, f"openai-containers://:{KEY}@gw.example.com/v1", "other")
    assert openai.dashboard_url("cntr_1") == "https://platform.openai.com/containers/cntr_1"
    assert other.dashboard_url("cntr_1") is None


def test_a_refused_connection_is_a_failed_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection test shows the mistake instead of raising it."""
    hook = connect(monkeypatch, {"conn_type": "openai_containers"})
    assert hook.test_connection() == (False, "Connection 'mine': password: it is empty, expected the API key")


def test_importing_costs_nothing_beyond_airflow() -> None:
    """DAG parsing pays for Airflow's own modules only."""
    script = (
        "import sys; import airflow.providers.common.compat.sdk as compat; compat.BaseHook; "
        "compat.AirflowNotFoundException; compat.BaseOperatorLink; before = set(sys.modules); "
        "import airflow_containers.hooks.container, airflow_containers.links; "
        "added = {name for name in set(sys.modules) - before if not name.startswith('airflow_containers')}; "
        "third_party = {name.partition('.')[0] for name in added} - sys.stdlib_module_names; "
        "print(sorted(third_party), sorted(n for n in sys.modules if n.startswith('airflow_containers.api')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[] []"


def test_form_behaviour_is_that_of_the_provider_info() -> None:
    """Airflow up to 3.1 reads the hook, later ones the provider info: the form is the same."""
    info = provider_info.get_provider_info()["connection-types"][0]["ui-field-behaviour"]
    behaviour = ContainerHook.get_ui_field_behaviour()
    assert info == {name.replace("_", "-"): value for name, value in behaviour.items()}


def test_a_forked_process_gets_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker forks: the parent's client is neither used nor closed by the child."""
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": "sk-of-the-parent"})
    parents = hook.get_conn()
    assert parents is hook.get_conn()

    monkeypatch.setattr("airflow_containers.hooks.container.os.getpid", lambda: -1)
    child = hook.get_conn()

    assert child is not parents
    assert not parents._wire._http.is_closed


def test_a_hook_closes_its_client_at_the_end_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is left to the garbage collector."""
    with connect(monkeypatch, {"conn_type": "openai_containers", "password": "sk-in-a-block"}) as hook:
        client = hook.get_conn()
    assert client._wire._http.is_closed


def test_a_proxy_of_the_environment_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What httpx cannot use is told as a wrong setting, not as a missing module."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    hook = connect(monkeypatch, {"conn_type": "openai_containers", "password": "sk-behind-a-proxy"})
    with pytest.raises(ConfigurationError, match="ALL_PROXY"):
        hook.get_conn()
