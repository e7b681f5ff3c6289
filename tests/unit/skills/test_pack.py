"""Packing: the same bytes everywhere, nothing lost, nothing from elsewhere, and flat memory."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import string
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_containers.api import LocalFileError
from airflow_containers.skills import (
    MAX_FILE_BYTES,
    PackedSkill,
    SkillChangedError,
    SkillError,
    _folder,
    _pack,
    check_skill_folder,
    pack_skill,
    packed_inline,
    read_zip,
)
from tests.support.skills import make_skill

NAMES = st.text(st.sampled_from(string.ascii_lowercase + " .-é漢🦆{}%$;'\""), min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and not _folder._is_ignored(name) and name != "skill.md"
)
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=50), st.booleans()),
    max_size=8,
)


def pack(folder: Path) -> tuple[PackedSkill, bytes]:
    """Pack a folder, and return the zip's bytes as well."""
    target = io.BytesIO()
    packed = pack_skill(folder, target)
    return packed, target.getvalue()


def test_bytes_are_known(tmp_path: Path) -> None:
    """The bytes of one zip, which no machine, Python or zlib may change."""
    make_skill(tmp_path, {"a.txt": "a\n", "b/run.sh": "#!/bin/sh\n", "é": ""})
    (tmp_path / "b/run.sh").chmod(0o700)

    packed, data = pack(tmp_path)
    assert (
        "75daa1ca3a23b5e25dec0d55e67863efad188b7c1dad3c97667de383477c1561" == hashlib.sha256(data).hexdigest()
    )
    assert "38cbfb3426f91855b94391f1e5e00f7a667096fdba253c7d31756a887bce4ca5" == packed.sha256


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nothing_of_the_machine_is_in_it(mask: int, tmp_path: Path) -> None:
    """Times, permissions but the executable bit, and the folder's own place and name make no difference."""
    before = os.umask(mask)
    try:
        one = make_skill(tmp_path / "one", {"z": "1", "a": "2"})
        two = make_skill(tmp_path / "two" / "other", {"a": "2", "z": "1", "__pycache__/x": "3"})
    finally:
        os.umask(before)
    os.utime(two / "a", (1, 1))
    (two / "a").chmod(0o440)
    (two / "empty").mkdir()

    assert pack(one) == pack(two)


def test_digest_is_over_names_modes_and_contents(tmp_path: Path) -> None:
    """Each of the three changes the digest, and turning it back does as well."""
    folder = make_skill(tmp_path, {"a": "1"})
    digests = [pack(folder)[0].sha256]
    (folder / "a").write_text("2")
    digests.append(pack(folder)[0].sha256)
    (folder / "a").chmod(0o755)
    digests.append(pack(folder)[0].sha256)
    (folder / "a").rename(folder / "b")
    digests.append(pack(folder)[0].sha256)
    assert 4 == len(set(digests))

    (folder / "b").rename(folder / "a")
    (folder / "a").chmod(0o644)
    (folder / "a").write_text("1")
    assert digests[0] == pack(folder)[0].sha256


