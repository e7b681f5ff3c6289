"""The unpacker of skills: what it takes, what it refuses, and that nothing gets out of its folder."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_containers.local.containers import staging
from airflow_containers.local.skills import unpack as module
from airflow_containers.local.skills.exceptions import BadSkillError
from airflow_containers.local.skills.limits import MAX_FILE_BYTES
from airflow_containers.local.skills.unpack import Budget, unpack
from tests.support.skill_zip import inline_skill, make_zip, skill_md, skill_zip
from tests.unit.local.conftest import Driver
from tests.unit.local.forms import contents


def _entry(name: str, mode: int = 0, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    # Set afterwards, as the constructor would cut and change it.
    info.filename = name
    info.external_attr = mode << 16
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def _skill(*more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    entries: dict[Any, Any] = {"s/SKILL.md": skill_md()}
    return make_zip(entries | dict(more))


def _refuse(content: bytes, target: Path) -> str:
    with pytest.raises(BadSkillError) as caught:
        unpack(io.BytesIO(content), target)
    return str(caught.value)


def test_a_skill_is_unpacked_without_its_top_folder(tmp_path: Path) -> None:
    """Contents and the right to execute arrive; names of other scripts, too."""
    content = _skill(
        (_entry("s/", 0o40755), b""),
        (_entry("s/bin/run", 0o100755), b"#!/bin/sh\n"),
        (_entry("s/größe/数.txt"), b"x"),
    )
    front_matter = unpack(io.BytesIO(content), tmp_path)

    assert ("s", "d") == (front_matter.name, front_matter.description)
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {"SKILL.md", "bin/run", "größe/数.txt"} == files.keys()
    assert skill_md() == files["SKILL.md"].read_bytes()
    assert [True, False] == [os.access(files[name], os.X_OK) for name in ("bin/run", "SKILL.md")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "has the part '..'"),
        ("s/../../evil", "has the part '..'"),
        ("s/..", "has the part '..'"),
        ("s/./x", "has the part '.'"),
        ("s//x", "has the part ''"),
        ("/etc/evil", "is absolute"),
        ("//host/share", "is absolute"),
        ("C:/evil", "drive letter"),
        ("c:evil", "drive letter"),
        ("s\\..\\evil", "backslash"),
        ("s/a\nb", "control character"),
        ("s/a\x1bb", "control character"),
        ("s/a\x00/../../b", "control character"),
        ("evil", "is not in a folder"),
        ("other/x", "is outside of the folder 's'"),
        ("__MACOSX/s/x", "is outside of the folder 's'"),
        ("s/SKILL.md", "is there twice"),
        ("S/x", "is outside of the folder 's'"),
        ("s/skill.MD", "are the same where file names have no case"),
        ("s/SKILL.md/x", "is a file, and a folder of"),
        ("s/" + "n" * 256, "has a name that is too long"),
        ("s/" + "n/" * 600 + "x", "is too long"),
        ("s/sub/SKILL.md", "there are 2 files SKILL.md"),
    ],
    ids=lambda text: repr(text[:20]),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_paths_that_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    """The reason names the path, and nothing is left outside of the folder."""
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    message = _refuse(_skill((_entry(name), b"evil")), target)

    assert reason in message
    assert [target] == [path for path in tmp_path.rglob("*") if path != target.parent]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("s/A/x", "s/a/y"),
        ("s/a/X", "s/a/x"),
        ("s/é", "s/e\u0301"),
        ("s/straße", "s/STRASSE"),
        ("s/a", "s/A/b"),
    ],
)
def test_names_that_differ_in_case_only(tmp_path: Path, first: str, second: str) -> None:
    """Two paths that some file system takes for one are refused."""
    message = _refuse(_skill((_entry(first), b"1"), (_entry(second), b"2")), tmp_path)

    assert "are the same where file names have no case" in message


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFCHR | 0o666, "is neither a file nor a folder"),
        (stat.S_IFBLK | 0o666, "is neither a file nor a folder"),
        (stat.S_IFIFO | 0o666, "is neither a file nor a folder"),
        (stat.S_IFSOCK | 0o666, "is neither a file nor a folder"),
        (stat.S_IFDIR | 0o777, "is neither a file nor a folder"),
    ],
)
def test_what_is_no_file(tmp_path: Path, mode: int, reason: str) -> None:
    """Links and devices are refused, whatever is behind them."""
    assert reason in _refuse(_skill((_entry("s/x", mode), b"/etc/passwd")), tmp_path)


def test_a_folder_with_contents(tmp_path: Path) -> None:
    """A name that ends with a slash has no bytes."""
    assert "is a folder, but has contents" in _refuse(_skill((_entry("s/x/"), b"evil")), tmp_path)


def test_a_bomb_is_stopped_by_what_is_really_there(tmp_path: Path) -> None:
    """Sizes in the zip that lie do not help: bytes are counted while they are unpacked."""
    bomb = bytearray(
        _skill((_entry("s/zeros", compress_type=zipfile.ZIP_DEFLATED), bytes(MAX_FILE_BYTES + 1)))
    )
    assert "'s/zeros' is too large" in _refuse(bytes(bomb), tmp_path / "honest")
    # The size in the directory says 5 bytes.
    where = bomb.rindex(b"PK\x01\x02") + 24
    struct.pack_into("<I", bomb, where, 5)
    target = tmp_path / "liar"
    target.mkdir()
    _refuse(bytes(bomb), target)

    assert all(path.stat().st_size <= MAX_FILE_BYTES for path in target.rglob("*"))


def test_many_files_share_one_budget(tmp_path: Path) -> None:
    """The sum is bounded, across the skills of a container as well."""
    budget = Budget(2_000_000)
    content = skill_zip(zeros=bytes(1_000_000))
    for number in range(2):
        (tmp_path / str(number)).mkdir()
    unpack(io.BytesIO(content), tmp_path / "0", budget)
    with pytest.raises(BadSkillError, match="too many bytes"):
        unpack(io.BytesIO(content), tmp_path / "1", budget)


def test_skills_of_a_container_share_one_budget(call: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one skill may have, two may not have each; nothing of them is kept then."""
    monkeypatch.setattr(staging, "Budget", lambda: Budget(1500))
    skills = [inline_skill(name, data=skill_zip(name, zeros=bytes(1000))) for name in ("a", "b")]
    answers = [call("POST", "/v1/containers", {"name": "n", "skills": skills[:count]}) for count in (1, 2)]

    assert [200, 400] == [answer.status for answer in answers]
    error = answers[1].error
    assert ("skills[1].source.data", True) == (error["param"], "too many bytes" in error["message"])
    assert ["SKILL.md", "zeros"] == contents(call)


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    """500 files are taken, 501 are not, and a million entries are not even read."""
    many: dict[str, bytes] = {f"f{number}": b"" for number in range(499)}
    unpack(io.BytesIO(skill_zip(**many)), tmp_path)
    assert "too many files. Expected at most 500" in _refuse(skill_zip(**many, more=b""), tmp_path)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 46 * 65535, 0, 0)
    assert "too many entries" in _refuse(b"\0" * 46 * 65535 + end, tmp_path)
    liar = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46 * 65535, 0, 0)
    assert "too many entries" in _refuse(b"\0" * 46 * 65535 + liar, tmp_path)


