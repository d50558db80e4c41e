"""Raw endpoints: servers that send any bytes, and names that resolve as a test says."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from endpoint_server import Call, EndpointServer, Reply
from program_service.webhooks.guard import Address

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For calls over http: to load the certificates of the machine takes longer than a call."""
HEAD = b"HTTP/1.1 200 OK\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(serve: Serve) -> AsyncGenerator[str]:
    """Serve bytes as they are; yield the address."""

    async def and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(and_close, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/job"
    finally:
        server.close()


def sending(*parts: bytes) -> Serve:
    """Send these bytes and hang up."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return serve


def dripping(first: bytes, drop: bytes) -> Serve:
    """Send a drop at a time, without an end."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)

    return serve


async def echo(call: Call) -> Reply:
    """Answer with what came."""
    return Reply(200, {"body": call.body.decode(), "headers": call.headers})


class Resolver:
    """Answers with other addresses each time."""

    def __init__(self, *answers: list[str]) -> None:
        """Take the answers."""
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[Address]:
        """Answer with the next."""
        del host, port
        self.asked += 1
        return [ipaddress.ip_address(each) for each in self._answers.pop(0)]


@asynccontextmanager
async def tls_endpoint(certificate: Path, names: list[str | None]) -> AsyncGenerator[int]:
    """Serve over TLS, and note which names are asked for; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def note(_socket: object, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = note
    place = EndpointServer(echo)
    server = await asyncio.start_server(place.serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """Let an address swallow every attempt to connect to this port: its queue is full."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.socket(family))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(0)
        for _ in range(3):
            client = open_sockets.enter_context(socket.socket(family))
            client.settimeout(0)
            client.connect_ex((address, port))
        yield
