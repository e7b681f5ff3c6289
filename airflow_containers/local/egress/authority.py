"""The certificates of one server: those it makes for domains that have secrets, and those it trusts."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trustme

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_MAX_CONTEXTS = 1024


class Authority:
    """An authority that lives as long as the server, and whose key is in memory only.

    :param folder: gets the bundle of certificates that containers should trust; made when missing.
    :param upstream_ca: certificates in PEM form that are trusted beside those of the system.
    :ivar bundle: that file: the system's authorities, the operator's, and this one.
    """

    def __init__(self, folder: Path, upstream_ca: Path | None) -> None:
        self._ca = trustme.CA(organization_name="airflow-containers local server")
        self._contexts: dict[str, ssl.SSLContext] = {}
        trusted = [_system_roots(), b"" if upstream_ca is None else upstream_ca.read_bytes()]
        self.upstream = _upstream_context(b"\n".join(trusted))
        self.bundle = folder / "ca-bundle.pem"
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = folder / "ca-bundle.pem.new"
        new.write_bytes(b"\n".join([*trusted, self._ca.cert_pem.bytes()]))
        # Another user than the server's reads it.
        new.chmod(0o644)
        new.replace(self.bundle)

    def context(self, host: str) -> ssl.SSLContext:
        """What shows itself as ``host`` to containers."""
        context = self._contexts.get(host)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            # HTTP/2 is not spoken here; a client that offers both takes this one.
            context.set_alpn_protocols(["http/1.1"])
            certificate = self._ca.issue_cert(host)
            with _file_of(certificate.private_key_and_cert_chain_pem.bytes()) as path:
                context.load_cert_chain(path)
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.clear()
            self._contexts[host] = context
        return context


def _system_roots() -> bytes:
    """The certificates of the authorities that this machine trusts, in PEM form."""
    for name in (ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES):
        if name is not None:
            with contextlib.suppress(OSError):
                return Path(name).read_bytes()
    with contextlib.suppress(ImportError, OSError):
        import certifi

        return Path(certifi.where()).read_bytes()
    return b""


def _upstream_context(trusted: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trusted.strip():
        context.load_verify_locations(cadata=trusted.decode("ascii", "replace"))
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextlib.contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """A file for a library that reads from files only; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - it has no path
            file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
