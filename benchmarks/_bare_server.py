"""The peer of the local server: one Starlette route under uvicorn with one answer for everything."""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ANSWER = {
    "id": "cntr_" + "0" * 48,
    "object": "container",
    "created_at": 1_700_000_000,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": 1_700_000_000,
    "memory_limit": "4g",
    "name": "nightly report",
    "network_policy": {"type": "allowlist", "allowed_domains": ["api.example.com", "data.example.org"]},
}


async def create(_request: Request) -> JSONResponse:
    """Answer without a look at the request."""
    return JSONResponse(ANSWER)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        port = sockets[0].getsockname()[1] if sockets else 0
        sys.stdout.write(f"listening on http://127.0.0.1:{port}/v1\n")
        sys.stdout.flush()


def main() -> None:
    """Serve on a free port, with the settings of the local server, until a signal."""
    app = Starlette(routes=[Route("/v1/containers", create, methods=["POST"])])
    config = uvicorn.Config(
        app,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    # With the protocol named, as asyncio sets TCP_NODELAY on the connections of such a socket only.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        asyncio.run(_Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
