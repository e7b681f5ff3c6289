"""What containers of the local server reach, and where the values of domain secrets are not."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_containers.testing import LocalServer
from tests.support import canary
from tests.support.sandboxes import client_of, create
from tests.support.upstream import Upstream

ALLOWED = "api.example.com"
OTHER = "data.example.org"
OFF_LIST = "api.buildkite.com"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """An HTTPS server for all three domains."""
    with Upstream(ALLOWED, OTHER, OFF_LIST) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def plain() -> Iterator[Upstream]:
    """An HTTP server."""
    with Upstream() as plain:
        yield plain


@pytest.fixture(scope="module")
def process(
    upstream: Upstream, plain: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """A server that finds all three domains on this machine."""
    authority = tmp_path_factory.mktemp("egress") / "authority.pem"
    upstream.authority.cert_pem.write_to_path(authority)
    options = [f"--egress-ca={authority}"]
    for host in (ALLOWED, OTHER, OFF_LIST):
        options.append(f"--connect-to={host}:443:127.0.0.1:{upstream.port}")
        options.append(f"--connect-to={host}:80:127.0.0.1:{plain.port}")
    with LocalServer(options=options) as server:
        yield server


@pytest.fixture
def server(process: LocalServer, upstream: Upstream, plain: Upstream) -> LocalServer:
    """That server, emptied."""
    process.reset()
    upstream.seen.clear()
    plain.seen.clear()
    return process


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    """A client for it."""
    with client_of(server) as client:
        yield client


def allowing(*domains: str, secrets: dict[str, tuple[str, str]] | None = None) -> dict[str, Any]:
    """A network policy; ``secrets`` are values and domains by name."""
    policy: dict[str, Any] = {"type": "allowlist", "allowed_domains": list(domains)}
    if secrets:
        policy["domain_secrets"] = [
            {"domain": domain, "name": name, "value": value} for name, (value, domain) in secrets.items()
        ]
    return {"network_policy": policy}


PYTHON_GET = (
    "python3 - <<'EOF'\nimport urllib.request\n"
    f"print(urllib.request.urlopen('https://{ALLOWED}/py').status)\nEOF"
)


@pytest.mark.parametrize(
    "command",
    [
        f"curl -sS -o /dev/null -w '%{{http_code}}\\n' https://{ALLOWED}/",
        f"curl -sS -o /dev/null -w '%{{http_code}}\\n' http://{ALLOWED}/",
        PYTHON_GET,
    ],
    ids=["curl", "plain", "Python's ssl"],
)
@pytest.mark.parametrize("has_secret", [False, True], ids=["tunnelled", "terminated"])
def test_an_allowed_domain(command: str, has_secret: bool, server: LocalServer, client: httpx.Client) -> None:
    """Usual programs reach it as they are, also where TLS is terminated on the way."""
    secrets = {"TOKEN": ("v" * 20, ALLOWED)} if has_secret else None
    result = server.run(create(client, **allowing(ALLOWED, secrets=secrets)), command)

    assert ("200\n", "") == (result.stdout, result.stderr)
    entries = server.egress()
    assert entries
    assert {(ALLOWED, True)} == {(entry["host"], entry["allowed"]) for entry in entries}


@pytest.mark.parametrize(
    "command",
    [
        f"curl -sS https://{OFF_LIST}/",
        f"curl -sS --fail http://{OFF_LIST}/",
        f"curl -sS --fail -L https://{ALLOWED}/to/{OFF_LIST}",
        f"curl -sS https://{ALLOWED}:8443/",
        "curl -sS --fail http://127.0.0.1:{port}/",
        "curl -sS -k https://127.0.0.1:{port}/",
        "curl -sS -k https://2130706433/",
        "curl -sS --fail 'http://[::1]:{port}/'",
        "curl -sS --fail http://169.254.169.254/latest/meta-data/",
        f"curl -sS -k --connect-to {ALLOWED}:443:{OFF_LIST}:443 https://{ALLOWED}/",
        f"curl -sS --fail -H 'Host: {OFF_LIST}' http://{ALLOWED}/",
    ],
)
def test_whatever_is_off_the_list(
    command: str, server: LocalServer, client: httpx.Client, upstream: Upstream, plain: Upstream
) -> None:
    """By name, redirect, port, address in any form, or another Host: refused, and it is in the list.

    Programs go to a loopback address directly; there is nobody on that of the sandbox.
    """
    container = create(client, **allowing(ALLOWED))
    result = server.run(container, command.format(port=upstream.port))

    assert 0 != result.exit_code, result.stdout
    assert [] == [seen for seen in (*upstream.seen, *plain.seen) if seen.headers.get("host") != ALLOWED]
    refusals = [entry for entry in server.egress(container) if not entry["allowed"]]
    assert refusals or "Failed to connect to" in result.stderr
    assert all(entry["reason"] for entry in refusals)


@pytest.mark.parametrize("policy", [{}, allowing(ALLOWED)], ids=["disabled", "allowlist"])
def test_no_way_past_the_proxy(policy: dict[str, Any], server: LocalServer, client: httpx.Client) -> None:
    """A socket of its own reaches neither this machine nor any other."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        address = socket.gethostbyname(socket.gethostname())
        result = server.run(
            create(client, **policy),
            f"""python3 - <<'EOF'
import socket
for kind, address in [
    (socket.SOCK_STREAM, ("127.0.0.1", {port})),
    (socket.SOCK_STREAM, ("{address}", {port})),
    (socket.SOCK_STREAM, ("192.0.2.1", 443)),
    (socket.SOCK_DGRAM, ("192.0.2.1", 53)),
]:
    try:
        with socket.socket(socket.AF_INET, kind) as one:
            one.settimeout(3)
            one.connect(address)
            one.send(b"x")
        print("out", address)
    except OSError as error:
        pass
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    print("raw")
except OSError:
    pass
EOF""",
        )
        assert ("", 0) == (result.stdout, result.exit_code), result.stderr


