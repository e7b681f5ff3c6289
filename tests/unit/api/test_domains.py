"""Host names for a network policy: one normal form, and a reason for everything else."""

from __future__ import annotations

import re

import idna
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from airflow_containers.api import InvalidRequestError, NetworkPolicyAllowlist, validate
from airflow_containers.api.domains import MAX_DOMAIN_LENGTH, normalize_domain

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)

SCHEME = "it has a scheme; give the host name alone, such as 'api.example.com'"
USER = "it has user information; give the host name alone"
WILDCARD = "it has a wildcard, which the service does not document; list each host name"
SPACE = "it has white space inside; give one host name per entry"
ADDRESS = "it is an IP address; only host names can be allowed"
PATH = "it has a path or query; give the host name alone"
PORT = "it has a port; give the host name alone, which covers every port"
SINGLE = "it is a single label; give the full host name, such as 'api.example.com'"
DOTS = "it has an empty label (two dots in a row, or a dot in front)"
FIRST = "its label 1 is not made of letters, digits and inner hyphens only"
ALABEL = "its label 1 is not a valid encoded international label"
IDN = "it is not a valid international host name (IDNA 2008)"

BAD = [
    ("", "it is empty"),
    ("  ", "it is empty"),
    ("https://api.example.com", SCHEME),
    ("HTTP://api.example.com", SCHEME),
    ("ftp://api.example.com/x", SCHEME),
    ("://api.example.com", SCHEME),
    ("user@api.example.com", USER),
    ("user:secret@api.example.com:80/x", USER),
    ("*", WILDCARD),
    ("*.example.com", WILDCARD),
    ("api.*.com", WILDCARD),
    ("api.example.com data.example.org", SPACE),
    ("api.example.com\ndata.example.org", SPACE),
    ("api.example.com,\tdata.example.org", SPACE),
    ("api.\u00a0example.com", SPACE),
    ("api.example.com,data.example.org", "its label 3 is not made of letters, digits and inner hyphens only"),
    ("127.0.0.1", ADDRESS),
    ("0.0.0.0", ADDRESS),
    ("127.1", ADDRESS),
    ("0x7f.0x1", ADDRESS),
    ("256.256.256.256", ADDRESS),
    ("api.example.1", ADDRESS),
    ("2130706433", ADDRESS),
    ("::1", ADDRESS),
    ("[::1]", ADDRESS),
    ("2001:db8::1", ADDRESS),
    ("fe80::1%eth0", ADDRESS),
    ("\uff11\uff12\uff17.0.0.1", ADDRESS),
    ("127。0。0。1", ADDRESS),
    ("127.0.0.1:80", PORT),
    ("[::1]:443", FIRST),
    ("api.example.com:443", PORT),
    ("api.example.com:", PORT),
    ("localhost:8080", PORT),
    ("api.example.com:http", "its label 3 is not made of letters, digits and inner hyphens only"),
    ("api.example.com/", PATH),
    ("api.example.com/v1", PATH),
    ("api.example.com?x=1", PATH),
    ("api.example.com#top", PATH),
    ("api.example.com\\v1", PATH),
    ("//api.example.com", PATH),
    ("localhost", SINGLE),
    ("None", SINGLE),
    ("com.", SINGLE),
    ("münchen", SINGLE),
    (".", DOTS),
    ("..", DOTS),
    (".example.com", DOTS),
    ("api..example.com", DOTS),
    ("api.example.com..", DOTS),
    ("-api.example.com", FIRST),
    ("api-.example.com", FIRST),
    ("-.example.com", FIRST),
    ("my_host.example.com", FIRST),
    ("a!.example.com", FIRST),
    ("a\0.example.com", FIRST),
    ("a%20.example.com", FIRST),
    ("$HOST.example.com", FIRST),
    ("{{ host }}.example.com", SPACE),
    ("{{host}}.example.com", FIRST),
    ("['api.example.com']", FIRST),
    ('"api.example.com"', FIRST),
    ("xn--.example.com", FIRST),
    ("xn--a.example.com", ALABEL),
    ("xn--ls8h.example.com", ALABEL),
    ("xn--99999999999.example.com", ALABEL),
    ("☕.example.com", IDN),
    ("exa\u200dmple.com", IDN),
    ("\ud800.example.com", IDN),
    ("api.example.com\uff0fv1", IDN),
    ("api.example.com\uff1a80", IDN),
    ("\uff0a.example.com", IDN),
    ("user\uff20example.com", IDN),
    ("ü-.example.com", IDN),
    ("אa.example.com", IDN),
    ("ü..example.com", IDN),
    ("a" * 64 + ".example.com", "its label 1 has 64 characters, a label has at most 63"),
    (".".join(["a" * 63] * 4), "it has 255 characters, a host name has at most 253"),
    ("a." * 5000 + "com", "it has 10003 characters, a host name has at most 253"),
    ("ü" * 64 + ".example.com", IDN),
]

