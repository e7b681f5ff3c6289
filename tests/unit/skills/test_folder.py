"""Which folders are skills, and what is said of those that are not."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from airflow_containers.skills import MAX_FILE_BYTES, MAX_ZIP_BYTES, SkillError, check_skill_folder
from tests.support.isolation import EXAMPLE_DAGS
from tests.support.skills import make_skill


def problems(folder: Path) -> list[str]:
    """What is wrong with a folder, without its path in front."""
    with pytest.raises(SkillError) as caught:
        check_skill_folder(folder)
    return [problem.replace(f"{folder}/", "").replace(f"{folder}: ", "") for problem in caught.value.problems]


def test_example() -> None:
    """The example's folder is a skill, and its script may be executed."""
    skill = check_skill_folder(EXAMPLE_DAGS / "skills" / "report")

    assert "report" == skill.name
    assert [("SKILL.md", False), ("scripts/summarize.py", True)] == [
        (file.path, file.executable) for file in skill.files
    ]


def test_files_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    """Not in that of the disk or of a locale."""
    make_skill(tmp_path, dict.fromkeys(("b", "a/z", "a.txt", "é", "Z", "a-b", "y"), ""))

    paths = [file.path for file in check_skill_folder(tmp_path).files]
    assert ["SKILL.md", "Z", "a-b", "a.txt", "a/z", "b", "y", "é"] == paths


def test_caches_are_left_out(tmp_path: Path) -> None:
    """What programs leave behind, version controls and mounts of Kubernetes are not packed."""
    ignored = (
        ".git/config",
        "a/.git",
        "a/__pycache__/x.pyc",
        ".DS_Store",
        ".airflowignore",
        "x.pyc",
        "notes.md~",
        ".x.swp",
        "._x",
        "..data/SKILL.md",
        "..2026_01_01/SKILL.md",
        ".pytest_cache/SKILL.md",
    )
    make_skill(tmp_path, {"kept.txt": "", ".env.example": "", **dict.fromkeys(ignored, "")})

    assert [".env.example", "SKILL.md", "kept.txt"] == [f.path for f in check_skill_folder(tmp_path).files]


def test_missing_folder(tmp_path: Path) -> None:
    """The path is named, and that nothing is there."""
    assert ["there is no such folder; check the path"] == problems(tmp_path / "none")


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    """A path of SKILL.md itself is told from one of nothing."""
    make_skill(tmp_path)

    assert ["it is a file, expected the folder that SKILL.md is in"] == problems(tmp_path / "SKILL.md")


def test_no_skill_file(tmp_path: Path) -> None:
    """A folder without SKILL.md is no skill."""
    (tmp_path / "README.md").touch()

    assert ["it has no SKILL.md; add one, with a name and a description in its front matter"] == problems(
        tmp_path
    )


def test_two_skill_files(tmp_path: Path) -> None:
    """A second SKILL.md is refused wherever it is, and whatever its case."""
    make_skill(tmp_path, {"deep/er/Skill.MD": ""})

    assert ["it has 2 files SKILL.md (SKILL.md, deep/er/Skill.MD), expected exactly one"] == problems(
        tmp_path
    )


def test_skill_file_below(tmp_path: Path) -> None:
    """A SKILL.md that is not in the folder itself is named."""
    make_skill(tmp_path / "inner")

    (problem,) = problems(tmp_path)
    assert "SKILL.md is in inner, expected in the folder itself" in problem


def test_lower_case_skill_file(tmp_path: Path) -> None:
    """The case of SKILL.md does not count."""
    make_skill(tmp_path)
    (tmp_path / "SKILL.md").rename(tmp_path / "skill.md")

    assert "report" == check_skill_folder(tmp_path).name


def test_links(tmp_path: Path) -> None:
    """A link to a file inside is that file; links out, to folders, and broken ones are refused."""
    folder = make_skill(tmp_path / "skill", {"data/a.csv": "a", "data/b.csv": "b"})
    (folder / "latest.csv").symlink_to("data/b.csv")
    assert ["SKILL.md", "data/a.csv", "data/b.csv", "latest.csv"] == [
        file.path for file in check_skill_folder(folder).files
    ]

    (tmp_path / "secret").write_text("s")
    (folder / "out").symlink_to("../secret")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "over").symlink_to("out")
    (folder / "again").symlink_to("data")
    (folder / "broken").symlink_to("nothing")
    (folder / "round").symlink_to("round")
    found = problems(folder)

    assert ["absolute", "again", "broken", "out", "over", "round"] == sorted(
        problem.partition(":")[0] for problem in found
    )
    assert 3 == sum("a link out of the folder" in problem for problem in found)


def test_mounted_config_map(tmp_path: Path) -> None:
    """A folder whose files are links into a hidden folder inside, as Kubernetes mounts it, is a skill."""
    folder = tmp_path / "skill"
    make_skill(folder / "..2026_03_01")
    (folder / "..data").symlink_to("..2026_03_01")
    (folder / "SKILL.md").symlink_to("..data/SKILL.md")

    assert ["SKILL.md"] == [file.path for file in check_skill_folder(folder).files]


