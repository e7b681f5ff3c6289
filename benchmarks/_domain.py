"""An HTTPS server for a domain, on a free port of 127.0.0.1: ``/`` is two bytes, ``/N`` is N bytes.

Usage: _domain.py DOMAIN FILE

FILE gets the certificate of its authority; the port goes to standard output.
"""

from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

_BLOCK = bytes(1 << 18)


class Handler(BaseHTTPRequestHandler):
    """Sends as many bytes as the path says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        left = int(self.path.removeprefix("/") or 2)
        self.send_response(200)
        self.send_header("content-length", str(left))
        self.end_headers()
        while left:
            left -= self.wfile.write(_BLOCK[: min(left, len(_BLOCK))])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(domain: str, file: str) -> None:
    """Serve until it is ended."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(domain).configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
