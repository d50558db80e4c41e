"""Database steps: what a job does in its transaction happens exactly as often as its step ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection

from patience import eventually
from program_executor import Job, JobContext, JobError, Retry, RetryableError, job
from program_service.bookkeeping import setbacks, step_transaction
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.recording import RecordAnswer, StepRecord, record
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.broker import Cancelled
from servers import on_servers
from stage import Stage

pytestmark = on_servers

ADD = sa.text("UPDATE counter SET number = number + 1")
QUICK = Retry(max_attempts=3, initial_s=0.05, jitter="none")


class Counter:
    """A table of the user's own, in the same database."""

    def __init__(self, database: Database) -> None:
        """Take where it stands."""
        self._database = database

    async def run(self, *statements: str) -> None:
        """Run statements in a transaction."""
        async with self._database.engine.begin() as connection:
            for statement in statements:
                await connection.execute(sa.text(statement))

    async def number(self) -> int:
        """Return what it stands at."""
        async with self._database.engine.connect() as connection:
            return int(await connection.scalar(sa.text("SELECT number FROM counter")))


@pytest.fixture
async def counter(database: Database) -> AsyncIterator[Counter]:
    """Make a counter that stands at 0."""
    counter = Counter(database)
    table = "CREATE TABLE counter (id INTEGER PRIMARY KEY, number INTEGER)"
    await counter.run(table, "INSERT INTO counter VALUES (1, 0)")
    yield counter
    await counter.run("DROP TABLE counter")


def adding(then: Callable[[JobContext], Awaitable[None]] | None = None, **terms: object) -> Job:
    """Make a job that adds 1 in its transaction, and then does something else."""

    async def add(ctx: JobContext) -> dict[str, int]:
        session = await ctx.transaction()
        await session.execute(ADD)
        if then is not None:
            await then(ctx)
        return {"attempt": ctx.attempt}

    return job("add", retry=QUICK, **terms)(add)  # type: ignore[call-overload, no-any-return]


async def test_work_is_committed_with_its_step(stage: Stage, counter: Counter) -> None:
    seen: list[int] = []

    async def look(_ctx: JobContext) -> None:
        seen.append(await counter.number())

    await stage.hire(adding(look))
    program = await stage.finished(await stage.submit("add", "add"))
    assert program.job_data == {"add": {"attempt": 1}}
    assert seen == [0, 1]
    assert await counter.number() == 2
    assert await stage.outcomes(program.run_id) == ["done", "done"]


async def test_every_call_of_a_step_returns_the_same_session(
    stage: Stage, counter: Counter
) -> None:
    @job
    async def add(ctx: JobContext) -> None:
        first, second = await asyncio.gather(ctx.transaction(), ctx.transaction())
        assert first is second
        await first.execute(ADD)

    await stage.hire(add)
    await stage.finished(await stage.submit("add"))
    assert await counter.number() == 1


async def test_work_of_a_step_that_fails_is_undone(stage: Stage, counter: Counter) -> None:
    async def fail_twice(ctx: JobContext) -> None:
        if ctx.attempt < 3:
            raise RetryableError

    await stage.hire(adding(fail_twice))
    program = await stage.finished(await stage.submit("add"))
    assert await stage.outcomes(program.run_id) == ["retry", "retry", "done"]
    assert await counter.number() == 1


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize("error", [ConnectionRefusedError, RetryableError, SystemExit])
async def test_event_handler_of_a_job_that_raises_fails_its_step_alone(
    stage: Stage, counter: Counter, moment: str, error: type[BaseException]
) -> None:
    """Handlers of the job's run while we commit; what they raise is raised by the job."""

    def refuse(*_: object) -> None:
        raise error

    @job(retry=Retry(max_attempts=2, initial_s=0.01, jitter="none"))
    async def add(ctx: JobContext) -> None:
        session = await ctx.transaction()
        await session.execute(ADD)
        sa.event.listen(session.sync_session, moment, refuse)

    await stage.hire(add, adding().named("good"))
    program = await stage.ended(await stage.submit("add"))
    outcomes = ["retry", "failed"] if error is RetryableError else ["failed"]
    assert (program.status, await stage.outcomes(program.run_id)) == (Status.ERRORED, outcomes)
    assert await counter.number() == 0
    await stage.finished(await stage.submit("good"))


