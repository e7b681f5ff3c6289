"""Reading host names, authorities and whole addresses."""

from __future__ import annotations

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.local.egress.names import (
    HostError,
    parse_absolute,
    parse_authority,
    parse_host,
    parse_port,
)
from airflow_containers.local.egress.options import parse_connect_to

LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=2, max_size=5).map(".".join)
PORTS = st.integers(1, 65535)

ADDRESSES = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.0.0.1",
    "0X7F.1",
    "127.0.0.0x1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[fe80::1%25eth0]",
    "::1",
    "169.254.169.254",
    "127.0.0.1.",
)
NO_HOSTS = (
    "",
    ".",
    "..",
    ".example.com",
    "a..b",
    "-a.example.com",
    "a-.example.com",
    "exa mple.com",
    "ex%61mple.com",
    "example.com\x00.evil.com",
    "example.com/",
    "example.com#",
    "example.com\\",
    "\uff45xample.com",
    "example。com",
    "ex\u00adample.com",
    "*.example.com",
    "a_b.example.com",
    "a" * 64 + ".com",
    "a." * 127 + "com",
)


@given(HOSTS, st.sampled_from(("", ".")), st.data())
def test_host_names_become_lower_case_without_final_dot(host: str, dot: str, data: st.DataObject) -> None:
    """However a host name is spelled, it is read as the same."""
    spelled = "".join(data.draw(st.sampled_from((c.lower(), c.upper()))) for c in host)
    assert host == parse_host(spelled + dot)


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_in_any_form_are_told_from_host_names(text: str) -> None:
    """A resolver would take each of them for an address."""
    with pytest.raises(HostError) as caught:
        parse_host(text)
    assert caught.value.is_address


@given(st.ip_addresses())
def test_no_address_is_a_host_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever the standard library prints is refused."""
    with pytest.raises(HostError):
        parse_host(str(address))


@pytest.mark.parametrize("text", NO_HOSTS)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    """Nothing is mended."""
    with pytest.raises(HostError):
        parse_host(text)


@given(st.text(max_size=40))
def test_what_is_read_as_a_host_name_is_one(text: str) -> None:
    """Any text is refused, or is letters, digits, hyphens and dots."""
    try:
        host = parse_host(text)
    except HostError:
        return
    assert set(host) <= set(string.ascii_lowercase + string.digits + "-.")
    assert text.lower().removesuffix(".") == host


@given(HOSTS, PORTS)
def test_authorities_have_host_and_port(host: str, port: int) -> None:
    """With a port, that counts; without one, the default."""
    assert (host, port) == parse_authority(f"{host}:{port}", 80)
    assert (host, 80) == parse_authority(host, 80)


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com:443",
        "a:b@example.com:443",
        "example.com:",
        "example.com:0",
        "example.com:0443",
        "example.com:65536",
        "example.com:+443",
        "example.com:443:443",
        "example.com: 443",
        "example.com:\uff14\uff14\uff13",
        "example.com",
        ":443",
        "[::1]:443",
        "1.2.3.4:443",
    ],
)
def test_odd_authorities_are_refused(text: str) -> None:
    """Users, two ports, ports with zeros or signs, addresses."""
    with pytest.raises(HostError):
        parse_authority(text)


@given(st.text(alphabet="0123456789+-_ \uff16", max_size=7))
def test_ports_are_plain_numbers(text: str) -> None:
    """What Python takes for a number is not always one."""
    try:
        port = parse_port(text)
    except HostError:
        return
    assert str(port) == text
    assert 0 < port < 65536


@given(HOSTS, st.from_regex(r"(/[a-z/%.]{0,8})?(\?[a-z&=/:@]{0,8})?", fullmatch=True))
def test_whole_addresses_are_split(host: str, rest: str) -> None:
    """An empty path becomes a slash; what follows the authority cannot change it."""
    expected = rest if rest.startswith("/") else f"/{rest}"
    assert ("http", host, expected) == parse_absolute(f"HTTP://{host}{rest}")


@pytest.mark.parametrize(
    "target", ["/", "*", "example.com:443", "//example.com/", "http:/example.com", "http://a.b/#c"]
)
def test_other_targets_are_no_addresses(target: str) -> None:
    """Paths, authorities and fragments are not."""
    with pytest.raises(HostError):
        parse_absolute(target)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.example.com:443:127.0.0.1:8443", (("api.example.com", 443), ("127.0.0.1", 8443))),
        ("API.example.com.:80:[::1]:8080", (("api.example.com", 80), ("::1", 8080))),
        ("api.example.com:443:localhost:1", (("api.example.com", 443), ("localhost", 1))),
    ],
)
def test_connect_to_is_read(text: str, expected: object) -> None:
    """As curl has it."""
    assert expected == parse_connect_to(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b:443",
        "a.b:443:c.d",
        ":443:c.d:1",
        "a.b::c.d:1",
        "a.b:443::1",
        "1.2.3.4:1:c.d:1",
        "a.b:1:[x]:1",
        "a.b:1:c.d:1:2",
    ],
)
def test_other_connect_to_is_refused(text: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=r"^expected HOST:PORT:ADDRESS:PORT"):
        parse_connect_to(text)
