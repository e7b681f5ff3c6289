"""Taking secrets out of what comes back."""

from __future__ import annotations

import base64
import html
import itertools
import json
import time
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_containers.local.egress.redaction import Patterns, Redactor

VALUE = "s3cr3t/Val+ue=&\"q'ü€😀 end"
PLAIN = "sk-0123456789abcdefABCDEF"

FORMS = {
    "plain": lambda v: v.encode(),
    "percent": lambda v: urllib.parse.quote(v, safe="").encode(),
    "percent with slashes": lambda v: urllib.parse.quote(v).encode(),
    "percent in lower case": lambda v: urllib.parse.quote(v, safe="").replace("%2F", "%2f").encode(),
    "form": lambda v: urllib.parse.quote_plus(v).encode(),
    "every byte percent": lambda v: "".join(f"%{byte:02x}" for byte in v.encode()).encode(),
    "JSON in ASCII": lambda v: json.dumps(v)[1:-1].encode(),
    "JSON": lambda v: json.dumps(v, ensure_ascii=False)[1:-1].encode(),
    "JSON of PHP": lambda v: json.dumps(v)[1:-1].replace("/", "\\/").encode(),
    "every character escaped": lambda v: (
        json.dumps(v)[1:-1].encode() if not v.isascii() else "".join(f"\\u{ord(c):04X}" for c in v).encode()
    ),
    "HTML": lambda v: html.escape(v).encode(),
    "HTML in numbers": lambda v: "".join(f"&#{ord(c)};" for c in v).encode(),
    "HTML in hexadecimal": lambda v: "".join(f"&#x{ord(c):X};" for c in v).encode(),
    "Base64": lambda v: base64.b64encode(v.encode()),
    "Base64 for URLs": lambda v: base64.urlsafe_b64encode(v.encode()),
    "Base64 after one": lambda v: base64.b64encode(b"u" + v.encode() + b":"),
    "Base64 after two": lambda v: base64.b64encode(b"u:" + v.encode() + b"xy"),
    "Base64 in an address": lambda v: urllib.parse.quote(
        base64.b64encode(b"user:" + v.encode()), safe=""
    ).encode(),
    "Base64 in JSON of PHP": lambda v: base64.b64encode(b"user:" + v.encode()).replace(b"/", b"\\/"),
}
KEPT = {"Base64 after one": 3, "Base64 after two": 6, "Base64 in an address": 8, "Base64 in JSON of PHP": 6}
"""Bytes at the edges that belong to what is round the value."""


@pytest.mark.parametrize("value", [VALUE, PLAIN])
@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_found(form: str, value: str) -> None:
    """Each becomes as many asterisks as it had bytes, and what is round it stays."""
    text = FORMS[form](value)
    cleaned = Patterns([value]).clean(b"<" + text + b">")
    assert len(text) + 2 == len(cleaned)
    assert (b"<", b">") == (cleaned[:1], cleaned[-1:])
    assert len(text) - KEPT.get(form, 2) <= cleaned.count(b"*")
    if form not in KEPT:
        assert b"" == cleaned[1:-1].replace(b"*", b"").replace(b"=", b"")


def test_other_text_stays_as_it_is() -> None:
    """Also what begins like a secret."""
    text = f"{PLAIN[:-1]} {PLAIN[:5]} {PLAIN.swapcase()} %73k &#115; \\u0073k".encode()
    assert text == Patterns([PLAIN]).clean(text)


def test_mixed_escapes_are_found() -> None:
    """One character may be escaped in one way, and the next in another."""
    text = b"%73\\u006b-0123&#52;56789abcdefABCDE\\x46"
    assert b"*" * len(text) == Patterns([PLAIN]).clean(text)


def test_several_secrets_and_overlaps_are_found() -> None:
    """One in another, one after another, and one that overlaps itself."""
    patterns = Patterns(["abcabc", "bcab", "secret-2"])
    assert b"x*********y" == patterns.clean(b"xabcabcabcy")
    assert b"********* " == patterns.clean(b"secret-2" + b"bcab"[:0] + b"*" + b" ")


def test_without_secrets_nothing_happens() -> None:
    """A container may have none that is known."""
    assert not Patterns([])
    assert b"text" == Patterns([]).clean(b"text")


