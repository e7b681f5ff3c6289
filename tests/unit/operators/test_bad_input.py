"""Every wrong argument of a task is refused at the earliest moment, in words that say what to do."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators.container import CreateContainerOperator, DeleteContainerOperator
from airflow_containers.testing import LocalServer
from tests.support.bad_input import BAD_INPUT, LIST, LITERAL, NOTHING, secret, secrets
from tests.support.contexts import task_context, templated


def _id(value: Any) -> str:
    return value[:50].encode("unicode_escape").decode() if isinstance(value, str) else "fields"


SECONDS = "expected seconds or a timedelta, from 0 to 600 s; it takes no template"

bad_input = pytest.mark.parametrize(("fields", "message"), BAD_INPUT, ids=_id)


@pytest.fixture(autouse=True)
def _places_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_TOKEN", "value-of-example-token")
    monkeypatch.setenv("OTHER", "value-of-other")


def test_the_table_names_the_field() -> None:
    """Each message begins with the name of a field that was given, and none holds a secret."""
    for fields, message in BAD_INPUT:
        assert message.startswith(tuple(fields)), message
        assert LITERAL not in message


@bad_input
def test_literal(fields: dict[str, Any], message: str) -> None:
    """A wrong literal fails the constructor."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        CreateContainerOperator(task_id="make", **fields)
    assert f"Task 'make': {message}" == str(caught.value)


