"""Faults of hosts: processes that die or freeze, networks that swallow, clocks that are stepped."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.storm.met import LOOK_EVERY_S, Met, until
from chaos.storm.network import Link
from chaos.storm.places import Place
from chaos.storm.scene import Scene
from chaos.storm.schedule import STALL_S, Planned

DOWN_S = 0.5
FURTHER_S = 1.0
"""From the first step that others go on with: more are to follow."""


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
    async with scene.worker_lock:
        await _free(place)
        with place.changing():
            name, hit = place.name, await _hold_running(scene, place)
            await place.kill()
            place.start()
        await place.ready_at_last()
    return Met([name], hit)


async def freeze_worker(scene: Scene, planned: Planned) -> Met:
    """Stop a worker for longer than its leases hold."""
    place = scene.workers[planned.place]
    await _free(place)
    with place.changing():
        hit = await _hold_running(scene, place)
        await asyncio.sleep(planned.size)
        place.thaw()
    return Met([place.name], hit)


async def kill_service(scene: Scene, planned: Planned) -> Met:
    """Kill a service, and start another at its port."""
    place = scene.services[planned.place]
    async with scene.service_lock:
        await _free(place)
        with place.changing():
            hit = place.database.connections + place.broker.connections
            await place.kill()
            await asyncio.sleep(DOWN_S)
            place.start()
        await place.ready_at_last()
    return Met([], hit)


async def freeze_service(scene: Scene, planned: Planned) -> Met:
    """Stop a service."""
    place = scene.services[planned.place]
    await _free(place)
    with place.changing():
        hit = place.database.connections + place.broker.connections
        place.freeze()
        await asyncio.sleep(planned.size)
        place.thaw()
    return Met([], hit)


async def hide_database(scene: Scene, planned: Planned) -> Met:
    """Swallow what passes between a worker and the database, and cut it when it is over.

    It is over soon after another has begun a step that this one began before: then both write.
    """
    place = scene.workers[planned.place]
    await _free(place)
    with place.changing():
        name, since = place.name, time.monotonic()
        with _hidden(place.database) as hit:
            await asyncio.sleep(planned.size)
            await until(lambda: _overtaken(scene, name, since))
            await asyncio.sleep(FURTHER_S)
    return Met([name], hit)


async def _overtaken(scene: Scene, name: str, since: float) -> int:
    """Count the steps of a worker that others have begun since a moment."""
    begins = scene.journal.begins()
    its = {entry.of for entry in begins if entry.worker == name}
    return sum(entry.at > since and entry.worker != name and entry.of in its for entry in begins)


async def hide_broker(scene: Scene, planned: Planned) -> Met:
    """Swallow what passes between a process and the broker, and cut it when it is over."""
    place = _any_place(scene, planned)
    await _free(place)
    with place.changing(), _hidden(place.broker) as hit:
        await asyncio.sleep(planned.size)
    return Met([], hit)


@contextmanager
def _hidden(link: Link) -> Iterator[int]:
    """Swallow what passes, and cut it after; yield how many connections that meets."""
    link.stall()
    try:
        yield link.stalled
    finally:
        link.heal()
        link.cut()


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
    return Met([name], link.lost - before)


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
    return Met([], _stepped(scene, planned.size) - before)


def _stepped(scene: Scene, by_s: float) -> int:
    """Count the jobs whose wall clock was so far off."""
    file = scene.deployment.journal.with_name(scene.deployment.journal.name + ".clocks")
    lines = file.read_text().splitlines() if file.exists() else []
    right = time.time() - time.monotonic()
    return sum(abs(float(line.split()[-1]) - right - by_s) < 1 for line in lines if " " in line)


def _any_place(scene: Scene, planned: Planned) -> Place:
    return scene.workers[planned.place] if planned.place >= 0 else scene.services[planned.place]
