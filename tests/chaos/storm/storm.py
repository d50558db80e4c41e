"""Storm: programs come, faults come, then all heals, and what is left is judged."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from asking import all_ended
from chaos.storm.clients import clients, read_notes
from chaos.storm.facts import MACHINE, Facts, Struck
from chaos.storm.faults import Storm
from chaos.storm.scene import Scene, scene
from chaos.storm.schedule import LEASE_S, Kind, Planned
from chaos.storm.witness import read_attempts, read_rows, read_states
from journal import Journal
from private_postgres import PrivatePostgres
from private_rabbitmq import PrivateRabbit

CLIENTS = 2
TRIES = 4
ALONE_S = 2 * LEASE_S
"""From one of the last faults to the next: what comes of it is explained by no other."""

LAST = (
    Planned(0, Kind.LOCK_ROWS, 0, LEASE_S + 2.5),
    Planned(0, Kind.KILL_DATABASE, 0, 1.0),
    Planned(0, Kind.PURGE_QUEUES, 0, 0.0),
)
"""They must not be hidden by others; nobody starts later, and does what a loop left undone."""

ANSWERS_WITHIN_S = 60.0
END_WITHIN_S = 150.0
QUIET_S = LEASE_S + 3.0
"""After the last end: whoever still believes in an old lease shows it now."""

BEAT_S = 0.1
STILL_S = 0.7
"""A harness that was not run for so long tells of a machine that had no time for workers either."""


@dataclass(frozen=True, slots=True)
class Weather:
    """A storm that is to be."""

    seed: int
    seconds: float
    planned: list[Planned]


async def storm(
    folder: Path, weather: Weather, postgres: PrivatePostgres, node: PrivateRabbit
) -> Facts:
    """Let a storm pass over private servers, and return what is known of it."""
    async with scene(folder, postgres, node) as ready, _looked_after(ready) as stills:
        struck = await _blow(ready, weather)
        await _heal(ready)
        with suppress(AssertionError):  # the judge says which have not ended
            await all_ended(ready.deployment, within_s=END_WITHIN_S)
        await asyncio.sleep(QUIET_S)
        return await _gather(ready, [*struck, *stills])


async def _blow(ready: Scene, weather: Weather) -> list[Struck]:
    """Submit and strike, until the time is over and every client has its answers."""
    striking = Storm(ready)
    urls = [f"http://127.0.0.1:{place.port}" for place in ready.services]
    began = time.monotonic()
    async with clients(CLIENTS, weather.seed, urls, ready.deployment.folder) as end:
        async with asyncio.TaskGroup() as faults:
            for planned in weather.planned:
                await asyncio.sleep(began + planned.at_s - time.monotonic())
                faults.create_task(striking.strike(planned))
            await asyncio.sleep(began + weather.seconds - time.monotonic())
        await _strike_again(striking, weather)
        for last in LAST:
            if last.kind is not Kind.PURGE_QUEUES:  # while the database comes back
                await asyncio.sleep(ALONE_S)
            await striking.strike(last)
        await end(ANSWERS_WITHIN_S)
    return striking.struck


async def _strike_again(striking: Storm, weather: Weather) -> None:
    """Strike again with what met nothing: on a slow machine nothing runs for long times."""
    for _ in range(TRIES):
        for kind in striking.missed:
            await striking.strike(next(each for each in weather.planned if each.kind is kind))


async def _heal(ready: Scene) -> None:
    """See that everything runs; each fault has ended itself."""
    await ready.bring_broker_back()
    await ready.ready()


@asynccontextmanager
async def _looked_after(ready: Scene) -> AsyncGenerator[list[Struck]]:
    """Revive what ends by itself, and note when the machine stands still."""
    stills: list[Struck] = []

    async def look() -> None:
        looking = ready.revive_for_ever()
        last = time.monotonic()
        while True:
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            if now - last > STILL_S:
                names = frozenset(place.name for place in ready.workers)
                stills.append(Struck(MACHINE, names, last, now, 0))
            last = now
            next(looking)

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(look())
        try:
            yield stills
        finally:
            looking.cancel()


async def _gather(ready: Scene, struck: list[Struck]) -> Facts:
    epoch = time.time() - time.monotonic()
    deployment = ready.deployment
    return Facts(
        lease_s=LEASE_S,
        notes=read_notes(deployment.folder),
        entries=Journal(deployment.journal).entries,
        rows=await read_rows(deployment),
        attempts=await read_attempts(deployment),
        states=await read_states(deployment, epoch=epoch),
        struck=struck,
        ended_alone=[name for place in ready.places for name in place.ended_alone],
        poison=frozenset(ready.poison),
    )
