"""From the fields of a connection to the client's options."""

from __future__ import annotations

import json
import re
import traceback
from typing import Any

import pytest
from pydantic import SecretStr

from airflow_containers.api import ClientOptions, ConfigurationError
from airflow_containers.hooks._connection import (
    ConnectionFields,
    OwnExtras,
    client_options,
    environment_options,
    missing_connection,
    secrets_of,
)
from airflow_containers.provider_info import CONN_FIELDS

KEY = "sk-canary-key-4f1d"
CANARY = "canary-value-77aa"


def options(extra: Any = None, environ: dict[str, str] | None = None, **fields: Any) -> ClientOptions:
    """Read a connection with a key and the given extra."""
    text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    given = {"conn_type": "openai_containers", "password": KEY} | fields
    return client_options(ConnectionFields("mine", extra=text, **given), environ or {})


def refusal(*args: Any, **kwargs: Any) -> str:
    """Return the message of a refused connection, after looking for secrets in everything it carries."""
    with pytest.raises(ConfigurationError) as caught:
        options(*args, **kwargs)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    assert CANARY not in shown
    assert not caught.value.retryable
    return str(caught.value)


def test_a_key_is_enough() -> None:
    """Everything else has the client's defaults."""
    assert ClientOptions(api_key=SecretStr(KEY)) == options()


def test_all_extras() -> None:
    """Each extra reaches the client option of its name."""
    given = options(
        {
            "organization": "org-1",
            "project": "proj_1",
            "timeout": 2.5,
            "max_retries": 0,
            "verify": "/etc/ssl/own.pem",
            "proxy": "http://me:pw@proxy.example.com:3128",
            "headers": {"X-Team": "data"},
            "auth": "api-key",
            "requests_per_minute": 250,
        },
        host="gw.example.com",
        schema="v1",
        port=8443,
    )
    expected = ClientOptions(
        api_key=KEY,
        base_url="https://gw.example.com:8443/v1",
        organization="org-1",
        project="proj_1",
        timeout=2.5,
        max_retries=0,
        verify="/etc/ssl/own.pem",
        proxy="http://me:pw@proxy.example.com:3128",
        headers={"X-Team": "data"},
        auth="api-key",
        requests_per_minute=250,
    )
    assert expected == given


def test_extras_of_a_uri_are_texts() -> None:
    """What a URI can carry means the same as its JSON counterpart."""
    given = options(
        {
            "timeout": "60",
            "max_retries": "3",
            "verify": "false",
            "headers": '{"X-Team": "data"}',
            "auth": "",
            "requests_per_minute": "30",
        }
    )
    expected = options(
        {
            "timeout": 60,
            "max_retries": 3,
            "verify": False,
            "headers": {"X-Team": "data"},
            "requests_per_minute": 30,
        }
    )
    assert expected == given


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_an_empty_extra_is_not_set(empty: str | None) -> None:
    """Forms save fields that were left empty."""
    assert options() == options(dict.fromkeys(OwnExtras.model_fields, empty))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("False", False),
        ("1", True),
        ("0", False),
        ("on", True),
        ("off", False),
        ("/ca.pem", "/ca.pem"),
    ],
)
def test_verify_is_a_switch_or_a_path(value: Any, expected: Any) -> None:
    """Texts that say yes or no are a switch, all others a path."""
    assert expected == options({"verify": value}).verify


def test_the_form_has_every_extra() -> None:
    """No extra is accepted that the form does not show, and none is shown that is refused."""
    assert set(OwnExtras.model_fields) == set(CONN_FIELDS)


