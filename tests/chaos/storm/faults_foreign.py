"""Faults of others: what somebody writes, sends, locks or limits who has nothing to do with us."""

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from subprocess import SubprocessError
from typing import Any

import aiormq
import asyncpg
import httpx

from asking import select
from chaos.storm.foreign import BODIES, odd_properties
from chaos.storm.foreign_requests import AGAIN_S, REQUEST_TIMEOUT_S, TRIES, ask, submit
from chaos.storm.met import LOOK_EVERY_S, Met, until
from chaos.storm.scene import QUEUES, Scene
from chaos.storm.schedule import STALL_S, Planned

FAR = "2999-01-01T00:00:00Z"
UNWANTED = (
    *(OSError, aiormq.AMQPError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
)
"""What our own sessions meet when another fault is at work."""

POISON = (
    """program_data = CAST('{"name": "\\ud83d"}' AS json)""",
    """program_data = CAST('{"amount": 1e400}' AS json)""",
    "job_data = CAST('null' AS json)",
    "step = 99",
    "step = -1",
    "jobs = CAST('[\"quick\", 7]' AS json)",
)
DUE_BEFORE_ALL_TIME = "due_at = CAST('-infinity' AS timestamptz)"
CONNECTIONS = 4
"""Fewer than the processes need."""

BESIDE = 3
"""Programs for each worker whose leases a locked row must not cost."""


async def stray_cancels(scene: Scene, planned: Planned) -> Met:
    """Let the drivers of a process reject calls with a `CancelledError` that nobody sent."""
    places = scene.workers if planned.place >= 0 else scene.services
    place = places[planned.place]
    name, before = place.name, place.strays.met
    place.strays.allow(int(planned.size))

    async def met() -> int:
        return place.strays.met - before

    await until(met)
    await asyncio.sleep(AGAIN_S)
    place.strays.allow(0)
    return Met([name, place.name], place.strays.met - before)


async def poison_rows(scene: Scene, planned: Planned) -> Met:
    """Write into rows what no release of ours writes; have one step meet a bug of the worker's."""
    del planned
    made = 0
    for change in (*POISON, DUE_BEFORE_ALL_TIME):
        run_id = await submit(scene, ["quick", "quick"], start_at=FAR)
        if not run_id:
            continue
        due = "" if change is DUE_BEFORE_ALL_TIME else ", due_at = now()"
        made += await _change(scene, run_id, change + due)
    if await submit(scene, ["uncanny"]):
        made += 1
    return Met([], made)


async def _change(scene: Scene, run_id: str, change: str) -> int:
    """Change a row by hand; a statement of ours may meet another fault."""
    query = f"UPDATE {{programs}} SET {change.replace('{', '{{').replace('}', '}}')}"
    for _ in range(TRIES):
        with suppress(*UNWANTED):
            changed = await select(
                scene.deployment, f"{query} WHERE run_id = $1 RETURNING run_id", run_id
            )
            return len(changed)
        await asyncio.sleep(AGAIN_S)
    # it is due in a thousand years: nobody waits for it
    return 0


async def poison_headers(scene: Scene, planned: Planned) -> Met:
    """Have programs call an endpoint that answers with more than a parser expects."""
    del planned
    before = scene.endpoint.sent
    job = {"url": scene.endpoint.url, "retry": {"max_attempts": 3, "initial_s": 0.2, "max_s": 0.5}}
    if await ask(scene, "PUT", "/jobs/hostile", job):
        await submit(scene, ["hostile"])

    async def sent() -> int:
        return scene.endpoint.sent - before

    # it waits in a queue behind many others
    return Met([], await until(sent) or await until(sent))


async def poison_messages(scene: Scene, planned: Planned) -> Met:
    """Put messages into the queues that are no wake-ups."""
    del planned
    sent = 0
    async with scene.broker_lock:
        for queue in QUEUES:
            for number, properties in enumerate(odd_properties() * 2):
                with suppress(*UNWANTED, TimeoutError):
                    body = BODIES[number % len(BODIES)]
                    await _send(scene, scene.console.name(queue), body, properties)
                    sent += 1
    return Met([], sent)


async def _send(scene: Scene, queue: str, body: bytes, properties: Any) -> None:
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        connection = await aiormq.connect(scene.console.url)
        try:
            channel = await connection.channel()
            await channel.basic_publish(body, routing_key=queue, properties=properties)
        finally:
            await connection.close()


async def lock_rows(scene: Scene, planned: Planned) -> Met:
    """Lock a running program of each worker for longer than a lease, as somebody with psql may.

    Others have just begun a step that lasts for longer than a lease: theirs must be renewed.
    """
    beside = {
        await submit(scene, ["lasting"], is_poison=False)
        for _ in range(BESIDE * len(scene.workers))
    }

    async def all_run() -> int:
        begun = [entry for entry in scene.journal.begins() if entry.run_id in beside]
        return len(begun) > len(beside) / 2 and len(_running(scene, beside)) > 0

    await until(all_run)
    run_ids = _running(scene, beside)
    held = "run_id = ANY($1) AND lease IS NOT NULL"
    query = f"SELECT run_id FROM {scene.deployment.table_name} WHERE {held} FOR UPDATE"
    locked: list[str] = []
    with suppress(*UNWANTED, TimeoutError):
        connection = await asyncpg.connect(scene.postgres.url, timeout=REQUEST_TIMEOUT_S)
        try:
            async with connection.transaction():
                rows = await connection.fetch(query, run_ids, timeout=REQUEST_TIMEOUT_S)
                locked = [row["run_id"] for row in rows]
                await asyncio.sleep(planned.size)
        finally:
            connection.terminate()
    return Met([], len(locked), locked)


def _running(scene: Scene, beside: Collection[str]) -> list[str]:
    """Return a program of each worker that runs any but these, the one that was begun last."""
    running = scene.journal.running()
    of_workers = ([each.run_id for each in running.get(place.name, [])] for place in scene.workers)
    others = ([run_id for run_id in run_ids if run_id not in beside] for run_ids in of_workers)
    return [run_ids[-1] for run_ids in others if run_ids]


async def limit_connections(scene: Scene, planned: Planned) -> Met:
    """Allow fewer connections to the broker than there are, and close those that there are."""
    limit = f'{{"max-connections": {CONNECTIONS}}}'
    async with scene.broker_lock:
        hit = sum(place.broker.connections for place in scene.places)
        with suppress(SubprocessError):
            await _control(scene, "set_vhost_limits", "-p", "/", limit)
            await _control(scene, "close_all_connections", "maintenance")
        await asyncio.sleep(planned.size)
        for _ in range(TRIES):
            with suppress(SubprocessError):
                await _control(scene, "clear_vhost_limits", "-p", "/")
                break
    return Met([], hit)


async def _control(scene: Scene, *words: str) -> None:
    await asyncio.to_thread(scene.node.control, *words)


async def ask_while_silent(scene: Scene, planned: Planned) -> Met:
    """Ask a service what needs the broker, while that says nothing; count what it answers."""
    place = scene.services[planned.place]
    while place.is_changing:
        await asyncio.sleep(LOOK_EVERY_S)
    with place.changing():
        run_id = await submit(scene, ["quick"], start_at=FAR)
        place.broker.stall()
        ends_at, answered = time.monotonic() + STALL_S[0], 0
        try:
            while time.monotonic() < ends_at or not (answered or time.monotonic() > ends_at + 10):
                answered += await _answers(place.port, run_id)
        finally:
            place.broker.heal()
            place.broker.cut()
        if run_id:
            await ask(scene, "POST", f"/programs/{run_id}/cancel")
    return Met([], answered)


async def _answers(port: int, run_id: str) -> int:
    """Ask once for everything, at the same time."""
    asked = [("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/programs?limit=1")]
    if run_id:
        program = f"/programs/{run_id}"
        asked += [("GET", f"{program}/explain"), ("POST", f"{program}/cancel")]
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S) as client:
        answers = await asyncio.gather(
            *(client.request(way, f"http://127.0.0.1:{port}{path}") for way, path in asked),
            asyncio.sleep(AGAIN_S),
            return_exceptions=True,
        )
    return sum(
        isinstance(answer, httpx.Response) and not answer.is_server_error for answer in answers
    )
