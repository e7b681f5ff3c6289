"""The file system's paths, patterns and identity, without a service."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import fsspec
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

import airflow_containers.filesystems.paths  # noqa: F401 - what operators do on Airflow up to 3.1
from airflow_containers.api.models import ContainerFile
from airflow_containers.filesystems import containers
from airflow_containers.filesystems._tree import FileTree
from airflow_containers.filesystems.containers import ContainerFileSystem, get_fs

HEX = "88e12fa445d32636f190a0b33daed6cb"


def with_files(*paths: str) -> ContainerFileSystem:
    """A file system whose every container holds files at these paths."""
    files = [
        ContainerFile.model_validate(
            {"id": f"cfile_{number}", "path": path, "created_at": number, "bytes": 1}
        )
        for number, path in enumerate(paths)
    ]
    fs = ContainerFileSystem()
    fs._service.tree = lambda container_id: FileTree(container_id, files)  # type: ignore[method-assign]
    return fs


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("openai-container://cntr_1/mnt/data/a.csv", "cntr_1/mnt/data/a.csv"),
        ("openai-container://my_conn@cntr_1/mnt/data/a.csv", "cntr_1/mnt/data/a.csv"),
        ("openai-container://my_conn@cntr_1", "cntr_1"),
        ("openai-container://cntr_1/mnt/data/", "cntr_1/mnt/data"),
        ("cntr_1/mnt/data/me@example.com", "cntr_1/mnt/data/me@example.com"),
        ("openai-container://cntr_1/me@example.com", "cntr_1/me@example.com"),
        ("/cntr_1/mnt", "cntr_1/mnt"),
        ("openai-container://", ""),
    ],
)
def test_urls_become_paths(url: str, path: str) -> None:
    """The connection is no part of a path, an at sign in a name is."""
    assert path == ContainerFileSystem._strip_protocol(url)
    assert [path] == ContainerFileSystem._strip_protocol([url])


def test_fsspec_takes_the_connection_from_the_url() -> None:
    """`fsspec.open` and pandas work with the same URLs."""
    fs, path = fsspec.core.url_to_fs("openai-container://my_conn@cntr_1/mnt/data/a.csv")

    assert isinstance(fs, ContainerFileSystem)
    assert ("my_conn", "cntr_1/mnt/data/a.csv") == (fs.conn_id, path)
    assert fsspec.core.url_to_fs("openai-container://cntr_1/a")[0].conn_id is None


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in {".", ".."}
)


@given(names, st.sampled_from(["", "conn@", "my.conn-1@"]))
def test_any_name_survives_the_way_through_a_url(name: str, connection: str) -> None:
    """No character of a name is taken for something else."""
    url = f"openai-container://{connection}cntr_1/mnt/data/{name}"

    assert f"cntr_1/mnt/data/{name}" == ContainerFileSystem._strip_protocol(url)
    assert ("cntr_1", f"/mnt/data/{name}") == ContainerFileSystem()._split(url)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "openai-container://",
        "*/mnt/data",
        "cntr_?/mnt/data/a",
        # What Airflow makes of a URL with an empty text where the container's id should be.
        "openai-container:/mnt/data/a",
        "/openai-container:/mnt/data",
        "openai-container:",
    ],
)
def test_a_path_must_name_one_container(path: str) -> None:
    """Nobody lists or deletes in several containers by a pattern."""
    fs = ContainerFileSystem()

    with pytest.raises(ValueError, match=r"names no container; a path is openai-container://conn_id@cntr_"):
        fs.ls(path)


@pytest.mark.parametrize(
    "path", ["/openai-container:/cntr_1/mnt/data/a", "openai-container://cntr_1/mnt/data/a"]
)
def test_a_path_that_was_taken_apart_wrongly_is_told(path: str) -> None:
    """Airflow up to 3.1 does not know the scheme unless its file system was imported; what to do is said."""
    fs = ContainerFileSystem()

    with pytest.raises(ValueError, match=r"import airflow_containers\.filesystems\.paths"):
        fs.info(f"openai-container://{path}")


def test_making_one_reads_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """DAG files make paths while they are parsed."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was read")

    monkeypatch.setattr("airflow_containers.hooks.container.ContainerHook.get_connection", refuse)

    path = ObjectStoragePath("openai-container://no_such_connection@cntr_1/mnt/data") / "report.csv"
    assert "openai-container://no_such_connection@cntr_1/mnt/data/report.csv" == str(path)
    fs = get_fs("no_such_connection", {})
    assert "openai-container-no_such_connection" == fs.fsid
    with pytest.raises(AssertionError, match="a connection was read"):
        fs.ls("cntr_1")