@settings(max_examples=60, deadline=None)
@given(FILES)
def test_zip_reads_back_the_same(files: dict[str, tuple[bytes, bool]]) -> None:
    """Whatever a folder holds, zipfile reads it back below one folder, or it is refused for names alike."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_skill(Path(scratch) / "folder")
        wanted: dict[str, tuple[bytes, bool]] = {}
        for path, (content, executable) in files.items():
            try:
                make_skill(folder, {path: content})
            except OSError:  # one path is a folder of another
                continue
            (folder / path).chmod(0o755 if executable else 0o644)
            wanted[path] = (content, executable)
        try:
            packed, data = pack(folder)
        except SkillError as refused:
            alike = {"its name is that of" in problem for problem in refused.problems}
            assume(alike != {True})
            raise
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = {
                entry.filename: (archive.read(entry), bool(entry.external_attr >> 16 & stat.S_IXUSR))
                for entry in archive.infolist()
            }
        found.pop("report/SKILL.md")
        assert {f"report/{path}": entry for path, entry in wanted.items()} == found
        assert len(data) == packed.size == check_skill_folder(folder).zip_size
        target = Path(scratch) / "read.zip"
        target.write_bytes(data)
        assert packed.contents == read_zip(target)
        assert (packed, data) == pack(folder)


def test_link_is_packed_as_its_file(tmp_path: Path) -> None:
    """The zip has a file where the folder has a link, so nothing can lead out of it."""
    folder = make_skill(tmp_path, {"run.sh": "x"})
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("run.sh")

    with zipfile.ZipFile(io.BytesIO(pack(folder)[1])) as archive:
        assert {0o100755} == {
            archive.getinfo(f"report/{name}").external_attr >> 16 for name in ("run.sh", "link")
        }


def test_written_to_a_path(tmp_path: Path) -> None:
    """A path is written, and what was made is removed if packing fails."""
    folder = make_skill(tmp_path / "skill")
    target = tmp_path / "skill.zip"
    assert pack_skill(folder, target).size == target.stat().st_size

    (folder / "SKILL.md").unlink()
    with pytest.raises(SkillError):
        pack_skill(folder, tmp_path / "other.zip")
    assert not (tmp_path / "other.zip").exists()


def test_full_disk(tmp_path: Path) -> None:
    """A zip that cannot be written is a retryable error that says how much room it needs."""
    folder = make_skill(tmp_path / "skill", {"a": bytes(100_000)})

    with open("/dev/full", "r+b", buffering=0) as full, pytest.raises(LocalFileError) as caught:  # noqa: PTH123
        pack_skill(folder, full)  # type: ignore[arg-type]
    assert "the zip of 97.9 KB could not be made (no space left on device)" in str(caught.value)
    with pytest.raises(LocalFileError, match="no such file or directory"):
        pack_skill(folder, tmp_path / "none" / "skill.zip")


def test_full_disk_of_an_inline_skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the same where the file is closed in vain afterwards."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: PTH123, SIM115
    folder = make_skill(tmp_path / "skill", {"a": bytes(100_000)})

    with pytest.raises(LocalFileError, match="no space left on device"), packed_inline(folder):
        pytest.fail("there is nothing to send")


def _grow(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("more")


def _replace(file: Path) -> None:
    other = file.with_name(".other")
    other.write_bytes(file.read_bytes())
    other.replace(file)


def _link_out(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def _touch(file: Path) -> None:
    os.utime(file, (time.time() + 10, time.time() + 10))


def _add(file: Path) -> None:
    file.with_name("new").touch()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "change",
    [_grow, _replace, _link_out, _touch, _add, _pipe, Path.unlink, lambda file: os.truncate(file, 0)],
)
@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_change_while_packing(
    change: object, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes between the look at it and the end is refused, and no zip is left."""
    folder = make_skill(tmp_path / "skill", {"a": "1" * 1000, "b": "2"})
    add = _pack._add
    opened = _pack._opened

    def changing_add(archive: zipfile.ZipFile, skill: object, file: object) -> object:
        mine = file.path == "a"  # type: ignore[attr-defined]
        if mine and when == "before":
            change(folder / "a")  # type: ignore[operator]
        result = add(archive, skill, file)  # type: ignore[arg-type]
        if mine and when == "after":
            change(folder / "a")  # type: ignore[operator]
        return result

    def changing_opened(skill: object, file: object) -> object:
        result = opened(skill, file)  # type: ignore[arg-type]
        if file.path == "a" and when == "while":  # type: ignore[attr-defined]
            change(folder / "a")  # type: ignore[operator]
        return result

    monkeypatch.setattr(_pack, "_add", changing_add)
    monkeypatch.setattr(_pack, "_opened", changing_opened)
    with pytest.raises(SkillChangedError, match="pack the folder when nothing writes to it"):
        pack_skill(folder, tmp_path / "skill.zip")
    assert ["skill"] == [path.name for path in tmp_path.iterdir()]


def test_memory_is_flat(tmp_path: Path) -> None:
    """Packing 40 MB holds less than 2 MiB."""
    folder = make_skill(tmp_path / "skill", {"a": "", "b": ""})
    pack(make_skill(tmp_path / "small"))
    for name in "ab":
        os.truncate(folder / name, 20 * 1024 * 1024)

    tracemalloc.start()
    try:
        pack_skill(folder, tmp_path / "skill.zip")
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_inline_skill_can_be_read_again(tmp_path: Path) -> None:
    """Each attempt reads the zip from its start, also beside another one; after the block it is gone."""
    folder = make_skill(tmp_path, {"a": "1" * 100_000})
    _, data = pack(folder)

    with packed_inline(folder) as skill:
        source = skill.source.data.source  # type: ignore[union-attr]
        with source.open() as one, source.open() as two:
            assert data[:10] == one.read(10)
            assert data == two.read()
            assert data[10:] == one.read()
    with pytest.raises(OSError, match="Bad file descriptor"), source.open() as gone:
        gone.read()


def test_inline_skill_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while the block lasts has the temporary file a name that somebody would have to remove."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    with packed_inline(make_skill(tmp_path / "skill")):
        assert [] == list((tmp_path / "tmp").iterdir())


def test_largest_file(tmp_path: Path) -> None:
    """A file of 25 MB is packed as it is."""
    folder = make_skill(tmp_path / "skill", {"a": ""})
    os.truncate(folder / "a", MAX_FILE_BYTES)

    assert MAX_FILE_BYTES == pack_skill(folder, tmp_path / "skill.zip").contents.files[1].size
