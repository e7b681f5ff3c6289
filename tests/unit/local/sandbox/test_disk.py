"""How the use of disk is counted, on folders of this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_containers.local.sandbox.disk import used_bytes

BLOCK = 4096
PLENTY = 1 << 40


def used(*folders: Path, pids: tuple[int, ...] = (), limit: int = PLENTY) -> int:
    """What is counted."""
    return used_bytes([str(folder) for folder in folders], list(pids), limit)


@settings(max_examples=30, deadline=None)
@given(
    tree=st.lists(
        st.tuples(st.lists(st.sampled_from("abc"), max_size=4), st.integers(0, 20_000)), max_size=12
    )
)
def test_any_tree(tree: list[tuple[list[str], int]]) -> None:
    """Every file counts with its blocks, every folder with one at least, each once."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for number, (folders, size) in enumerate(tree):
            folder = root.joinpath(*folders)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"file-{number}").write_bytes(os.urandom(size))
        expected = sum(max(path.lstat().st_blocks * 512, BLOCK) for path in root.rglob("*"))
        assert expected == used(root)


def test_links(tmp_path: Path) -> None:
    """A second name of a file costs nothing; a symbolic link is not followed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/large").write_bytes(b"x" * (1 << 20))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").write_bytes(b"x" * 40_000)
    (inside / "same").hardlink_to(inside / "file")
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to(inside)
    os.mkfifo(inside / "pipe")
    assert 40_960 + 3 * BLOCK == used(inside)


def test_sparse_files(tmp_path: Path) -> None:
    """A hole takes no room."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert BLOCK == used(tmp_path)


def test_two_folders(tmp_path: Path) -> None:
    """Folders add up; one that is not there is none."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
    assert 2 * BLOCK == used(tmp_path / "a", tmp_path / "b", tmp_path / "c")


def test_limit(tmp_path: Path) -> None:
    """Counting ends once it is more than the limit."""
    for number in range(50):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/file").write_bytes(b"x")
    assert used(tmp_path, limit=60 * BLOCK) in range(60 * BLOCK + 1, 101 * BLOCK)


def test_nameless_files(tmp_path: Path) -> None:
    """A file without a name counts while a process holds it, once, and only of the folders' own disk."""
    before = used(tmp_path, pids=(os.getpid(),))
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(b"x" * 100_000)
        file.flush()
        again = os.dup(file.fileno())
        memory = os.memfd_create("other")
        os.write(memory, b"x" * 100_000)
        expected = os.fstat(again).st_blocks * 512
        assert expected == used(tmp_path, pids=(os.getpid(),)) - before
        os.close(again)
        os.close(memory)


def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    """What cannot be looked into counts as one entry, and stops nothing."""
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").write_bytes(b"x")
    assert used(tmp_path) == 2 * BLOCK
