"""What the operator of a server may choose about running commands, and how the choices are read from text."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from airflow_containers.local import MODEL_KEY_VARIABLE
from airflow_containers.local.containers.schemas import domain_problem
from airflow_containers.local.egress.options import EgressOptions, parse_connect_to
from airflow_containers.local.egress.secrets import SecretText
from airflow_containers.local.sandbox.commands import Limits

MIN_DISK_BYTES = 1 << 20

_SIZE = re.compile(r"([1-9][0-9]{0,14})([kmgt]?)", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class OptionError(ValueError):
    """An option that cannot work; the message names it, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server runs commands, what they may reach, and who decides what runs.

    :param sandbox: whether containers run commands at all.
    :param cgroups: whether control groups may be used; without them memory and processes are bounded by
        resource limits.
    :param limits: bounds of a command beside its memory.
    :param allow_domains: the only domains that a container may ask for; ``None`` for any.
    :param egress: how the proxy to allowed domains connects.
    :param model_url: base URL of a server that decides what runs; ``None`` for the scripted model.
    :param model_name: the model to ask for there; ``None`` for the one that a request names.
    :param model_key: the key for that server; ``None`` sends none.
    """

    sandbox: bool = True
    cgroups: bool = True
    limits: Limits = field(default_factory=Limits)
    allow_domains: tuple[str, ...] | None = None
    egress: EgressOptions = field(default_factory=EgressOptions)
    model_url: str | None = None
    model_name: str | None = None
    model_key: SecretText | None = None


def read_options(
    *,
    sandbox: bool = True,
    cgroups: bool = True,
    max_disk: str | None = None,
    allow_domains: str | None = None,
    allow_private: bool = False,
    connect_to: Sequence[str] = (),
    egress_ca: Path | None = None,
    model_url: str | None = None,
    model_name: str | None = None,
    model_key: str | None = None,
) -> ServerOptions:
    """Check what was given on the command line.

    :param max_disk: bytes, or a number with k, m, g or t for the binary multiples.
    :param allow_domains: host names, separated by commas; ``none`` for not a single one.
    :param connect_to: ``HOST:PORT:ADDRESS:PORT`` each.
    :raises OptionError: naming the option that cannot work.
    """
    limits = Limits() if max_disk is None else Limits(disk_bytes=_size("--max-disk", max_disk))
    if model_url is None and model_name is not None:
        raise OptionError("--model: there is no server to ask for it; give --model-url as well")
    egress = EgressOptions(
        allow_private=allow_private, connect_to=_connect_to(connect_to), upstream_ca=_authorities(egress_ca)
    )
    return ServerOptions(
        sandbox=sandbox,
        cgroups=cgroups,
        limits=limits,
        allow_domains=None if allow_domains is None else _domains(allow_domains),
        egress=egress,
        model_url=None if model_url is None else _model_url(model_url),
        model_name=model_name,
        model_key=None if model_url is None or model_key is None else _model_key(model_key),
    )


def _size(option: str, text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise OptionError(f"{option} {text}: expected bytes, or a number with k, m, g or t, such as 4g")
    size = int(found[1]) << _UNITS[found[2].lower()]
    # More would not fit into the kernel's limits.
    if not MIN_DISK_BYTES <= size < 1 << 63:
        raise OptionError(f"{option} {text}: expected a size of at least 1m, and less than 8 EiB")
    return size


def _domains(text: str) -> tuple[str, ...]:
    if text.strip() == "none":
        return ()
    domains = [part.strip() for part in text.split(",")]
    for domain in domains:
        problem = domain_problem(domain)
        if problem is not None:
            wanted = "give host names separated by commas, or none" if not domain else f"at {domain!r}"
            raise OptionError(f"--allow-domains: {problem.rstrip('.')} ({wanted})")
    return tuple(dict.fromkeys(domains))


def _connect_to(texts: Sequence[str]) -> dict[tuple[str, int], tuple[str, int]]:
    found: dict[tuple[str, int], tuple[str, int]] = {}
    for text in texts:
        try:
            source, target = parse_connect_to(text)
        except ValueError as error:
            raise OptionError(f"--connect-to {text}: {error}") from error
        if source in found:
            raise OptionError(f"--connect-to {text}: {source[0]}:{source[1]} was given already")
        found[source] = target
    return found


def _authorities(file: Path | None) -> Path | None:
    if file is None:
        return None
    try:
        found = ssl.create_default_context(cafile=os.fspath(file)).cert_store_stats()["x509_ca"]
    except ssl.SSLError as error:
        raise OptionError(f"--egress-ca {file}: no certificates in PEM form in it") from error
    except OSError as error:
        raise OptionError(f"--egress-ca {file}: {error.strerror or error}") from error
    if not found:
        raise OptionError(f"--egress-ca {file}: no certificate of an authority in it")
    return file.absolute()


def _model_key(text: str) -> SecretText | None:
    key = text.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise OptionError(f"${MODEL_KEY_VARIABLE}: it has characters that no key has")
    return SecretText(key) if key else None


def _model_url(url: str) -> str:
    # A URL may hold a password, so it is not repeated.
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine, parts = False, urlsplit("")
    if parts.username is not None:
        raise OptionError(f"--model-url: the key does not belong into it, but into ${MODEL_KEY_VARIABLE}")
    if not fine or parts.fragment or " " in url or not url.isprintable():
        raise OptionError("--model-url: expected an address such as http://127.0.0.1:11434/v1")
    return url
