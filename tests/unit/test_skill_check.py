"""`airflow-containers skill check`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from airflow_containers import cli
from airflow_containers.skills import pack_skill
from tests.support.isolation import EXAMPLE_DAGS
from tests.support.skills import make_skill

EXAMPLE = EXAMPLE_DAGS / "skills" / "report"


def test_skill(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A skill is shown with what would be sent, and the status is 0."""
    folder = make_skill(tmp_path / "report", {"a": "1"})
    packed = pack_skill(folder, tmp_path / "zip")

    assert 0 == cli.main(["skill", "check", str(folder), str(EXAMPLE)])
    out, err = capsys.readouterr()
    assert [
        f"{folder}: skill 'report' is fine",
        "  Makes reports.",
        f"  2 files, zip of {packed.size} bytes, digest {packed.sha256}",
    ] == out.splitlines()[:3]
    assert "" == err


def test_all_problems(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each problem of each folder has a line, sound skills are shown beside them, and the status is 1."""
    one = make_skill(tmp_path / "one", {"bad\tname": ""}, name="One", description="''")
    two = tmp_path / "two"
    two.mkdir()

    assert 1 == cli.main(["skill", "check", str(one), str(EXAMPLE), str(two)])
    out, err = capsys.readouterr()
    assert out.startswith(f"{EXAMPLE}: skill 'report' is fine")
    lines = err.splitlines()
    assert ["error", "error", "error", "error"] == [line.partition(":")[0] for line in lines[:-1]]
    assert ["bad\\tname", "name is", "description is", "no SKILL.md"] == [
        part
        for part, line in zip(("bad\\tname", "name is", "description is", "no SKILL.md"), lines, strict=False)
        if part in line
    ]
    assert "4 problems in 2 of 3" == lines[-1]


def test_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A path that is no folder is a wrong argument: status 2."""
    (tmp_path / "file").touch()
    for path, text in (("none", "there is no such folder"), ("file", "it is a file")):
        assert 2 == cli.main(["skill", "check", str(EXAMPLE), str(tmp_path / path)])
        assert text in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--json` prints all results as one list, and nothing else."""
    folder = make_skill(tmp_path / "report", {"a": "1"})
    packed = pack_skill(folder, tmp_path / "zip")
    broken = tmp_path / "broken"
    broken.mkdir()

    assert 1 == cli.main(["skill", "check", "--json", str(folder), str(broken)])
    out, err = capsys.readouterr()
    assert "" == err
    problem = f"{broken}: it has no SKILL.md; add one, with a name and a description in its front matter"
    assert [
        {
            "path": str(folder),
            "problems": [],
            "name": "report",
            "description": "Makes reports.",
            "files": 2,
            "zip_bytes": packed.size,
            "digest": packed.sha256,
        },
        {"path": str(broken), "problems": [problem]},
    ] == json.loads(out)


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check writes nothing that stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cli.main(["skill", "check", str(EXAMPLE)])

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["skill"], ["skill", "check"], ["skill", "chec", "."]], ids=" ".join)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder there is nothing to check."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert 2 == caught.value.code
    assert "usage: airflow-containers" in capsys.readouterr().err


def test_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A description is on one line, with escapes; so is an odd path."""
    folder = make_skill(tmp_path / "a\nb", description='"one\\n  two \\e[31mred"')

    assert 0 == cli.main(["skill", "check", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert 3 == len(lines)
    assert lines[0].endswith("a\\nb': skill 'report' is fine")
    assert r"  'one two \x1b[31mred'" == lines[1]


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=" ".join)
def test_an_output_that_takes_no_letters_or_no_more(tmp_path: Path, arguments: list[str]) -> None:
    """Neither another encoding nor a reader that is gone costs the exit status."""
    folder = make_skill(tmp_path / "skill", description="für 漢字")
    command = [sys.executable, "-m", "airflow_containers.cli", "skill", "check", *arguments, str(folder)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (0, b"") == (ended.returncode, ended.stderr)
    assert rb"f\xfcr \u6f22\u5b57" in ended.stdout
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        ended = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False)

    assert (0, b"") == (ended.returncode, ended.stderr)