ACCEPTED = (
    "accepted are auth, headers, max_retries, organization, project, proxy, requests_per_minute, "
    "timeout, verify"
)
BAD_EXTRAS: list[tuple[Any, str]] = [
    ({"time_out": 5}, f"extra 'time_out': not known (did you mean 'timeout'?); {ACCEPTED}"),
    ({"zzz": CANARY}, f"extra 'zzz': not known; {ACCEPTED}"),
    ({"timeout": 0}, "extra 'timeout': expected a number of seconds above 0 and up to 3600, got 0"),
    ({"timeout": -1.5}, "up to 3600, got -1.5"),
    ({"timeout": 3601}, "up to 3600, got 3601"),
    ({"timeout": "nan"}, "up to 3600, got 'nan'"),
    ({"timeout": "inf"}, "up to 3600, got 'inf'"),
    ({"timeout": "soon"}, "up to 3600, got 'soon'"),
    ({"timeout": CANARY}, f"up to 3600, got a text of {len(CANARY)} characters"),
    ({"timeout": True}, "extra 'timeout': expected a number, got true or false"),
    ({"timeout": [1]}, "up to 3600, got a list"),
    ({"max_retries": -1}, "extra 'max_retries': expected an integer from 0 to 10, got -1"),
    ({"max_retries": 11}, "from 0 to 10, got 11"),
    ({"max_retries": "many"}, "from 0 to 10, got 'many'"),
    ({"max_retries": 1.5}, "from 0 to 10, got 1.5"),
    ({"max_retries": False}, "extra 'max_retries': expected a number, got true or false"),
    ({"requests_per_minute": 0}, "'requests_per_minute': expected an integer from 1 to 1000000, got 0"),
    ({"requests_per_minute": 1_000_001}, "from 1 to 1000000, got 1000001"),
    ({"requests_per_minute": 1.5}, "from 1 to 1000000, got 1.5"),
    ({"requests_per_minute": "few"}, "from 1 to 1000000, got 'few'"),
    ({"requests_per_minute": True}, "extra 'requests_per_minute': expected a number, got true or false"),
    ({"verify": 1}, "extra 'verify': expected true, false or the path of a CA bundle, got a number"),
    ({"verify": ["x"]}, "path of a CA bundle, got a list"),
    ({"auth": "basic"}, "extra 'auth': expected 'bearer' or 'api-key', got 'basic'"),
    ({"auth": CANARY}, f"expected 'bearer' or 'api-key', got a text of {len(CANARY)} characters"),
    ({"organization": 5}, "extra 'organization': expected a text, got a number"),
    ({"organization": "org\n1"}, "organization: a text of 5 characters with some that a header cannot carry"),
    ({"project": {"id": CANARY}}, "extra 'project': expected a text, got an object"),
    ({"proxy": CANARY}, "extra 'proxy': expected the URL of an HTTP proxy"),
    ({"proxy": f"socks5://:{CANARY}@proxy.example.com"}, "extra 'proxy': expected the URL of an HTTP proxy"),
    ({"proxy": f"http://:{CANARY}@proxy.example.com:x"}, "extra 'proxy': expected the URL of an HTTP proxy"),
    ({"proxy": f"http://[{CANARY}"}, "extra 'proxy': expected the URL of an HTTP proxy"),
    ({"proxy": 5}, "extra 'proxy': expected a text, got a number"),
    ({"headers": CANARY}, "extra 'headers': expected a JSON object such as"),
    ({"headers": f'["{CANARY}"]'}, "extra 'headers': expected a JSON object such as"),
    ({"headers": [CANARY]}, "extra 'headers': expected a JSON object of texts, got a list"),
    ({"headers": {"X-A": 123456}}, "extra 'headers' at 'X-A': expected a text, got a number"),
    ({"headers": {"X-A": [CANARY]}}, "extra 'headers' at 'X-A': expected a text, got a list"),
    ({"headers": {"X-A": f"{CANARY}\r\nX-B: 1"}}, "a header cannot carry"),
    ({"headers": {"X A": CANARY}}, "'X A' is not a header name"),
    ({"headers": {"X-A": CANARY, "x-a": CANARY}}, "extra 'headers': 'x-a' is given more than once"),
    ({"headers": {"Host": CANARY}}, "extra 'headers': 'host' is set by the client itself"),
    ({"headers": {"Authorization": CANARY}}, "'Authorization' would replace the API key"),
    ({"auth": "api-key", "headers": {"API-Key": CANARY}}, "'API-Key' would replace the API key"),
    (
        {"project": "p", "headers": {"OpenAI-Project": CANARY}},
        "'OpenAI-Project' would replace the project",
    ),
    (CANARY, f"extra: expected a JSON object, got a text of {len(CANARY)} characters"),
    (f'"{CANARY}"', "extra: expected a JSON object"),
    (f'{{"headers": {{"X": "{CANARY}"', "extra: expected a JSON object"),
    ("[]", "extra: expected a JSON object"),
    ("[" * 100_000, "extra: expected a JSON object"),
]


@pytest.mark.parametrize(("extra", "message"), BAD_EXTRAS)
def test_bad_extras(extra: Any, message: str) -> None:
    """A wrong extra is named with what is accepted and the connection, without its value."""
    text = refusal(extra)
    assert message in text
    assert text.startswith("Connection 'mine': ")


def test_all_problems_at_once() -> None:
    """Nobody has to mend one extra to hear of the next."""
    text = refusal({"timeout": 0, "nope": 1})
    assert "'timeout'" in text
    assert "'nope'" in text


