"""The benchmarks run and print what they promise. How fast anything is, is not tested: machines differ."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.isolation import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"


def _run(name: str) -> tuple[list[str], list[str]]:
    """The subjects of the lines with ratios, and those of the lines with goals."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    ratios = re.findall(r"^ratio (.+): \d+\.\d\d$", done.stdout, re.MULTILINE)
    goals = re.findall(r"^goal (.+): (?:met|missed) \(.+\)$", done.stdout, re.MULTILINE)
    return ratios, goals


def test_every_benchmark_is_run_here() -> None:
    """A new benchmark gets a test."""
    found = {path.name for path in BENCHMARKS.glob("[a-z]*.py")}

    assert {
        "create_call.py",
        "egress.py",
        "files.py",
        "import_time.py",
        "inline_skill.py",
        "keep_alive.py",
        "local_server.py",
        "sandbox.py",
        "sweep.py",
    } == found


@pytest.mark.airflow("3.0")
def test_import_time() -> None:
    """Our operators are set beside those of the OpenAI provider, which every test environment has."""
    ratios, goals = _run("import_time.py")

    ours = "airflow_containers.operators.container"
    assert f"{ours} / airflow.providers.openai.operators.openai" in ratios
    assert ["no third-party module", "under 30 ms"] == goals


def test_create_call() -> None:
    """Client and hook are set beside httpx and openai, with a small and a large body."""
    ratios, goals = _run("create_call.py")

    pairs = [
        f"{ours} / {peer}"
        for ours in ("ContainersClient.create", "ContainerHook.create_container")
        for peer in ("httpx", "openai")
    ]
    assert pairs * 2 == ratios
    assert ["at most 1.3 times bare httpx", "faster than openai"] * 2 == goals


@pytest.mark.airflow("3.3")
def test_keep_alive() -> None:
    """Triggers that share a client are set beside triggers that do not, in memory, stalls and requests."""
    ratios, goals = _run("keep_alive.py")

    assert [
        f"20 triggers with a shared client, {value}, / a client per trigger"
        for value in ("added memory", "longest stall", "requests")
    ] == ratios
    assert [
        "20 triggers under 20 MiB",
        "20 triggers stall the loop for less than 50 ms",
        "20 triggers keep to 60,000 requests a minute",
        "100 triggers under 120 MiB",
        "100 triggers stall the loop for less than 50 ms",
        "100 triggers keep to 60,000 requests a minute",
    ] == goals


def test_local_server() -> None:
    """The local server is set beside a bare route in start, speed and memory."""
    ratios, goals = _run("local_server.py")

    assert [
        "local server, time to ready, / bare Starlette",
        "local server, create p50, / bare Starlette",
        "local server, creates per second, / bare Starlette",
        "local server, memory after 100 creates, / bare Starlette",
    ] == ratios
    assert ["ready under 500 ms", "at most 60 MiB"] == goals


def test_sandbox() -> None:
    """A command is set beside bubblewrap alone; containers are made, run at once, and stay idle."""
    ratios, goals = _run("sandbox.py")

    assert ["Sandbox.run / bubblewrap alone"] == ratios
    assert [
        "under 10 ms over bubblewrap alone",
        "a container is made in under 10 ms",
        "all at once",
        "an idle container has under 10 KiB of memory",
    ] == goals


def test_egress() -> None:
    """Requests through the proxy are set beside direct ones, in time and speed."""
    ratios, goals = _run("egress.py")

    assert [
        f"{way}, {what} / direct"
        for way in ("through a tunnel", "through TLS that the proxy ends")
        for what in ("time", "speed")
    ] == ratios
    assert ["every request succeeds"] == goals


def test_sweep() -> None:
    """A sweep is set beside a loop that collects everything; what it may not touch is checked as well."""
    ratios, goals = _run("sweep.py")

    peer = "openai, collecting all"
    assert [f"sweep, dry run, {value}, / {peer}" for value in ("time", "peak memory")] == ratios
    assert [
        "at most 8 MiB",
        "the second half of the list adds at most 1 MiB",
        "one page for 100 containers",
        "a dry run changes nothing",
        "nothing of a live run is touched",
        "everything of a run that is over is deleted",
    ] == goals


def test_files() -> None:
    """The hook is set beside httpx and openai, for a large file in each direction and many small ones."""
    ratios, goals = _run("files.py")

    assert [
        f"hook, {what}, speed, / {peer}"
        for what in ("upload", "download", "small files")
        for peer in ("httpx", "openai")
    ] == ratios
    assert [
        f"{operation}: {goal}"
        for operation in ("upload", "download")
        for goal in ("at most 4 MiB added", "at least 0.9 of the speed of bare httpx")
    ] == goals


def test_inline_skill() -> None:
    """The hook is set beside httpx and openai, for a create call with a large zip in it."""
    ratios, goals = _run("inline_skill.py")

    assert ["hook, speed, / httpx", "hook, speed, / openai"] == ratios
    assert ["at most 4 MiB added", "at least 4 times as fast as openai"] == goals