@bad_input
def test_literal_in_partial(fields: dict[str, Any], message: str) -> None:
    """A wrong literal fails `partial`, or `expand` where only the two together tell."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        CreateContainerOperator.partial(task_id="make", **fields).expand(conn_id=["a", "b"])
    assert f"Task 'make': {message}" == str(caught.value)


@bad_input
def test_literal_in_expand_kwargs(fields: dict[str, Any], message: str) -> None:
    """A wrong literal in a list of arguments fails `expand_kwargs`."""
    partial = CreateContainerOperator.partial(task_id="make")
    with pytest.raises(InvalidTaskArgumentError) as caught:
        partial.expand_kwargs([{"name": "good"}, fields])
    assert f"Task 'make': {message}" == str(caught.value)
    partial.expand_kwargs([{"name": "good"}])


@pytest.mark.parametrize(
    ("fields", "message"),
    [(fields, message) for fields, message in BAD_INPUT if len(fields) == 1],
    ids=_id,
)
def test_literal_in_expand(fields: dict[str, Any], message: str) -> None:
    """A wrong literal among those to map over fails `expand`."""
    ((field, value),) = fields.items()
    needs_domains = field == "domain_secrets" and "given without domains" not in message
    domains = {"domains": ["api.example.com"]} if needs_domains else {}
    partial = CreateContainerOperator.partial(task_id="make", **domains)
    with pytest.raises(InvalidTaskArgumentError) as caught:
        partial.expand(**{field: [value]})
    assert f"Task 'make': {message}" == str(caught.value)
    partial.expand(conn_id=["a"])


@bad_input
def test_rendered(
    fields: dict[str, Any], message: str, containers_server: LocalServer, containers_connection: str
) -> None:
    """The same value from a template fails the task for good, and nothing is sent."""
    literals = {name: fields[name] for name in ("unique_name",) if name in fields}
    rendered = {name: value for name, value in fields.items() if name not in literals}
    native = not all(isinstance(value, str) for value in rendered.values())
    task = templated(CreateContainerOperator, rendered, native=native, **literals)
    for name, value in rendered.items():
        assert getattr(task, name) is value or getattr(task, name) == value

    with pytest.raises(AirflowFailException) as caught:
        task.execute(task_context(task))

    # A template inside a value was rendered by then, and is looked at no further.
    assert f"Task 'make': {message}" == str(caught.value)
    assert isinstance(caught.value, InvalidTaskArgumentError)
    assert [] == containers_server.requests()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"on_retry": "resume"},
            "on_retry: got 'resume', expected 'adopt' or 'recreate'; it takes no template",
        ),
        (
            {"on_retry": "{{ x }}"},
            "on_retry: got '{{ x }}', expected 'adopt' or 'recreate'; it takes no template",
        ),
        ({"on_retry": None}, "on_retry: got None, expected 'adopt' or 'recreate'; it takes no template"),
        ({"visibility_timeout": -1}, f"visibility_timeout: got the number -1, {SECONDS}"),
        ({"visibility_timeout": 601}, f"visibility_timeout: got the number 601, {SECONDS}"),
        ({"visibility_timeout": float("nan")}, f"visibility_timeout: got the number nan, {SECONDS}"),
        (
            {"visibility_timeout": timedelta(hours=1)},
            f"visibility_timeout: got an object of type timedelta, {SECONDS}",
        ),
        ({"visibility_timeout": "30"}, f"visibility_timeout: got '30', {SECONDS}"),
        ({"visibility_timeout": True}, f"visibility_timeout: got the truth value True, {SECONDS}"),
        ({"visibility_timeout": None}, f"visibility_timeout: got None, {SECONDS}"),
    ],
    ids=str,
)
def test_how_it_creates(fields: dict[str, Any], message: str) -> None:
    """What says how a container is created is checked where it stands, alone and in a partial task."""
    with pytest.raises(InvalidTaskArgumentError) as caught:
        CreateContainerOperator(task_id="make", **fields)
    assert f"Task 'make': {message}" == str(caught.value)
    with pytest.raises(InvalidTaskArgumentError) as caught:
        CreateContainerOperator.partial(task_id="make", **fields).expand(name=["a", "b"])
    assert f"Task 'make': {message}" == str(caught.value)


@pytest.mark.parametrize("value", ["false", None, 1, "{{ params.unique }}"])
def test_unique_name_takes_no_template(value: Any) -> None:
    """A text such as 'false' would count as true, and is refused."""
    with pytest.raises(InvalidTaskArgumentError, match=r"unique_name: got .*, expected True or False"):
        CreateContainerOperator(task_id="make", unique_name=value)


@pytest.mark.parametrize("value", [None, "", " ", "None", 5])
@pytest.mark.parametrize(
    "operator", [CreateContainerOperator, lambda **kw: DeleteContainerOperator(container_id="cntr_1", **kw)]
)
def test_connection_id(value: Any, operator: Any) -> None:
    """There is no task without a connection."""
    with pytest.raises(
        InvalidTaskArgumentError, match=r"Task 'make': conn_id: got .*, expected the id of an"
    ):
        operator(task_id="make", conn_id=value)


@pytest.mark.parametrize("value", [None, "", " ", "None", "null", "[]", [], 5, ["cntr_1", "cntr_2"]])
def test_container_id(value: Any, containers_server: LocalServer, containers_connection: str) -> None:
    """What a missing XCom leaves behind is no id: refused as a literal and when it was rendered."""
    expected = r"Task 'make': container_id: got .*, expected the id of a container\. The create task has"
    with pytest.raises(InvalidTaskArgumentError, match=expected):
        DeleteContainerOperator(task_id="make", container_id=value)

    task = templated(DeleteContainerOperator, {"container_id": value}, native=not isinstance(value, str))
    with pytest.raises(AirflowFailException, match=expected):
        task.execute(task_context(task))
    assert [] == containers_server.requests()


@pytest.mark.parametrize("value", ["..", "cntr_1/files", "cntr_1?x", "cntr 1", "x" * 600])
def test_container_id_that_is_none(
    value: str, containers_server: LocalServer, containers_connection: str
) -> None:
    """A text that would become another URL is no id: refused as a literal and when it was rendered."""
    with pytest.raises(InvalidTaskArgumentError, match="Task 'make': container_id: "):
        DeleteContainerOperator(task_id="make", container_id=value)

    task = templated(DeleteContainerOperator, {"container_id": value}, native=False)
    with pytest.raises(InvalidTaskArgumentError, match="Task 'make': container_id: "):
        task.execute(task_context(task))
    assert [] == containers_server.requests()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"domains": ["api.example.com", "{{ x }}", "localhost"]}, "domains[2]: 'localhost' is not"),
        ({"file_ids": ["{{ x }}", 5]}, "file_ids[1]: got the number 5"),
        ({"skills": ["{{ x }}", "skill_1@0"]}, "skills[1].version: '0' is not a version"),
        (secrets(secret(domain="{{ x }}", name="1")), "domain_secrets[0].name: it cannot name"),
        (secrets(secret(name="{{ x }}", variable="v")), "domain_secrets[0]: it has variable and env"),
        (secrets(secret(name="{{ x }}", env=..., value=LITERAL)), "domain_secrets[0].value: got a text"),
        (secrets(secret(domain="{{ x }}"), secret(vault="v")), "domain_secrets[1].vault: unknown field"),
        (
            {"domains": [], "domain_secrets": [secret(domain="{{ x }}"), secret()]},
            "domain_secrets[1].domain: 'api.example.com' is not one of the allowed domains",
        ),
        (
            {"domains": ["{{ x }}"], "domain_secrets": [secret(domain="localhost")]},
            "domain_secrets[0].domain",
        ),
    ],
)
def test_literal_beside_a_template(fields: dict[str, Any], message: str) -> None:
    """Templates in a list do not hide what is wrong beside them."""
    with pytest.raises(InvalidTaskArgumentError, match=re.escape(f"Task 'make': {message}")):
        CreateContainerOperator(task_id="make", **fields)


def test_list_that_holds_itself() -> None:
    """Nesting without an end is refused in words as well."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidTaskArgumentError, match=r"Task 'make': one of .* is nested too deeply"):
        CreateContainerOperator(task_id="make", skills=endless)


