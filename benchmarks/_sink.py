"""A server that throws bodies away and makes contents up, as fast as sockets go; for measuring clients.

Every POST is answered once its body has been read; ``…/files/cfile_<N>/content`` has ``N`` bytes. Nothing is
kept, looked at or written, so that what is measured is the client.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading

from _bare_server import ANSWER

PIECE = 1 << 20
CONTAINER_ID = ANSWER["id"]

_CONTENT = re.compile(r"/files/cfile_(\d+)/content")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ZEROS = bytes(PIECE)


def main() -> None:
    """Serve on a free port, a thread for each connection, until a signal."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        sys.stdout.write(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(PIECE))
    rest = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in rest:
                received = connection.recv(65536)
                if not received:
                    return
                rest += received
            head, _, rest = rest.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            left = int(found[1]) if found else 0
            rest, left = rest[left:], max(0, left - len(rest))
            while left:
                received_bytes = connection.recv_into(buffer, min(PIECE, left))
                if not received_bytes:
                    return
                left -= received_bytes
            method, path, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
            _answer(connection, method, path)


def _answer(connection: socket.socket, method: str, path: str) -> None:
    content = _CONTENT.search(path)
    if content:
        size = int(content[1])
        connection.sendall(
            f"HTTP/1.1 200 OK\r\ncontent-type: application/binary\r\ncontent-length: {size}\r\n\r\n".encode()
        )
        for start in range(0, size, PIECE):
            connection.sendall(_ZEROS[: min(PIECE, size - start)])
        return
    body = json.dumps(_body(method, path)).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def _body(method: str, path: str) -> dict[str, object]:
    if not path.partition("?")[0].endswith("/files"):
        return ANSWER
    if method == "GET":
        return {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    return {
        "id": f"cfile_{'0' * 32}",
        "object": "container.file",
        "container_id": CONTAINER_ID,
        "created_at": 1_700_000_000,
        "bytes": None,
        "path": f"/mnt/data/{'0' * 32}-data.bin",
        "source": "user",
    }


if __name__ == "__main__":
    main()
