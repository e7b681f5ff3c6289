"""Folders and files of another user than the server: what it may read, and removing all the same."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from airflow_containers.local.blobs import Blobs, remove_tree
from airflow_containers.local.container_files.folder import DataFolder, Stamp, compare
from tests.unit.local.attack import (
    NOBODY,
    SERVERS,
    everything,
    make_deep,
    read_file,
    run_as,
    wall,
)


@pytest.mark.parametrize("server", SERVERS)
def test_files_that_may_not_be_read(tmp_path: Path, server: str) -> None:
    """Root reads them; a plain user lists what it cannot read, and leaves out what it cannot look into."""
    data, _ = wall(tmp_path)
    (data / "f").write_bytes(b"f")
    (data / "closed").mkdir()
    (data / "closed" / "g").write_bytes(b"g")

    def work() -> None:
        folder = DataFolder(Path("data"))
        known: dict[str, Stamp | None] = dict(folder.scan().files)
        assert {"f", "closed/g"} == known.keys()
        Path("data/f").chmod(0)
        Path("data/closed").chmod(0)
        scan = folder.scan()
        if server == "root":
            assert (b"f", b"g") == (read_file(folder, "f"), read_file(folder, "closed/g"))
            return
        assert (["f"], Counter({"unreadable": 1})) == (list(scan.files), scan.left_out)
        for path in known:
            with pytest.raises(PermissionError):
                folder.open(path)
        # Nobody knows whether what is in a closed folder is gone, so it is not.
        new, other, gone = compare(folder, known, scan)
        assert ({}, ["f"], []) == (new, list(other), gone)
        # What it is to change, it makes its own again, as root would not have to.
        assert folder.take("closed/g", Path("taken"))
        Path("data").chmod(0o555)
        Path("source").write_bytes(b"x")
        folder.place(Path("source"), "closed/x")
        assert {"f", "closed/x"} == set(folder.stamps(["f", "closed/x"]))

    run_as(server, data.parent, work)


@pytest.mark.parametrize("server", SERVERS)
def test_removing_whatever_is_there(tmp_path: Path, server: str) -> None:
    """Folders without permissions and thousands of levels go, and what links lead to stays."""
    data, outside = wall(tmp_path)
    os.close(make_deep(data, 1500))
    for name in ("a", "a/b", "a/b/c"):
        (data / name).mkdir()
        (data / name / "f").write_bytes(b"x")
        (data / name / "link").symlink_to(outside)
        (data / name / "file-link").symlink_to(outside / "f")
        os.mkfifo(data / name / "fifo")
        (data / name / os.fsdecode(b"\xff")).mkdir()
    for name, mode in (("w", 0o200), ("r", 0o400), ("x", 0o100), ("rx", 0o500)):
        for folder in (data / name, data / "a" / name):
            (folder / "inner").mkdir(parents=True)
            (folder / "inner" / "f").write_bytes(b"x")
            (folder / "f").write_bytes(b"x")
            (folder / "inner").chmod(mode)
            folder.chmod(mode)
    for path in (data / "a/b/c", data / "a/b", data / "a", data):
        path.chmod(0)
    before = everything(outside)

    def work() -> None:
        remove_tree(Path("data"))
        assert not os.path.lexists("data")

    run_as(server, data.parent, work)
    assert before == everything(outside)


def test_removing_a_folder_that_is_still_written_to(tmp_path: Path) -> None:
    """It ends, with or without a rest, and nothing is raised."""
    data, outside = wall(tmp_path)
    before = everything(outside)

    def write() -> None:
        for number in range(1000):
            try:
                (data / f"{number}" / "x").mkdir(parents=True)
                (data / f"{number}" / "link").symlink_to(outside)
            except OSError:
                pass

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        remove_tree(data)
    writer.join()
    remove_tree(data)

    assert not data.exists()
    assert before == everything(outside)


@pytest.mark.parametrize("server", SERVERS)
def test_the_folders_of_a_container(tmp_path: Path, server: str) -> None:
    """They are made when they are asked for, as commands need them, and opened again if these close them."""
    state = tmp_path / "state"
    state.mkdir()

    def work() -> None:
        blobs = Blobs(Path())
        blobs.owner = (NOBODY, NOBODY) if server == "root" else None
        owner = blobs.owner or (os.geteuid(), os.getegid())
        for make, mode in ((blobs.data_dir, 0o755), (blobs.tmp_dir, 0o1777)):
            for _ in range(2):
                status = make("cntr_1").stat()
                assert (mode, *owner) == (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
                make("cntr_1").chmod(0)
            assert mode == stat.S_IMODE(make("cntr_1").stat().st_mode)
        assert 0o700 == stat.S_IMODE(blobs.container("cntr_1").stat().st_mode)
        assert blobs.skills_dir("cntr_1") is None
        (blobs.container("cntr_1") / "skills").mkdir()
        assert blobs.container("cntr_1") / "skills" == blobs.skills_dir("cntr_1")

    run_as(server, state, work)


def test_a_lease_on_a_file(tmp_path: Path) -> None:
    """A command that wants to be asked before its file is opened holds up nobody."""
    data, _ = wall(tmp_path)
    (data / "f").write_bytes(b"f")
    folder = DataFolder(data)
    with (data / "f").open("rb") as file:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            assert b"f" == read_file(folder, "f")
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        finally:
            signal.signal(signal.SIGIO, before)
    with (data / "f").open("ab") as file:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            started = time.monotonic()
            with pytest.raises(BlockingIOError):
                folder.open("f")
            assert ["f"] == list(folder.scan().files)
            assert folder.take("f", tmp_path / "taken")
            assert time.monotonic() - started < 5
        finally:
            signal.signal(signal.SIGIO, before)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_folders_of_a_server_that_ran_commands_as_somebody_else(tmp_path: Path) -> None:
    """All in them is given to the new user, and nothing that links lead to."""
    _, outside = wall(tmp_path)
    blobs = Blobs(tmp_path / "state")
    data = blobs.data_dir("cntr_1")
    (data / "a" / "b").mkdir(parents=True)
    (data / "a" / "b" / "f").write_bytes(b"x")
    (data / "a" / "link").symlink_to(outside / "f")
    (data / "folder-link").symlink_to(outside)
    blobs.owner = (NOBODY, NOBODY)
    blobs.data_dir("cntr_1")

    assert {(NOBODY, NOBODY)} == {
        (path.lstat().st_uid, path.lstat().st_gid) for path in (data, *data.rglob("*"))
    }
    assert {0} == {path.lstat().st_uid for path in (outside, *outside.rglob("*"))}
