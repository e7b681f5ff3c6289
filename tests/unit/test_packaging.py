"""What is built and shipped: the wheel, the sdist, their metadata, and the pinned sets."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from importlib import import_module
from pathlib import Path

import pytest

from airflow_containers import __version__
from tests.support.isolation import EXAMPLE_DAGS, REPOSITORY

CONSTRAINTS = sorted((REPOSITORY / "constraints").glob("airflow-*.txt"))
AIRFLOW_RELEASES = {"2.11": "2.11.2", "3.0": "3.0.6", "3.1": "3.1.8", "3.2": "3.2.2", "3.3": "3.3.2"}
_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[0-9][0-9a-z.+]*)( ; (?P<marker>[^;]+))?")

_SKILL_FILES = (".airflowignore", "skills/report/SKILL.md", "skills/report/scripts/summarize.py")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the sdist of the working tree."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(directory)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    """The built wheel."""
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def _dist_info(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"airflow_containers-{__version__}.dist-info/{name}").decode()


def _metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(_dist_info(wheel, "METADATA"))


def test_wheel_holds_the_package_and_the_examples_only(wheel: zipfile.ZipFile) -> None:
    """The wheel has every module of the package, its type marker and the examples, and nothing else."""
    names = set(wheel.namelist())
    modules = {
        str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "airflow_containers").rglob("*.py")
    }
    examples = {f"airflow_containers/example_dags/{path.name}" for path in EXAMPLE_DAGS.glob("*.py")}

    skill = {"airflow_containers/example_dags/" + name for name in _SKILL_FILES}
    assert modules | examples | skill | {"airflow_containers/py.typed"} <= names
    assert {"airflow_containers", f"airflow_containers-{__version__}.dist-info"} == {
        name.partition("/")[0] for name in names
    }


def test_sdist_can_be_tested(built: Path) -> None:
    """The sdist carries the tests, the examples, the pinned sets and the Makefile."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    wanted = {"Makefile", "LICENSE", "README.md", "CHANGELOG.md", "tests/conftest.py", "scripts/setup-venv"}
    wanted |= {f"constraints/{path.name}" for path in CONSTRAINTS}
    wanted |= {f"example_dags/{path.name}" for path in EXAMPLE_DAGS.glob("*.py")}
    assert wanted <= names


def test_requirements_are_the_few_that_are_needed(wheel: zipfile.ZipFile) -> None:
    """Installing brings Airflow, its compatibility layer, httpx, idna, pydantic, PyYAML; no server."""
    required = [re.sub(r"\s", "", text) for text in _metadata(wheel).get_all("Requires-Dist", [])]

    assert [
        "apache-airflow-providers-common-compat>=1.22.0",
        "apache-airflow>=2.11.0",
        "httpx>=0.27",
        "idna>=3.4",
        "pydantic>=2.11",
        "pyyaml>=6.0",
    ] == sorted(text for text in required if "extra==" not in text)
    assert ["python-multipart", "pyyaml", "starlette", "uvicorn"] == sorted(
        re.split(r"[<>=;]", text)[0] for text in required if "extra=='local'" in text
    )


def test_metadata_names_licence_python_and_documentation(wheel: zipfile.ZipFile) -> None:
    """License, Python versions, classifiers and the URL that Airflow shows are in the metadata."""
    metadata = _metadata(wheel)

    assert "Apache-2.0" == metadata["License-Expression"]
    assert ["LICENSE"] == metadata.get_all("License-File")
    assert ">=3.11" == metadata["Requires-Python"]
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    assert any(url.startswith("documentation, https://") for url in metadata.get_all("Project-URL", []))


def test_every_entry_point_can_be_loaded(wheel: zipfile.ZipFile) -> None:
    """The provider, the pytest plugin and the command are where the metadata says."""
    parser = ConfigParser()
    parser.read_string(_dist_info(wheel, "entry_points.txt"))
    points = {section: dict(parser[section]) for section in parser.sections()}

    assert {
        "apache_airflow_provider",
        "console_scripts",
        "fsspec.specs",
        "pytest11",
        "universal_pathlib.implementations",
    } == points.keys()
    for section in points.values():
        for target in section.values():
            module, _, attribute = target.partition(":")
            loaded = import_module(module)
            assert not attribute or callable(getattr(loaded, attribute))


def test_there_is_a_pinned_set_for_each_airflow() -> None:
    """Each supported line of Airflow has its set, for exactly the release that is tested."""
    releases = {path.stem.removeprefix("airflow-"): _pins(path)["apache-airflow"] for path in CONSTRAINTS}

    assert {line: {release} for line, release in AIRFLOW_RELEASES.items()} == releases


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.stem)
def test_pinned_set_is_complete_and_names_no_host(path: Path, wheel: zipfile.ZipFile) -> None:
    """Each line pins one package, direct requirements included, and none points to a host or a file."""
    pins = _pins(path)
    required = {re.split(r"[<>=; ]", text)[0] for text in _metadata(wheel).get_all("Requires-Dist", [])}

    assert required <= pins.keys()
    assert {"pytest", "hypothesis", "openai", "apache-airflow-providers-openai", "uv"} <= pins.keys()


def _pins(path: Path) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            pin = _PIN.fullmatch(line)
            assert pin, f"{path.name}: {line!r} is not name==version"
            pins.setdefault(pin["name"], set()).add(pin["version"])
    return pins