async def test_work_of_a_step_whose_time_is_over_is_undone(stage: Stage, counter: Counter) -> None:
    async def hang_once(ctx: JobContext) -> None:
        await asyncio.sleep(60 if ctx.attempt == 1 else 0)

    await stage.hire(adding(hang_once, timeout_s=0.5))
    program = await stage.finished(await stage.submit("add"))
    assert await stage.outcomes(program.run_id) == ["retry", "done"]
    assert await counter.number() == 1


async def test_work_of_a_cancelled_program_is_undone(stage: Stage, counter: Counter) -> None:
    is_there = asyncio.Event()

    async def hang(_ctx: JobContext) -> None:
        is_there.set()
        await asyncio.sleep(60)

    await stage.hire(adding(hang))
    run_id = await stage.submit("add")
    await is_there.wait()
    await stage.database.transact(cancel, run_id)
    await stage.broker.announce(Cancelled(run_id))
    assert (await stage.ended(run_id)).status is Status.CANCELLED
    await stage.crew.stop()
    assert await counter.number() == 0


async def test_work_of_a_program_that_was_cancelled_in_silence_is_undone(
    stage: Stage, counter: Counter
) -> None:
    """The fence is the last word: the job itself has ended well."""

    async def be_cancelled(ctx: JobContext) -> None:
        await stage.database.transact(cancel, ctx.run_id)

    await stage.hire(adding(be_cancelled))
    run_id = await stage.submit("add")
    assert (await stage.ended(run_id)).status is Status.CANCELLED
    await stage.crew.stop()
    assert await counter.number() == 0


