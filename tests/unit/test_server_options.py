"""The options of the local server that are about running commands, as they are given on the command line."""

from __future__ import annotations

import contextlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers import cli
from airflow_containers.local.egress.options import EgressOptions
from airflow_containers.local.options import OptionError, ServerOptions, read_options
from airflow_containers.local.sandbox.commands import Limits
from airflow_containers.testing import LocalServer

_KEY = "sk-canary-of-the-options"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerOptions]:
    """What the server is started with, instead of a start."""
    seen: list[ServerOptions] = []
    module = types.ModuleType("airflow_containers.local.server")
    module.serve = lambda *_, options, **__: seen.append(options)  # type: ignore[attr-defined]
    module.ServeError = OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow_containers.local.server", module)
    monkeypatch.delenv("AIRFLOW_CONTAINERS_MODEL_API_KEY", raising=False)
    return seen


def test_the_defaults(served: list[ServerOptions], tmp_path: Path) -> None:
    """Commands run if they can be isolated, may ask for any domain, and a script says what runs."""
    assert 0 == cli.main(["serve", "--state-dir", str(tmp_path)])

    assert [ServerOptions()] == served
    (options,) = served
    assert (True, True, None, None) == (
        options.sandbox,
        options.cgroups,
        options.allow_domains,
        options.model_url,
    )
    assert (Limits(), EgressOptions()) == (options.limits, options.egress)


