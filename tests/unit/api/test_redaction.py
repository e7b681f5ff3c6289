"""Secrets are taken out of whatever a server sends back, in every form they may come back in."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_containers.api.redaction import MASK, MAX_DEPTH, Redactor

SECRETS = [
    "sk-proj-5f2e91Ab_cd-EFGH",
    'canary/5f2e+91=="quoted"&<tag>\'s',
    "pässwörd-漢字-🦆",
    "with space and\ttab\nand line",
    "back\\slash\\u0041%41",
    "https://user:pass@hooks.example.com/T0/B0?x=1&y=2",
    "a" * 5000,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps(text)[1:-1],
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json with \\/": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json as Go writes it": lambda text: (
        json.dumps(text)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    ),
    "json in json": lambda text: json.dumps(json.dumps(text))[3:-3],
    "repr": lambda text: repr(text)[1:-1],
    "html": html.escape,
    "html, no quotes": lambda text: html.escape(text, quote=False),
    "html, decimal": lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    "html, hexadecimal": lambda text: "".join(c if c.isalnum() else f"&#x{ord(c):X};" for c in text),
    "url": lambda text: quote(text, safe=""),
    "url path": quote,
    "url form": quote_plus,
    "url, small digits": lambda text: "".join(
        c if c.isascii() and c.isalnum() else "".join(f"%{byte:02x}" for byte in c.encode()) for c in text
    ),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of Basic": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 of a word and more": lambda text: base64.b64encode(f"Bearer {text}; x".encode()).decode(),
    "base64 of bytes": lambda text: base64.b64encode(f"xx{text}yy".encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}
FRAMES = ["{}", "You sent {} to us.", "key={};", '"{}"', "<b>{}</b>", "{0} and {0} again", "x{}"]


def traces(secret: str, text: str) -> list[str]:
    """Parts of 12 characters of the secret, in any of its forms, that a text still has."""
    found = []
    for form in {make(secret) for make in FORMS.values()}:
        found += [form[at : at + 12] for at in range(len(form) - 12) if form[at : at + 12] in text]
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: ascii(secret)[:20])
def test_no_form_of_a_secret_is_left(secret: str, form: str) -> None:
    """An echo of a secret is masked whatever the server did to its characters."""
    for frame in FRAMES:
        shown = Redactor([secret]).text(frame.format(FORMS[form](secret)))
        assert MASK in shown
        assert [] == traces(secret, shown)


@pytest.mark.parametrize("form", ["plain", "json", "html", "url", "base64"])
@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: ascii(secret)[:20])
def test_a_secret_that_was_cut_short_is_found(secret: str, form: str) -> None:
    """Half a secret before an ellipsis or the end is masked like a whole one."""
    whole = FORMS[form](secret)
    for frame in ("{}", "You sent {}", "You sent {}...", "You sent {}… and more", "({} ...)"):
        shown = Redactor([secret]).text(frame.format(whole[: max(6, len(whole) // 2)]))
        assert MASK in shown
        assert whole[:6] not in shown
        assert [] == traces(secret, shown)


def test_a_long_beginning_is_found_anywhere() -> None:
    """Twelve characters are enough for a secret to be recognised, whatever comes after them."""
    redactor = Redactor(["canary-0123456789-abcdef"])
    assert "key '***', truncated" == redactor.text("key 'canary-01234', truncated")
    assert "key 'canary-0123', truncated" == redactor.text("key 'canary-0123', truncated")


def test_words_are_left_alone() -> None:
    """A text that shares a few characters with a secret is not turned into noise."""
    redactor = Redactor(["container-secret-1", "secret", "cntr_"[:4]])
    text = "Container with id 'cntr_1' not found in the container list."
    assert text == redactor.text(text)


def test_short_secrets_are_masked_only_where_they_are_everything() -> None:
    """A key of four characters does not blank out parts of ids."""
    redactor = Redactor(["abcd"])
    assert {"key": MASK, "id": "cntr_abcd12"} == redactor.data({"key": "abcd", "id": "cntr_abcd12"})


def test_data_is_searched_everywhere() -> None:
    """Values, keys, lists and mappings in each other; what is no text stays as it is."""
    redactor = Redactor(["canary-0123456789"])
    data = {"a": ["x canary-0123456789", {"canary-0123456789": None}], "b": 5, "c": True, "d": 1.5, "e": None}
    expected = {"a": ["x ***", {"***": None}], "b": 5, "c": True, "d": 1.5, "e": None}
    assert expected == redactor.data(data)


def test_data_of_any_depth_can_be_read() -> None:
    """An answer nested so deep that nothing could store it is cut, not an error."""
    data: Any = "canary-0123456789"
    for _ in range(900):
        data = [{"a": data}]
    shown = json.dumps(Redactor(["canary-0123456789"]).data(data))
    assert "canary" not in shown
    assert MAX_DEPTH >= shown.count("[")


def test_text_that_cannot_be_stored_is_made_storable() -> None:
    """Half of a surrogate pair would make a log handler or a database fail later."""
    assert "a?b" == Redactor([]).text("a\ud800b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("secret", [*SECRETS, "abcd", "12345"], ids=lambda secret: ascii(secret)[:20])
def test_a_whole_answer_is_searched_like_its_parts(secret: str, ensure_ascii: bool, encoding: str) -> None:
    """The quick look at a body misses nothing that a look at each string finds."""
    redactor = Redactor(["another-secret", secret])
    for form in ("plain", "json", "html", "url", "base64", "base64 of Basic"):
        echo = FORMS[form](secret)
        for value in (
            {"a": echo},
            {echo: 1},
            {"a": [{"b": f"x {echo} y"}]},
            {"a": echo[:12]},
            {"a": "nothing"},
        ):
            body = json.dumps(value, ensure_ascii=ensure_ascii).encode(encoding)
            assert redactor.data(value) == redactor.answer(body, value)


def test_a_deep_answer_is_cut() -> None:
    """Depth is not overlooked by the quick look either."""
    value: Any = 1
    for _ in range(MAX_DEPTH + 50):
        value = [value]
    redactor = Redactor(["a-secret"])
    assert redactor.data(value) == redactor.answer(json.dumps(value).encode(), value)
    assert value != redactor.data(value)


def test_the_secrets_are_not_in_the_repr() -> None:
    """A redactor may be logged."""
    assert "<Redactor of 1 secrets>" == repr(Redactor(["canary-0123456789", ""]))


def test_an_extended_redactor_knows_both() -> None:
    """The secrets of one request are known for that request."""
    redactor = Redactor(["first-secret"])
    assert redactor is redactor.extended([]) is redactor.extended([""])
    assert "*** ***" == redactor.extended(["second-secret"]).text("first-secret second-secret")
    assert "second-secret" == redactor.text("second-secret")


encodable = st.text(st.characters(codec="utf-8"), max_size=20)
any_secret = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=8, max_size=40)


@given(any_secret, encodable, encodable, st.sampled_from(sorted(FORMS)))
def test_any_secret_in_any_text(secret: str, before: str, after: str, form: str) -> None:
    """A secret of any characters does not survive in plain, between any two texts, in any form."""
    assume(secret not in before and secret not in after)
    shown = Redactor([secret]).text(before + FORMS[form](secret) + after)
    assert secret not in shown


@given(st.lists(st.text(max_size=20), max_size=4), st.text(max_size=60))
def test_redacting_twice_is_redacting_once(secrets: list[str], text: str) -> None:
    """What was redacted can be redacted again without changing."""
    redactor = Redactor(secrets)
    once = redactor.text(text)
    assert once == redactor.text(once)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | encodable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(encodable, inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_data_without_secrets_is_not_changed(value: Any) -> None:
    """A redactor that finds nothing returns what it was given."""
    assert value == Redactor(["canary-0123456789"]).data(value)


BODY_SECRET = 'p4"Tr0ub4dor&3xyz\\'


@pytest.mark.parametrize(
    "encode",
    [
        html.escape,
        quote,
        lambda body: quote(quote(body)),
        json.dumps,
        lambda body: json.dumps(html.escape(body)),
        lambda body: base64.b64encode(body.encode()).decode(),
        lambda body: body.encode().hex(),
    ],
    ids=["html", "url", "url twice", "json", "json of html", "base64", "hex"],
)
def test_an_echoed_body_is_redacted_however_it_was_encoded(encode: Callable[[str], str]) -> None:
    """A gateway that encodes the whole request encodes the JSON form of the secret."""
    body = json.dumps({"name": "report", "value": BODY_SECRET})
    told = Redactor([BODY_SECRET]).text(f"Invalid request: {encode(body)}")

    assert MASK in told
    for shown in (told, unquote(unquote(told)), html.unescape(told)):
        assert "Tr0ub4dor" not in shown


def test_a_secret_of_digits_is_redacted_as_a_number_too() -> None:
    """A server may have read it as one; other numbers stay."""
    redactor = Redactor(["8412345678901234"])

    assert {"value": MASK, "created_at": 1795472117} == redactor.data(
        {"value": 8412345678901234, "created_at": 1795472117}
    )


def test_a_name_that_ends_like_a_secret_begins_is_kept() -> None:
    """The name that the caller sent comes back as it is."""
    redactor = Redactor(["sk-1"]).extended(["production-7f3a9c"], known=["report in production"])

    assert {"name": "report in production", "other": f"in {MASK}"} == redactor.data(
        {"name": "report in production", "other": "in production"}
    )