def test_zip64_is_refused(tmp_path: Path) -> None:
    """Its own record of the directory's size would go round the check of the other one."""
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, 0, 0)
    assert "Zip64" in _refuse(b"\0" * 100 + locator + end, tmp_path)


def test_zip64_is_refused_wherever_it_is_looked_for(tmp_path: Path) -> None:
    """`zipfile` finds the end of the directory one byte further from the end than a comment reaches."""
    count = 40_000
    entry = (
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0) + b"s/x"
    )
    directory = entry * count
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0, 0, 65535)
    assert "Zip64" in _refuse(directory + end64 + locator + end + b"c" * 65536, tmp_path)


def test_encrypted_and_unknown_methods(tmp_path: Path) -> None:
    """Only what this server can read is taken."""
    content = bytearray(_skill((_entry("s/x"), b"data")))
    where = content.rindex(b"PK\x01\x02")
    encrypted, packed = content.copy(), content.copy()
    encrypted[where + 8] |= 1
    packed[where + 10] = zipfile.ZIP_LZMA
    assert "is encrypted" in _refuse(bytes(encrypted), tmp_path)
    assert "another method than Deflate" in _refuse(bytes(packed), tmp_path)


def test_too_long_a_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zip itself is bounded before anything of it is read."""
    monkeypatch.setattr(module, "MAX_ZIP_BYTES", 100)
    assert "zip too large. Expected at most 100 bytes" in _refuse(skill_zip(), tmp_path)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, "there is no SKILL.md"),
        ({"s/README.md": b""}, "there is no SKILL.md. Expected exactly one in the folder 's'"),
        ({"s/a/SKILL.md": skill_md("a")}, "is not directly in the top-level folder"),
        ({"s/SKILL.md": b""}, "has no front matter"),
        ({"s/SKILL.md": b"# Hello"}, "has no front matter"),
        ({"s/SKILL.md": b"---\nname: s\n"}, "does not end"),
        ({"s/SKILL.md": b"---\n" + b"#" * 70_000 + b"\n---\n"}, "does not end"),
        ({"s/SKILL.md": b"---\n\xff\n---\n"}, "is not UTF-8"),
        ({"s/SKILL.md": b"---\nname: [\n---\n"}, "is not YAML"),
        ({"s/SKILL.md": b"---\n" + b"[" * 20_000 + b"\n---\n"}, "is not YAML"),
        ({"s/SKILL.md": b"---\nd: 2024-99-99\n---\n"}, "is not YAML"),
        ({"s/SKILL.md": b"---\nd: !!python/object/apply:os.system [id]\n---\n"}, "is not YAML"),
        ({"s/SKILL.md": b"---\nd: !!int ''\n---\n"}, "is not YAML"),
        ({"s/SKILL.md": b"---\n- a\n---\n"}, "is not a mapping"),
        ({"s/SKILL.md": b"---\ndescription: d\n---\n"}, "has no 'name'"),
        ({"s/SKILL.md": b"---\nname: s\n---\n"}, "has no 'description'"),
        (
            {"s/SKILL.md": b"---\nname: 5\ndescription: d\n---\n"},
            "'name' in the front matter of SKILL.md is not a text",
        ),
        ({"s/SKILL.md": skill_md("s", "''")}, "'description' in the front matter of SKILL.md is empty"),
        ({"s/SKILL.md": skill_md("s", "d" * 1025)}, "at most 1024 characters, but got 1025"),
        ({"S/SKILL.md": skill_md("S")}, "is not valid"),
        ({"a--b/SKILL.md": skill_md("a--b")}, "is not valid"),
        ({"-a/SKILL.md": skill_md("'-a'")}, "is not valid"),
        ({"s/SKILL.md": skill_md("n" * 65)}, "at most 64 characters, but got 65"),
        ({"s/SKILL.md": skill_md("t")}, "is not that of its folder, 's'"),
        ({"s/SKILL.md": b"---\nname: s\ndescription: d\nlicense: 1\n---\n"}, "'license'"),
        (
            {"s/SKILL.md": b"---\nname: s\ndescription: d\ncompatibility: " + b"c" * 501 + b"\n---\n"},
            "'compatibility'",
        ),
        ({"s/SKILL.md": b"---\nname: s\ndescription: d\nmetadata: [1]\n---\n"}, "'metadata'"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_skills_that_break_a_rule(tmp_path: Path, entries: dict[Any, Any], reason: str) -> None:
    """The reason says what is wrong with the one SKILL.md."""
    assert reason in _refuse(make_zip(entries), tmp_path)


def test_merge_keys_are_refused(tmp_path: Path) -> None:
    """Each line doubles what the one before makes, so forty of them would fill any memory."""
    lines = "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 41))
    head = f"---\nname: s\ndescription: d\nm0: &m0 {{k: 1}}\n{lines}---\n"

    assert "a merge key (<<), line 5" in _refuse(make_zip({"s/SKILL.md": head}), tmp_path)


@pytest.mark.parametrize(
    ("folder", "head"),
    [
        ("basic_math", b"---\nname: basic-math\ndescription: d\n---"),
        ("s", b"\xef\xbb\xbf---\r\nname: s\r\ndescription: d\r\n---\r\nText\r\n"),
        ("s", b"--- \nname: s\ndescription: |\n  two\n  lines\nmetadata: {version: 1.0}\nmore: x\n---\n"),
        ("n" * 64, b"---\nname: " + b"n" * 64 + b"\ndescription: " + b"d" * 1024 + b"\n---\n"),
    ],
    ids=["underscore", "byte order mark", "blocks", "longest"],
)
def test_front_matter_that_is_taken(tmp_path: Path, folder: str, head: bytes) -> None:
    """What keeps the rules passes, also in the spelling of other systems."""
    unpack(io.BytesIO(make_zip({f"{folder}/skill.md": head})), tmp_path)

    assert head == (tmp_path / "skill.md").read_bytes()


_PARTS = st.sampled_from(
    [
        "s",
        "S",
        "..",
        ".",
        "",
        "a",
        "A",
        "SKILL.md",
        "skill.md",
        "é",
        "e\u0301",
        "C:",
        "x\\y",
        "\0",
        "\n",
        "con",
        "~",
    ]
)
_NAMES = st.lists(_PARTS | st.text(max_size=5), max_size=5).map("/".join)
_MODES = st.sampled_from([0, 0o100644, 0o100755, 0o40755, 0o120777, 0o20666, 0o10644, 0o140777])
_ENTRIES = st.lists(st.tuples(_NAMES | _NAMES.map("s/".__add__), _MODES, st.binary(max_size=40)), max_size=8)


def _everything_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def _try(content: bytes) -> None:
    """Unpack in a folder of its own: it works or is refused, and nothing is outside of the target."""
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        target = outside / "a" / "b"
        target.mkdir(parents=True)
        (outside / "bait").write_bytes(b"bait")
        problem = ""
        try:
            unpack(io.BytesIO(content), target, Budget(1 << 20))
        except BadSkillError as error:
            problem = str(error)
        if problem:
            assert problem.endswith(".")
            json.dumps(problem, ensure_ascii=False).encode()
        else:
            assert 1 == sum(path.name.lower() == "skill.md" and path.is_file() for path in target.rglob("*"))
        assert b"bait" == (outside / "bait").read_bytes()
        rest = [path for path in _everything_below(outside) if not path.is_relative_to(target)]
        assert [outside / "a", outside / "bait"] == rest
        for path in _everything_below(target):
            assert stat.S_ISREG(path.lstat().st_mode) or stat.S_ISDIR(path.lstat().st_mode)
        total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        assert total <= (1 << 20)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(entries=_ENTRIES, is_skill=st.booleans())
@example(entries=[("s/x", 0o120777, b"../../../etc/passwd"), ("s/x/y", 0o100644, b"evil")], is_skill=True)
@example(entries=[("s/a/skill.md/x", 0o100644, b"")], is_skill=True)
def test_no_names_get_out(entries: list[tuple[str, int, bytes]], is_skill: bool) -> None:
    """Any names, modes and contents: unpacked inside of the folder, or refused with a sentence."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        if is_skill:
            archive.writestr("s/SKILL.md", skill_md())
        for name, mode, data in entries:
            try:
                archive.writestr(_entry(name, mode), data)
            except (UnicodeEncodeError, ValueError):
                continue
    _try(content.getvalue())


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 3),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12
    ),
    cut=st.none() | st.floats(0, 1),
)
def test_no_bytes_are_an_accident(seed: int, changes: list[tuple[float, int]], cut: float | None) -> None:
    """A zip with any of its bytes changed, or cut short, is unpacked inside of the folder, or refused."""
    noise = random.Random(seed).randbytes(200)
    content = bytearray(skill_zip(a=noise, b=bytes(5000), c=b"") + b"" * seed)
    for place, value in changes:
        content[int(place * len(content))] = value
    _try(bytes(content if cut is None else content[: int(cut * len(content))]))


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=300))
def test_no_front_matter_is_an_accident(content: bytes) -> None:
    """Any text between the fences is taken or refused."""
    _try(make_zip({"s/SKILL.md": b"---\n" + content + b"\n---\n"}))