@pytest.mark.parametrize("conn_type", ["openai_containers", "openai-containers"])
@pytest.mark.parametrize("password", [None, "", "   "])
def test_no_password(conn_type: str, password: str | None) -> None:
    """An existing connection without a key does not fall back to the environment."""
    text = refusal(conn_type=conn_type, password=password, environ={"OPENAI_API_KEY": KEY})
    assert text == "Connection 'mine': password: it is empty, expected the API key"


def test_a_key_with_a_line_break() -> None:
    """The error speaks of the password, which is what a connection calls the key."""
    text = refusal(password=f"{KEY}\nx")
    assert text.startswith("Connection 'mine': password (API key): a text of 20 characters")


def test_login_is_refused() -> None:
    """A URI of the form type://KEY@host puts the key into the login."""
    text = refusal(login=KEY, password=None)
    assert "login: it is not used" in text
    assert "openai-containers://:KEY@host" in text


@pytest.mark.parametrize("conn_type", ["http", "generic", None, ""])
def test_other_types(conn_type: str | None) -> None:
    """A connection of another type is refused with the two that work."""
    text = refusal(conn_type=conn_type)
    assert "conn_type: it " in text
    assert repr(conn_type) in text or not conn_type
    assert "expected 'openai_containers', or the OpenAI provider's 'openai'" in text


def test_a_bad_host_names_the_connection() -> None:
    """Errors about the URL carry the connection's id too."""
    assert refusal(host="https://h:1", port=2).startswith("Connection 'mine': port: ")


class TestOpenAIType:
    """Connections that were made for the OpenAI provider."""

    def test_password_and_host(self) -> None:
        """The simplest one."""
        expected = ClientOptions(api_key=KEY, base_url="https://gw.example.com/v1")
        assert expected == options(conn_type="openai", host="https://gw.example.com/v1")

    def test_client_kwargs(self) -> None:
        """The client's arguments are taken over; key and URL among them win over the fields."""
        given = options(
            {
                "auth_type": "api_key",
                "openai_client_kwargs": {
                    "api_key": "sk-of-kwargs",
                    "base_url": "https://kw.example.com/v1",
                    "timeout": 5,
                    "max_retries": 4,
                    "organization": "org-1",
                    "project": "proj_1",
                    "default_headers": {"X-Team": "data"},
                },
            },
            conn_type="openai",
            host="https://gw.example.com/v1",
            login="ignored by the OpenAI provider too",
        )
        expected = ClientOptions(
            api_key="sk-of-kwargs",
            base_url="https://kw.example.com/v1",
            timeout=5,
            max_retries=4,
            organization="org-1",
            project="proj_1",
            headers={"X-Team": "data"},
        )
        assert expected == given

    def test_environment_fills_in(self) -> None:
        """The official client reads these variables for what the connection leaves out."""
        environ = {
            "OPENAI_API_KEY": "sk-env",
            "OPENAI_BASE_URL": "https://env.example.com/v1",
            "OPENAI_ORG_ID": "org-env",
            "OPENAI_PROJECT_ID": "proj-env",
        }
        expected = ClientOptions(
            api_key="sk-env",
            base_url="https://env.example.com/v1",
            organization="org-env",
            project="proj-env",
        )
        assert expected == options(conn_type="openai", password="", environ=environ)
        given = options(conn_type="openai", host="https://gw.example.com/v1", environ=environ)
        assert (
            ClientOptions(
                api_key=KEY,
                base_url="https://gw.example.com/v1",
                organization="org-env",
                project="proj-env",
            )
            == given
        )

    def test_arguments_without_effect(self) -> None:
        """Arguments that change no request to this API do not stop the connection from working."""
        given = options({"openai_client_kwargs": {"webhook_secret": CANARY}}, conn_type="openai")
        assert options() == given

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (
                {"auth_type": "workload_identity"},
                "'workload_identity' is not supported: it fetches tokens from a second service",
            ),
            ({"auth_type": CANARY}, "extra 'auth_type': expected 'api_key'"),
            ({"timeout": 5}, "extra 'timeout': not read from a connection of type 'openai'"),
            ({"timeout": 5}, "it belongs to the type 'openai_containers'"),
            ({"openai_client_kwargs": [CANARY]}, "extra 'openai_client_kwargs': expected a JSON object"),
            (
                {"openai_client_kwargs": {"default_query": {"k": CANARY}}},
                "extra 'openai_client_kwargs.default_query': not known",
            ),
            (
                {"openai_client_kwargs": {"timeout": 0}},
                "extra 'openai_client_kwargs.timeout': expected a number",
            ),
            (
                {"openai_client_kwargs": {"default_headers": {"X": 1}}},
                "extra 'openai_client_kwargs.default_headers' at 'X': expected a text",
            ),
            (
                {"openai_client_kwargs": {"api_key": 5}},
                "extra 'openai_client_kwargs.api_key': expected a text",
            ),
        ],
    )
    def test_what_is_refused(self, extra: Any, message: str) -> None:
        """Nothing that would change a request is silently left out."""
        assert message in refusal(extra, conn_type="openai")

    def test_no_key_anywhere(self) -> None:
        """Neither the connection nor the environment has one."""
        assert "OPENAI_API_KEY is not set" in refusal(conn_type="openai", password="")