async def test_work_of_the_worker_that_lost_its_lease_is_undone(
    stage: Stage, counter: Counter
) -> None:
    """Invariants 3 and 5: two workers did the work, and one of them counts."""
    may_end = asyncio.Event()

    async def be_slow_once(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            await stage.orphan(ctx.run_id)
            await may_end.wait()

    async def has_begun_again() -> bool:
        return (await stage.program(run_id)).lease_losses == 1

    # as long as leases are: the first worker does not notice by itself
    await stage.hire(adding(be_slow_once))
    await stage.hire(adding(be_slow_once))
    run_id = await stage.submit("add")
    await eventually(has_begun_again)
    may_end.set()
    program = await stage.finished(run_id)
    await stage.crew.stop()
    assert sorted(await stage.outcomes(run_id)) == ["done", "lost"]
    assert program.job_data == {"add": {"attempt": 2}}
    assert await counter.number() == 1


async def test_commit_whose_answer_is_lost_is_read_back(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule R4: the receipt stands, so the program goes on, and nothing is done again."""
    break_commits(monkeypatch, is_committed=True)
    await stage.hire(adding())
    program = await stage.finished(await stage.submit("add", "add"))
    assert await stage.outcomes(program.run_id) == ["done", "done"]
    assert await counter.number() == 2


async def test_commit_that_never_happened_is_done_again_and_costs_no_attempt(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_commits(monkeypatch, is_committed=False)
    await stage.hire(adding())
    program = await stage.finished(await stage.submit("add"))
    assert await stage.outcomes(program.run_id) == ["released", "done"]
    assert program.job_data == {"add": {"attempt": 1}}
    assert await counter.number() == 1


def break_commits(monkeypatch: pytest.MonkeyPatch, *, is_committed: bool) -> None:
    """Break the connection at the first commit of a step, after or before it happens."""
    commit, broken = AsyncConnection.commit, list[bool]()

    async def break_once(connection: AsyncConnection) -> None:
        if broken:
            await commit(connection)
            return
        broken.append(True)
        if is_committed:
            await commit(connection)
        raise exc.OperationalError("COMMIT", {}, OSError("gone"), connection_invalidated=True)

    monkeypatch.setattr(AsyncConnection, "commit", break_once)


class StartingUpError(Exception):
    """What PostgreSQL says while it starts."""

    sqlstate = "57P03"


@pytest.mark.parametrize(
    "refusal",
    [
        exc.DBAPIError("BEGIN", None, StartingUpError("it is starting up")),
        ConnectionRefusedError("nobody listens"),
    ],
    ids=["starting", "refused"],
)
async def test_transaction_that_cannot_begin_yet_costs_no_attempt(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    """Nothing was done: the database was away before the job could do anything in it."""
    beside, refusals = Database.beside, [refusal] * 2

    def not_yet(database: Database, **options: int) -> Database:
        if refusals:
            raise refusals.pop()
        return beside(database, **options)

    monkeypatch.setattr(Database, "beside", not_yet)
    await stage.hire(adding())
    run_id = await stage.submit("add")
    program = await stage.finished(run_id)
    assert await stage.outcomes(run_id) == ["released", "released", "done"]
    assert (program.step_retry_count, await counter.number()) == (0, 1)


async def test_what_the_database_refuses_fails_the_step(stage: Stage, counter: Counter) -> None:
    @job("add")
    async def add_wrongly(ctx: JobContext) -> None:
        session = await ctx.transaction()
        await session.execute(ADD)
        await session.execute(sa.text("INSERT INTO counter VALUES (1, 7)"))

    await stage.hire(add_wrongly)
    program = await stage.ended(await stage.submit("add"))
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert "uplicate" in program.error_message
    assert await counter.number() == 0


async def test_what_comes_to_a_bad_result_is_undone(stage: Stage, counter: Counter) -> None:
    @job("add")
    async def add_for_nothing(ctx: JobContext) -> object:
        await (await ctx.transaction()).execute(ADD)
        return object()

    await stage.hire(add_for_nothing)
    assert (await stage.ended(await stage.submit("add"))).status is Status.ERRORED
    assert await counter.number() == 0


async def test_commit_and_rollback_of_a_job_are_those_of_a_savepoint(
    stage: Stage, counter: Counter
) -> None:
    @job("add", retry=QUICK)
    async def add_in_parts(ctx: JobContext) -> None:
        session = await ctx.transaction()
        await session.execute(ADD)
        await session.commit()
        await session.execute(ADD)
        await session.rollback()
        if ctx.attempt == 1:
            raise RetryableError

    await stage.hire(add_in_parts)
    program = await stage.finished(await stage.submit("add"))
    assert await stage.outcomes(program.run_id) == ["retry", "done"]
    assert await counter.number() == 1


async def test_job_data_are_returned_and_not_stored_beside_a_transaction(
    stage: Stage, counter: Counter
) -> None:
    async def store(ctx: JobContext) -> None:
        with pytest.raises(JobError, match="return them"):
            await ctx.job_data.merge({"seen": 1})
        with pytest.raises(JobError, match="return them"):
            await ctx.job_data.checkpoint({"seen": 1}, 0)

    await stage.hire(adding(store))
    program = await stage.finished(await stage.submit("add"))
    assert program.job_data == {"add": {"attempt": 1}}
    assert await counter.number() == 1


async def test_more_jobs_than_connections_wait_for_their_turn(
    stage: Stage, counter: Counter
) -> None:
    """Jobs that hold transactions take none of the worker's own connections."""

    async def take_time(_ctx: JobContext) -> None:
        await asyncio.sleep(0.01)

    await stage.hire(adding(take_time), concurrency=50)
    run_ids = [await stage.submit("add") for _ in range(50)]
    await stage.all_finished(run_ids)
    assert await counter.number() == 50


async def test_transaction_that_idles_for_too_long_costs_an_attempt(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database ends it, so that others get its rows: begun again, it would idle again."""
    monkeypatch.setattr(step_transaction, "IDLE_TIMEOUT_S", 1)

    async def idle(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            await asyncio.sleep(1.5)
            await (await ctx.transaction()).execute(ADD)

    await stage.hire(adding(idle))
    program = await stage.finished(await stage.submit("add"))
    attempts = await stage.attempts(program.run_id)
    assert [attempt.outcome for attempt in attempts] == ["retry", "done"]
    assert attempts[0].error_code == "transaction_idle"
    assert "did nothing for" in str(attempts[0].error_message)
    assert await counter.number() == 1


async def test_transaction_that_idles_until_its_commit_costs_an_attempt(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_transaction, "IDLE_TIMEOUT_S", 1)

    async def idle(ctx: JobContext) -> None:
        await asyncio.sleep(1.5 if ctx.attempt == 1 else 0)

    await stage.hire(adding(idle))
    program = await stage.finished(await stage.submit("add"))
    attempts = await stage.attempts(program.run_id)
    assert [attempt.error_code for attempt in attempts] == ["transaction_idle", None]
    assert await counter.number() == 1


async def test_step_whose_database_goes_away_again_and_again_pays_for_it_in_the_end(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own statement may be what brings the server down."""
    monkeypatch.setattr(setbacks, "PAUSES_S", (0.0,))
    kill = {
        "postgresql": sa.text("SELECT pg_terminate_backend(pg_backend_pid())"),
        "mysql": sa.text("KILL CONNECTION_ID()"),
    }

    async def kill_its_connection(ctx: JobContext) -> None:
        session = await ctx.transaction()
        await session.execute(kill[session.get_bind().dialect.name])

    await stage.hire(adding(kill_its_connection))
    program = await stage.ended(await stage.submit("add"))
    assert program.status is Status.ERRORED
    outcomes = await stage.outcomes(program.run_id)
    assert sorted(set(outcomes)) == ["failed", "released", "retry"]
    assert outcomes[: setbacks.FEW] == ["released"] * setbacks.FEW
    assert len(outcomes) <= (setbacks.FEW + 1) * QUICK.max_attempts
    assert await counter.number() == 0


class HandlerError(Exception):
    """What a handler of the user's raises while its session is written."""


@pytest.mark.parametrize("error", [HandlerError("no"), FileNotFoundError("no"), KeyError("no")])
async def test_what_an_event_handler_of_the_job_raises_is_the_jobs(
    stage: Stage, counter: Counter, error: Exception
) -> None:
    """It runs while we commit; it is neither an outage nor the end of the worker."""

    async def listen(ctx: JobContext) -> None:
        session = await ctx.transaction()

        @sa.event.listens_for(session.sync_session, "before_commit")
        def refuse(_session: object) -> None:
            raise error

    await stage.hire(adding(listen))
    program = await stage.ended(await stage.submit("add"))
    assert program.status is Status.ERRORED
    assert "no" in str(program.error_message)
    assert await stage.outcomes(program.run_id) == ["failed"]
    assert await counter.number() == 0


async def test_record_that_the_database_rejects_is_no_fault_of_the_job(
    stage: Stage, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A privilege on a table of ours is missing: what the job did is undone, and done again."""
    monkeypatch.setattr(setbacks, "PAUSES_S", (0.0,))
    rejections = [1, 2]

    async def reject(books: Books, records: list[StepRecord]) -> list[RecordAnswer]:
        if rejections:
            rejections.pop()
            await books.connection.execute(sa.text("INSERT INTO nothing VALUES (1)"))
        return await record(books, records)

    monkeypatch.setattr(step_transaction, "record", reject)
    await stage.hire(adding())
    program = await stage.finished(await stage.submit("add"))
    assert await stage.outcomes(program.run_id) == ["released", "released", "done"]
    assert await counter.number() == 1
