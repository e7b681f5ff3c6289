"""Why a request is not let through, or has failed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_containers.local.egress.streams import SocketStream, Stream

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 16 << 20


class Refusal(Exception):  # noqa: N818 - it is an answer, as `403` is
    """An answer of the proxy itself.

    :param status: 400 for what is no proper request, 403 for what is not allowed, 502 and 504 for what
        failed behind the proxy, 501 for what it does not do.
    :param phrase: a few words for the status line, which is all that many clients show.
    :param reason: whole sentences that say why, and what to do about it. Never has a secret in it.
    """

    def __init__(self, status: int, phrase: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.phrase = phrase
        self.reason = reason


def shown(text: str) -> str:
    """Text of a client as it may be repeated to it and in the log."""
    return "".join(character if " " < character < "\x7f" else "?" for character in text[:253])


def response_of(refusal: Refusal, *, with_body: bool = True) -> bytes:
    """A whole answer, after which the connection is closed."""
    body = f"The egress proxy refused this request, or could not complete it.\n{refusal.reason}\n"
    content = body.encode()
    lines = (
        f"HTTP/1.1 {refusal.status} {refusal.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    head = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    return head + content if with_body else head


async def refuse(
    stream: Stream, refusal: Refusal, *, with_body: bool = True, answer: bytes | None = None
) -> None:
    """Answer, and say that nothing follows.

    :param answer: what to send instead of an answer of HTTP.
    """
    with contextlib.suppress(OSError):
        await stream.write(response_of(refusal, with_body=with_body) if answer is None else answer)
        await stream.end()


async def linger(stream: SocketStream) -> None:
    """See to it that an answer is not lost in what the client still sends.

    Closing a socket with something unread in it would take the answer back.
    """
    with contextlib.suppress(OSError):
        await stream.end()
        async with asyncio.timeout(_LINGER_SECONDS):
            taken = 0
            while taken < _LINGER_BYTES and (data := await stream.read()):
                taken += len(data)
