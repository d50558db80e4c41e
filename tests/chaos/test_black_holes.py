"""Black holes before the database: both sides believe in a connection that carries nothing.

Each test puts one process behind a proxy; all others reach their servers directly.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import sqlalchemy as sa

from asking import Row, all_finished, rows, submit
from black_holes import (
    AGAIN_WITHIN_S,
    HOLES,
    LEASE_S,
    Begin,
    begun,
    ended,
    is_stalling,
    outcomes,
    require_recovered,
)
from journal import Journal
from patience import eventually
from private_postgres import PrivatePostgres
from processes import Deployment, Process
from tcp_proxy import TcpProxy, proxied

COMMIT = b"COMMIT;"
"""As the driver says it; a transaction begins with READ COMMITTED."""

ANSWER_WITHIN_S = 90.0
"""For a refusal: a statement is given up after 30 s, and a request may wait for one before it."""


@pytest.fixture
async def to_database(postgres: PrivatePostgres) -> AsyncIterator[TcpProxy]:
    """Stand before the database."""
    async with proxied("127.0.0.1", postgres.port) as proxy:
        yield proxy


@pytest.fixture
def by_database(deployment: Deployment, to_database: TcpProxy) -> dict[str, str]:
    """Return the setting of a process that reaches its database by the proxy."""
    url = sa.make_url(deployment.database_url).set(port=to_database.port)
    return {"database_url": url.render_as_string(hide_password=False)}


async def post(service: Process, *, key: str = "") -> httpx.Response:
    """Submit a program, whatever the answer is; there must be one."""
    headers = {"Idempotency-Key": key} if key else {}
    async with asyncio.timeout(ANSWER_WITHIN_S):
        return await service.client.post(
            "/programs", json={"jobs": ["tick"]}, headers=headers, timeout=ANSWER_WITHIN_S
        )


@pytest.mark.parametrize("fall_silent", HOLES)
@pytest.mark.timeout(400)
async def test_worker_that_loses_its_database_is_relieved_and_comes_back(
    deployment: Deployment,
    to_database: TcpProxy,
    by_database: dict[str, str],
    fall_silent: Begin,
) -> None:
    """Invariants 3 and 13, rules R2 and R7: what it did meanwhile is not recorded."""
    deployment.settings |= {"lease_s": LEASE_S}
    service, cut_off = await asyncio.gather(
        deployment.serve(), deployment.work(name="cut-off", **by_database)
    )
    # a thread, deaf to whoever wants to stop it, that ends long after its lease
    run_id = await submit(service, "tock", program_data={"seconds": 3 * LEASE_S})
    await begun(deployment, run_id, cut_off)
    fall_silent(to_database)
    other = await deployment.work(name="other")
    await begun(deployment, run_id, other)
    await ended(deployment, run_id, cut_off)
    await ended(deployment, run_id, other)
    await all_finished(deployment)
    to_database.heal()
    await require_recovered(deployment, service, cut_off)
    assert await outcomes(deployment, run_id) == [(cut_off.name, "lost"), (other.name, "done")]
    (first, second) = Journal(deployment.journal).begins(run_id)
    assert [first.attempt, second.attempt] == [1, 2]


@pytest.mark.timeout(400)
async def test_rows_that_a_lost_worker_has_locked_are_claimed_all_the_same(
    deployment: Deployment, to_database: TcpProxy, by_database: dict[str, str]
) -> None:
    """Its transaction stays open at the database, until that gives up waiting for the COMMIT."""
    deployment.settings |= {"lease_s": LEASE_S}
    service, cut_off = await asyncio.gather(
        deployment.serve(), deployment.work(name="cut-off", **by_database)
    )
    run_id = await submit(service, "tick", "tick", program_data={"seconds": 2})
    await begun(deployment, run_id, cut_off)
    to_database.stall_before(COMMIT)
    await is_stalling(to_database)
    other = await deployment.work(name="other")
    await begun(deployment, run_id, other)
    await all_finished(deployment)
    to_database.heal()
    await require_recovered(deployment, service, cut_off)
    assert Journal(deployment.journal).out_of_order() == []


@pytest.mark.timeout(400)
async def test_step_whose_commit_was_answered_into_a_hole_is_not_run_again_by_its_worker(
    deployment: Deployment, to_database: TcpProxy, by_database: dict[str, str]
) -> None:
    """Rule R4: it reads back what stands there; its lease, longer than the hole, is not lost."""
    deployment.settings |= {"lease_s": 120}
    service, worker = await asyncio.gather(deployment.serve(), deployment.work(**by_database))
    run_id = await submit(service, "tick", "tick", program_data={"seconds": 1})
    await begun(deployment, run_id, worker)
    to_database.stall_after(COMMIT)
    await is_stalling(to_database)
    await ended(deployment, run_id, worker)
    to_database.heal()
    await all_finished(deployment, within_s=AGAIN_WITHIN_S)
    journal = Journal(deployment.journal)
    assert [(each.step, each.attempt) for each in journal.begins()] == [(0, 1), (1, 1)]
    assert await outcomes(deployment, run_id) == [(worker.name, "done")] * 2


@pytest.mark.parametrize("fall_silent", HOLES)
@pytest.mark.timeout(600)
async def test_service_that_loses_its_database_refuses_and_loses_nothing_that_it_accepted(
    deployment: Deployment,
    to_database: TcpProxy,
    by_database: dict[str, str],
    fall_silent: Begin,
) -> None:
    """Invariant 1: 503 within the time of a statement, and 201 again when the hole has ended."""
    service, _ = await asyncio.gather(deployment.serve(**by_database), deployment.work())
    accepted = [await submit(service, "tick") for _ in range(10)]
    fall_silent(to_database)
    answers = await asyncio.gather(*(post(service) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {503}
    assert (await service.client.get("/livez")).status_code == httpx.codes.OK
    to_database.heal()

    async def is_accepted() -> Row:
        answer = await post(service)
        return answer.json() if answer.status_code == httpx.codes.CREATED else {}

    accepted.append((await eventually(is_accepted, within_s=AGAIN_WITHIN_S))["run_id"])
    await all_finished(deployment)
    assert set(accepted) <= (await rows(deployment)).keys()


@pytest.mark.timeout(400)
async def test_submit_whose_commit_was_answered_into_a_hole_is_the_same_program_when_repeated(
    deployment: Deployment, to_database: TcpProxy, by_database: dict[str, str]
) -> None:
    """Rule R4, for clients: 503 says that nobody knows; the Idempotency-Key settles it."""
    service = await deployment.serve(unknown_jobs="accept", **by_database)
    to_database.stall_after(COMMIT)
    assert (await post(service, key="an order")).status_code == 503
    (run_id,) = await rows(deployment)
    to_database.heal()

    async def is_known() -> Row:
        answer = await post(service, key="an order")
        return answer.json() if answer.is_success else {}

    assert (await eventually(is_known, within_s=AGAIN_WITHIN_S))["run_id"] == run_id
    await deployment.work()
    await all_finished(deployment)
    assert [entry.run_id for entry in Journal(deployment.journal).begins()] == [run_id]