def test_folder_that_is_a_link(tmp_path: Path) -> None:
    """The folder itself may be a link, as below a DAG folder that git-sync keeps."""
    make_skill(tmp_path / "revision", {"a": ""})
    (tmp_path / "current").symlink_to("revision")

    assert 2 == len(check_skill_folder(tmp_path / "current").files)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (b"a\xff", "its name is not UTF-8"),
        (b"a\nb", "its name has a control character or an invisible one"),
        (b"a\x1b[31m", "its name has a control character or an invisible one"),
        ("a\u202eb".encode(), "its name has a control character or an invisible one"),
        ("a\u2028b".encode(), "its name has a control character or an invisible one"),
        (b"a\\b", "its name has a backslash"),
    ],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_odd_names(name: bytes, found: str, as_folder: bool, tmp_path: Path) -> None:
    """Names that a terminal or another system would misread are refused, and printable in the message."""
    make_skill(tmp_path)
    odd = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - a path of bytes
    if as_folder:
        os.mkdir(odd)  # noqa: PTH102 - as above
    else:
        os.close(os.open(odd, os.O_CREAT))

    (problem,) = problems(tmp_path)
    assert found in problem
    assert problem.isprintable()


def test_names_that_are_one_elsewhere(tmp_path: Path) -> None:
    """Two names that differ by case only cannot both be there on every machine."""
    make_skill(tmp_path, {"data/a.csv": "", "Data/b.csv": "", "é": "", "e\u0301": ""})

    found = problems(tmp_path)
    assert ["data/a.csv: its name is that of Data", "é: its name is that of e\u0301"] == [
        problem.partition(" on a system")[0] for problem in found
    ]


def test_too_long_path(tmp_path: Path) -> None:
    """A path has 1,024 bytes at most, with the skill's name in front."""
    deep = "/".join(["d" * 200] * 5)
    make_skill(tmp_path, {f"{deep}/{'f' * 30}": ""})

    (problem,) = problems(tmp_path)
    assert "its path has 1042 bytes with the skill's name in front, expected at most 1024" in problem


def test_number_of_files(tmp_path: Path) -> None:
    """500 files are taken, 501 are not."""
    make_skill(tmp_path, {f"{number}": "" for number in range(499)})
    assert 500 == len(check_skill_folder(tmp_path).files)

    (tmp_path / "one more").touch()
    (problem,) = problems(tmp_path)
    assert problem.startswith("it has more than 500 files")


def test_wrong_folder_costs_no_walk_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk ends when there is far too much."""
    monkeypatch.setattr("airflow_containers.skills._folder.MAX_ENTRIES", 20)
    make_skill(tmp_path, {f"{number}": "" for number in range(25)})

    (problem,) = problems(tmp_path)
    assert problem.endswith("is it the right folder?")


def test_size_of_a_file(tmp_path: Path) -> None:
    """A file has 25 MB at most."""
    make_skill(tmp_path, {"big": ""})
    os.truncate(tmp_path / "big", MAX_FILE_BYTES)
    assert check_skill_folder(tmp_path).size > MAX_FILE_BYTES

    os.truncate(tmp_path / "big", MAX_FILE_BYTES + 1)
    (problem,) = problems(tmp_path)
    assert problem.startswith("big: it has 25.0 MB, expected at most 25.0 MB; split it")


def test_size_of_the_zip(tmp_path: Path) -> None:
    """The zip has 50 MB at most, to the byte."""
    make_skill(tmp_path, {"a": "", "b": "", "c": ""})
    empty = check_skill_folder(tmp_path).zip_size
    for name, size in (("a", MAX_FILE_BYTES), ("b", MAX_FILE_BYTES - empty)):
        os.truncate(tmp_path / name, size)
    assert MAX_ZIP_BYTES == check_skill_folder(tmp_path).zip_size

    (tmp_path / "c").write_text("c")
    (problem,) = problems(tmp_path)
    assert problem.startswith("the zip would have 50.0 MB, expected at most 50.0 MB; the biggest file is a")


def test_pipes_and_sockets(tmp_path: Path) -> None:
    """What is no file is refused without being opened."""
    make_skill(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    # The path of a socket has to be short.
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{short}/socket")
        Path(short, "socket").rename(tmp_path / "socket")

        assert ["pipe", "socket"] == [problem.partition(":")[0] for problem in problems(tmp_path)]


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    """Wrong front matter hides no wrong file."""
    make_skill(tmp_path, {"a\tb": "", "skill": ""}, name="Wrong")
    (tmp_path / "out").symlink_to("/etc/passwd")

    assert ["'a", "out", "SKILL.md"] == [
        problem.partition(":")[0].rpartition("/")[2].partition("\\")[0] for problem in problems(tmp_path)
    ]
