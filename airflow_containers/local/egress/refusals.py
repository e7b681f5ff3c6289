"""Why a request is not let through, or has failed."""

from __future__ import annotations


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