def test_default_arguments() -> None:
    """A wrong value in `default_args` is found like one in the call."""
    with pytest.raises(InvalidTaskArgumentError, match="memory_limit: got '2g'"):
        CreateContainerOperator(task_id="make", default_args={"memory_limit": "2g"})


def test_dag_import_error(tmp_path: Path) -> None:
    """Airflow shows the task and the field as an import error of the DAG file."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag
    file = tmp_path / "wrong.py"
    file.write_text(
        "from airflow.providers.common.compat.sdk import DAG\n"
        "from airflow_containers.operators.container import CreateContainerOperator\n"
        "with DAG('wrong', schedule=None):\n"
        "    CreateContainerOperator(task_id='make', memory_limit='2g')\n"
    )

    bag = DagBag(str(file))

    (error,) = bag.import_errors.values()
    assert "Task 'make': memory_limit: got '2g', expected '1g', '4g', '16g' or '64g'" in error
    assert {} == bag.dags


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ none }}", f"domains: got 'None', expected {LIST} ('[]' for an empty one){NOTHING}"),
        ("{{ '' }}", f"domains: got an empty text, expected {LIST} ('[]' for an empty one){NOTHING}"),
        ("{{ none | tojson }}", f"domains: got 'null', expected {LIST} ('[]' for an empty one){NOTHING}"),
        ("{{ params }}", "domains: got \"{'x': 1}\", expected " + LIST),
        ("{{ params.keys() }}", "domains: got \"dict_keys(['x'])\", expected " + LIST),
        (["{{ params.get('y') }}"], f"domains[0]: got 'None', expected a host name{NOTHING}"),
    ],
)
def test_templates_that_render_to_nothing(
    template: Any, message: str, containers_server: LocalServer, containers_connection: str
) -> None:
    """The usual ways of a template to give nothing are told apart from a list."""
    task = CreateContainerOperator(task_id="make", domains=template)
    context = task_context(task, params={"x": 1})
    task.render_template_fields(context)
    with pytest.raises(InvalidTaskArgumentError) as caught:
        task.execute(context)
    assert f"Task 'make': {message}" == str(caught.value)
    assert [] == containers_server.requests()


def test_no_value_reaches_the_server(
    containers_server: LocalServer, containers_connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value of a secret is wrong only when it is known: then, too, nothing is sent and nothing told."""
    monkeypatch.setenv("EXAMPLE_TOKEN", "")
    task = CreateContainerOperator(task_id="make", **secrets(secret()))
    with pytest.raises(InvalidTaskArgumentError, match="environment variable 'EXAMPLE_TOKEN' is empty"):
        task.execute(task_context(task))
    assert [] == containers_server.requests()


class _Team(CreateContainerOperator):
    """An operator that a user derived, with domains of its own."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("domains", ["api.example.com"])
        super().__init__(**kwargs)


def test_derived_operator_with_defaults_can_be_mapped() -> None:
    """What a derived constructor fills in is not taken for missing while the DAG is parsed."""
    secrets = [{"domain": "api.example.com", "name": "TOKEN", "env": "TOKEN"}]
    with DAG("derived", schedule=None):
        mapped = _Team.partial(task_id="team", domain_secrets=secrets).expand(name=["red", "blue"])

    assert "team" == mapped.task_id


def test_environment_variable_with_no_such_name_is_not_quoted() -> None:
    """A secret that was put in the place of its variable's name is refused without being shown."""
    secrets = [{"domain": "api.example.com", "name": "TOKEN", "env": "sk-live-canary"}]

    with pytest.raises(InvalidTaskArgumentError, match="no name of an environment variable") as caught:
        CreateContainerOperator(task_id="create", domains=["api.example.com"], domain_secrets=secrets)

    assert "canary" not in str(caught.value)


def test_templated_environment_variable_may_be_valid() -> None:
    """The name of an environment variable may come from a template."""
    secrets = [{"domain": "api.example.com", "name": "TOKEN", "env": "TOKEN_{{ run_id }}"}]

    CreateContainerOperator(task_id="create", domains=["api.example.com"], domain_secrets=secrets)