GOOD = [
    ("api.example.com", "api.example.com"),
    ("API.Example.COM", "api.example.com"),
    (" api.example.com\n", "api.example.com"),
    ("api.example.com.", "api.example.com"),
    ("a.b", "a.b"),
    ("1.example.com", "1.example.com"),
    ("4chan.example.0xdeadbeefg", "4chan.example.0xdeadbeefg"),
    ("r3---sn-ab.example.com", "r3---sn-ab.example.com"),
    ("xn--bcher-kva.example.com", "xn--bcher-kva.example.com"),
    ("XN--BCHER-KVA.example.com", "xn--bcher-kva.example.com"),
    ("bücher.example.com", "xn--bcher-kva.example.com"),
    ("BÜCHER.example.com", "xn--bcher-kva.example.com"),
    ("bu\u0308cher.example.com", "xn--bcher-kva.example.com"),
    ("faß.example.com", "xn--fa-hia.example.com"),
    ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    (
        "\uff41\uff50\uff49\uff0e\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\uff0e\uff43\uff4f\uff4d",
        "api.example.com",
    ),
    ("api。example。com", "api.example.com"),
    ("exa\u00admple.com", "example.com"),
    ("a" * 63 + ".example.com", "a" * 63 + ".example.com"),
    (".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61])),
]


@pytest.mark.parametrize(("entry", "reason"), BAD, ids=lambda text: ascii(text)[:40])
def test_what_is_no_host_name_is_refused_with_the_reason(entry: str, reason: str) -> None:
    """Each bad form has a reason of its own, and the reason does not quote the entry."""
    with pytest.raises(ValueError, match=r"^its? ") as caught:
        normalize_domain(entry)
    assert reason == str(caught.value)


@pytest.mark.parametrize(("entry", "expected"), GOOD, ids=lambda text: ascii(text)[:40])
def test_host_names_get_their_normal_form(entry: str, expected: str) -> None:
    """Lower-case ASCII, encoded with IDNA 2008, without a final dot."""
    assert expected == normalize_domain(entry)


def test_a_refusal_in_a_list_says_which_entry_and_why() -> None:
    """The message has the entry's place, the entry, and the reason, for every bad entry."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(
            NetworkPolicyAllowlist,
            {"allowed_domains": ["a.example.com", "*.example.com", "https://b.example.com"]},
        )
    expected = (
        f"allowed_domains[1]: '*.example.com' is not a host name that can be allowed: {WILDCARD}; "
        f"allowed_domains[2]: 'https://b.example.com' is not a host name that can be allowed: {SCHEME}"
    )
    assert expected == str(caught.value)


def test_user_information_and_long_entries_are_not_repeated() -> None:
    """Somebody who pastes a URL with a password does not find it in the log, nor pages of text."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(
            NetworkPolicyAllowlist,
            {"allowed_domains": ["https://user:canary@api.example.com/x", "b" * 5000 + ".example.com"]},
        )
    message = str(caught.value)
    assert "canary" not in message
    assert "'***@api.example.com/x' is not a host name" in message
    assert 600 > len(message)


def outcome(entry: str) -> tuple[str | None, str]:
    """The normal form of an entry, or ``None`` and the reason. No other error than a plain ``ValueError``."""
    try:
        return normalize_domain(entry), ""
    except UnicodeError:
        raise
    except ValueError as error:
        return None, str(error)


domains_like = st.lists(
    st.one_of(
        st.text(alphabet="abz09-_AZ", max_size=8),
        st.text(max_size=6),
        st.text(alphabet=st.characters(categories=("Ll", "Lu", "Lo", "Mn", "Nd")), min_size=1, max_size=6),
        st.sampled_from(["xn--bcher-kva", "XN--", "example", "com", "0x1f", "255", "。"]),
    ),
    max_size=5,
).flatmap(lambda labels: st.sampled_from([".", "。", "\uff0e", "\uff61"]).map(lambda dot: dot.join(labels)))


@given(st.one_of(st.text(max_size=40), domains_like))
@example("\ud800.com")
@example("a.\u1e9e")
@example("xn--n3h.com")
@example("١٢٧.0.0.1")
def test_whatever_is_accepted_is_a_host_name(entry: str) -> None:
    """Any text is either refused with a ``ValueError``, or becomes lower-case LDH of two labels or more."""
    domain, reason = outcome(entry)
    if domain is None:
        assert reason.startswith(("it ", "its "))
        return
    labels = domain.split(".")
    assert 2 <= len(labels)
    assert all(LABEL.fullmatch(label) for label in labels)
    assert len(domain) <= MAX_DOMAIN_LENGTH
    assert not labels[-1].isdigit()
    assert domain == normalize_domain(domain)
    assert domain == normalize_domain(f" {domain.upper()}. ")


international_labels = st.text(
    alphabet="äÖüßñçÉøαβΣςабвŽ漢字テスト한글אב\u0301\u200d-a1", min_size=1, max_size=8
)


@given(st.lists(international_labels, min_size=1, max_size=3))
def test_international_names_are_what_the_idna_package_makes_of_them(labels: list[str]) -> None:
    """A name outside ASCII is accepted with exactly the encoding of ``idna``, or refused as ``idna`` does."""
    entry = ".".join(["ö", *labels, "example"])
    try:
        expected = idna.encode(entry, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        expected = None
    assert expected == outcome(entry)[0]


@given(
    st.lists(
        st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12),
        min_size=2,
        max_size=4,
    )
)
def test_plain_names_are_accepted_and_agree_with_the_idna_package(labels: list[str]) -> None:
    """Letters and digits in two labels or more are a host name, unless the last label is a number."""
    assume(not re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]))
    domain = ".".join(labels)
    assert domain == normalize_domain(domain) == idna.encode(domain).decode()


def test_a_long_international_entry_is_refused_at_once() -> None:
    """A megabyte of text is refused for its length, not encoded first."""
    with pytest.raises(ValueError, match=r"^it has 1000012 characters, a host name has at most 253$"):
        normalize_domain("ü" * 1_000_000 + ".example.com")