def test_disabled_means_nothing(server: LocalServer, client: httpx.Client, upstream: Upstream) -> None:
    """Without a policy there is no proxy, no variable that names one, and no way out."""
    result = server.run(
        create(client), f"env | grep -i proxy; curl -sS -m 5 https://{ALLOWED}/; cat /proc/net/route"
    )

    assert [] == upstream.seen
    assert 1 >= len(result.stdout.splitlines()), result.stdout


class TestSecrets:
    """A value is put in on the way, for its domain."""

    VALUE = "sk-" + canary.new_canary()

    @pytest.fixture
    def container(self, client: httpx.Client) -> str:
        """A container with a secret for one of its two domains."""
        return create(client, **allowing(ALLOWED, OTHER, secrets={"API_KEY": (self.VALUE, ALLOWED)}))

    def test_arrives_there_and_nowhere_else(
        self, server: LocalServer, container: str, upstream: Upstream
    ) -> None:
        """The domain gets the value, another one does not, and the container does not see it come back."""
        result = server.run(
            container,
            f'curl -sS -i -H "Authorization: Bearer $API_KEY" https://{ALLOWED}/mine;'
            f'curl -sS -i -u "me:$API_KEY" https://{ALLOWED}/basic;'
            f'curl -sS -i -H "Authorization: Bearer $API_KEY" https://{OTHER}/other; echo "$API_KEY"',
        )

        sent = {
            seen.path: seen.headers["authorization"]
            for seen in upstream.seen
            if "authorization" in seen.headers
        }
        assert f"Bearer {self.VALUE}" == sent["/mine"]
        assert f"me:{self.VALUE}" == base64.b64decode(sent["/basic"].removeprefix("Basic ")).decode()
        assert self.VALUE not in sent.get("/other", "")
        assert not canary.in_text(result.stdout + result.stderr, self.VALUE)
        used = [
            (entry["host"], entry["method"]) for entry in server.egress() if entry["secrets"] == ["API_KEY"]
        ]
        assert [(ALLOWED, "GET")] * 2 == used

    def test_is_nowhere_inside(self, server: LocalServer, container: str) -> None:
        """Not in the environment, not in a file, not in the memory of a process that used it."""
        result = server.run(
            container,
            f"""python3 - <<'EOF'
import os, re, urllib.request
request = urllib.request.Request("https://{ALLOWED}/", headers={{"X-Key": os.environ["API_KEY"]}})
body = urllib.request.urlopen(request).read()
found = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    for line in open(f"/proc/{{pid}}/maps"):
        span, modes = line.split()[:2]
        if not modes.startswith("r") or "vvar" in line or "vsyscall" in line:
            continue
        start, end = (int(part, 16) for part in span.split("-"))
        try:
            with open(f"/proc/{{pid}}/mem", "rb", 0) as memory:
                memory.seek(start)
                data = memory.read(end - start)
        except OSError:
            continue
        # The pattern is in this program; the value is not.
        found += len(re.findall(rb"{self.VALUE[:8]}(?!\\W)[a-zA-Z0-9]{{8}}", data))
print(found)
EOF
grep -r {self.VALUE[:6]}[a-zA-Z0-9] /mnt /tmp /etc /run /proc/self/environ 2>/dev/null | wc -l""",
        )

        assert ["0", "0"] == result.stdout.split(), result.stderr

    def test_is_nowhere_outside(self, server: LocalServer, client: httpx.Client, container: str) -> None:
        """Not in the state directory, the journals, standard error, the API's answers or the admin's."""
        server.run(container, f'curl -sS -H "X-Key: $API_KEY" https://{ALLOWED}/')
        client.get(f"/containers/{container}")
        told = (server.requests(), server.egress(), server.containers(), server.stderr, server.isolation())

        assert not canary.in_text(str(told), self.VALUE)
        assert [] == canary.in_files(server.state_dir, self.VALUE)

    def test_is_lost_with_a_restart(self, tmp_path: Path, upstream: Upstream) -> None:
        """The value was in memory only: a request that needs it is refused, and the answer says why."""
        authority = tmp_path / "authority.pem"
        upstream.authority.cert_pem.write_to_path(authority)
        options = [f"--egress-ca={authority}", f"--connect-to={ALLOWED}:443:127.0.0.1:{upstream.port}"]
        with LocalServer(tmp_path / "state", options=options) as server, client_of(server) as client:
            container = create(client, **allowing(ALLOWED, secrets={"API_KEY": (self.VALUE, ALLOWED)}))
            server.restart()
            upstream.seen.clear()
            result = server.run(container, f'curl -sS -H "X-Key: $API_KEY" https://{ALLOWED}/')

        assert "restart" in result.stdout + result.stderr
        assert [] == upstream.seen


def test_the_operators_list(upstream: Upstream) -> None:
    """Asking for more than the operator allows is refused, and no container is made."""
    with (
        LocalServer(options=["--allow-domains", f"{ALLOWED},{OTHER}"]) as server,
        client_of(server) as client,
    ):
        create(client, **allowing(OTHER))
        refused = client.post("/containers", json={"name": "n", **allowing(ALLOWED, OFF_LIST)})

        assert 400 == refused.status_code
        error = refused.json()["error"]
        assert "network_policy.allowed_domains[1]" == error["param"]
        assert "--allow-domains" in error["message"]
        assert 1 == len(server.containers())
