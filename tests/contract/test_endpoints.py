"""Endpoints: callback jobs that several people, services and workers change at a time."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from builders import a_program, submitted
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import (
    JobInProcess,
    JobNeeded,
    JobNotFound,
    JobsNotRegistered,
)
from program_service.bookkeeping.ledger.endpoints import (
    MOST_SECRETS,
    Registered,
    delete_job,
    disable_endpoint,
    put_endpoint,
    rotate_secret,
)
from program_service.bookkeeping.ledger.registry import (
    CALLBACK,
    IN_PROCESS,
    Endpoint,
    Job,
    Secret,
    find_job,
    register_jobs,
)
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.submitting import submit, submit_at_once, submit_unlocked
from program_service.bookkeeping.ledger.workers import Worker, beat
from servers import Connect, on_servers

BEAT_S = 5.0
DAY = timedelta(days=1)
URL = "https://shop.example/charge"
FUNCTION = Job("charge", IN_PROCESS, "default", None, {})


def a_job(number: int = 1, *, url: str = URL) -> Job:
    """Make an endpoint as it is if it is new, with a secret and a token key of its own."""
    endpoint = Endpoint(url, [Secret(f"secret-{number}")], token_key=f"{number:064x}")
    return Job("charge", CALLBACK, "default", 30.0, {}, endpoint=endpoint)


async def put(database: Database, job: Job, *, brings_secret: bool = False) -> Registered:
    """Register an endpoint, or change it."""
    return await database.transact(put_endpoint, job, brings_secret=brings_secret, beat_s=BEAT_S)


async def stored(database: Database) -> Endpoint:
    """Return the endpoint that is registered."""
    job = await database.read(find_job, "charge")
    assert job.endpoint is not None
    return job.endpoint


async def secrets_of(database: Database) -> list[str]:
    """Return the secrets that calls are signed with, the newest first."""
    return [each.secret for each in (await stored(database)).secrets]


async def is_disabled(database: Database) -> bool:
    """Say whether the endpoint is called no more."""
    return (await database.read(find_job, "charge")).disabled_at is not None


@pytest.mark.parametrize("brings_secret", [False, True])
async def test_puts_at_once_lose_neither_a_secret_nor_the_token_key(
    connect: Connect, *, brings_secret: bool
) -> None:
    processes = [connect() for _ in range(4)]
    answers = await asyncio.gather(
        *(
            put(process, a_job(number), brings_secret=brings_secret)
            for number, process in enumerate(processes)
        )
    )
    # one of them has registered it: its token key stays, and its secret is the one that is shown
    (first,) = [number for number, answer in enumerate(answers) if answer.is_new]
    assert [answer.is_new_endpoint for answer in answers].count(True) == 1
    assert answers[first].is_new_endpoint
    assert (await stored(processes[0])).token_key == f"{first:064x}"
    expected = {f"secret-{number}" for number in range(4)} if brings_secret else {f"secret-{first}"}
    assert set(await secrets_of(processes[0])) == expected


async def test_rotations_at_once_lose_no_secret(connect: Connect) -> None:
    """Each of them has shown its secret to somebody."""
    processes = [connect() for _ in range(4)]
    await put(processes[0], a_job())
    await asyncio.gather(
        *(
            process.transact(rotate_secret, "charge", f"rotated-{number}", overlap=DAY)
            for number, process in enumerate(processes)
        )
    )
    expected = {"secret-1", *(f"rotated-{number}" for number in range(4))}
    assert set(await secrets_of(processes[0])) == expected


async def test_older_secrets_are_good_until_they_expire(database: Database) -> None:
    """The receiver is told of a secret later: of two rotations in a row, perhaps of none yet."""
    await put(database, a_job())
    for number in (2, 3):
        await database.transact(rotate_secret, "charge", f"secret-{number}", overlap=DAY)
    endpoint, now = await stored(database), datetime.now(UTC)
    assert endpoint.valid_secrets(now) == ["secret-3", "secret-2", "secret-1"]
    assert endpoint.valid_secrets(now + 2 * DAY) == ["secret-3"]
    await database.transact(rotate_secret, "charge", "secret-1", overlap=DAY)
    assert await secrets_of(database) == ["secret-1", "secret-3", "secret-2"]
    await database.transact(rotate_secret, "charge", "secret-4", overlap=timedelta())
    assert await secrets_of(database) == ["secret-4"]


async def test_secrets_are_no_more_than_a_few(database: Database) -> None:
    """Each call is signed with each."""
    await put(database, a_job())
    for number in range(MOST_SECRETS + 3):
        await database.transact(rotate_secret, "charge", f"rotated-{number}", overlap=DAY)
    assert len(await secrets_of(database)) == MOST_SECRETS
    assert (await secrets_of(database))[0] == f"rotated-{MOST_SECRETS + 2}"


async def test_rotation_to_the_newest_secret_changes_nothing(database: Database) -> None:
    await put(database, a_job())
    before = await database.read(find_job, "charge")
    assert await database.transact(rotate_secret, "charge", "secret-1", overlap=DAY) == before
    assert await database.read(find_job, "charge") == before


async def _gone(database: Database, called: Job) -> bool:
    """Report that the endpoint of a job answered 410, as a worker does that has read it before."""
    assert called.endpoint is not None
    return await database.transact(
        disable_endpoint,
        called.name,
        url=called.endpoint.url,
        registered_at=called.last_seen_at,
    )


async def test_gone_endpoint_is_disabled_until_it_is_put_again(database: Database) -> None:
    called = (await put(database, a_job())).job
    assert await _gone(database, called)
    assert await is_disabled(database)
    await database.transact(rotate_secret, "charge", "secret-2", overlap=DAY)
    assert await is_disabled(database)
    assert (await put(database, a_job(2))).job.disabled_at is None
    # a call that had begun before, to the same address
    assert not await _gone(database, called)
    assert not await is_disabled(database)


async def test_former_address_does_not_disable_the_new_one(database: Database) -> None:
    called = (await put(database, a_job(url="https://old.example/"))).job
    await put(database, a_job(2, url="https://new.example/"))
    assert not await _gone(database, called)
    assert not await is_disabled(database)


async def test_address_that_was_changed_by_hand_is_not_disabled_either(database: Database) -> None:
    called = (await put(database, a_job())).job
    jobs, endpoint = (
        database.tables.jobs,
        replace(await stored(database), url="https://new.example/"),
    )
    async with database.engine.begin() as connection:
        await connection.execute(sa.update(jobs).values(endpoint=endpoint.as_json()))
    assert not await _gone(database, called)
    assert not await is_disabled(database)


async def test_gone_endpoint_of_a_deleted_job_disables_nothing(database: Database) -> None:
    called = (await put(database, a_job())).job
    await database.transact(delete_job, "charge", beat_s=BEAT_S)
    assert not await _gone(database, called)


async def test_function_of_a_live_worker_keeps_its_name(database: Database) -> None:
    await database.transact(register_jobs, [FUNCTION])
    worker = Worker("mary", "host", "1.0.0", ["default"], ["charge"], 9, 0, {})
    await database.transact(beat, worker)
    with pytest.raises(JobInProcess, match="'mary'"):
        await put(database, a_job())
    with pytest.raises(JobInProcess, match="'charge'"):
        await database.transact(delete_job, "charge", beat_s=BEAT_S)
    assert (await database.read(find_job, "charge")).kind == IN_PROCESS


async def test_function_that_no_worker_has_makes_way_for_an_endpoint(database: Database) -> None:
    await database.transact(register_jobs, [FUNCTION])
    answer = await put(database, a_job())
    assert (answer.is_new, answer.is_new_endpoint) == (False, True)
    assert await secrets_of(database) == ["secret-1"]


async def test_put_and_delete_at_once_leave_a_whole_job_or_none(connect: Connect) -> None:
    processes = [connect() for _ in range(4)]
    for _ in range(5):
        await put(processes[0], a_job())
        answers = await asyncio.gather(
            put(processes[1], a_job(2), brings_secret=True),
            processes[2].transact(delete_job, "charge", beat_s=BEAT_S),
            put(processes[3], a_job(3), brings_secret=True),
        )
        shown = {answer.is_new for answer in answers if isinstance(answer, Registered)}
        if True in shown:  # it was deleted before
            assert "secret-1" not in await secrets_of(processes[0])
            await processes[0].transact(delete_job, "charge", beat_s=BEAT_S)
        with pytest.raises(JobNotFound):
            await processes[0].read(find_job, "charge")


async def test_job_that_a_program_needs_is_kept(database: Database) -> None:
    await put(database, a_job())
    await submitted(database, "run-1", jobs=["ship", "charge"])
    with pytest.raises(JobNeeded, match="run-1"):
        await database.transact(delete_job, "charge", beat_s=BEAT_S)
    assert (await stored(database)).url == URL


@on_servers  # SQLite has one writer
async def test_job_is_not_deleted_beside_a_submit_that_needs_it(connect: Connect) -> None:
    """Whichever is committed first, the other one is refused."""
    deleting, submitting = connect(), connect()
    await put(deleting, a_job())
    await deleting.transact(register_jobs, [replace(FUNCTION, name="ship")])
    program = a_program("run-1", jobs=["ship", "charge"], is_for_known_jobs=True)
    is_written, is_to_be_committed = asyncio.Event(), asyncio.Event()

    async def submit_slowly(books: Books) -> None:
        await submit(books, [program])
        is_written.set()
        await is_to_be_committed.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(submitting.transact(submit_slowly))
        await is_written.wait()
        deletion = tasks.create_task(_refused(deleting))
        done, _ = await asyncio.wait([deletion], timeout=0.3)
        assert not done
        is_to_be_committed.set()
    assert isinstance(deletion.result(), JobNeeded)
    await deleting.transact(cancel, "run-1")
    assert await _refused(deleting) is None
    later = a_program("run-2", jobs=["ship", "charge"], is_for_known_jobs=True)
    for work in (submit, submit_unlocked):
        with pytest.raises(JobsNotRegistered, match="'charge'"):
            await submitting.transact(work, [later])
    await submitting.transact(submit, [a_program("run-3", jobs=["charge"])])


async def _refused(database: Database) -> Exception | None:
    try:
        await database.transact(delete_job, "charge", beat_s=BEAT_S)
    except JobNeeded as error:
        return error
    return None


@pytest.mark.parametrize("work", [submit, submit_unlocked, submit_at_once])
async def test_program_of_registered_jobs_is_written_once(database: Database, work: Any) -> None:
    """Rule R4: also with the check that its jobs are there."""
    await put(database, a_job())
    program = a_program("run-1", jobs=["charge"], is_for_known_jobs=True)
    answers = [await database.transact(work, [program]) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0][0].run_id == "run-1"