class TestEnvironment:
    """Without any connection."""

    def test_all_variables(self) -> None:
        """Key, URL, organization and project."""
        given = environment_options(
            "x",
            {
                "OPENAI_API_KEY": f" {KEY}\n",
                "OPENAI_BASE_URL": "https://eu.api.openai.com",
                "OPENAI_ORG_ID": "org-1",
                "OPENAI_PROJECT_ID": "proj_1",
            },
        )
        expected = ClientOptions(
            api_key=KEY, base_url="https://eu.api.openai.com/v1", organization="org-1", project="proj_1"
        )
        assert expected == given

    @pytest.mark.parametrize(
        "environ", [{}, {"OPENAI_API_KEY": " "}, {"OPENAI_BASE_URL": "https://x.example"}]
    )
    def test_no_key(self, environ: dict[str, str]) -> None:
        """The other variables mean nothing without a key."""
        assert environment_options("x", environ) is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OPENAI_BASE_URL", "ftp://x"),
            ("OPENAI_ORG_ID", "a\nb"),
            ("OPENAI_PROJECT_ID", "ü"),
            ("OPENAI_API_KEY", f"{KEY}\nx"),
        ],
    )
    def test_a_bad_variable_is_named(self, name: str, value: str) -> None:
        """The error speaks of the variable, since there is no connection to mend."""
        with pytest.raises(ConfigurationError, match=f"environment does not serve: {name}: ") as caught:
            environment_options("x", {"OPENAI_API_KEY": KEY, name: value})
        assert KEY not in str(caught.value)


def test_missing_connection_says_how_to_make_it() -> None:
    """The command carries the id that was asked for; the environment is offered for the default only."""
    text = str(missing_connection("mine", default=False))
    command = 'airflow connections add mine --conn-type openai_containers --conn-password "$OPENAI_API_KEY"'
    assert command in text
    assert "set OPENAI_API_KEY" not in text
    assert "or set OPENAI_API_KEY on the workers" in str(missing_connection("d", default=True))


def test_secrets_are_found_wherever_they_are() -> None:
    """Key, secret headers, the credential in them, proxy and its password, both ways it can be written."""
    extra = {
        "headers": json.dumps({"X-A": "Bearer tokentoken", "X-B": "1", "X-Team": "data platform"}),
        "proxy": "http://me:p%40ssword@proxy.example.com",
        "openai_client_kwargs": {"api_key": "kwargs-key", "default_headers": {"X-C-Token": "header-c"}},
    }
    fields = ConnectionFields(
        "x", password=f" {KEY} ", login="sk-login-key", host="sk-host-key", extra=json.dumps(extra)
    )
    expected = {
        KEY,
        "Bearer tokentoken",
        "tokentoken",
        "http://me:p%40ssword@proxy.example.com",
        "p%40ssword",
        "p@ssword",
        "kwargs-key",
        "header-c",
        "sk-login-key",
        "sk-host-key",
        "sk-environment",
    }
    assert expected == set(secrets_of(fields, {"OPENAI_API_KEY": "sk-environment"}))


@pytest.mark.parametrize("extra", [None, "", "nonsense", "[]", '{"headers": 5, "proxy": "http://[x"}'])
def test_secrets_of_broken_extras(extra: str | None) -> None:
    """Looking for secrets never fails: the error comes from reading, after the masking."""
    assert KEY in secrets_of(ConnectionFields("x", password=KEY, extra=extra), {})


def test_reprs_show_no_secret() -> None:
    """Neither the fields nor the options show the key."""
    extra = json.dumps({"headers": {"X": CANARY}, "proxy": f"http://:{CANARY}@proxy.example.com"})
    fields = ConnectionFields("x", conn_type="openai_containers", password=KEY, extra=extra)
    shown = repr(fields) + repr(client_options(fields, {}))
    assert not re.search(f"{KEY}|{CANARY}", shown)
