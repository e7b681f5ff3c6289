"""What the entry point tells Airflow."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_containers.provider_info import get_provider_info

AIRFLOW = Path(airflow.__file__).parent


def load_schema(name: str) -> dict[str, Any]:
    """Read one of the schemas that Airflow ships."""
    schema: dict[str, Any] = json.loads((AIRFLOW / name).read_text())
    return schema


def test_valid_for_this_airflow() -> None:
    """Airflow refuses to start with a provider info that its schema refuses."""
    jsonschema.validate(get_provider_info(), load_schema("provider_info.schema.json"))


@pytest.mark.airflow("3.2")
@pytest.mark.parametrize(
    "part",
    ["connection-types", "integrations", "hooks", "operators", "sensors", "triggers", "extra-links"],
)
def test_valid_for_authors(part: str) -> None:
    """The schema for authors checks the form's fields, which the one at run time lets pass."""
    schema = load_schema("provider.yaml.schema.json")
    whole = {"properties": {part: schema["properties"][part]}, "definitions": schema.get("definitions", {})}
    jsonschema.validate(get_provider_info(), whole)


def test_form_behaviour_is_valid_for_old_forms() -> None:
    """Airflow 2.11 checks what the hook says about the standard fields."""
    from airflow_containers.hooks.container import ContainerHook

    path = AIRFLOW / "customized_form_field_behaviours.schema.json"
    if path.exists():
        jsonschema.validate(ContainerHook.get_ui_field_behaviour(), json.loads(path.read_text()))
    assert {"hidden_fields", "relabeling", "placeholders"} == set(ContainerHook.get_ui_field_behaviour())


def named_objects() -> list[str]:
    """Return every dotted path in the provider info."""
    info = get_provider_info()
    paths = [
        module
        for part in ("hooks", "operators", "sensors", "triggers")
        for entry in info.get(part, [])
        for module in entry["python-modules"]
    ]
    paths += [entry["hook-class-name"] for entry in info["connection-types"]]
    paths += [entry["class-name"] for entry in info.get("task-decorators", [])]
    paths += [entry["to_openlineage_converter"] for entry in info["asset-uris"]]
    return paths + info["extra-links"] + info["filesystems"]


@pytest.mark.parametrize("path", named_objects())
def test_everything_named_exists(path: str) -> None:
    """A path that leads nowhere breaks the UI, not the start."""
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_every_public_module_is_named() -> None:
    """A module with operators, sensors or triggers that is not named is missing from Airflow's lists."""
    info = get_provider_info()
    package = Path(importlib.import_module("airflow_containers").__path__[0])
    for part in ("operators", "sensors", "triggers"):
        named = {module for entry in info[part] for module in entry["python-modules"]}
        there = {f"airflow_containers.{part}.{path.stem}" for path in (package / part).glob("[a-z]*.py")}
        assert there == named


def test_name_is_that_of_the_distribution() -> None:
    """Airflow compares the two and refuses a difference."""
    found = [
        point
        for point in entry_points(group="apache_airflow_provider")
        if "airflow_containers" in point.value
    ]
    assert [point.value for point in found] == ["airflow_containers.provider_info:get_provider_info"]
    assert found[0].dist is not None
    assert get_provider_info()["package-name"] == found[0].dist.name == "airflow-containers"


def test_class_and_form_agree() -> None:
    """The connection type, its class and its display name are told twice."""
    from airflow_containers.hooks.container import ContainerHook

    (entry,) = get_provider_info()["connection-types"]
    assert entry["connection-type"] == ContainerHook.conn_type
    assert entry["hook-name"] == ContainerHook.hook_name
    assert "-" not in entry["connection-type"]


def test_no_field_has_a_default() -> None:
    """A form saves defaults into the connection, where they would outlive a change of ours."""
    (entry,) = get_provider_info()["connection-types"]
    defaults = [name for name, field in entry["conn-fields"].items() if "default" in field["schema"]]
    assert defaults == []
    assert all("null" in field["schema"]["type"] for field in entry["conn-fields"].values())


def test_callers_get_a_copy() -> None:
    """Airflow changes the dict it is given."""
    get_provider_info()["connection-types"][0]["conn-fields"].clear()
    get_provider_info()["connection-types"][0]["conn-fields"]["timeout"]["schema"].clear()
    assert get_provider_info()["connection-types"][0]["conn-fields"]["timeout"]["schema"]["type"]


def test_import_is_bare() -> None:
    """Every Airflow process imports this before anything else."""
    script = (
        "import __future__, sys, typing; before = set(sys.modules); "
        "import airflow_containers.provider_info as info; info.get_provider_info(); "
        "print(sorted(set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['airflow_containers', 'airflow_containers.provider_info']"