def test_importing_it_needs_no_client() -> None:
    """Airflow imports the module where a path is made: httpx and pydantic come with the first use."""
    script = (
        "import json, sys, fsspec.core; before = set(sys.modules); "
        "import airflow_containers.filesystems.containers; "
        "added = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(json.dumps(sorted(added - sys.stdlib_module_names)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert {"airflow_containers"} == set(json.loads(result.stdout)) - {"fsspec"}


def test_pickled_it_is_its_connection() -> None:
    """Workers, forks and other libraries hand file systems around."""
    fs = get_fs("mine")
    again = pickle.loads(pickle.dumps(fs))

    assert again == fs
    assert hash(again) == hash(fs)
    assert "mine" == again.conn_id
    assert fs != get_fs("other")
    assert get_fs() == ContainerFileSystem()
    assert fs is not get_fs("mine")


def test_schemes_are_those_of_the_entry_points() -> None:
    """Airflow, fsspec and universal_pathlib are told one name."""
    from importlib.metadata import entry_points

    for group in "fsspec.specs", "universal_pathlib.implementations":
        assert containers.schemes == [
            point.name for point in entry_points(group=group) if "airflow_containers" in point.value
        ]


def test_patterns_match_the_plain_name_too() -> None:
    """Who writes a pattern does not know the service's digits."""
    fs = with_files(f"/mnt/data/{HEX}-report.csv", "/mnt/data/report-2.csv", "/mnt/data/sub/report.csv")

    assert [f"cntr_1/mnt/data/{HEX}-report.csv", "cntr_1/mnt/data/report-2.csv"] == fs.glob(
        "cntr_1/mnt/data/report*.csv"
    )
    assert [f"cntr_1/mnt/data/{HEX}-report.csv"] == fs.glob(f"openai-container://cntr_1/mnt/data/{HEX[:8]}*")
    assert 3 == len(fs.glob("cntr_1/**/report*"))
    assert ["cntr_1/mnt/data/sub"] == fs.glob("cntr_1/mnt/data/*/")
    assert {"cfile_0"} == {info["ino"] for info in fs.glob("cntr_1/mnt/data/report.*", detail=True).values()}
    assert ["cntr_1/mnt/data/report.csv"] == fs.glob("cntr_1/mnt/data/report.csv")
    assert [] == fs.glob("cntr_1/mnt/data/missing.csv")


segments = st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
file_paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
patterns = st.lists(st.one_of(segments, st.sampled_from(["*", "**", "?", "a*", "[ab]", "*b"])), max_size=4)


@given(
    st.sets(file_paths, max_size=6),
    patterns.map("/".join),
    st.one_of(st.none(), st.integers(1, 3)),
    st.booleans(),
)
def test_patterns_are_those_of_fsspec(
    paths: set[str], pattern: str, maxdepth: int | None, folders_only: bool
) -> None:
    """What another store finds with a pattern is found here, and nothing else."""
    files = sorted(path for path in paths if not any(other.startswith(f"{path}/") for other in paths))
    other = MemoryFileSystem()
    other.store, other.pseudo_dirs = {}, [""]
    for path in ("x/keep", *files):
        other.pipe(f"/cntr_1/mnt/data/{path}", b"x")
    fs = with_files("/mnt/data/x/keep", *(f"/mnt/data/{path}" for path in files))
    asked = f"cntr_1/mnt/data/{pattern}" + ("/" if folders_only else "")

    expected = [path.lstrip("/") for path in other.glob(f"/{asked}", maxdepth=maxdepth)]

    assert expected == fs.glob(asked, maxdepth=maxdepth)


def test_a_name_that_looks_like_a_pattern_is_one_file() -> None:
    """Whoever names a file `*` in a container does not get all others deleted with it."""
    fs = with_files("/mnt/data/*", "/mnt/data/a", "/mnt/data/b[1]")

    assert ["cntr_1/mnt/data/*"] == fs.expand_path("cntr_1/mnt/data/*")
    assert ["cntr_1/mnt/data/b[1]"] == fs.expand_path("cntr_1/mnt/data/b[1]")
    assert ["cntr_1/mnt/data/a"] == fs.expand_path("cntr_1/mnt/data/[a]")


REFUSED = {
    "append": lambda fs: fs.open("cntr_1/mnt/data/a", "ab"),
    "append text": lambda fs: fs.open("cntr_1/mnt/data/a", "a"),
    "change": lambda fs: fs.open("cntr_1/mnt/data/a", "r+b"),
    "write and read": lambda fs: fs.open("cntr_1/mnt/data/a", "w+b"),
    "move": lambda fs: fs.mv("cntr_1/mnt/data/a", "cntr_1/mnt/data/b"),
    "rename": lambda fs: fs.rename("cntr_1/mnt/data/a", "cntr_1/mnt/data/b"),
    "new folder": lambda fs: fs.mkdir("cntr_1/mnt/data/new"),
    "new folders": lambda fs: fs.makedirs("cntr_1/mnt/data/new/er", exist_ok=True),
    "delete a folder": lambda fs: fs.rmdir("cntr_1/mnt/data/sub"),
    "time": lambda fs: fs.touch("cntr_1/mnt/data/a", truncate=False),
    "signed URL": lambda fs: fs.sign("cntr_1/mnt/data/a"),
    "time of a folder": lambda fs: fs.created("cntr_1/mnt/data"),
    "write elsewhere": lambda fs: fs.open("cntr_1/tmp/a", "wb"),
    "write below": lambda fs: fs.open("cntr_1/mnt/data/new/a", "wb"),
    "upload below": lambda fs: fs.pipe_file("cntr_1/mnt/data/new/a", b""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason(name: str) -> None:
    """Two sentences: why, and what to do instead."""
    fs = with_files("/mnt/data/a", "/mnt/data/sub/b")

    with pytest.raises(NotImplementedError, match=r"^[^\n]+\. [A-Z][^\n]+$"):
        REFUSED[name](fs)


WRONG: dict[str, tuple[type[Exception], Any]] = {
    "no such file": (FileNotFoundError, lambda fs: fs.open("cntr_1/mnt/data/missing")),
    "no such folder": (FileNotFoundError, lambda fs: fs.ls("cntr_1/mnt/data/missing")),
    "no such info": (FileNotFoundError, lambda fs: fs.info("cntr_1/mnt/data/missing")),
    "delete none": (FileNotFoundError, lambda fs: fs.rm("cntr_1/mnt/data/missing")),
    "read a folder": (IsADirectoryError, lambda fs: fs.open("cntr_1/mnt/data/sub")),
    "write a folder": (IsADirectoryError, lambda fs: fs.open("cntr_1/mnt/data", "wb")),
    "delete a folder": (IsADirectoryError, lambda fs: fs.rm("cntr_1/mnt/data/sub")),
    "make what is there": (FileExistsError, lambda fs: fs.mkdir("cntr_1/mnt/data")),
    "make where a file is": (FileExistsError, lambda fs: fs.makedirs("cntr_1/mnt/data/a", exist_ok=True)),
    "write only a new one": (FileExistsError, lambda fs: fs.open("cntr_1/mnt/data/a", "xb")),
    "upload only a new one": (
        FileExistsError,
        lambda fs: fs.pipe_file("cntr_1/mnt/data/a", b"", mode="create"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_raise_what_files_raise(name: str) -> None:
    """Code that works with other files needs no new `except`."""
    kind, operation = WRONG[name]
    fs = with_files("/mnt/data/a", "/mnt/data/sub/b")

    with pytest.raises(kind, match="cntr_1/mnt/data"):
        operation(fs)


def test_folders_that_are_there_are_fine() -> None:
    """Copying asks for the folder first."""
    fs = with_files()

    fs.makedirs("cntr_1/mnt/data", exist_ok=True)
    assert fs.isdir("openai-container://cntr_1/mnt/data")
    assert not fs.exists("cntr_1/mnt/data/a")


def _in_a_new_process(*imports: str) -> str:
    script = "\n".join(
        (
            "import warnings",
            "from airflow.providers.common.compat.sdk import ObjectStoragePath",
            *imports,
            "warnings.simplefilter('error', UserWarning)",
            "path = ObjectStoragePath('openai-container://mine@cntr_1/mnt/data') / 'report.csv'",
            "print(path, path.path, path.name, path.parent, type(path.fs).__name__, path.fs.conn_id)",
        )
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[-1]


_RIGHT = (
    "openai-container://mine@cntr_1/mnt/data/report.csv cntr_1/mnt/data/report.csv report.csv "
    "openai-container://mine@cntr_1/mnt/data ContainerFileSystem mine"
)


@pytest.mark.airflow("3.2")
def test_airflow_knows_the_scheme() -> None:
    """The entry points are enough, and nobody is warned."""
    assert _RIGHT == _in_a_new_process()


def test_a_dag_file_with_an_operator_knows_the_scheme() -> None:
    """On older Airflow the operators see to it, also where they are imported after the class of paths."""
    assert _RIGHT == _in_a_new_process("import airflow_containers.operators.container")
