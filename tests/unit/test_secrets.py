"""Domain secrets by reference: where a value is, never the value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from airflow_containers.api import DomainSecret, InvalidRequestError
from airflow_containers.secrets import DomainSecretReference, parse_reference, resolve

CANARY = "canary-of-test-secrets"


def reference(**members: Any) -> dict[str, Any]:
    """A reference as a DAG author writes it."""
    return {"domain": "api.example.com", "name": "TOKEN", **members}


def look_up(item: Any, **places: dict[Any, str]) -> DomainSecret:
    """Resolve one entry, with what is at each place."""
    (found,) = resolve(
        [parse_reference(0, item)],
        connection=lambda conn_id, field: places.get("connection", {}).get((conn_id, field)),
        variable=places.get("variable", {}).get,
        env=places.get("env", {}).get,
    )
    return found


@pytest.mark.parametrize(
    ("item", "places"),
    [
        (reference(conn_id="c"), {"connection": {("c", "password"): CANARY}}),
        (reference(conn_id="c", field="login"), {"connection": {("c", "login"): CANARY}}),
        (reference(conn_id="c", field="token"), {"connection": {("c", "token"): CANARY}}),
        (reference(variable="v"), {"variable": {"v": CANARY}}),
        (reference(env="E"), {"env": {"E": CANARY}}),
        (reference(env="E", variable=None, conn_id=None, field=None, value=None), {"env": {"E": CANARY}}),
        (reference(value=SecretStr(CANARY)), {}),
        (DomainSecretReference(domain="api.example.com", name="TOKEN", env="E"), {"env": {"E": CANARY}}),
        (DomainSecret(domain="api.example.com", name="TOKEN", value=SecretStr(CANARY)), {}),
    ],
)
def test_each_source(item: Any, places: dict[str, Any]) -> None:
    """The value comes from the one place that the reference names."""
    found = look_up(item, **places)
    assert ("api.example.com", "TOKEN", CANARY) == (found.domain, found.name, found.value.get_secret_value())


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(
    ("item", "place"),
    [
        (reference(conn_id="c"), "'password' of the connection 'c'"),
        (reference(conn_id="c", field="token"), "'token' of the connection 'c'"),
        (reference(variable="v"), "the Variable 'v'"),
        (reference(env="E"), "the environment variable 'E'"),
    ],
)
def test_nothing_there(item: Any, place: str, value: str | None) -> None:
    """The message names the place, and tells a missing value from an empty one."""
    with pytest.raises(InvalidRequestError) as caught:
        resolve(
            [parse_reference(0, item)],
            connection=lambda *_: value,
            variable=lambda _: value,
            env=lambda _: value,
        )
    missing = "does not exist" if value is None else "is empty"
    assert f"domain_secrets[0]: {place} {missing}, expected the value of the secret 'TOKEN'" == str(
        caught.value
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("v" * 10_485_761, "got a secret of 10485761 characters, expected at most 10485760 characters"),
        (f"{CANARY}\ud800", "it has half of a surrogate pair, expected a text that can be encoded as UTF-8"),
    ],
    ids=["too long", "surrogate"],
)
def test_value_that_cannot_be_sent(value: str, problem: str) -> None:
    """A value is checked when it is known, and not told."""
    with pytest.raises(InvalidRequestError) as caught:
        look_up(reference(env="E"), env={"E": value})
    assert f"domain_secrets[0].value: {problem}" == str(caught.value)


def test_only_the_named_place_is_asked() -> None:
    """A look-up may cost a call to a secrets backend: none is made in vain."""

    def refuse(*_: Any) -> str | None:
        raise AssertionError("not named by the reference")

    (found,) = resolve(
        [parse_reference(0, reference(env="E"))], connection=refuse, variable=refuse, env=lambda _: CANARY
    )
    assert CANARY == found.value.get_secret_value()
    assert [] == resolve([], connection=refuse, variable=refuse, env=refuse)


@pytest.mark.parametrize(
    "item",
    [
        CANARY,
        reference(value=CANARY),
        reference(value=[CANARY]),
        reference(value={"secret": CANARY}),
        reference(value=CANARY.encode()),
        reference(name=CANARY),
        reference(domain=CANARY, env="E"),
        reference(domain=f"{CANARY}@api.example.com", env="E"),
        reference(env=[CANARY]),
        reference(env="E", vault=CANARY),
        [CANARY],
    ],
)
def test_no_mistake_tells_the_value(item: Any) -> None:
    """A value in the wrong place is not repeated by the error, nor by what it was raised from."""
    with pytest.raises(InvalidRequestError) as caught:
        look_up(item, env={"E": "value"})
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert CANARY not in str(caught.value.__context__ if not caught.value.__suppress_context__ else "")


def test_no_view_shows_the_value() -> None:
    """Neither a reference nor a resolved secret shows its value in any text made of it."""
    for shown in (
        parse_reference(0, reference(value=SecretStr(CANARY))),
        look_up(reference(env="E"), env={"E": CANARY}),
    ):
        for text in (
            repr(shown),
            str(shown),
            json.dumps(shown.model_dump(mode="json")),
            shown.model_dump_json(),
        ):
            assert CANARY not in text
