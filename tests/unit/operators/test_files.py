"""The arguments of the operators that transfer files: each wrong one is refused at the earliest moment."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, ObjectStoragePath
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators._file_arguments import as_entries, as_texts
from airflow_containers.operators.files import DownloadFromContainerOperator, UploadToContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.contexts import STARTED, task_context, templated

SOURCE = (
    "expected the path of a file on the worker, a pattern such as 'data/*.csv', or a URL such as "
    "'s3://bucket/a.csv'"
)
TEXTS = (
    "expected a mapping of file names to texts or JSON values, such as {'config.json': {…}}, or a template "
    "that renders to one"
)
NAME = (
    "expected as the name of each file 1 to 255 printable bytes without slashes and quotation marks; the "
    "service chooses the folder"
)
CONTENT = "expected a text, or a value that can be written as JSON"
NOTHING = "; if a template made it, the template rendered to nothing"
FILE = "expected the id of a file of the Files API, such as 'file-123'"
PATH = "expected a path in the container, such as 'report.csv', or a pattern such as 'out/*.csv'"
TARGET = (
    "expected the absolute path of a folder on the worker, or the URL of one in a store, such as "
    "'s3://bucket/out'"
)
LIST = ", or a list of some"

BAD_UPLOADS = [
    ({"sources": ""}, f"sources: got an empty text, {SOURCE}{LIST}{NOTHING}"),
    ({"sources": "None"}, f"sources: got 'None', {SOURCE}{LIST}{NOTHING}"),
    ({"sources": 5}, f"sources: got the number 5, {SOURCE}{LIST}"),
    ({"sources": b"a.csv"}, f"sources: got an object of type bytes, {SOURCE}{LIST}"),
    ({"sources": {"a.csv": "b"}}, f"sources: got a mapping, {SOURCE}{LIST}"),
    ({"sources": ["a.csv", 5]}, f"sources[1]: got the number 5, {SOURCE}"),
    ({"sources": ["a.csv", None]}, f"sources[1]: got None, {SOURCE}"),
    ({"sources": ["a.csv", " "]}, f"sources[1]: got ' ', {SOURCE}{NOTHING}"),
    ({"sources": ["a\0.csv"]}, f"sources[0]: it has a null character, {SOURCE}"),
    ({"sources": '["a.csv", null]'}, f"sources[1]: got None, {SOURCE}"),
    ({"texts": ["a.txt"]}, f"texts: got a list of 1, {TEXTS}"),
    ({"texts": "a.txt"}, f"texts: got 'a.txt', {TEXTS}"),
    ({"texts": "None"}, f"texts: got 'None', {TEXTS}{NOTHING}"),
    ({"texts": {5: "x"}}, "texts: got the number 5, expected a text as the name of each file"),
    ({"texts": {"": "x"}}, f"texts: got an empty text, {NAME}"),
    ({"texts": {"..": "x"}}, f"texts: got '..', {NAME}"),
    ({"texts": {"a/b.txt": "x"}}, f"texts: got 'a/b.txt', {NAME}"),
    ({"texts": {"a\n": "x"}}, f"texts: got 'a\\n', {NAME}"),
    ({"texts": {"ü" * 128: "x"}}, f"texts: got a text of 128 characters, {NAME}"),
    ({"texts": {"a.txt": None}}, f"texts['a.txt']: got None, {CONTENT}{NOTHING}"),
    (
        {"texts": {"a.json": {"x": {1, 2}}}},
        f"texts['a.json']: {CONTENT}: Object of type set is not JSON serializable",
    ),
    (
        {"texts": {"a.json": [float("nan")]}},
        f"texts['a.json']: {CONTENT}: Out of range float values are not JSON compliant",
    ),
    (
        {"texts": {"a.txt": "\ud800"}},
        ("texts['a.txt']: it has half of a surrogate pair, expected a text that can be encoded as UTF-8"),
    ),
    ({"file_ids": ["file-1", 5]}, f"file_ids[1]: got the number 5, {FILE}"),
    ({"file_ids": "null"}, f"file_ids: got 'null', {FILE}{LIST}{NOTHING}"),
]
BAD_DOWNLOADS = [
    ({"paths": ""}, f"paths: got an empty text, {PATH}{LIST}{NOTHING}"),
    ({"paths": ["a.csv", None]}, f"paths[1]: got None, {PATH}"),
    ({"paths": {"source": "/mnt/data/a.csv"}}, f"paths: got a mapping, {PATH}{LIST}"),
    (
        {"file_ids": [5]},
        "file_ids[0]: got the number 5, expected the id of a file in the container, such as 'cfile_123'",
    ),
    ({"target": ""}, f"target: got an empty text, {TARGET}"),
    ({"target": None}, f"target: got None, {TARGET}"),
    ({"target": "out"}, f"target: got 'out', {TARGET}"),
    ({"target": "~/out"}, f"target: got '~/out', {TARGET}"),
    ({"target": "/out\0"}, f"target: got '/out\\x00', {TARGET}"),
]
BAD_COMMON = [
    ({"container_id": ""}, "container_id: got an empty text, expected the id of a container."),
    ({"container_id": "a b"}, "container_id: 'a b' has characters that no id has"),
    ({"conn_id": ""}, "conn_id: got an empty text, expected the id of an Airflow connection"),
    ({"max_files": 0}, "max_files: got the number 0, expected an integer from 1 to 1000000; it takes no"),
    ({"max_files": "10"}, "max_files: got '10', expected an integer from 1 to 1000000; it takes no"),
    ({"max_bytes": 1.5}, "max_bytes: got the number 1.5, expected an integer from 1 to 1125899906842624"),
    ({"parallel": 33}, "parallel: got the number 33, expected an integer from 1 to 32; it takes no template"),
    ({"parallel": True}, "parallel: got the truth value True, expected an integer from 1 to 32"),
    (
        {"if_nothing_matches": "warn"},
        "if_nothing_matches: got 'warn', expected 'fail', 'skip' or 'ignore'; it takes no template",
    ),
    ({"if_nothing_matches": None}, "if_nothing_matches: got None, expected 'fail', 'skip' or 'ignore'"),
]


def _id(value: Any) -> str:
    return str(value)[:50].encode("unicode_escape").decode()


def upload(**changed: Any) -> UploadToContainerOperator:
    """An upload task with what it needs."""
    fields = {"task_id": "make", "container_id": "cntr_1", "sources": "a.csv"}
    return UploadToContainerOperator(**(fields | changed))


def download(**changed: Any) -> DownloadFromContainerOperator:
    """A download task with what it needs."""
    fields = {"task_id": "make", "container_id": "cntr_1", "paths": "a.csv", "target": "/out"}
    return DownloadFromContainerOperator(**(fields | changed))


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        *((upload, *case) for case in [*BAD_UPLOADS, *BAD_COMMON]),
        *((download, *case) for case in [*BAD_DOWNLOADS, *BAD_COMMON]),
    ],
    ids=_id,
)
def test_literal(make: Any, fields: dict[str, Any], message: str) -> None:
    """A wrong literal is an import error of the DAG that names the task and the field."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        make(**fields)
    assert str(caught.value).startswith(f"Task 'make': {message}")


