"""Callbacks: programs of three callback jobs, against an endpoint that answers at once.

The endpoint is a process of its own. Its calls per second by our caller alone, 100 in flight, are
what a worker can reach at most.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from grounds import STOP_WITHIN_S
from load import Connection
from private_postgres import free_port
from product import until
from program_service.webhooks.caller import Caller
from program_service.webhooks.guard import Guard

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
IN_FLIGHT = 100
ALLOWED = "127.0.0.0/8"


class Endpoint(asyncio.Protocol):
    """Answers each call at once; calls come whole, and one at a time on a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport
        self.missing = 0
        self.head = b""

    def data_received(self, data: bytes) -> None:
        """Answer when the body has come."""
        if not self.missing:
            self.head += data
            head, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            self.head, data, self.missing = b"", rest, length
        self.missing -= len(data)
        if self.missing == 0:
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def serve_endpoint(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", port)
    await server.serve_forever()


@asynccontextmanager
async def endpoint() -> AsyncIterator[str]:
    """Run the endpoint in a process of its own; yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/job"
    process = subprocess.Popen([sys.executable, __file__, str(port)])

    async def is_up() -> bool:
        with suppress(ConnectionRefusedError):
            await (await Connection.open(url)).close()
            return True
        return False

    try:
        await until(is_up)
        yield url
    finally:
        process.kill()
        process.wait(STOP_WITHIN_S)


async def plain_rate(url: str, calls: int) -> float:
    """Return the calls per second of our caller alone."""
    caller, left = Caller(Guard.parse(ALLOWED)), calls

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await caller.post(url, headers={}, body=b'{"x": 1}', within_s=30)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
    took = time.perf_counter() - began
    await caller.aclose()
    return calls / took


if __name__ == "__main__":
    asyncio.run(serve_endpoint(int(sys.argv[1])))
