"""Black holes before the broker: nothing arrives, and nothing fails.

Each test puts one process behind a proxy; all others reach their servers directly.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from asking import all_finished, submit, submit_many
from black_holes import (
    AGAIN_WITHIN_S,
    HOLES,
    LEASE_S,
    Begin,
    begun,
    ended,
    logged,
    require_recovered,
    takes_work,
)
from journal import Journal
from patience import eventually
from private_rabbitmq import PrivateRabbit
from processes import Deployment
from tcp_proxy import TcpProxy, proxied


@pytest.fixture
async def to_broker(node: PrivateRabbit) -> AsyncIterator[TcpProxy]:
    """Stand before the broker."""
    async with proxied("127.0.0.1", node.port) as proxy:
        yield proxy


@pytest.fixture
def by_broker(deployment: Deployment, to_broker: TcpProxy) -> dict[str, str]:
    """Return the setting of a process that reaches its broker by the proxy."""
    return {"amqp_url": str(URL(deployment.amqp_url).with_port(to_broker.port))}


@pytest.mark.parametrize("fall_silent", HOLES)
@pytest.mark.timeout(400)
async def test_worker_that_loses_its_broker_goes_on_with_what_it_has_and_comes_back(
    deployment: Deployment, to_broker: TcpProxy, by_broker: dict[str, str], fall_silent: Begin
) -> None:
    """Invariant 2: the lease guards the work, not the broker."""
    deployment.settings |= {"lease_s": LEASE_S}
    service, worker = await asyncio.gather(deployment.serve(), deployment.work(**by_broker))
    gate = deployment.folder / "gate"
    running = await submit(service, "wait", "tick", program_data={"gate": str(gate)})
    await begun(deployment, running, worker)
    fall_silent(to_broker)
    meanwhile = await submit_many(service, [{"jobs": ["tick"]}] * 20)
    await logged(worker, "broker.lost")
    gate.touch()
    await ended(deployment, running, worker)
    to_broker.heal()
    await all_finished(deployment, within_s=AGAIN_WITHIN_S)

    async def has_reconnected() -> bool:
        return await worker.count("broker_reconnects") >= 1

    await eventually(has_reconnected, within_s=AGAIN_WITHIN_S)
    journal = Journal(deployment.journal)
    assert {entry.run_id for entry in journal.begins()} == {running, *meanwhile}
    assert journal.begun_again() == []


@pytest.mark.timeout(400)
async def test_wakeups_that_went_into_a_hole_are_sent_again_and_taken_by_another_worker(
    deployment: Deployment, to_broker: TcpProxy, by_broker: dict[str, str]
) -> None:
    """Rule R6: the broker believes that it delivered them."""
    service, cut_off, other = await asyncio.gather(
        deployment.serve(),
        deployment.work(name="cut-off", **by_broker),
        deployment.work(name="other"),
    )
    for worker in (cut_off, other):
        await takes_work(deployment, service, worker)
    to_broker.stall()
    # the broker gives every second one to the dead consumer, which it takes for a slow one
    run_ids = [await submit(service, "tick") for _ in range(6)]
    await logged(service, "wakeup.again")
    await all_finished(deployment, within_s=AGAIN_WITHIN_S)
    assert to_broker.is_stalling
    assert to_broker.bytes_swallowed > 0
    journal = Journal(deployment.journal)
    assert {journal.begins(run_id)[0].worker for run_id in run_ids} == {other.name}
    assert journal.begun_again() == []
    to_broker.heal()
    await require_recovered(deployment, service, cut_off)


@pytest.mark.parametrize("fall_silent", HOLES)
@pytest.mark.timeout(400)
async def test_service_that_loses_its_broker_accepts_and_wakes_later(
    deployment: Deployment, to_broker: TcpProxy, by_broker: dict[str, str], fall_silent: Begin
) -> None:
    """Invariant 2: while the broker is away, submitting works."""
    service, _ = await asyncio.gather(deployment.serve(**by_broker), deployment.work())
    await submit(service, "tick")
    await all_finished(deployment)
    fall_silent(to_broker)
    run_ids = [await submit(service, "tick") for _ in range(20)]

    async def is_not_confirmed() -> bool:
        return await service.count("wakeups_published", result="failed") > 0

    await eventually(is_not_confirmed, within_s=AGAIN_WITHIN_S)
    to_broker.heal()
    await all_finished(deployment, within_s=AGAIN_WITHIN_S)
    assert set(run_ids) <= {entry.run_id for entry in Journal(deployment.journal).ends()}
