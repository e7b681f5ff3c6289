"""Sends creates over several connections as fast as the server answers, and prints what it saw as JSON.

Plain sockets and one loop: a client library would take as much of the machine as the server does.

Usage: _load.py PORT REQUESTS CONNECTIONS < BODY
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

_HEAD_END = b"\r\n\r\n"


def main() -> None:
    """Send ``REQUESTS`` creates, each connection one after the other."""
    port, requests, connections = map(int, sys.argv[1:4])
    body = sys.stdin.buffer.read()
    head = (
        f"POST /v1/containers HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer sk-local\r\n"
        f"accept: application/json\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    started = time.perf_counter()
    seconds = _run(port, head.encode() + body, requests, connections)
    print(json.dumps({"elapsed": time.perf_counter() - started, "seconds": seconds}))


def _run(port: int, request: bytes, requests: int, connections: int) -> list[float]:
    seconds: list[float] = []
    sent_at: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    to_send = requests
    with selectors.DefaultSelector() as selector:
        for _ in range(min(connections, requests)):
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ)
            received[connection] = b""
        for connection in received:
            sent_at[connection] = time.perf_counter()
            connection.sendall(request)
            to_send -= 1
        while len(seconds) < requests:
            ready = selector.select(timeout=30)
            if not ready:
                raise SystemExit("no answer for 30 seconds")
            for key, _ in ready:
                connection = key.fileobj  # type: ignore[assignment]
                received[connection] += _receive(connection)
                if not _is_complete(received[connection]):
                    continue
                seconds.append(time.perf_counter() - sent_at[connection])
                received[connection] = b""
                if to_send:
                    to_send -= 1
                    sent_at[connection] = time.perf_counter()
                    connection.sendall(request)
        for connection in received:
            connection.close()
    return seconds


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise SystemExit("the server closed a connection")
    return data


def _is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(_HEAD_END)
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"answered {answer[:300]!r}")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


if __name__ == "__main__":
    main()
