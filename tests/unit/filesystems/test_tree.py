"""One list of the service as a tree."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api.models import ContainerFile
from airflow_containers.filesystems._tree import FileTree, address

HEX = "88e12fa445d32636f190a0b33daed6cb"
OTHER_HEX = "0123456789abcdef0123456789abcdef"


def listed(
    path: str | None, *, number: int = 0, created_at: int = 1_700_000_000, **members: Any
) -> ContainerFile:
    """A file as the service lists it."""
    return ContainerFile.model_validate(
        {
            "id": f"cfile_{number}",
            "path": path,
            "created_at": created_at,
            "bytes": 3,
            "source": "user",
            **members,
        }
    )


def tree(*files: ContainerFile) -> FileTree:
    """The tree of a container with these files."""
    return FileTree("cntr_1", files)


def test_a_file_is_found_by_the_name_it_was_written_as() -> None:
    """The service's 32 digits are needed by nobody."""
    file = listed(f"/mnt/data/{HEX}-report.csv")

    assert file is tree(file).find("/mnt/data/report.csv")
    assert file is tree(file).find(f"/mnt/data/{HEX}-report.csv")
    assert tree(file).find("/mnt/data/other.csv") is None
    assert tree(file).find("/mnt/report.csv") is None


def test_the_exact_path_comes_before_a_newer_file_of_that_name() -> None:
    """A command in the container may write where the plain name leads."""
    exact = listed("/mnt/data/report.csv", number=1, created_at=1)
    sent = listed(f"/mnt/data/{HEX}-report.csv", number=2, created_at=2)

    assert exact is tree(sent, exact).find("/mnt/data/report.csv")
    assert [sent, exact] == tree(sent, exact).all_at("/mnt/data/report.csv")
    assert [exact] == tree(sent, exact).meant_by("/mnt/data/report.csv")
    assert [sent] == tree(sent).meant_by("/mnt/data/report.csv")


def test_a_path_of_the_service_is_one_file_alone() -> None:
    """Deleting by the whole path must not take others of that name with it."""
    old = listed(f"/mnt/data/{HEX}-report.csv", number=1)
    new = listed(f"/mnt/data/{OTHER_HEX}-report.csv", number=2)

    assert [old] == tree(new, old).all_at(f"/mnt/data/{HEX}-report.csv")


def test_folders_are_what_paths_imply() -> None:
    """Each part of a path is a folder, and three are there without any file."""
    empty, full = tree(), tree(listed("/mnt/data/a/b/c.txt"), listed("/tmp/x", number=1))

    assert [True] * 3 == [empty.is_folder(path) for path in ("/", "/mnt", "/mnt/data")]
    assert not empty.is_folder("/mnt/data/a")
    assert [True] * 3 == [full.is_folder(path) for path in ("/mnt/data/a", "/mnt/data/a/b", "/tmp")]
    assert ["cntr_1/mnt", "cntr_1/tmp"] == [info["name"] for info in full.children("/")]
    assert [("cntr_1/mnt/data/a/b/c.txt", "file")] == [
        (info["name"], info["type"]) for info in full.children("/mnt/data/a/b")
    ]


def test_info_says_what_the_service_says() -> None:
    """Sizes that the service leaves out are not made up."""
    file = listed(f"/mnt/data/{HEX}-report.csv", bytes=None, source="assistant")

    assert {
        "name": f"cntr_1/mnt/data/{HEX}-report.csv",
        "size": None,
        "type": "file",
        "plain_name": "report.csv",
        "created": 1_700_000_000,
        "mtime": 1_700_000_000,
        "ino": "cfile_0",
        "source": "assistant",
    } == tree(file).info("/mnt/data/report.csv")
    assert {"name": "cntr_1", "size": 0, "type": "directory"} == tree().info("/")
    assert tree().info("/mnt/data/report.csv") is None


def test_the_newer_of_two_files_at_one_path_is_shown() -> None:
    """A list may hold a path twice; a folder cannot."""
    old, new = listed("/mnt/data/a", number=1, created_at=1), listed("/mnt/data/a", number=2, created_at=2)

    (info,) = tree(old, new).children("/mnt/data")
    assert "cfile_2" == info["ino"]
    assert {"cfile_1", "cfile_2"} == {file.id for file in tree(old, new).all_at("/mnt/data/a")}


def test_a_file_without_a_usable_path_is_at_its_id() -> None:
    """Null, relative and climbing paths cannot be joined to a path of the worker."""
    odd = (None, "", "report.csv", "/mnt/../etc/passwd", "/mnt//data/x", "/mnt/./x", "/mnt/data/", "/a\0b")
    for path in odd:
        file = listed(path)
        assert "/cfile_0" == address(file)
        assert file is tree(file).find("/cfile_0")
        assert [file] == tree(file).all_at("/cfile_0")
        assert "cntr_1/cfile_0" in [info["name"] for info in tree(file).children("/")]


def test_what_was_made_and_deleted_since_the_list_counts() -> None:
    """One list serves a whole call that writes many files."""
    old, new = listed(f"/mnt/data/{HEX}-a", number=1), listed(f"/mnt/data/{OTHER_HEX}-a", number=2)
    files = tree(old)
    assert [f"cntr_1{old.path}"] == [info["name"] for info in files.children("/mnt/data")]

    files.add(new)
    files.discard(old.id)

    assert [f"cntr_1{new.path}"] == [info["name"] for info in files.children("/mnt/data")]
    assert new is files.find("/mnt/data/a")


parts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(
    st.lists(
        st.one_of(st.none(), st.lists(parts, max_size=5).map("/".join), st.text(max_size=12)), max_size=6
    )
)
def test_every_listed_file_is_in_the_tree_at_a_harmless_path(paths: list[str | None]) -> None:
    """Whatever paths the service lists: each file can be reached from the root, and no path climbs."""
    files = [listed(path, number=number) for number, path in enumerate(paths)]
    built = tree(*files)
    reached = {}
    folders = ["/"]
    while folders:
        for info in built.children(folders.pop()):
            inner = info["name"].removeprefix("cntr_1")
            assert not {"", ".", ".."}.intersection(inner.split("/")[1:])
            assert "\0" not in inner
            reached[inner] = info
            if info["type"] == "directory" or built.is_folder(inner):
                folders.append(inner)
    for path, same in itertools.groupby(sorted(files, key=address), key=address):
        assert reached[path]["ino"] in {file.id for file in same}
        assert built.find(path) is not None
