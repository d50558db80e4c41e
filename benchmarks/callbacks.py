"""Drain programs of three callback jobs, against an endpoint that answers at once.

    python benchmarks/callbacks.py --database postgresql://… --amqp amqp://… --programs 3000

Prints the rate of our caller alone with 100 calls in flight, and the programs per second that one
worker drains, submitted before it starts. Everything is durable; the endpoint is a process of its
own.
"""

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx

from program_service.webhooks.caller import Caller
from program_service.webhooks.guard import Guard

COMMAND = Path(sys.executable).with_name("program-executor")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
IN_FLIGHT, CALLS = 100, 10_000
BATCH = 500
ENDPOINT_PORT, PORT, WORKER_PORT = 9_751, 9_752, 9_753


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


async def serve_endpoint() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", ENDPOINT_PORT)
    await server.serve_forever()


async def plain_rate() -> float:
    """Return the calls per second of our caller alone."""
    caller = Caller(Guard.parse("127.0.0.0/8"))
    url, left = f"http://127.0.0.1:{ENDPOINT_PORT}/job", CALLS

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await caller.post(url, headers={}, body=b'{"x": 1}', within_s=30)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
    took = time.perf_counter() - began
    await caller.aclose()
    return CALLS / took


async def drain_rate(arguments: argparse.Namespace) -> float:
    """Return the programs per second of one worker."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    settings = {
        "DATABASE_URL": arguments.database,
        "AMQP_URL": arguments.amqp,
        "TABLE_NAME": name,
        "QUEUE_NAME": name,
        "CALLBACK_ALLOW": "127.0.0.0/8",
        "PORT": str(PORT),
        "WORKER_PORT": str(WORKER_PORT),
    }
    environment = os.environ | {f"PROGRAM_EXECUTOR_{key}": value for key, value in settings.items()}
    service = subprocess.Popen([COMMAND, "serve"], env=environment, stdout=subprocess.DEVNULL)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
        try:
            await _ready(client)
            body = {"url": f"http://127.0.0.1:{ENDPOINT_PORT}/job"}
            for job in ("a", "b", "c"):
                (await client.put(f"/jobs/{job}", json=body)).raise_for_status()
            program = {"jobs": ["a", "b", "c"]}
            for _ in range(arguments.programs // BATCH):
                batch = {"programs": [program] * BATCH}
                (await client.post("/programs/batch", json=batch)).raise_for_status()
            worker = subprocess.Popen(
                [COMMAND, "work"],
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            try:
                return await _drained(client, arguments.programs)
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait()
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()


async def _ready(client: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await client.get("/readyz")).is_success:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)


async def _drained(client: httpx.AsyncClient, programs: int) -> float:
    """Wait from the first finished program to the last one, and return their rate."""
    first: float | None = None
    while True:
        left = (await client.get("/programs", params={"in_progress": "true", "limit": 1})).json()
        finished = (await client.get("/programs?status=finished&limit=1")).json()["programs"]
        now = time.perf_counter()
        if finished and first is None:
            first = now
        if not left["programs"] and first is not None:
            return programs / (now - first)
        await asyncio.sleep(0.05)


def _wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--amqp", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--programs", type=int, default=3_000)
    parser.add_argument("--endpoint", action="store_true", help="only serve the endpoint")
    arguments = parser.parse_args()
    if arguments.endpoint:
        asyncio.run(serve_endpoint())
        return
    endpoint = subprocess.Popen([sys.executable, __file__, "--endpoint"])
    try:
        _wait_for(ENDPOINT_PORT)
        print(f"caller alone, {IN_FLIGHT} in flight: {asyncio.run(plain_rate()):,.0f} calls/s")
        print(f"drain, 3 calls each: {asyncio.run(drain_rate(arguments)):,.0f} programs/s")
    finally:
        endpoint.kill()


if __name__ == "__main__":
    main()
