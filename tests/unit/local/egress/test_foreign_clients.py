"""Clients that others made: curl, OpenSSL, requests, Node, git."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys

import pytest

from airflow_containers.local.egress.gateway import CA_BUNDLE, PROXY_PORT
from tests.support.egress import Container, World

API, OTHER = "api.example.com", "other.example.com"
TOKEN = "tok_4f9c1d7e8a2b5630"


async def run(box: Container, *command: str, text: str = "") -> tuple[int, str]:
    """Run a program with the variables of a container; returns its exit code and all that it said."""
    (bundle,) = box.world.gateway.read_only_files().values()
    environment = {
        name: value.replace(CA_BUNDLE, str(bundle)).replace(f":{PROXY_PORT}", f":{box.port}")
        for name, value in box.environment.items()
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], "HOME": str(box.world.folder), **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(text.encode()), 60)
    return process.returncode or 0, out.decode()


async def start(world: World) -> Container:
    """Two domains, one with a secret."""
    await world.domain(API)
    await world.domain(API, tls=False)
    await world.domain(OTHER)
    return world.container([API, OTHER], [(API, "KEY", TOKEN)])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl(world: World) -> None:
    """Through both kinds of TLS and in clear text; a refusal shows its status."""
    box = await start(world)
    for url in (f"https://{API}/", f"https://{OTHER}/", f"http://{API}/"):
        assert (0, "ok") == await run(box, "curl", "-sS", url)
    code, out = await run(box, "curl", "-sS", "https://evil.example.org/")
    assert 0 != code
    assert "403" in out
    code, out = await run(
        box,
        "curl",
        "-sS",
        "--http2-prior-knowledge",
        "-H",
        "Expect: 100-continue",
        "-d",
        "x" * 9,
        f"https://{API}/",
    )
    assert (0, "ok") == await run(
        box, "curl", "-sS", "-H", "Expect: 100-continue", "-d", "x" * 2000, f"https://{API}/"
    )
    assert (0, "ok") == await run(box, "curl", "-sS", "-u", f"me:{box.placeholder('KEY')}", f"https://{API}/")
    assert ("KEY",) == box.entry.secrets


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_openssl(world: World) -> None:
    """It verifies the certificate that the proxy made, and cannot begin with another name."""
    box = await start(world)
    (bundle,) = world.gateway.read_only_files().values()
    common = ("openssl", "s_client", "-proxy", f"127.0.0.1:{box.port}", "-connect", f"{API}:443")
    verify = ("-CAfile", str(bundle), "-verify_return_error", "-verify_hostname", API)
    code, out = await run(box, *common, *verify, "-servername", API, text="Q\n")
    assert (0, True) == (code, "Verify return code: 0 (ok)" in out)
    code, out = await run(box, *common, "-servername", OTHER)
    assert 0 != code
    assert "unrecognized name" in out
    code, _ = await run(box, *common, "-noservername")
    assert 0 != code


async def test_requests_and_the_standard_library(world: World) -> None:
    """Found by their variables alone."""
    box = await start(world)
    for url in (f"https://{API}/", f"https://{OTHER}/", f"http://{API}/"):
        code = f"import requests; print(requests.get({url!r}).text)"
        assert (0, "ok\n") == await run(box, sys.executable, "-c", code)
        code = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
        assert (0, "ok\n") == await run(box, sys.executable, "-c", code)
    code = "import urllib.request as u; u.urlopen('https://evil.example.org/')"
    assert "403 Host not in allowed_domains" in (await run(box, sys.executable, "-c", code))[1]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
async def test_node(world: World) -> None:
    """It trusts the bundle by its variable."""
    box = await start(world)
    (_bundle,) = world.gateway.read_only_files().values()
    code = (
        f"const http = require('http'), tls = require('tls');"
        f"http.request({{port: {box.port}, host: '127.0.0.1', method: 'CONNECT', path: '{API}:443',"
        f"headers: {{host: '{API}:443'}}}})"
        f".on('connect', (r, socket) => {{ const s = tls.connect({{socket, servername: '{API}'}}, () => {{"
        f"console.log(s.authorized, s.alpnProtocol); s.end(); }}); }}).end();"
    )
    code_, out = await run(box, "node", "-e", code)
    assert (0, "true false\n") == (code_, out), out


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_git(world: World) -> None:
    """It reaches the domain, which is an empty repository to it, and no other."""
    box = await start(world)
    assert (0, "") == await run(box, "git", "ls-remote", f"https://{API}/x.git")
    assert ("GET", API, 200) == (box.entry.method, box.entry.host, box.entry.status)
    _, out = await run(box, "git", "ls-remote", "https://evil.example.org/x.git")
    assert "403" in out
