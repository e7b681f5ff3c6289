"""The folder of a container, with somebody at work in it who wants out, or the server down."""

from __future__ import annotations

import os
import resource
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_containers.local.blobs import remove_tree
from airflow_containers.local.container_files import folder as module
from airflow_containers.local.container_files.folder import DataFolder, NoPlaceError, Scan, Stamp, compare
from tests.unit.local.attack import (
    NOBODY,
    SECRET,
    can_exchange,
    everything,
    make_deep,
    read_file,
    swapping,
    wall,
)

TIB = 1 << 40


def _source(tmp_path: Path, content: bytes = b"new") -> Path:
    path = tmp_path / "incoming"
    path.write_bytes(content)
    return path


def _odd(folder: Path, kind: str, outside: Path) -> None:
    """Put what is no file at ``folder/x``."""
    targets: dict[str, Path | str] = {
        "link to a file": outside / "f",
        "link to a folder": outside,
        "link to nothing": "none",
        "link to itself": "x",
        "link to the system": "/etc/passwd",
    }
    path = folder / "x"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            # The path may be too long for an address.
            server.bind(f"/proc/self/fd/{(number := os.open(folder, os.O_RDONLY))}/x")
            os.close(number)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(targets[kind])


ODD = [
    "FIFO",
    "socket",
    "folder",
    "link to a file",
    "link to a folder",
    "link to nothing",
    "link to itself",
    "link to the system",
]


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    """It is not listed, not read and not taken, at once; nothing waits for the other end of a FIFO."""
    data, outside = wall(tmp_path)
    _odd(data, kind, outside)
    (data / "y").write_bytes(b"y")
    folder, before = DataFolder(data), everything(outside)
    started = time.monotonic()
    scan = folder.scan()

    assert ["y"] == list(scan.files)
    assert Counter({"links": "link" in kind, "special": kind in {"FIFO", "socket"}}) == scan.left_out
    assert {"x": None} == folder.stamps(["x"])
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on what is there
        folder.open("x")
    assert not folder.take("x", tmp_path / "taken")
    for path in ("x/f", "x/inner/f", "x/none/f"):
        assert {path: None} == folder.stamps([path])
        with pytest.raises(OSError):  # noqa: PT011 - as above
            folder.open(path)
        assert not folder.take(path, tmp_path / "taken")
    assert time.monotonic() - started < 5
    assert before == everything(outside)
    assert os.path.lexists(data / "x")


@pytest.mark.parametrize("kind", ODD)
def test_placing_where_something_else_is(tmp_path: Path, kind: str) -> None:
    """It gives way to a file, unless it is a folder; nothing goes through it."""
    data, outside = wall(tmp_path)
    _odd(data, kind, outside)
    folder, before = DataFolder(data), everything(outside)
    for path in ("x/new", "x/inner/new", "x/f"):
        if kind == "folder":
            folder.place(_source(tmp_path), path)
            continue
        with pytest.raises(NoPlaceError):
            folder.place(_source(tmp_path), path)
        assert b"new" == (tmp_path / "incoming").read_bytes()
    if kind == "folder":
        with pytest.raises(NoPlaceError):
            folder.place(_source(tmp_path), "x")
    else:
        stamp = folder.place(_source(tmp_path), "x")
        assert (b"new", {"x": stamp}) == (read_file(folder, "x"), folder.scan().files)
    assert before == everything(outside)


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../outside/f", "/etc/passwd", "a//b", "a/", "a\0b", "a/./b"]
)
def test_paths_that_are_none(tmp_path: Path, path: str) -> None:
    """They lead nowhere."""
    data, outside = wall(tmp_path)
    folder, before = DataFolder(data), everything(outside)
    attempts: list[Callable[[], object]] = [
        lambda: folder.open(path),
        lambda: folder.place(_source(tmp_path), path),
        lambda: folder.take(path, tmp_path / "taken"),
    ]
    for attempt in attempts:
        with pytest.raises(FileNotFoundError):
            attempt()
    assert before == everything(outside)