def test_all_of_them(served: list[ServerOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option arrives; the key comes from the environment."""
    monkeypatch.setenv("AIRFLOW_CONTAINERS_MODEL_API_KEY", f" {_KEY}\n")
    authorities = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authorities))

    status = cli.main(
        [
            *("serve", "--state-dir", str(tmp_path), "--no-sandbox", "--no-cgroups", "--max-disk", "500m"),
            *("--allow-domains", "a.example.com, b.example.com,a.example.com", "--allow-private-addresses"),
            *("--connect-to", "a.example.com:443:127.0.0.1:8443"),
            *("--connect-to", "b.example.com:80:[::1]:8080", "--egress-ca", str(authorities)),
            *("--model-url", "http://127.0.0.1:11434/v1", "--model", "small"),
        ]
    )

    assert 0 == status
    (options,) = served
    assert (False, False, Limits(disk_bytes=500 << 20)) == (options.sandbox, options.cgroups, options.limits)
    assert ("a.example.com", "b.example.com") == options.allow_domains
    assert (True, authorities) == (options.egress.allow_private, options.egress.upstream_ca)
    assert {
        ("a.example.com", 443): ("127.0.0.1", 8443),
        ("b.example.com", 80): ("::1", 8080),
    } == dict(options.egress.connect_to)
    assert ("http://127.0.0.1:11434/v1", "small") == (options.model_url, options.model_name)
    assert options.model_key is not None
    assert _KEY == options.model_key.reveal()
    assert _KEY not in repr(options)


@pytest.mark.parametrize("word", ["none", " none "])
def test_no_domain_at_all(word: str) -> None:
    """`none` is not a host: no container gets any network."""
    assert () == read_options(allow_domains=word).allow_domains


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-disk", "4gb"], "--max-disk 4gb: expected bytes, or a number with k, m, g or t, such as 4g"),
        (["--max-disk", "0"], "--max-disk 0: expected bytes"),
        (["--max-disk", "1000"], "--max-disk 1000: expected a size of at least 1m"),
        (
            ["--max-disk", "9000000t"],
            "--max-disk 9000000t: .* and less than 8 EiB",
        ),
        (["--allow-domains", ""], "--allow-domains: .* (give host names separated by commas, or none)"),
        (["--allow-domains", "a.example.com,"], "--allow-domains: .* (give host names separated by commas"),
        (
            ["--allow-domains", "https://x.example"],
            "--allow-domains: .* one with a scheme (at 'https://x.example')",
        ),
        (["--allow-domains", "*.example.com"], "--allow-domains: .* one with a wildcard"),
        (["--allow-domains", "10.0.0.1"], "--allow-domains: .* an IP address"),
        (["--connect-to", "x"], "--connect-to x: expected HOST:PORT:ADDRESS:PORT"),
        (
            [
                "--connect-to",
                "a.example.com:443:127.0.0.1:1",
                "--connect-to",
                "a.example.com:443:127.0.0.1:2",
            ],
            "--connect-to a.example.com:443:127.0.0.1:2: a.example.com:443 was given already",
        ),
        (["--egress-ca", "/nowhere.pem"], "--egress-ca /nowhere.pem: No such file or directory"),
        (["--egress-ca", __file__], "--egress-ca .*: no certificate"),
        (["--model", "small"], "--model: there is no server to ask for it; give --model-url as well"),
        (["--model-url", "localhost:11434"], "--model-url: expected an address such as http://127"),
        (["--model-url", "http://"], "--model-url: expected an address"),
        (["--model-url", "http://[::1"], "--model-url: expected an address"),
        (["--model-url", "http://x:port/"], "--model-url: expected an address"),
        (["--model-url", "http://x/ y"], "--model-url: expected an address"),
        (["--model-url", f"http://u:{_KEY}@x/"], "--model-url: the key does not belong into it"),
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_one_line_and_status_2(
    options: list[str],
    message: str,
    served: list[ServerOptions],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line names the option and what was expected, and never a key."""
    assert 2 == cli.main(["serve", "--state-dir", str(tmp_path), *options])

    error = capsys.readouterr().err
    assert error.startswith("airflow-containers serve: error: ")
    assert 1 == error.count("\n")
    rest = error
    for part in message.split(".*"):
        assert part in rest
        rest = rest.partition(part)[2]
    assert _KEY not in error
    assert not served


def test_a_key_that_cannot_be_one(
    served: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A key with a line break in it is refused, and not shown."""
    monkeypatch.setenv("AIRFLOW_CONTAINERS_MODEL_API_KEY", f"{_KEY}\nx")

    assert 2 == cli.main(["serve", "--model-url", "http://127.0.0.1/v1"])
    error = capsys.readouterr().err
    assert "$AIRFLOW_CONTAINERS_MODEL_API_KEY: it has characters that no key has" in error
    assert _KEY not in error


def test_a_key_without_a_server_for_it_is_not_kept(served: list[ServerOptions]) -> None:
    """The variable alone means nothing; it may be there for something else."""
    assert ServerOptions() == read_options(model_key=_KEY)
    assert read_options(model_url="http://x/", model_key="").model_key is None


@given(text=st.text(max_size=20))
def test_any_size_is_read_or_refused(text: str) -> None:
    """A size is a number of bytes within bounds, or an error."""
    for given_text in (text, f"1{text}", f"77{text[:1]}"):
        try:
            size = read_options(max_disk=given_text).limits.disk_bytes
        except OptionError:
            continue
        assert 1 << 20 <= size < 1 << 63


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=60))
def test_any_texts_are_read_or_refused(domains: str, connect_to: str, url: str) -> None:
    """Whatever is given, it is taken or refused, and no other exception escapes."""
    given_options: list[dict[str, Any]] = [
        {"allow_domains": domains},
        {"connect_to": [connect_to]},
        {"model_url": url},
        {"model_url": f"https://{url}"},
    ]
    for options in given_options:
        with contextlib.suppress(OptionError):
            read_options(**options)


def test_a_server_in_a_process_of_its_own_takes_them(tmp_path: Path) -> None:
    """`options` are handed on; a wrong one is said with what the process wrote."""
    with LocalServer(tmp_path, options=["--no-sandbox"]) as server:
        problem = server.isolation()["problem"]
    assert "--no-sandbox" in problem

    with pytest.raises(RuntimeError, match=r"ended before it was ready: .*--max-disk x: expected bytes"):
        LocalServer(tmp_path, options=["--max-disk", "x"]).start()
