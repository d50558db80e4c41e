"""Restate: handlers behind granian, and a client that has many programs fall due at one moment.

The server calls the handlers as soon as a program is submitted, so a queue is made by delaying all
programs until they are there.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import restate

import peer
from load import CallFailed, Connection

INGRESS_URL, ADMIN_URL = os.environ.get("RESTATE_INGRESS_URL"), os.environ.get("RESTATE_ADMIN_URL")
PORT = os.environ.get("BENCH_PORT")
SLOWEST_SUBMIT_PER_S, SPARE_S = 1_000, 2.0

program, step = restate.Service("program"), restate.Service("step")


async def noted(letter: str) -> str:
    """Do nothing."""
    peer.note(letter)
    return letter


@step.handler("run")
async def run(_ctx: restate.Context, letter: str) -> str:
    """Do nothing."""
    return await noted(letter)


@program.handler("steps")
async def steps(ctx: restate.Context, _: int) -> None:
    """Run three steps in one handler."""
    for letter in "abc":
        await ctx.run_typed(letter, noted, letter=letter)


@program.handler("calls")
async def calls(ctx: restate.Context, _: int) -> None:
    """Have the server call three handlers, one after the other."""
    for letter in "abc":
        await ctx.service_call(run, letter)


app = restate.app(services=[program, step])


async def submit(handler: str, programs: int) -> None:
    """Register the handlers, and submit on 32 connections."""
    deployment = json.dumps({"uri": f"http://127.0.0.1:{PORT}", "force": True}).encode()
    admin = await Connection.open(ADMIN_URL)
    while True:
        try:
            await admin.post("/deployments", deployment)
            break
        except CallFailed:  # the worker is starting
            await asyncio.sleep(0.1)
    due_at = time.time() + SPARE_S + programs / SLOWEST_SUBMIT_PER_S
    opened = asyncio.Queue()
    for _ in range(peer.CLIENTS):
        opened.put_nowait(await Connection.open(INGRESS_URL))

    async def send() -> None:
        connection = opened.get_nowait()
        delay_ms = max(0, int((due_at - time.time()) * 1_000))
        await connection.post(f"/program/{handler}/send?delay={delay_ms}ms", b"1")
        opened.put_nowait(connection)

    await peer.submit_by_tasks(send, programs)


async def latency(handler: str, programs: int) -> None:
    """Call one program after the other."""
    connection = await Connection.open(INGRESS_URL)
    await peer.time_each_task(lambda: connection.post(f"/program/{handler}", b"1"), programs)


def work(_: int) -> None:
    """Become a worker."""
    command = str(Path(sys.executable).with_name("granian"))
    options = ["--interface=asgi", f"--port={PORT}", "--http=2", "--log-level=error"]
    os.execv(command, [command, *options, "restate_app:app"])


def main(handler: str) -> None:
    """Do what the command line says, with one of the two handlers."""
    peer.main(
        submit=lambda programs: asyncio.run(submit(handler, programs)),
        latency=lambda programs: asyncio.run(latency(handler, programs)),
        work=work,
    )