@pytest.mark.parametrize(
    ("operator", "rest", "fields", "message"),
    [
        *(
            (UploadToContainerOperator, {"sources": "a.csv"}, *case)
            for case in BAD_UPLOADS
            if "\ud800" not in str(case)
        ),
        *(
            (DownloadFromContainerOperator, {"paths": "a.csv", "target": "/out"}, *case)
            for case in BAD_DOWNLOADS
        ),
    ],
    ids=_id,
)
def test_rendered(
    operator: Any,
    rest: dict[str, Any],
    fields: dict[str, Any],
    message: str,
    containers_server: LocalServer,
    containers_connection: str,
) -> None:
    """The same value from a template fails the task for good, and nothing is sent."""
    native = not all(isinstance(value, str) for value in fields.values())
    literals = {"container_id": "cntr_1"} | {
        name: value for name, value in rest.items() if name not in fields
    }
    task = templated(operator, fields, native=native, **literals)
    with pytest.raises(AirflowFailException) as caught:
        task.execute(task_context(task))
    assert str(caught.value).startswith(f"Task 'make': {message}")
    assert [] == containers_server.requests()


@pytest.mark.parametrize("nothing", [None, [], {}, ()])
def test_nothing_to_transfer(nothing: Any) -> None:
    """A task without any file is a mistake."""
    expected = "Task 'make': there is nothing to transfer, expected at least one of sources, texts, file_ids"
    with pytest.raises(InvalidTaskArgumentError, match=expected):
        upload(sources=nothing)
    with pytest.raises(InvalidTaskArgumentError, match="expected at least one of paths, file_ids"):
        download(paths=nothing)


