"""Black holes: processes behind a proxy, and what tests of them wait for."""

from collections.abc import Callable

import pytest

from asking import all_finished, attempts, submit
from journal import Entry, Journal
from patience import eventually
from processes import Deployment, Process
from tcp_proxy import TcpProxy

LEASE_S = 3.0

AGAIN_WITHIN_S = 90.0
"""For a silence to be noticed, and for a new connection."""

Begin = Callable[[TcpProxy], None]

HOLES = [
    pytest.param(TcpProxy.stall, id="for ever"),
    pytest.param(TcpProxy.hold, id="for a while"),
]
"""Whether what was sent into the hole is lost, or arrives when it ends."""


async def found(look: Callable[[Journal], list[Entry]], deployment: Deployment) -> list[Entry]:
    """Wait for entries of the journal, and return them."""

    async def see() -> list[Entry]:
        return look(Journal(deployment.journal))

    return await eventually(see, within_s=AGAIN_WITHIN_S)


async def begun(deployment: Deployment, run_id: str, worker: Process) -> None:
    """Wait until a worker has begun a program."""
    await found(
        lambda each: [e for e in each.begins(run_id) if e.worker == worker.name], deployment
    )


async def ended(deployment: Deployment, run_id: str, worker: Process) -> None:
    """Wait until a worker has ended a step of a program, by its own account."""
    await found(lambda each: [e for e in each.ends(run_id) if e.worker == worker.name], deployment)


async def logged(process: Process, event: str) -> None:
    """Wait until a process has logged an event."""

    async def is_logged() -> bool:
        return f'"{event}"' in process.log

    await eventually(is_logged, within_s=AGAIN_WITHIN_S)


async def outcomes(deployment: Deployment, run_id: str) -> list[tuple[str, str]]:
    """Return the worker and the outcome of each try of a program."""
    written = await attempts(deployment)
    return [(each["worker"], each["outcome"]) for each in written if each["run_id"] == run_id]


async def takes_work(deployment: Deployment, service: Process, worker: Process) -> None:
    """Submit programs until this worker is one of those that run them."""

    async def ran_one() -> bool:
        run_id = await submit(service, "tick", program_data={"seconds": 0})
        await found(lambda each: each.ends(run_id), deployment)
        return Journal(deployment.journal).begins(run_id)[0].worker == worker.name

    await eventually(ran_one, within_s=AGAIN_WITHIN_S)


async def require_recovered(deployment: Deployment, service: Process, worker: Process) -> None:
    """A worker that nobody helps takes new programs and runs them."""
    for process in deployment.processes:
        if process not in {service, worker}:
            await process.stop()
    await takes_work(deployment, service, worker)
    await all_finished(deployment)


async def is_stalling(proxy: TcpProxy) -> None:
    """Wait until what the proxy waits for was said."""

    async def it_is() -> bool:
        return proxy.is_stalling

    await eventually(it_is, within_s=AGAIN_WITHIN_S)
