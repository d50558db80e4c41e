"""Faults of servers: the broker and the database die, forget, or turn everybody out."""

import asyncio
from contextlib import suppress

import aio_pika
import aiormq

from asking import select
from chaos.storm.met import Met, until
from chaos.storm.scene import QUEUES, Scene
from chaos.storm.schedule import Planned

RESPITE_S = 5.0
"""Before the next fault of the broker: killed right after its first start, RabbitMQ 3.10 waits for
tables that it never made, for longer than we wait for it."""


async def restart_broker(scene: Scene, planned: Planned) -> Met:
    """Kill the broker, and start it with what it has on the disk."""
    async with scene.broker_lock:
        hit = sum(place.broker.connections for place in scene.places)
        await asyncio.to_thread(scene.node.kill)
        await asyncio.sleep(planned.size)
        await scene.bring_broker_back()
        await asyncio.sleep(RESPITE_S)
    return Met([], hit)


async def wipe_broker(scene: Scene, planned: Planned) -> Met:
    """Kill the broker, and start it without any data."""
    async with scene.broker_lock:
        hit = sum(place.broker.connections for place in scene.places)
        await asyncio.to_thread(scene.node.kill)
        await asyncio.to_thread(scene.node.wipe)
        await asyncio.sleep(planned.size)
        await scene.bring_broker_back()
        await asyncio.sleep(RESPITE_S)
    return Met([], hit)


async def purge_queues(scene: Scene, planned: Planned) -> Met:
    """Remove the messages that wait."""
    del planned

    async def purge() -> int:
        removed = 0
        for queue in QUEUES:
            with suppress(OSError, aiormq.AMQPError):
                async with await aio_pika.connect(scene.console.url, timeout=5) as connection:
                    found = await (await connection.channel()).get_queue(
                        scene.console.name(queue), ensure=False
                    )
                    removed += (await found.purge()).message_count or 0
        return removed

    async with scene.broker_lock:
        return Met([], await until(purge))


async def delete_queues(scene: Scene, planned: Planned) -> Met:
    """Delete the queues under their consumers."""
    del planned
    async with scene.broker_lock:
        hit = 0
        for queue in QUEUES:
            with suppress(OSError, aiormq.AMQPError):
                hit += await scene.console.consumers(queue)
                await scene.console.delete(queue)
    return Met([], hit)


async def kill_database(scene: Scene, planned: Planned) -> Met:
    """Kill the database, and start it again."""
    async with scene.database_lock:
        names = _all_workers(scene)
        hit = sum(place.database.connections for place in scene.places)
        await asyncio.to_thread(scene.postgres.kill)
        await asyncio.sleep(planned.size)
        await scene.bring_database_back()
    # a worker may have started meanwhile
    return Met([*names, *_all_workers(scene)], hit)


async def end_sessions(scene: Scene, planned: Planned) -> Met:
    """End every session of the database but our own."""
    del planned
    query = (
        "SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    async with scene.database_lock:
        (row,) = await select(scene.deployment, query)
    return Met(_all_workers(scene), int(row["ended"]))


def _all_workers(scene: Scene) -> list[str]:
    return [place.name for place in scene.workers]