def test_names(tmp_path: Path) -> None:
    """Any name that is UTF-8 is listed as it is, up to what a file system takes; others are counted."""
    data, _ = wall(tmp_path)
    names = ["a\nb", "\x01\x7f", "größe 漢字", "n" * 255, " ", "-rf", "\\", "a:b", "\u202e", "'\"<>"]
    for name in names:
        (data / name).write_bytes(name.encode())
    (data / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    (data / os.fsdecode(b"\xc3(")).mkdir()
    (data / os.fsdecode(b"\xc3(") / "below").write_bytes(b"x")
    folder = DataFolder(data)
    scan = folder.scan()

    assert sorted(names) == list(scan.files)
    assert Counter({"names": 2}) == scan.left_out
    assert names == [read_file(folder, name).decode() for name in names]


def test_hard_links_and_sparse_files(tmp_path: Path) -> None:
    """Both names of a file are listed; one of four tebibytes is no work."""
    data, _ = wall(tmp_path)
    (data / "a").write_bytes(b"a")
    (data / "b").hardlink_to(data / "a")
    (data / "sparse").touch()
    os.truncate(data / "sparse", 4 * TIB)
    folder = DataFolder(data)
    started = time.monotonic()
    scan = folder.scan()
    file, stamp = folder.open("sparse")
    with file:
        assert bytes(10) == file.read(10)

    assert [("a", 1), ("b", 1), ("sparse", 4 * TIB)] == [
        (path, found.size) for path, found in scan.files.items()
    ]
    assert 4 * TIB == stamp.size
    assert time.monotonic() - started < 5


def test_a_thousand_levels(tmp_path: Path) -> None:
    """Files far down are listed, read, placed and taken with a handful of descriptors; too far is counted."""
    data, _ = wall(tmp_path)
    number = make_deep(data, 1000)
    os.close(os.open("f", os.O_CREAT, dir_fd=number))
    os.close(number)
    (data / "e").mkdir()
    number = make_deep(data / "e", 1100)
    os.close(os.open("f", os.O_CREAT, dir_fd=number))
    os.close(number)
    folder, path = DataFolder(data), "d/" * 1000 + "f"
    used = len(list(Path("/proc/self/fd").iterdir()))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 24, limits[1]))
    try:
        scan = folder.scan()
        assert b"" == read_file(folder, path)
        folder.place(_source(tmp_path), path)
        assert b"new" == read_file(folder, path)
        assert folder.take(path, tmp_path / "taken")
        remove_tree(data)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert [path] == list(scan.files)
    assert Counter({"deep": 1}) == scan.left_out
    assert not data.exists()


