"""Crashing services: have services die at their crash points, of what they are asked or sweep.

Each is asked beside another one that lives on, is asked again, and sweeps. Those that die while
they sweep need a deployment where nobody else does.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from asking import all_ended, row_of, submit
from crashing import DIES_WITHIN_S, ENDS_WITHIN_S, SHORT, TURNS, Aftermath, Casualty
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from processes import Deployment, Json, Process
from program_service.crashpoints import CrashPoint

NEVER_S = 3_600.0
PROGRAM = {"jobs": ["tick", "tick"], "program_data": SHORT}


@dataclass(frozen=True, slots=True)
class ServiceScene:
    """A service that comes to a crash point because of what it is asked."""

    point: CrashPoint
    ask: Callable[[Deployment, Process, Process, str], Awaitable[list[str]]]
    """Ask the one that is to die, then the one that lives on; return the programs' ids."""

    by: str = ""

    @property
    def name(self) -> str:
        """What the scene is called."""
        return f"{self.point.value} {self.by}".strip()

    async def play(self, deployment: Deployment, living: Process) -> Casualty:
        """Start the service, lead it to its point, and see it die."""
        async with TURNS:
            return await self._play(deployment, living)

    async def _play(self, deployment: Deployment, living: Process) -> Casualty:
        # the one that lives on sweeps
        dying = await deployment.serve(crash_at=self.point.value, sweep_interval_s=NEVER_S)
        run_ids = await self.ask(deployment, dying, living, self.name)
        exit_code = await dying.died(within_s=DIES_WITHIN_S)
        return Casualty(self.name, self.point, exit_code, dying.log, run_ids)


async def try_post(service: Process, path: str, **content: Any) -> httpx.Response | None:
    """Post to a service that may die of it."""
    try:
        return await service.client.post(path, **content)
    except httpx.TransportError:
        return None


async def submit_twice(
    _deployment: Deployment, dying: Process, living: Process, name: str
) -> list[str]:
    """Submit under one key, to the one that dies and to the one that lives on."""
    content: Json = {
        "json": PROGRAM | {"labels": {"scene": name}},
        "headers": {"Idempotency-Key": name},
    }
    first = await try_post(dying, "/programs", **content)
    await dying.died(within_s=DIES_WITHIN_S)
    second = await living.client.post("/programs", **content)
    assert second.status_code in {200, 201}, second.text
    if first is not None:
        assert first.json()["run_id"] == second.json()["run_id"]
    return [second.json()["run_id"]]


async def complete_twice(
    deployment: Deployment, dying: Process, living: Process, name: str
) -> list[str]:
    """Complete a step, and again because nobody answered; the next step answers at once."""
    accepted: asyncio.Future[Call] = asyncio.get_running_loop().create_future()

    async def answer(call: Call) -> Reply:
        if call.json["step"] == 0 and not accepted.done():
            accepted.set_result(call)
        return Reply(202 if call.json["step"] == 0 else 200)

    async with endpoint(answer) as server:
        job = f"later-{name}"
        (await living.client.put(f"/jobs/{job}", json={"url": server.url})).raise_for_status()
        run_id = await submit(living, job, job)
        path = httpx.URL((await accepted).links["complete"]).path
        await until_awaited(deployment, run_id)
        assert await try_post(dying, path, json={}) is None
        await dying.died(within_s=DIES_WITHIN_S)
        again = await living.client.post(path, json={})
        # refused: it had been committed, and the step has moved on
        assert again.status_code == (409 if "after" in name else 200), again.text
        await until_over(deployment, run_id)
        assert len(server.calls) == 2
    return [run_id]


async def until_awaited(deployment: Deployment, run_id: str) -> None:
    """Wait until the 202 of a step is recorded."""

    async def is_awaited() -> bool:
        return (await row_of(deployment, run_id))["awaiting"] is not None

    await eventually(is_awaited)


async def until_over(deployment: Deployment, run_id: str) -> None:
    """Wait until a program has finished."""

    async def is_over() -> bool:
        return (await row_of(deployment, run_id))["finished_at"] is not None

    await eventually(is_over, within_s=ENDS_WITHIN_S)


