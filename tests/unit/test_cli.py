"""The command line without a server behind it."""

from __future__ import annotations

import subprocess
import sys
import types
from datetime import timedelta
from pathlib import Path

import pytest

import airflow_containers
from airflow_containers import __version__, cli

_ROOT = Path(airflow_containers.__file__).parents[1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version and ends with status 0."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])

    assert (0, f"airflow-containers {__version__}\n") == (caught.value.code, capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["serve", "--prot", "1"],
        ["serve", "--po", "1"],
        ["serve", "--port", "x"],
        ["serve", "--until-eof"],
        ["serve", "--until-eof", "both"],
        ["demo", "x"],
        ["sweep", "x"],
        ["sweep", "--prefix", ""],
        ["sweep", "--conn-id", " "],
        ["sweep", "--older-than", "2"],
        ["sweep", "--older-than", "0h"],
        ["sweep", "--older-than", "-1h"],
        ["sweep", "--older-than", "2 h"],
        ["sweep", "--del"],
        ["serve", "--allow-domain", "x.example"],
        ["serve", "--connect-to"],
        ["serve", "--model", " "],
        ["serve", "--cgroups"],
        ["doctor", "x"],
        ["doctor", "--js"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown, shortened and wrong options end with status 2 and a usage line."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    assert caught.value.code == 2
    assert "usage: airflow-containers" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "keep"), [(["demo"], False), (["demo", "--keep"], True)])
def test_demo_runs_the_demo(arguments: list[str], keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option reaches the demo, and its status becomes the command's."""
    seen: list[bool] = []

    def run(*, keep: bool) -> int:
        seen.append(keep)
        return 7

    module = types.ModuleType("airflow_containers._demo")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow_containers._demo", module)
    monkeypatch.setattr(airflow_containers, "_demo", module, raising=False)

    assert (7, [keep]) == (cli.main(arguments), seen)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ([], {}),
        (["--delete"], {"delete": True}),
        (["--older-than", "90m"], {"older_than": timedelta(minutes=90)}),
        (["--older-than", "45s"], {"older_than": timedelta(seconds=45)}),
        (["--older-than", "2h"], {"older_than": timedelta(hours=2)}),
        (["--older-than", "1d"], {"older_than": timedelta(days=1)}),
        (
            ["--conn-id", "azure", "--prefix", "report", "--deployment-id", "here"],
            {"conn_id": "azure", "prefix": "report", "deployment_id": "here"},
        ),
    ],
    ids=str,
)
def test_sweep_runs_the_sweep(
    options: list[str], changed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options reach the sweep, which deletes nothing unless told to; its status becomes the command's."""
    seen: list[dict[str, object]] = []
    module = types.ModuleType("airflow_containers._sweep")
    module.run = lambda **given: seen.append(given) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow_containers._sweep", module)
    monkeypatch.setattr(airflow_containers, "_sweep", module, raising=False)

    defaults = {"conn_id": None, "prefix": None, "older_than": None, "delete": False, "deployment_id": None}
    assert 7 == cli.main(["sweep", *options])
    assert [defaults | changed] == seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"as_json": False, "cgroups": True}),
        (["--json"], {"as_json": True, "cgroups": True}),
        (["--no-cgroups"], {"as_json": False, "cgroups": False}),
    ],
    ids=str,
)
def test_doctor_runs_the_doctor(
    options: list[str], expected: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options reach it, and its status becomes the command's."""
    seen: list[dict[str, bool]] = []
    module = types.ModuleType("airflow_containers._doctor")
    module.run = lambda **given: seen.append(given) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow_containers._doctor", module)
    monkeypatch.setattr(airflow_containers, "_doctor", module, raising=False)

    assert (7, [expected]) == (cli.main(["doctor", *options]), seen)


def test_the_doctor_needs_no_extra() -> None:
    """What the server needs may be missing: the command says so instead of failing."""
    code = (
        "import sys; "
        "sys.modules.update(dict.fromkeys(('starlette', 'uvicorn', 'multipart', 'h11', 'trustme'))); "
        "sys.modules.update(dict.fromkeys(('pyseccomp', 'httpx', 'airflow'))); "
        "from airflow_containers import cli; print(cli.main(['doctor', '--json']) in (0, 1))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=_ROOT
    )

    assert ("True", "") == (result.stdout.splitlines()[-1], result.stderr)


def test_help_shows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of `serve` names the options about commands and models, in groups."""
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])

    text = capsys.readouterr().out
    for option in (
        "running commands:",
        "--no-sandbox",
        "--no-cgroups",
        "--max-disk SIZE",
        "--allow-domains HOST,...",
        "--allow-private-addresses",
        "--connect-to HOST:PORT:ADDRESS:PORT",
        "--egress-ca FILE",
        "who decides what runs:",
        "--model-url URL",
        "--model NAME",
    ):
        assert option in text


def test_the_state_directory_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG's directory, by default under the home directory; a relative value does not count."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert Path("/xdg/airflow-containers") == cli.default_state_dir()
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert tmp_path / ".local/state/airflow-containers" == cli.default_state_dir()


def test_without_the_extra_the_way_to_get_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A missing uvicorn is one line with the command to run."""
    monkeypatch.setitem(sys.modules, "airflow_containers.local.server", None)

    assert cli.main(["serve", "--state-dir", str(tmp_path)]) == 2
    assert "pip install 'airflow-containers[local]'" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["airflow_containers.cli", "airflow_containers.testing"])
def test_importing_is_cheap(module: str) -> None:
    """Neither module loads Airflow, a web server or an HTTP client."""
    code = (
        f"import sys, {module}; "
        "print([name for name in ('airflow', 'starlette', 'uvicorn', 'httpx', 'pydantic', 'http.client') "
        "if name in sys.modules])"
    )
    if module == "airflow_containers.testing":
        code = f"import sys; sys.modules['pytest'] = None; {code}"
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=_ROOT
    )

    assert "[]" == result.stdout.strip()


def test_a_server_starts_with_what_it_needs() -> None:
    """What only some requests need is not loaded before one of them comes."""
    code = (
        "import sys, airflow_containers.local.server, airflow_containers.local.options; "
        "print([name for name in ('pydantic', 'httpx', 'trustme', 'cryptography', 'openai', 'pyseccomp', "
        "'airflow_containers.local.responses.remote_model') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=_ROOT
    )

    assert "[]" == result.stdout.strip()
