"""An HTTP or HTTPS server on a free port of 127.0.0.1 that keeps what it is asked, and repeats it.

What containers reach in tests: ``--connect-to`` leads their domains here.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import trustme


@dataclass(frozen=True)
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]


class Upstream:
    """Repeats the headers of each request, in the body and in ``x-seen``; ``/to/HOST`` redirects there.

    :param hosts: for its certificate; none makes it a server without TLS.
    """

    def __init__(self, *hosts: str) -> None:
        self.seen: list[Seen] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                body = "".join(f"{name}: {value}\n" for name, value in self.headers.items()).encode()
                self.send_response(302 if self.path.startswith("/to/") else 200)
                if self.path.startswith("/to/"):
                    self.send_header("location", f"https://{self.path.removeprefix('/to/')}/")
                self.send_header("x-seen", self.headers.get("authorization", "nothing"))
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.authority = trustme.CA()
        if hosts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(*hosts).configure_cert(context)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
