from __future__ import annotations

from tests.support.sandbox_driver import Driver, Mode


def test_report(server: Driver, mode: Mode) -> None:
    """What differs between the modes is in the report."""
    report = server.report
    assert mode.is_root == report["runs_as_root"]
    assert ("cgroup" if mode.cgroups else "rlimit") == report["memory"].split()[0]
    assert ("cgroup" if mode.cgroups else "rlimit") == report["processes"].split()[0]
    assert (not mode.cgroups) == any("memory is bounded for each process" in note for note in report["notes"])
    assert report["seccomp"]
    o = server.run("id")
    assert b"uid=1000" in o.stdout
