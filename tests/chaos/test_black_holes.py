"""Black holes: a connection that both sides believe in, and that carries nothing any more.

Each test puts one process behind a proxy; all others reach their servers directly.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import sqlalchemy as sa
from yarl import URL

from asking import Row, all_finished, attempts, rows, submit, submit_many
from journal import Entry, Journal
from patience import eventually
from private_postgres import PrivatePostgres
from private_rabbitmq import PrivateRabbit
from processes import Deployment, Process
from tcp_proxy import TcpProxy, proxied

LEASE_S = 3.0
COMMIT = b"COMMIT;"
"""As the driver says it; a transaction begins with READ COMMITTED."""

ANSWER_WITHIN_S = 90.0
"""For a refusal: a statement is given up after 30 s, and a request may wait for one before it."""

AGAIN_WITHIN_S = 90.0
"""For a silence to be noticed, and for a new connection."""

Begin = Callable[[TcpProxy], None]

HOLES = [
    pytest.param(TcpProxy.stall, id="for ever"),
    pytest.param(TcpProxy.hold, id="for a while"),
]
"""Whether what was sent into the hole is lost, or arrives when it ends."""


@pytest.fixture
async def to_database(postgres: PrivatePostgres) -> AsyncIterator[TcpProxy]:
    """Stand before the database."""
    async with proxied("127.0.0.1", postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def to_broker(node: PrivateRabbit) -> AsyncIterator[TcpProxy]:
    """Stand before the broker."""
    async with proxied("127.0.0.1", node.port) as proxy:
        yield proxy


@pytest.fixture
def by_database(deployment: Deployment, to_database: TcpProxy) -> dict[str, str]:
    """Return the setting of a process that reaches its database by the proxy."""
    url = sa.make_url(deployment.database_url).set(port=to_database.port)
    return {"database_url": url.render_as_string(hide_password=False)}


@pytest.fixture
def by_broker(deployment: Deployment, to_broker: TcpProxy) -> dict[str, str]:
    """Return the setting of a process that reaches its broker by the proxy."""
    return {"amqp_url": str(URL(deployment.amqp_url).with_port(to_broker.port))}


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


async def post(service: Process, **options: object) -> httpx.Response:
    """Submit a program, whatever the answer is; there must be one."""
    body = {"jobs": ["tick"]}
    async with asyncio.timeout(ANSWER_WITHIN_S):
        return await service.client.post(
            "/programs",
            json=body,
            timeout=ANSWER_WITHIN_S,
            **options,  # type: ignore[arg-type]
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

    async def is_stalling() -> bool:
        return to_database.is_stalling

    await eventually(is_stalling)
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

    async def is_stalling() -> bool:
        return to_database.is_stalling

    await eventually(is_stalling)
    await ended(deployment, run_id, worker)
    to_database.heal()
    await all_finished(deployment, within_s=AGAIN_WITHIN_S)
    journal = Journal(deployment.journal)
    assert [(each.step, each.attempt) for each in journal.begins()] == [(0, 1), (1, 1)]
    assert await outcomes(deployment, run_id) == [(worker.name, "done")] * 2


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
    journal = Journal(deployment.journal)
    assert await worker.count("broker_reconnects") >= 1
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
    assert {answer.headers["retry-after"] for answer in answers} != set()
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
    key = {"Idempotency-Key": "an order"}
    to_database.stall_after(COMMIT)
    assert (await post(service, headers=key)).status_code == 503
    (run_id,) = await rows(deployment)
    to_database.heal()

    async def is_known() -> Row:
        answer = await post(service, headers=key)
        return answer.json() if answer.is_success else {}

    assert (await eventually(is_known, within_s=AGAIN_WITHIN_S))["run_id"] == run_id
    await deployment.work()
    await all_finished(deployment)
    assert [entry.run_id for entry in Journal(deployment.journal).begins()] == [run_id]


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