def test_bounds_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files near the top come first; what is over the limit, or comes when time is up, is counted."""
    data, _ = wall(tmp_path)
    (data / "a").mkdir()
    for number in range(600):
        (data / "a" / f"{number:03}").touch()
        (data / f"f{number:03}").touch()
    folder = DataFolder(data)
    scan = folder.scan(max_files=700)
    assert ([f"f{number:03}" for number in range(600)], 700) == (list(scan.files)[:600], len(scan.files))
    assert Counter({"more": 500}) == scan.left_out

    late = folder.scan(seconds=-1)
    assert late.left_out["unseen"] >= 1
    assert len(late.files) < 600
    monkeypatch.setattr(module, "MAX_ENTRIES", 100)
    few = folder.scan()
    assert (99, True) == (len(few.files), few.left_out["unseen"] >= 1)
    new, other, gone = compare(folder, dict(scan.files), few)
    assert ({}, {}, []) == (new, other, gone)


def test_what_a_scan_has_not_come_to_is_looked_for(tmp_path: Path) -> None:
    """A file is gone when it is not there, and not because a scan had no time for it."""
    data, outside = wall(tmp_path)
    for name in ("same", "written", "gone", "link", "folder"):
        (data / name).write_bytes(b"x")
    folder = DataFolder(data)
    known: dict[str, Stamp | None] = dict(folder.scan().files)
    for name in ("gone", "link", "folder"):
        (data / name).unlink()
    (data / "link").symlink_to(outside / "f")
    (data / "folder").mkdir()
    (data / "written").write_bytes(b"xy")

    new, other, gone = compare(folder, known, Scan())
    assert ({}, ["written"], ["folder", "gone", "link"]) == (new, list(other), sorted(gone))
    assert {} == folder.stamps(known, seconds=-1)


def test_what_is_placed_belongs_to_commands(tmp_path: Path) -> None:
    """The user that commands run under may write to a file that was put there, and into its folders."""
    data, _ = wall(tmp_path)
    owner = (NOBODY, NOBODY) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    source = _source(tmp_path)
    source.chmod(0o600)
    stamp = DataFolder(data, owner).place(source, "a/b/f")

    assert {"a/b/f": stamp} == DataFolder(data).scan().files
    for path, mode in (("a", 0o755), ("a/b", 0o755), ("a/b/f", 0o644)):
        status = (data / path).stat()
        assert (*owner, mode) == (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def test_a_file_that_is_written_to_while_it_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stamp is none that the file has, so nobody takes the contents for those that were placed."""
    data, _ = wall(tmp_path)
    replace = os.replace

    def with_hurry(source: Path, name: str, *, dst_dir_fd: int) -> None:
        replace(source, name, dst_dir_fd=dst_dir_fd)
        (data / "f").write_bytes(b"abc")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", with_hurry)
        stamp = DataFolder(data).place(_source(tmp_path), "f")
    now = DataFolder(data).scan().files["f"]

    assert now != stamp
    assert not now.has_same_contents(stamp)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["file", "folder", "link", "hard link", "FIFO", "move", "remove"]),
            st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
            st.lists(st.sampled_from(["a", "b", "c", "..", "../../outside"]), min_size=1, max_size=3),
        ),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_tree(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[str], list[str]]]
) -> None:
    """What is listed is each regular file, with its bytes; nothing outside is opened on the way."""
    data, outside = wall(tmp_path_factory.mktemp("tree"))
    for number, (what, place, target) in enumerate(steps):
        _do(data, what, "/".join(place), "/".join(target), b"%d" % number)
    expected = {
        os.path.relpath(os.path.join(place, name), data): status.st_size  # noqa: PTH118
        for place, _, names in os.walk(data)
        for name in names
        if stat.S_ISREG((status := os.lstat(os.path.join(place, name))).st_mode)  # noqa: PTH118
    }
    folder, before, opened = DataFolder(data), everything(outside), list[str]()
    real_open = os.open

    def watched(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        number = real_open(path, flags, mode, dir_fd=dir_fd)
        opened.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        return number

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", watched)
        scan = folder.scan()
        assert not [path for path in opened if stat.S_ISREG(os.lstat(path).st_mode)]
        contents = {path: read_file(folder, path) for path in scan.files}
        for other in {"a", "a/b", "b/a/c", "c/c/c"} - scan.files.keys():
            assert {other: None} == folder.stamps([other])
            with pytest.raises(OSError):  # noqa: PT011 - which one depends on what is there
                folder.open(other)

    assert expected == {path: stamp.size for path, stamp in scan.files.items()}
    assert {path: (data / path).read_bytes() for path in expected} == contents
    assert {True} == {path == str(data) or path.startswith(f"{data}/") for path in opened}
    remove_tree(data)
    assert not data.exists()
    assert before == everything(outside)


def _do(data: Path, what: str, path: str, other: str, content: bytes) -> None:
    """One step of a command; those that cannot be taken are not."""
    target = data / path
    try:
        if os.path.realpath(target.parent) != str(target.parent):
            return
        if what == "file":
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_symlink() and not target.is_fifo():
                target.write_bytes(content)
        elif what == "folder":
            target.mkdir(parents=True, exist_ok=True)
        elif what == "link":
            target.symlink_to(other)
        elif what == "hard link":
            target.hardlink_to(data / other)
        elif what == "FIFO":
            os.mkfifo(target)
        elif what == "move":
            target.rename(data / other.replace(".", "a"))
        else:
            target.unlink()
    except OSError:
        pass


@pytest.mark.skipif(not can_exchange(), reason="exchanges names in one step, as Linux does")
def test_a_command_that_swaps_folders_and_files_for_links(tmp_path: Path) -> None:
    """However the moments fall, nothing outside is read, written, moved or removed."""
    data, outside = wall(tmp_path)
    for name in ("d/inner", "e"):
        (data / name).mkdir(parents=True)
    for name in ("d/f", "d/inner/f", "g"):
        (data / name).write_bytes(b"of the container")
    (data / "d-link").symlink_to(outside)
    (data / "e-link").symlink_to(outside)
    (data / "g-link").symlink_to(outside / "f")
    if os.geteuid() == 0:
        # The attacker must own what it moves, and get to the folder.
        for each in (data, *data.rglob("*")):
            os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
    before, folder, seen = everything(outside), DataFolder(data), Counter[tuple[str, bool]]()
    with swapping(data, ("d", "d-link"), ("e", "e-link"), ("g", "g-link")):
        started, number = time.monotonic(), 0
        # The last condition: all that can happen has happened, also to a server without care.
        while time.monotonic() < started + 60 and (time.monotonic() < started + 2 or len(seen) < 8):
            number += 1
            for path in ("d/f", "d/inner/f", "g"):
                seen[_attempt(folder, path), path.count("/") > 0] += 1
                if SECRET == _read_carelessly(data / path):
                    seen["read without care", True] += 1
            seen[_attempt_to_place(folder, _source(tmp_path), f"e/{number}"), True] += 1
            if folder.take(f"e/{number}", tmp_path / "taken"):
                seen["taken", True] += 1
            names = {path.rpartition("/")[2] for path in folder.scan().files}
            assert names <= {"f", "g", "g-link", *(str(made) for made in range(number + 1))}
            folder.stamps(["d/f", "d/inner/f", "g"])

    assert before == everything(outside)
    assert {
        *((what, is_below) for what in ("read", "not read") for is_below in (True, False)),
        *((what, True) for what in ("read without care", "placed", "not placed", "taken")),
    } == seen.keys()


def _attempt(folder: DataFolder, path: str) -> str:
    try:
        assert b"of the container" == read_file(folder, path)
    except OSError:
        return "not read"
    return "read"


def _attempt_to_place(folder: DataFolder, source: Path, path: str) -> str:
    try:
        folder.place(source, path)
    except NoPlaceError:
        return "not placed"
    return "placed"


def _read_carelessly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