async def cancel_twice(
    _deployment: Deployment, dying: Process, living: Process, _name: str
) -> list[str]:
    """Cancel a program whose time has not come, and again because nobody answered."""
    run_id = await submit(living, "tick", start_at=in_seconds(NEVER_S))
    assert await try_post(dying, f"/programs/{run_id}/cancel") is None
    await dying.died(within_s=DIES_WITHIN_S)
    (await living.client.post(f"/programs/{run_id}/cancel")).raise_for_status()
    return [run_id]


async def resume_twice(
    _deployment: Deployment, dying: Process, living: Process, name: str
) -> list[str]:
    """Resume a cancelled program, and again because nobody answered."""
    run_id = await submit(living, "tick", start_at=in_seconds(NEVER_S), program_data=SHORT)
    (await living.client.post(f"/programs/{run_id}/cancel")).raise_for_status()
    assert await try_post(dying, f"/programs/{run_id}/resume") is None
    await dying.died(within_s=DIES_WITHIN_S)
    again = await living.client.post(f"/programs/{run_id}/resume")
    # refused: it goes on already
    assert again.status_code == (409 if "after" in name else 200), again.text
    return [run_id]


def in_seconds(seconds: float) -> str:
    """Return a moment as the API reads it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def services_fall(deployment: Deployment, scenes: list[ServiceScene], end: Aftermath) -> None:
    """Play the scenes of services; those that sweeping leads to as well, one after the other."""
    deployment.settings |= {"callback_allow": "127.0.0.0/8"}
    living, _ = await asyncio.gather(deployment.serve(), deployment.work())
    # the first sweep of a service that starts must find nothing that another one left
    alone = [each for each in scenes if each.point in REACHED_BY_SWEEPS]
    together = [each for each in scenes if each not in alone]
    casualties = list(await asyncio.gather(*[scene.play(deployment, living) for scene in together]))
    await all_ended(deployment, within_s=ENDS_WITHIN_S)
    for scene in alone:
        casualties.append(await scene.play(deployment, living))
        await all_ended(deployment, within_s=ENDS_WITHIN_S)
    await end.read(deployment, casualties)


REACHED_BY_SWEEPS = {
    CrashPoint.WAKE_PUBLISHED,
    CrashPoint.MARK_BEFORE_COMMIT,
    CrashPoint.MARK_AFTER_COMMIT,
}


@dataclass(frozen=True, slots=True)
class SweeperScene:
    """A service that comes to a crash point because nobody else sweeps."""

    point: CrashPoint
    is_wakeup_lost: bool = False

    @property
    def name(self) -> str:
        """What the scene is called."""
        return f"{self.point.value} sweeping"

    async def play(self, deployment: Deployment, worker: Process) -> Casualty:
        """Start the service, lead it to its point, see it die, and have another one end it all."""
        dying = await deployment.serve(crash_at=self.point.value)
        if self.is_wakeup_lost:
            worker.signal(signal.SIGSTOP)  # it received the wake-up, and does not answer
        start_at = None if self.is_wakeup_lost else in_seconds(1)
        run_id = await submit(dying, *PROGRAM["jobs"], program_data=SHORT, start_at=start_at)
        exit_code = await dying.died(within_s=DIES_WITHIN_S)
        worker.signal(signal.SIGCONT)
        living = await deployment.serve()
        await all_ended(deployment, within_s=ENDS_WITHIN_S)
        await living.kill()
        return Casualty(self.name, self.point, exit_code, dying.log, [run_id])


async def sweepers_fall(deployment: Deployment, scenes: list[SweeperScene], end: Aftermath) -> None:
    """Play the scenes of sweepers, one after the other."""
    migrating, worker = await asyncio.gather(deployment.serve(), deployment.work())
    await migrating.kill()
    casualties = [await scene.play(deployment, worker) for scene in scenes]
    await end.read(deployment, casualties)