ALPHABET = 'abAB1/+=-_ "\\&%ü'
TEXTS = st.text(alphabet=ALPHABET, min_size=1, max_size=12)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[str], bytes, list[int]]:
    """Values, a body that has them in many forms and parts of them, and where it is cut."""
    values = draw(st.lists(TEXTS, min_size=1, max_size=3))
    parts = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(values).map(str.encode),
                st.tuples(st.sampled_from(values), st.sampled_from(sorted(FORMS))).map(
                    lambda p: FORMS[p[1]](p[0])
                ),
                st.tuples(st.sampled_from(values), st.integers(0, 8)).map(lambda p: p[0].encode()[: p[1]]),
            ),
            max_size=8,
        )
    )
    body = b"".join(parts)
    return values, body, draw(st.lists(st.integers(0, max(0, len(body))), max_size=8))


@given(bodies())
@settings(max_examples=400, deadline=None)
def test_cuts_change_nothing(case: tuple[list[str], bytes, list[int]]) -> None:
    """In whatever pieces a body comes, no secret passes, nothing is lost, and its length stays."""
    values, body, cuts = case
    redactor = Redactor(Patterns(values))
    places = sorted({0, len(body), *cuts})
    out = b"".join(redactor.feed(body[a:b]) for a, b in itertools.pairwise(places)) + redactor.finish()
    assert len(body) == len(out)
    for value in values:
        for form in ("plain", "percent", "JSON", "JSON in ASCII", "HTML"):
            text = FORMS[form](value)
            if set(text) != {ord("*")}:
                assert text not in out
    assert all(b in (a, ord("*")) for a, b in zip(body, out, strict=True))


@given(bodies())
@settings(max_examples=200, deadline=None)
def test_a_body_byte_by_byte_is_that_of_the_whole(case: tuple[list[str], bytes, list[int]]) -> None:
    """But for the edges of Base64, where a character is shared with what is in front of it."""
    values, body, _ = case
    patterns = Patterns(values)
    redactor = Redactor(patterns)
    out = b"".join(redactor.feed(body[at : at + 1]) for at in range(len(body))) + redactor.finish()
    whole = patterns.clean(body)
    differences = [at for at in range(len(body)) if out[at] != whole[at]]
    assert all(out[at : at + 1] == b"*" or whole[at + 1 : at + 2] == b"*" for at in differences)


def test_no_more_is_held_back_than_may_be_a_secret() -> None:
    """Events of a stream go on at once."""
    redactor = Redactor(Patterns([PLAIN]))
    assert b"data: 1\n\n" == redactor.feed(b"data: 1\n\n")
    assert b"data: " == redactor.feed(b"data: sk-0123")
    assert b"sk-0123 and more\n" == redactor.feed(b" and more\n")
    assert b"" == redactor.feed(PLAIN.encode()[:-1])
    assert b"*" * len(PLAIN) + b"!" == redactor.feed(PLAIN.encode()[-1:] + b"!")
    assert b"" == redactor.feed(b"s")
    assert b"s" == redactor.finish()


def test_patterns_do_not_show_what_they_look_for() -> None:
    """In a traceback, say."""
    assert PLAIN not in repr(Patterns([PLAIN]))


@pytest.mark.parametrize(
    "piece",
    [
        b"%20",
        b"\\u00e9",
        b"&#39;",
        b"\\/",
        b'\\"',
        PLAIN[:-1].encode(),
        b"%73%6b-0123",
        b"sk-012345 \\u0041 and so on\n",
    ],
)
def test_bodies_full_of_beginnings_take_linear_time(piece: bytes) -> None:
    """Escapes, and what begins like a secret, at every place."""
    body = (piece * (1 << 20))[: 1 << 20]
    redactor = Redactor(Patterns([PLAIN, VALUE]))
    begin = time.process_time()
    size = sum(len(redactor.feed(body[at : at + (64 << 10)])) for at in range(0, len(body), 64 << 10))
    assert len(body) == size + len(redactor.finish())
    # A second on a slow machine; what takes quadratic time takes minutes.
    assert time.process_time() - begin < 10


def test_texts_that_overlap_themselves_take_linear_time() -> None:
    """Each place begins another, and all of them are covered."""
    begin = time.process_time()
    assert b"*" * (1 << 20) == Patterns(["abababab"]).clean(b"ab" * (1 << 19))
    assert time.process_time() - begin < 10
