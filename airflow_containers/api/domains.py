"""Host names for a network policy.

The documentation shows bare host names only; wildcards, ports, schemes and addresses are documented
nowhere, so they are refused here instead of by a service that may take them to mean something else.
"""

from __future__ import annotations

import ipaddress
import re

import idna

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_PORT = re.compile(r"[^:]+:\d*")
_NUMERIC_LABEL = re.compile(r"\d+|0x[0-9a-f]*")
MAX_DOMAIN_LENGTH = 253
"""Characters of a host name without its final dot (RFC 1035, section 2.3.4)."""


def normalize_domain(entry: str) -> str:
    """Return the host name ``entry`` as lower-case ASCII without a final dot.

    Names outside ASCII are encoded with IDNA 2008 (UTS 46 mapping). The reasons never quote the entry.

    :param entry: one host name, e.g. ``api.example.com``. Surrounding white space is dropped.
    :raises ValueError: with the reason, when ``entry`` is anything else than a host name of two or
        more labels.
    """
    domain = entry.strip()
    _refuse_other_kinds(domain)
    domain = domain.removesuffix(".")
    if domain.isascii():
        domain = domain.lower()
    else:
        _refuse_too_long(domain)
        domain = _to_ascii(domain)
    _refuse_too_long(domain)
    labels = domain.split(".")
    for number, label in enumerate(labels, 1):
        if not label:
            raise ValueError("it has an empty label (two dots in a row, or a dot in front)")
        if len(label) > 63:
            raise ValueError(f"its label {number} has {len(label)} characters, a label has at most 63")
        if not _LABEL.fullmatch(label):
            raise ValueError(f"its label {number} is not made of letters, digits and inner hyphens only")
        if label.startswith("xn--") and not _is_alabel(label):
            raise ValueError(f"its label {number} is not a valid encoded international label")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        raise ValueError("it is an IP address; only host names can be allowed")
    if len(labels) < 2:
        raise ValueError("it is a single label; give the full host name, such as 'api.example.com'")
    return domain


def _refuse_too_long(domain: str) -> None:
    if len(domain) > MAX_DOMAIN_LENGTH:
        raise ValueError(f"it has {len(domain)} characters, a host name has at most {MAX_DOMAIN_LENGTH}")


def _refuse_other_kinds(domain: str) -> None:
    if not domain:
        raise ValueError("it is empty")
    if "://" in domain:
        raise ValueError("it has a scheme; give the host name alone, such as 'api.example.com'")
    if "@" in domain:
        raise ValueError("it has user information; give the host name alone")
    if "*" in domain:
        raise ValueError("it has a wildcard, which the service does not document; list each host name")
    if any(character.isspace() for character in domain):
        raise ValueError("it has white space inside; give one host name per entry")
    try:
        ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        pass
    else:
        raise ValueError("it is an IP address; only host names can be allowed")
    if any(character in domain for character in "/\\?#"):
        raise ValueError("it has a path or query; give the host name alone")
    if _PORT.fullmatch(domain):
        raise ValueError("it has a port; give the host name alone, which covers every port")


def _to_ascii(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii").lower().removesuffix(".")
    except (idna.IDNAError, UnicodeError):
        raise ValueError("it is not a valid international host name (IDNA 2008)") from None


def _is_alabel(label: str) -> bool:
    try:
        idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        return False
    return True
