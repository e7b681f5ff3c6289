"""Control groups on a tree of plain files, as a machine with version 2 or with other mounts would have it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from airflow_containers.local.sandbox import cgroups
from airflow_containers.local.sandbox.cgroups import Group, Hierarchy

SERVER, LAUNCHER = 4711, 4712
STAT = "4712 (a (b) c) S " + " ".join(str(n) for n in range(1, 30))
NAME = f"airflow-containers-{LAUNCHER}-19"


class Tree:
    """Files as the kernel would show them.

    :param root: where to put them.
    """

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.mount = root / "cgroup"
        self.write(self.proc / "self/cgroup", "")
        self.write(self.proc / "self/mountinfo", "")
        self.write(self.proc / f"{LAUNCHER}/stat", STAT)
        self.write(self.proc / f"{SERVER}/task/{SERVER}/children", "4712 ")

    @staticmethod
    def write(path: Path, text: str) -> None:
        """Make a file and the folders above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def group(self, own: str, kind: str, options: str, root: str = "/") -> None:
        """Say where the process is and what is mounted."""
        controllers = "" if kind == "cgroup2" else options
        with (self.proc / "self/cgroup").open("a") as file:
            file.write(f"{0 if kind == 'cgroup2' else 4}:{controllers}:{own}\n")
        point = self.mount / (options.replace(",", "+") or "unified")
        point.mkdir(parents=True, exist_ok=True)
        with (self.proc / "self/mountinfo").open("a") as file:
            file.write(f"30 20 0:26 {root} {point} rw,relatime shared:1 - {kind} cgroup {options or 'rw'}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine without control groups."""
    return Tree(tmp_path)


def unified(
    tree: Tree, own: str, *, controllers: str = "cpu memory pids", on: str = "", pids: str = "4711\n4712\n"
) -> Path:
    """Version 2, and the server's group in it."""
    tree.group(own, "cgroup2", "")
    folder = tree.mount / "unified" / own.lstrip("/")
    tree.write(folder / "cgroup.controllers", controllers)
    tree.write(folder / "cgroup.subtree_control", on)
    tree.write(folder / "cgroup.procs", pids)
    return folder


def test_none(tree: Tree) -> None:
    """A machine without control groups has none, and that is no error."""
    assert ([], []) == cgroups.find(SERVER, tree.proc, LAUNCHER)


def test_version_1(tree: Tree) -> None:
    """Each controller has a tree of its own; groups are made below the server's."""
    for controller in ("memory", "pids", "cpu,cpuacct"):
        tree.group("/system/server", "cgroup", controller)
        (tree.mount / controller.replace(",", "+") / "system/server").mkdir(parents=True)
    found, notes = cgroups.find(SERVER, tree.proc, LAUNCHER)
    expected = [Hierarchy(1, (c,), tree.mount / c / "system/server" / NAME) for c in ("memory", "pids")]
    assert (expected, []) == (found, notes)


def test_version_1_in_a_container_of_another_system(tree: Tree) -> None:
    """A mount that shows only a part of the tree: the path is what is below that part."""
    tree.group("/docker/abc/server", "cgroup", "memory", root="/docker/abc")
    (tree.mount / "memory/server").mkdir()
    found, _ = cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert [tree.mount / "memory/server" / NAME] == [hierarchy.folder for hierarchy in found]


def test_version_1_with_a_path_that_is_not_there(tree: Tree) -> None:
    """Without the server's group, groups are made at the top of what is mounted."""
    tree.group("/elsewhere", "cgroup", "memory")
    found, _ = cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert [tree.mount / "memory" / NAME] == [hierarchy.folder for hierarchy in found]


def test_version_2(tree: Tree) -> None:
    """In version 2 the controllers are handed on to the groups below."""
    own = unified(tree, "/user.slice/server.scope", on="memory pids")
    found, notes = cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert ([Hierarchy(2, ("memory", "pids"), own / NAME)], []) == (found, notes)
    assert "+memory +pids" == (own / NAME / "cgroup.subtree_control").read_text()


def test_version_2_turns_controllers_on(tree: Tree) -> None:
    """What the server's group does not hand on yet is turned on."""
    own = unified(tree, "/server", on="cpu pids")
    cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert "+memory" == (own / "cgroup.subtree_control").read_text()


@pytest.mark.parametrize(("pids", "moves"), [("4711\n4712\n", True), ("4711\n99\n", False)])
def test_version_2_with_processes(
    tree: Tree, pids: str, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server leaves its group for one below, unless another process is there too."""
    own = unified(tree, "/server", pids=pids)
    write = Path.write_text

    def busy(path: Path, text: str, *arguments: object, **named: object) -> int:
        leaf = own / f"{NAME}-server" / "cgroup.procs"
        if path == own / "cgroup.subtree_control" and not leaf.exists():
            raise OSError(errno.EBUSY, "Device or resource busy")
        return write(path, text, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", busy)
    found, notes = cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert moves == bool(found)
    assert moves == (not notes)
    if moves:
        assert "4712" == (own / f"{NAME}-server/cgroup.procs").read_text()
        assert "+memory +pids" == (own / "cgroup.subtree_control").read_text()
    else:
        assert "other processes" in notes[0]
        assert not (own / NAME).exists()


def test_both_versions(tree: Tree) -> None:
    """A machine with both uses each controller where it is."""
    tree.group("/", "cgroup", "memory")
    own = unified(tree, "/", controllers="pids")
    found, _ = cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert [(1, ("memory",)), (2, ("pids",))] == [(h.version, h.controllers) for h in found]
    assert "+pids" == (own / "cgroup.subtree_control").read_text()


def test_groups_of_servers_that_are_gone(tree: Tree) -> None:
    """What a killed server left is removed; what belongs to a living one or to others stays."""
    tree.group("/", "cgroup", "memory")
    own = tree.mount / "memory"
    for name in (f"airflow-containers-{LAUNCHER}-18/1", "airflow-containers-99-5/7", f"{NAME}/3", "others/1"):
        (own / name).mkdir(parents=True)
    cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert {NAME, "others"} == {entry.name for entry in own.iterdir()}
    assert (own / NAME / "3").is_dir()


def test_a_second_launcher(tree: Tree) -> None:
    """A server whose launcher was killed stays where that took it, and the next one uses the group above."""
    own = unified(tree, "/server", on="memory pids", pids="")
    leaf = own / "airflow-containers-99-5-server"
    Tree.write(leaf / "cgroup.procs", "4711\n4712\n")
    (own / "airflow-containers-99-5" / "3").mkdir(parents=True)
    (tree.proc / "self/cgroup").write_text("0::/server/airflow-containers-99-5-server\n")
    found, notes = cgroups.find(SERVER, tree.proc, LAUNCHER)
    assert ([own / NAME], []) == ([hierarchy.folder for hierarchy in found], notes)
    assert not (own / "airflow-containers-99-5").exists()
    assert leaf.exists()


def test_limits_of_version_1(tmp_path: Path) -> None:
    """Memory with swap, and processes with those that bubblewrap needs itself."""
    hierarchies = [Hierarchy(1, ("memory",), tmp_path / "m"), Hierarchy(1, ("pids",), tmp_path / "p")]
    for name in ("m/one/memory.limit_in_bytes", "m/one/memory.memsw.limit_in_bytes", "p/one/pids.max"):
        Tree.write(tmp_path / name, "")
    group = Group(hierarchies, "one")
    group.limit(1 << 30, 64)
    assert "1073741824" == (tmp_path / "m/one/memory.limit_in_bytes").read_text()
    assert "1073741824" == (tmp_path / "m/one/memory.memsw.limit_in_bytes").read_text()
    assert "72" == (tmp_path / "p/one/pids.max").read_text()
    Tree.write(tmp_path / "m/one/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert 3 == group.kills()
    assert [str(tmp_path / "m/one/cgroup.procs"), str(tmp_path / "p/one/cgroup.procs")] == group.entrances


def test_limits_of_version_2(tmp_path: Path) -> None:
    """No swap, and memory and processes in one group."""
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        Tree.write(tmp_path / "one" / name, "")
    group = Group([Hierarchy(2, ("memory", "pids"), tmp_path)], "one")
    group.limit(4 << 30, 512)
    texts = [(tmp_path / "one" / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max")]
    assert ["4294967296", "0", "520"] == texts
    assert 0 == group.kills()
    Tree.write(tmp_path / "one/memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert 1 == group.kills()


def test_start_time(tree: Tree) -> None:
    """A process's start is read behind its name, which may have anything in it; without one it is empty."""
    assert ("19", "") == (cgroups.start_time(LAUNCHER, tree.proc), cgroups.start_time(1, tree.proc))
