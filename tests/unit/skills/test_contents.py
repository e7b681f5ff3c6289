"""Reading what a zip of a skill consists of, and telling two skills apart."""

from __future__ import annotations

import io
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.skills import Contents, FileContent, SkillError, pack_skill, read_zip
from tests.support.skills import make_skill


def write_zip(path: Path, entries: dict[str, bytes], *, modes: bool = True, deflated: bool = True) -> Path:
    """A zip as other programs make it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = archive.compression
            entry.external_attr = 0o100644 << 16 if modes else 0
            archive.writestr(entry, content)
    return path


def test_another_program_packs_the_same(tmp_path: Path) -> None:
    """Compression, order, entries for folders and the name of the top-level folder are no difference."""
    folder = make_skill(tmp_path / "skill", {"a": "1", "b/c": "2"})
    mine = pack_skill(folder, tmp_path / "mine.zip").contents
    main = (folder / "SKILL.md").read_bytes()

    entries = {"x/": b"", "x/b/": b"", "x/b/c": b"2", "x/SKILL.md": main, "x/a": b"1"}
    theirs = read_zip(write_zip(tmp_path / "theirs.zip", entries))
    flat = read_zip(
        write_zip(tmp_path / "flat.zip", {"SKILL.md": main, "a": b"1", "b/c": b"2"}, deflated=False)
    )
    assert mine == theirs == flat
    assert mine.difference(theirs) is None


def test_lost_permissions_are_no_difference(tmp_path: Path) -> None:
    """A service that keeps no permissions does not make every folder look changed."""
    folder = make_skill(tmp_path / "skill", {"run.sh": "1"})
    (folder / "run.sh").chmod(0o755)
    mine = pack_skill(folder, tmp_path / "mine.zip").contents
    entries = {"x/SKILL.md": (folder / "SKILL.md").read_bytes(), "x/run.sh": b"1"}

    assert read_zip(write_zip(tmp_path / "without.zip", entries, modes=False)).difference(mine) is None
    assert "changed: run.sh" == read_zip(write_zip(tmp_path / "other.zip", entries)).difference(mine)


def test_difference_names_the_files() -> None:
    """What is new, changed and removed is told apart, and long lists are cut."""
    old = Contents((FileContent("a", "1", 1, False), FileContent("b", "1", 1, False)))
    new = Contents(
        (FileContent("b", "2", 1, False), *(FileContent(f"n{i}", "1", 1, False) for i in range(7)))
    )

    assert "new: n0, n1, n2, n3, n4 and 2 more, changed: b, removed: a" == old.difference(new)


def test_zip_bomb(tmp_path: Path) -> None:
    """A file of more than 25 MB is refused by its entry, before it is read."""
    path = write_zip(tmp_path / "bomb.zip", {"x/a": bytes(26 * 1024 * 1024)})
    with pytest.raises(SkillError, match=r"expected at most 25\.0 MB"):
        read_zip(path)


def test_lying_zip_bomb(tmp_path: Path) -> None:
    """A file that is longer than its entry says is read up to that size, and refused for its checksum."""
    path = write_zip(tmp_path / "bomb.zip", {"x/a": bytes(1024 * 1024)})
    data = bytearray(path.read_bytes())
    size = (1024 * 1024).to_bytes(4, "little")
    while (at := data.find(size)) >= 0:
        data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)

    with pytest.raises(SkillError, match="no zip that can be read"):
        read_zip(path)


def test_too_many_files(tmp_path: Path) -> None:
    """A zip of more than 500 files is refused."""
    path = write_zip(tmp_path / "many.zip", {f"x/{number}": b"" for number in range(501)})
    with pytest.raises(SkillError, match="the zip has 501 files, expected at most 500"):
        read_zip(path)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    """A damaged zip, or what is none, is a `SkillError` or read; nothing else happens."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/SKILL.md", "a" * 100)
        archive.writestr("x/b", b"b")
    data = bytearray(buffer.getvalue())
    data[at : at + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "noise.zip"
    path.write_bytes(data)
    with suppress(SkillError):
        assert 500 >= len(read_zip(path).files)


def _entry(name: bytes, method: int = 0, data: bytes = b"") -> bytes:
    """One entry of a zip's directory; its content is where the zip begins."""
    fixed = (b"PK\x01\x02", 20, 20, 0, method, 0, 33, 0, len(data), 1, len(name), 0, 0, 0, 0, 0, 0)
    return struct.pack("<4s6H3L5H2L", *fixed) + name


def _zip(path: Path, directory: bytes, count: int, front: bytes = b"") -> Path:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(front), 0)
    path.write_bytes(front + directory + end)
    return path


def test_a_long_directory_is_not_read(tmp_path: Path) -> None:
    """Fifty thousand entries are refused before any memory is spent on them."""
    path = _zip(tmp_path / "many.zip", _entry(b"s/x") * 50_000, 50_000)

    with pytest.raises(SkillError, match="no zip that can be read"):
        read_zip(path)


def test_an_entry_without_a_name(tmp_path: Path) -> None:
    """No name at all is an accident in `zipfile`, and a refusal here."""
    with pytest.raises(SkillError, match="no zip that can be read"):
        read_zip(_zip(tmp_path / "nameless.zip", _entry(b""), 1))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_than_deflate(tmp_path: Path, method: int) -> None:
    """Packers that no skill uses are not tried; of LZMA, an entry says how much memory it wants."""
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, method, 0, 33, 0, 20, 1, 3, 0) + b"s/x" + bytes(20)
    path = _zip(tmp_path / "other.zip", _entry(b"s/x", method, bytes(20)), 1, local)

    with pytest.raises(SkillError, match="'s/x' is compressed by another method than Deflate"):
        read_zip(path)
