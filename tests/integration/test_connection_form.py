"""The connection form, as each line of Airflow builds it, and Airflow's own view of the provider."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_containers.hooks.container import ContainerHook
from airflow_containers.provider_info import CONN_FIELDS

ABOUT_US = "openai_containers|airflow_containers|providers_manager|provider_info"
AIRFLOW_VERSION = tuple(int(part) for part in version("apache-airflow").split(".")[:2])


class FakeField:
    """A field as the hook declares it, where the form library is not installed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs
        self.field_class = type(self)


@pytest.fixture
def form_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form library, or a stand-in: Airflow 3 works without it, and 3.1 brings its own stand-in."""
    if importlib.util.find_spec("flask_appbuilder"):
        return
    stand_ins: dict[str, dict[str, Any]] = {
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {"BS3TextFieldWidget": SimpleNamespace},
        "flask_babel": {"lazy_gettext": str},
        "wtforms": {
            "StringField": type("StringField", (FakeField,), {}),
            "IntegerField": type("IntegerField", (FakeField,), {}),
        },
        "wtforms.validators": {
            "Optional": SimpleNamespace,
            "any_of": lambda values: SimpleNamespace(values=values),
        },
    }
    for name, contents in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("form_library")
def test_widgets_are_those_of_the_provider_info() -> None:
    """Every field has the same label and description in both places, in the same order."""
    widgets = ContainerHook.get_connection_form_widgets()
    assert list(CONN_FIELDS) == list(widgets)
    for name, field in CONN_FIELDS.items():
        assert field["label"] == str(widgets[name].args[0])
        assert field["description"] == widgets[name].kwargs["description"]
    kinds = {name: widget.field_class.__name__ for name, widget in widgets.items()}
    expected = dict.fromkeys(CONN_FIELDS, "StringField") | {
        "max_retries": "IntegerField",
        "requests_per_minute": "IntegerField",
    }
    assert expected == kinds


if AIRFLOW_VERSION < (3, 0):

    def test_form_of_airflow_2() -> None:
        """The old web server's form takes empty fields, and refuses what the hook would refuse."""
        from airflow.providers_manager import ProvidersManager
        from werkzeug.datastructures import MultiDict
        from wtforms import Form

        manager = ProvidersManager()
        prefix = "extra__openai_containers__"
        widgets = {
            name.removeprefix(prefix): widget
            for name, widget in manager.connection_form_widgets.items()
            if name.startswith(prefix)
        }
        assert set(CONN_FIELDS) == set(widgets)
        assert manager.field_behaviours["openai_containers"]["hidden_fields"] == ["schema", "port", "login"]

        class ConnectionForm(Form):
            """The extras as the web server puts them into its form."""

        for name, widget in widgets.items():
            setattr(ConnectionForm, name, widget.field)
        assert ConnectionForm(MultiDict(dict.fromkeys(CONN_FIELDS, ""))).validate()
        assert ConnectionForm(
            MultiDict({"auth": "api-key", "max_retries": "3", "verify": "false", "requests_per_minute": "60"})
        ).validate()
        assert not ConnectionForm(MultiDict({"auth": "basic"})).validate()
        assert not ConnectionForm(MultiDict({"max_retries": "many"})).validate()
        assert not ConnectionForm(MultiDict({"requests_per_minute": "many"})).validate()


@pytest.mark.airflow("3.1")
def test_form_of_airflow_3() -> None:
    """The UI gets every field with its label and description, and the standard fields as we name them."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (meta,) = [
        entry for entry in HookMetaService.hook_meta_data() if entry.connection_type == "openai_containers"
    ]
    assert meta.hook_name == "OpenAI Containers"
    assert meta.standard_fields is not None
    standard = meta.standard_fields.model_dump(by_alias=True)
    assert standard["password"]["title"] == "API key"
    assert standard["host"]["title"] == "Base URL"
    assert standard["host"]["placeholder"] == "https://api.openai.com/v1"
    assert [standard[name]["hidden"] for name in ("url_schema", "port", "login")] == [True, True, True]
    assert meta.extra_fields is not None
    assert {name: (field["label"], field["description"]) for name, field in CONN_FIELDS.items()} == {
        name: (str(field["schema"]["title"]), field["description"])
        for name, field in meta.extra_fields.items()
    }
    assert [name for name, field in meta.extra_fields.items() if field["value"] is not None] == []
    assert meta.extra_fields["auth"]["schema"]["enum"] == ["bearer", "api-key"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("list", "airflow-containers"),
        ("hooks", "airflow_containers.hooks.container.ContainerHook"),
        ("links", "airflow_containers.links.ContainerLink"),
        ("triggers", "airflow_containers.triggers.container"),
    ],
)
def test_airflow_knows_the_provider(command: str, expected: str) -> None:
    """`airflow providers` shows what there is, and has nothing to complain about."""
    result = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", command, "--output", "json"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "250"},
        check=True,
    )
    assert expected in result.stdout
    # Airflow 2.11 has other complaints, about itself.
    complaints = [
        line
        for line in (result.stdout + result.stderr).splitlines()
        if re.search("warning|error", line, re.IGNORECASE) and re.search(ABOUT_US, line)
    ]
    assert complaints == []
