"""What the guide to the sandbox shows is run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from airflow_containers import _doctor, cli
from airflow_containers.local.sandbox.host import HostReport
from airflow_containers.testing import LocalServer
from tests.support.isolation import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "sandbox.md").read_text()


def _blocks(language: str) -> list[str]:
    """Blocks of a language; a fence of four marks may have others in it."""
    return [
        found[2]
        for found in re.finditer(rf"^(`{{3,4}}){language}\n(.*?)^\1$", GUIDE, re.MULTILINE | re.DOTALL)
    ]


def test_the_first_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of the request run, and the file that one of them writes is listed."""
    source = next(block for block in _blocks("python") if "REQUEST" in block)

    exec(source, {})

    printed = capsys.readouterr().out
    assert "Block 1: exit code 0\nstdout:\n2\n" in printed
    assert "Block 2: exit code 0\nstdout:\n42\n" in printed
    assert printed.endswith("['/mnt/data/lines.txt']\n")


def test_commands_without_a_response_run() -> None:
    """Exit codes, time-outs, the limit of the disk and the way out are what the guide says."""
    names: dict[str, Any] = {}
    source = next(block for block in _blocks("python") if "server.run(" in block)

    exec(source, names)

    assert ("hello\n", 3, "exit") == (
        names["hello"].stdout,
        names["hello"].exit_code,
        names["hello"].ended,
    )
    assert "timeout" == names["slow"].ended
    assert ("killed", "disk") == (names["large"].ended, names["large"].reason)
    assert "403" in names["refused"].stderr
    assert ("other.example.com", False, 403) == tuple(
        names["entry"][name] for name in ("host", "allowed", "status")
    )


def test_admin_commands_work(containers_server: LocalServer, tmp_path: Path) -> None:
    """Each curl command of the guide gets an answer that is no error."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    block = next(block for block in _blocks("console") if "$L/isolation" in block)
    lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert "L=http://127.0.0.1:8645/_local" == lines[0]
    curl = "command curl --silent --show-error --fail-with-body --noproxy '*'"
    address = containers_server.base_url.removesuffix("/v1")
    with openai.OpenAI(base_url=containers_server.base_url, api_key="any") as client:
        container_id = client.containers.create(name="guide").id
    script = [f'curl() {{ {curl} "$@"; echo; }}', f"L={address}/_local", f"C={container_id}", *lines[1:]]

    done = subprocess.run(
        ["bash", "-ec", "\n".join(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    assert len(lines) - 1 == len(answers)
    assert "uid=" in answers[1]["stdout"]


def test_the_doctors_table_is_that_of_the_guide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output in the guide is what the command prints on such a machine."""
    report = HostReport(
        bubblewrap="/usr/bin/bwrap",
        bubblewrap_version="0.11.0",
        bubblewrap_source="system",
        memory="cgroup v2",
        processes="cgroup v2",
        seccomp=True,
    )
    monkeypatch.setattr("airflow_containers.local.sandbox.host.inspect_host", lambda *, cgroups: report)
    there = {"bash", "python3", "git", "curl"}
    monkeypatch.setattr(_doctor.shutil, "which", lambda name, path: name if name in there else None)

    assert 0 == cli.main(["doctor"])

    block = next(block for block in _blocks("console") if "$ airflow-containers doctor" in block)
    assert block.partition("$ airflow-containers doctor\n")[2] == capsys.readouterr().out


def test_commands_for_models_are_right() -> None:
    """Every `serve` of the guide has options that the command takes."""
    from airflow_containers.local.options import read_options

    commands = re.findall(r"^\$ airflow-containers (serve .*)$", GUIDE, re.MULTILINE)

    assert 3 == len(commands)
    for command in commands:
        parsed = cli._parser().parse_args(shlex.split(command))
        assert read_options(model_url=parsed.model_url, model_name=parsed.model).model_url


def test_every_option_is_in_the_guide_to_the_server() -> None:
    """The tables of both guides name each option of `serve`."""
    guides = GUIDE + (REPOSITORY / "docs" / "local-server.md").read_text()
    usage = subprocess.run(
        [sys.executable, "-m", "airflow_containers.cli", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    options = set(re.findall(r"^  (--[a-z-]+)", usage, re.MULTILINE))
    assert {"--sandbox", "--no-cgroups", "--model-url"} <= options
    assert [] == sorted(option for option in options if f"`{option}" not in guides)


def test_limits_are_those_of_the_code() -> None:
    """Numbers in the guide are the constants of the program."""
    from airflow_containers.local.commands import DEFAULT_TIMEOUT, MAX_TIMEOUT
    from airflow_containers.local.responses import calls, remote_model, remote_prompt
    from airflow_containers.local.sandbox.bubblewrap import SHM_BYTES
    from airflow_containers.local.sandbox.commands import PROXY_PORT, Limits

    limits = Limits()
    assert (512, 1024, 4 << 30, 10 << 20) == (
        limits.processes,
        limits.open_files,
        limits.disk_bytes,
        limits.output_bytes,
    )
    assert (120, 20 * 60, 64 << 20, 3128) == (DEFAULT_TIMEOUT, MAX_TIMEOUT, SHM_BYTES, PROXY_PORT)
    assert (1 << 20, 8 << 20) == (calls.MAX_COMMAND_OUTPUT, calls.MAX_OUTPUT)
    assert (16 << 20, 3, 4, 60) == (
        remote_model.MAX_ANSWER_BYTES,
        remote_model.MAX_CORRECTIONS,
        remote_model.ATTEMPTS,
        remote_model.MAX_PAUSE,
    )
    assert 40_000 == remote_prompt.MAX_OUTPUT
