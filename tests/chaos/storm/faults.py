"""Faults: do what the schedule says, and count what it met."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import aio_pika
import aiormq

from asking import select
from chaos.storm.facts import Struck
from chaos.storm.network import Link
from chaos.storm.places import Place
from chaos.storm.scene import QUEUES, Scene
from chaos.storm.schedule import STALL_S, Kind, Planned

LOOK_EVERY_S = 0.05
VICTIM_WITHIN_S = 15.0
"""How long a fault waits for a running step, or a message, to hit."""

DOWN_S = 0.5


@dataclass(slots=True)
class Storm:
    """Strikes a scene, and remembers what it struck."""

    scene: Scene
    struck: list[Struck] = field(default_factory=list)

    @property
    def missed(self) -> list[Kind]:
        """The kinds of faults that came, and of which none met anything yet."""
        return without_effect(self.struck)

    async def strike(self, planned: Planned) -> None:
        """Do one fault, to its end."""
        since = time.monotonic()
        names, effect = await FAULTS[planned.kind](self.scene, planned)
        workers = frozenset(name for name in names if name.startswith("worker"))
        struck = Struck(str(planned.kind), workers, since, time.monotonic(), effect)
        self.struck.append(struck)


def without_effect(struck: Iterable[Struck]) -> list[Kind]:
    """Return the kinds of faults that came, and of which none met anything."""
    met: Counter[str] = Counter()
    came = set()
    for each in struck:
        came.add(each.kind)
        met[each.kind] += each.effect
    return [kind for kind in Kind if kind in came and not met[kind]]


Met = tuple[Iterable[str], int]
"""The processes that may lose leases by a fault, and how much it met."""


async def until(look: Callable[[], Awaitable[int]]) -> int:
    """Look until there is something, or the time is over."""
    deadline = time.monotonic() + VICTIM_WITHIN_S
    while not (seen := await look()) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY_S)
    return seen


async def _free(place: Place) -> None:
    """Wait until no other fault is at work at a place."""
    while place.is_changing:
        await asyncio.sleep(LOOK_EVERY_S)


async def _hold_running(scene: Scene, place: Place) -> int:
    """Freeze a worker while it runs steps, as far as that comes, and return how many."""

    async def runs() -> int:
        return len(scene.running(place))

    await until(runs)
    place.freeze()
    return len(scene.running(place))


async def kill_worker(scene: Scene, planned: Planned) -> Met:
    """Kill a worker that runs steps, and start another."""
    place = scene.workers[planned.place]
    await _free(place)
    with place.changing():
        name, hit = place.name, await _hold_running(scene, place)
        await place.kill()
        place.start()
    return [name], hit


async def freeze_worker(scene: Scene, planned: Planned) -> Met:
    """Stop a worker for longer than its leases hold."""
    place = scene.workers[planned.place]
    await _free(place)
    with place.changing():
        hit = await _hold_running(scene, place)
        await asyncio.sleep(planned.size)
        place.thaw()
    return [place.name], hit


async def kill_service(scene: Scene, planned: Planned) -> Met:
    """Kill a service, and start another at its port."""
    place = scene.services[planned.place]
    await _free(place)
    with place.changing():
        hit = place.database.connections + place.broker.connections
        await place.kill()
        await asyncio.sleep(DOWN_S)
        place.start()
    return [], hit


async def freeze_service(scene: Scene, planned: Planned) -> Met:
    """Stop a service."""
    place = scene.services[planned.place]
    await _free(place)
    with place.changing():
        hit = place.database.connections + place.broker.connections
        place.freeze()
        await asyncio.sleep(planned.size)
        place.thaw()
    return [], hit


async def restart_broker(scene: Scene, planned: Planned) -> Met:
    """Kill the broker, and start it with what it has on the disk."""
    async with scene.broker_lock:
        hit = sum(place.broker.connections for place in scene.places)
        await asyncio.to_thread(scene.node.kill)
        await asyncio.sleep(planned.size)
        await scene.bring_broker_back()
    return [], hit


async def wipe_broker(scene: Scene, planned: Planned) -> Met:
    """Kill the broker, and start it without any data."""
    async with scene.broker_lock:
        hit = sum(place.broker.connections for place in scene.places)
        await asyncio.to_thread(scene.node.kill)
        await asyncio.to_thread(scene.node.wipe)
        await asyncio.sleep(planned.size)
        await scene.bring_broker_back()
    return [], hit


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
        return [], await until(purge)


async def delete_queues(scene: Scene, planned: Planned) -> Met:
    """Delete the queues under their consumers."""
    del planned
    async with scene.broker_lock:
        hit = 0
        for queue in QUEUES:
            with suppress(OSError, aiormq.AMQPError):
                hit += await scene.console.consumers(queue)
                await scene.console.delete(queue)
    return [], hit


async def kill_database(scene: Scene, planned: Planned) -> Met:
    """Kill the database, and start it again."""
    async with scene.database_lock:
        names = _all_workers(scene)
        hit = sum(place.database.connections for place in scene.places)
        await asyncio.to_thread(scene.postgres.kill)
        await asyncio.sleep(planned.size)
        await scene.bring_database_back()
    return names, hit


async def end_sessions(scene: Scene, planned: Planned) -> Met:
    """End every session of the database but our own."""
    del planned
    query = (
        "SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    async with scene.database_lock:
        (row,) = await select(scene.deployment, query)
    return _all_workers(scene), int(row["ended"])


async def hide_database(scene: Scene, planned: Planned) -> Met:
    """Swallow what passes between a process and the database, and cut it when it is over."""
    place = _any_place(scene, planned)
    await _free(place)
    with place.changing():
        return [place.name], await _hide(place.database, planned.size)


async def hide_broker(scene: Scene, planned: Planned) -> Met:
    """Swallow what passes between a process and the broker, and cut it when it is over."""
    place = _any_place(scene, planned)
    await _free(place)
    with place.changing():
        return [], await _hide(place.broker, planned.size)


async def _hide(link: Link, seconds: float) -> int:
    link.stall()
    hit = link.stalled
    await asyncio.sleep(seconds)
    link.heal()
    link.cut()
    return hit


async def lose_commits(scene: Scene, planned: Planned) -> Met:
    """Let transactions commit, and reset their connections instead of saying so."""
    place = _any_place(scene, planned)
    name, link = place.name, place.database
    before = link.lost
    link.to_lose += int(planned.size)

    async def all_lost() -> int:
        return link.lost - before if not link.to_lose else 0

    await until(all_lost)
    link.to_lose = 0
    return [name], link.lost - before


async def step_clock(scene: Scene, planned: Planned) -> Met:
    """Step the wall clock of a worker, and step it back; count the jobs that saw it."""
    place = scene.workers[planned.place]
    before = _stepped(scene, planned.size)
    place.clock.step(planned.size)

    async def seen() -> int:
        return _stepped(scene, planned.size) - before

    await asyncio.sleep(STALL_S[0])
    await until(seen)
    place.clock.step(0)
    return [], _stepped(scene, planned.size) - before


def _stepped(scene: Scene, by_s: float) -> int:
    """Count the jobs whose wall clock was so far off."""
    file = scene.deployment.journal.with_name(scene.deployment.journal.name + ".clocks")
    lines = file.read_text().splitlines() if file.exists() else []
    right = time.time() - time.monotonic()
    return sum(abs(float(line.split()[-1]) - right - by_s) < 1 for line in lines if " " in line)


def _any_place(scene: Scene, planned: Planned) -> Place:
    return scene.workers[planned.place] if planned.place >= 0 else scene.services[planned.place]


def _all_workers(scene: Scene) -> list[str]:
    return [place.name for place in scene.workers]


FAULTS: dict[Kind, Callable[[Scene, Planned], Awaitable[Met]]] = {
    Kind.KILL_WORKER: kill_worker,
    Kind.FREEZE_WORKER: freeze_worker,
    Kind.KILL_SERVICE: kill_service,
    Kind.FREEZE_SERVICE: freeze_service,
    Kind.RESTART_BROKER: restart_broker,
    Kind.PURGE_QUEUES: purge_queues,
    Kind.DELETE_QUEUES: delete_queues,
    Kind.WIPE_BROKER: wipe_broker,
    Kind.KILL_DATABASE: kill_database,
    Kind.END_SESSIONS: end_sessions,
    Kind.HIDE_DATABASE: hide_database,
    Kind.HIDE_BROKER: hide_broker,
    Kind.LOSE_COMMITS: lose_commits,
    Kind.STEP_CLOCK: step_clock,
}
