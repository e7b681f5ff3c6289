"""Who may call: the server's key, and this machine alone for the admin endpoints."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from airflow_containers.local.admin.exceptions import RemoteNotAllowedError
from airflow_containers.local.errors import UnauthorizedError
from airflow_containers.local.web_pages import is_loopback, refuse_any_page, refuse_foreign_page

_TEST_CLIENT = "testclient"
"""Client address of requests by Starlette's test client, which go through no socket."""


class Access:
    """Checks the callers of one server.

    :param api_key: the only key that is accepted; ``None`` accepts any key that is not empty.
    """

    def __init__(self, api_key: str | None) -> None:
        self._api_key = None if api_key is None else api_key.encode()

    def check(self, request: Request) -> None:
        """Let a request to the API pass.

        :raises UnauthorizedError: without a key, or with a wrong one.
        :raises WebPageError: for a web page of another host, when the server has no key.
        """
        if self._api_key is None:
            refuse_foreign_page(request.headers)
        key = _sent_key(request)
        if not key:
            raise UnauthorizedError.missing()
        if self._api_key is not None and not hmac.compare_digest(key.encode(), self._api_key):
            raise UnauthorizedError.incorrect()

    def check_admin(self, request: Request) -> None:
        """Let an order to the admin endpoints pass.

        :raises UnauthorizedError: as :meth:`check`, when the server has a key.
        :raises RemoteNotAllowedError: for another machine, when it has none.
        :raises WebPageError: for any web page, when it has none.
        """
        if self._api_key is not None:
            self.check(request)
            return
        client = request.client.host if request.client else ""
        if client == _TEST_CLIENT:
            return
        if client and not is_loopback(client):
            raise RemoteNotAllowedError
        refuse_any_page(request.headers)


def _sent_key(request: Request) -> str:
    """The key from ``Authorization: Bearer …``, or from ``api-key`` as Azure's clients send it."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("api-key", "").strip()
