"""Connections to the domains that containers may reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl

from airflow_containers.local.egress.refusals import Refusal
from airflow_containers.local.egress.streams import SocketStream, TlsStream


async def connect(
    host: str, addresses: tuple[tuple[str, int], ...], family: set[SocketStream], seconds: float
) -> SocketStream:
    """Connect to the first address that accepts.

    :param host: for messages; the addresses are those that it was pinned to.
    :param seconds: for each address.
    :raises Refusal: when none does.
    """
    problem = "it has no address"
    status = 502
    for address, port in addresses:
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            # With the protocol named, as asyncio does.
            sock = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        except OSError as error:
            problem = error.strerror or type(error).__name__
            continue
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except TimeoutError:
            sock.close()
            problem, status = f"no answer within {seconds:g} s", 504
        except OSError as error:
            sock.close()
            # Without the address, which is none of the container's business.
            problem, status = (os.strerror(error.errno) if error.errno else type(error).__name__), 502
        except BaseException:
            sock.close()
            raise
        else:
            return SocketStream(sock, family)
    raise Refusal(status, "Cannot connect", f"Cannot connect to {host}: {problem}.")


async def encrypt(host: str, stream: SocketStream, context: ssl.SSLContext, seconds: float) -> TlsStream:
    """Begin TLS with a domain, and make sure that it is the one.

    :raises Refusal: when it is not, or cannot prove it.
    """
    tls = TlsStream(stream, context, server_side=False, server_hostname=host)
    try:
        async with asyncio.timeout(seconds):
            await tls.handshake()
    except ssl.SSLCertVerificationError as error:
        raise Refusal(
            502,
            "Certificate not trusted",
            f"The certificate of {host} is not accepted: {error.verify_message}. The operator of the server "
            "can have it trust another authority with --egress-ca.",
        ) from None
    except TimeoutError:
        raise Refusal(504, "No TLS", f"TLS with {host} took longer than {seconds:g} s.") from None
    except OSError as error:
        raise Refusal(502, "No TLS", f"TLS with {host} failed: {tls_reason(error)}.") from None
    return tls


def tls_reason(error: BaseException) -> str:
    """Why TLS failed, in a few words."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or "the other side ended the connection"
        return str(reason).lower().replace("_", " ")
    return "the other side ended the connection"


class Upstream:
    """A connection to a domain that is kept for the next request of the same client.

    :ivar stream: to read from and to write to.
    """

    def __init__(self, key: tuple[str, int], sock: SocketStream, stream: SocketStream | TlsStream) -> None:
        self.key = key
        self.stream = stream
        self._sock = sock

    def is_fresh(self) -> bool:
        """Whether it seems to be open, with nothing in it that nobody asked for."""
        return not self._sock.has_news()

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self._sock.close()
