"""Forwarding: pass connections on, from `tcp:PORT` or `unix:PATH` to another of these.

A socket in a file leads from one network namespace into another; so two of these processes bring a
server of this machine into a network that has nothing else.
"""

import asyncio
import sys
from contextlib import suppress

CHUNK = 65_536
HOST = "127.0.0.1"


async def forward(source: str, target: str) -> None:
    """Listen until killed, and say so when it begins."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await _connected(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, back_writer), _pass_on(back_reader, writer))

    kind, _, place = source.partition(":")
    if kind == "unix":
        server = await asyncio.start_unix_server(serve, place)
    else:
        server = await asyncio.start_server(serve, HOST, int(place))
    print("listening", flush=True)
    await server.serve_forever()


async def _connected(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    kind, _, place = target.partition(":")
    if kind == "unix":
        return await asyncio.open_unix_connection(place)
    return await asyncio.open_connection(HOST, int(place))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(forward(*sys.argv[1:]))
