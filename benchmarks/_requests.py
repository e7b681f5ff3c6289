"""HTTPS requests with the standard library alone, directly or through a proxy; runs in containers, too.

Usage: _requests.py DOMAIN PORT CERTIFICATES COUNT BYTES

Port 0 is the way through the proxy that HTTPS_PROXY names. Prints a JSON object: seconds of each of COUNT
requests, each on a connection of its own, and of one for BYTES.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

_END = b"\r\n\r\n"


def request(domain: str, port: int, context: ssl.SSLContext, path: str) -> float:
    """Ask for a path; returns the seconds from the first packet to the last."""
    start = time.perf_counter()
    proxy = urlsplit(os.environ.get("HTTPS_PROXY", ""))
    address = (proxy.hostname, proxy.port) if port == 0 else ("127.0.0.1", port)
    with socket.create_connection(address) as connection:
        if port == 0:
            connection.sendall(f"CONNECT {domain}:443 HTTP/1.1\r\nHost: {domain}:443\r\n\r\n".encode())
            answer = b""
            while _END not in answer:
                answer += connection.recv(4096)
            assert b" 200 " in answer, answer
        with context.wrap_socket(connection, server_hostname=domain) as stream:
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n".encode())
            head = b""
            while _END not in head:
                head += stream.recv(1 << 18)
            head, _, body = head.partition(_END)
            assert b" 200 " in head, head
            left = int(path.removeprefix("/") or 2) - len(body)
            while left:
                piece = stream.recv(min(left, 1 << 18))
                assert piece, left
                left -= len(piece)
    return time.perf_counter() - start


def main(domain: str, port: int, certificates: str, count: int, size: int) -> None:
    """Measure and print."""
    context = ssl.create_default_context(cafile=certificates)
    request(domain, port, context, "/")
    small = [request(domain, port, context, "/") for _ in range(count)]
    print(json.dumps({"small": small, "large": request(domain, port, context, f"/{size}")}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