def test_templates_are_left_alone() -> None:
    """What is known only later is not judged; what stands beside it is."""
    upload(container_id="{{ x }}", sources="{{ x }}", texts={"a.json": {"k": "{{ x }}"}}, conn_id="{{ x }}")
    upload(sources=["{{ x }}", "a.csv", Path("/data/a.csv")], texts="{{ x }}", file_ids="{{ x }}")
    download(paths=["{{ x }}"], file_ids="{{ x }}", target="{{ x }}")
    with pytest.raises(InvalidTaskArgumentError, match=r"sources\[1\]: got the number 5"):
        upload(sources=["{{ x }}", 5])
    with pytest.raises(InvalidTaskArgumentError, match=r"texts\['b'\]: got None"):
        upload(texts={"a": "{{ x }}", "b": None})


def test_parsing_reads_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs of stores that nobody knows, with connections that are not there, are no matter for the parser."""
    upload(sources=["s3://nobody@bucket/*.csv", "nosuch://bucket/a.csv"])
    download(target="s3://nobody@bucket/out")


@pytest.mark.parametrize("operator", [UploadToContainerOperator, DownloadFromContainerOperator])
def test_template_fields_are_arguments(operator: Any) -> None:
    """Airflow renders attributes named like the arguments; each must be set as it came."""
    assert set(operator.template_fields) <= inspect.signature(operator.__init__).parameters.keys()
    values = {name: f"{{{{ {name} }}}}" for name in operator.template_fields}
    task = operator(task_id="make", **values)
    assert values == {name: getattr(copy.deepcopy(task), name) for name in values}


def test_mapped() -> None:
    """Many containers get the same files from one mapped task."""
    with DAG("mapped", schedule=None, start_date=STARTED) as dag:
        UploadToContainerOperator.partial(task_id="put", sources="a.csv").expand(container_id=["c_1", "c_2"])
        DownloadFromContainerOperator.partial(task_id="get", target="/out", container_id="c_1").expand(
            paths=["a.csv", ["b.csv", "c.csv"]]
        )
    assert {"put", "get"} == dag.task_dict.keys()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("a.csv", ["a.csv"]),
        ("[ab]*.csv", ["[ab]*.csv"]),
        ('["a.csv", "b.csv"]', ["a.csv", "b.csv"]),
        ("['a.csv', 'b.csv']", ["a.csv", "b.csv"]),
        ("('a.csv',)", ["a.csv"]),
        ("[]", []),
        (["a.csv", "{{ x }}"], ["a.csv"]),
        (("a.csv",), ["a.csv"]),
        ({"b.csv", "a.csv"}, ["a.csv", "b.csv"]),
        (Path("/data/a.csv"), ["/data/a.csv"]),
        ([PurePosixPath("a.csv")], ["a.csv"]),
        ("1", ["1"]),
    ],
)
def test_entries(value: Any, expected: list[str]) -> None:
    """One or several, as Python or as text that a template rendered."""
    assert expected == as_entries("make", "sources", value, "a path", literal=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ({"a.txt": "Käse\n"}, {"a.txt": "Käse\n".encode()}),
        ({"a.txt": ""}, {"a.txt": b""}),
        (
            {"a.json": {"k": ["ü", 1, None]}},
            {"a.json": '{\n  "k": [\n    "ü",\n    1,\n    null\n  ]\n}\n'.encode()},
        ),
        ({"a.json": []}, {"a.json": b"[]\n"}),
        ({"a.json": False}, {"a.json": b"false\n"}),
        ('{"a.txt": "x"}', {"a.txt": b"x"}),
        ("{'a.txt': 'x'}", {"a.txt": b"x"}),
        ({"a.txt": "x", "b.txt": "{{ x }}"}, {"a.txt": b"x"}),
    ],
)
def test_texts(value: Any, expected: dict[str, bytes]) -> None:
    """A text stays as it is, everything else is JSON."""
    assert expected == as_texts("make", value, literal=True)


def test_rendered_values_are_no_templates() -> None:
    """What looks like a template once the task runs is meant as it stands there."""
    assert ["{{ x }}.csv"] == as_entries("make", "sources", ["{{ x }}.csv"], "a path")
    assert ["{{ x }}.csv"] == as_entries("make", "sources", "{{ x }}.csv", "a path")
    assert {"a.j2": b"{{ x }}"} == as_texts("make", {"a.j2": "{{ x }}"})
    assert {"{{ x }}.j2": b"x"} == as_texts("make", {"{{ x }}.j2": "x"})
    assert {"a.json": b'[\n  "{% x %}"\n]\n'} == as_texts("make", {"a.json": ["{% x %}"]})


def test_names_are_no_templates() -> None:
    """Airflow would leave the template in a name as it stands, so it is an import error."""
    for name in ("{{ ds }}.txt", "{% if x %}a{% endif %}.txt"):
        with pytest.raises(InvalidTaskArgumentError, match="expected names without templates: of a mapping"):
            upload(texts={name: "x"})
    upload(texts="{{ {ds + '.txt': 'x'} }}")
    upload(texts={"{a}.txt": "x"})


def test_paths_of_stores() -> None:
    """A path in a store keeps its connection, whatever kind of path this Airflow makes of it."""
    path = ObjectStoragePath("file://nobody@/data/a.csv")
    for literal in (False, True):
        assert ["file://nobody@/data/a.csv"] == as_entries("make", "sources", path, "a", literal=literal)
        assert ["file://nobody@/data/a.csv"] == as_entries("make", "sources", [path], "a", literal=literal)
    assert "file://nobody@/data/a.csv" == download(target=path)._given(literal=False)[2]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=8,
)


@given(anything)
def test_any_input(value: Any) -> None:
    """Whatever is given, it is refused in words or is something that can be sent."""
    entries, texts = [], {}
    try:
        entries = as_entries("make", "sources", value, "a path")
    except InvalidTaskArgumentError as error:
        told = str(error)
        assert told.startswith("Task 'make': sources"), told
    try:
        texts = as_texts("make", value)
    except InvalidTaskArgumentError as error:
        told = str(error)
        assert told.startswith("Task 'make': texts"), told
    assert all(isinstance(entry, str) and entry.strip() and "\0" not in entry for entry in entries)
    assert all(isinstance(content, bytes) for content in texts.values())
    assert all(name.isprintable() and not {"/", "\\", '"'} & {*name} for name in texts)


def test_importing_costs_nothing_beyond_airflow() -> None:
    """DAG parsing pays for Airflow's own modules only: no client, no models, no object stores."""
    script = (
        "import sys; import airflow.providers.common.compat.sdk as compat; compat.BaseOperator; "
        "compat.BaseOperatorLink; compat.conf; compat.BaseHook; compat.AirflowFailException; "
        "compat.AirflowSkipException; compat.AirflowException; compat.AirflowNotFoundException; "
        "import airflow_containers.operators; before = set(sys.modules); "
        "import airflow_containers.operators.files; "
        "added = set(sys.modules) - before; "
        "ours = {name for name in added if name.startswith('airflow_containers')}; "
        "third_party = {name.partition('.')[0] for name in added - ours} - sys.stdlib_module_names; "
        "heavy = [name for name in ours if '.api' in name or '.triggers' in name]; "
        "print(sorted(third_party), sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "[] []" == result.stdout.splitlines()[-1]


def test_path_objects_are_rendered_as_texts() -> None:
    """Airflow's rendering, which would resolve a path object in some versions, gets none."""
    put = UploadToContainerOperator(task_id="put", container_id="cntr_1", sources=[Path("a.csv"), "b.csv"])
    get = DownloadFromContainerOperator(
        task_id="get", container_id="cntr_1", paths="a.csv", target=Path("/out")
    )
    for task in (put, get):
        task.render_template_fields(task_context(task))

    assert (["a.csv", "b.csv"], "/out") == (put.sources, get.target)
