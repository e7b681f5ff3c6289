"""How long and how much: what one connection through the proxy may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of time are in seconds.

    :param head: for a request's head to come in whole, once it has begun; also for the first message of TLS.
    :param keep_alive: for the next request to begin.
    :param connect: for one address of a domain to accept.
    :param handshake: for TLS to be agreed on, with either side.
    :param idle: without a byte, for an answer or a body to go on.
    :param tunnel_idle: without a byte in either direction of a tunnel.
    :param connections: of one container at once.
    """

    head: float = 30.0
    keep_alive: float = 120.0
    connect: float = 10.0
    handshake: float = 15.0
    idle: float = 300.0
    tunnel_idle: float = 1200.0
    connections: int = 256
