"""Submitting: a program is written down once, whole, and due when it was asked to be."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from builders import JOBS, a_program, clock_of, row_of, seconds_ago, submitted, submitted_all
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BatchRefused
from program_service.bookkeeping.group_commit import GroupCommit
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs
from program_service.bookkeeping.ledger.submitting import (
    NewProgram,
    SubmitResult,
    Submitted,
    as_program,
    submit,
)
from program_service.bookkeeping.lifecycle import Json, Status
from program_service.bookkeeping.storable import storable_object
from program_service.bookkeeping.unstorable import NotStorable
from servers import on_postgresql

AWKWARD = {
    "numbers": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 1e300, 5e-324, -0.0],
    "texts": [
        "",
        "'; DROP TABLE programs; --",
        'a "quoted" \\ text',
        "Ελλάδα",
        "🚀",
        "\u2028\x01\n",
    ],
    "nothing": None,
    "truth": [True, False],
    "deep": {"a": {"b": {"c": [[], {}, [{}]]}}},
    "%s :name $1 ? {}": "parameters of every style",
}
FAR = datetime(2999, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)


async def test_submitted_program_stands_in_the_table_as_it_came(database: Database) -> None:
    """Invariant 1."""
    new = a_program(
        "run-1",
        program_data=AWKWARD,
        job_data={"charge": AWKWARD},
        labels={"tenant": "acme", "γλώσσα": "Ωδή"},
        submitted_by="shop",
        parent_run_id="run-0",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        notify="https://shop.example/done",
    )
    await submitted_all(database, [new])
    program = await database.read(find, "run-1")
    assert program.jobs == list(JOBS)
    assert program.program_data == AWKWARD
    assert program.job_data == {"charge": AWKWARD}
    assert program.labels == new.labels
    assert (program.job, program.queue, program.step) == ("reserve", "default", 0)
    assert (program.submitted_by, program.parent_run_id) == ("shop", "run-0")
    assert (program.traceparent, program.notify) == (new.traceparent, new.notify)


@pytest.mark.parametrize("start_at", [None, FAR])
async def test_answer_shows_the_program_as_it_stands(
    database: Database, start_at: datetime | None
) -> None:
    new = a_program("run-1", labels={"tenant": "acme"}, start_at=start_at)
    (answer,) = await submitted_all(database, [new])
    assert isinstance(answer, Submitted)
    assert as_program(new, answer) == await database.read(find, "run-1")


async def test_new_program_is_pending_and_due_and_nobody_was_woken(database: Database) -> None:
    answer = await submitted(database, "run-1")
    row = await row_of(database, "run-1")
    assert (await database.read(find, "run-1")).status is Status.PENDING
    assert answer.is_due
    assert row["due_at"] == answer.due_at
    assert (row["woken_at"], row["lease"], row["claimed_by"]) == (None, None, None)
    assert (row["step_retry_count"], row["lease_losses"], row["resumes"]) == (0, 0, 0)
    assert row["version"] == 1


async def test_start_in_the_future_is_scheduled_to_the_microsecond(database: Database) -> None:
    answer = await submitted(database, "run-1", start_at=FAR)
    program = await database.read(find, "run-1")
    assert not answer.is_due
    assert answer.due_at == program.due_at == FAR
    assert program.status is Status.SCHEDULED


async def test_start_in_another_zone_is_the_same_moment(database: Database) -> None:
    athens = FAR.astimezone(timezone(timedelta(hours=2)))
    assert (await submitted(database, start_at=athens)).due_at == FAR


@pytest.mark.parametrize("year", [2001, 96])
async def test_start_in_the_past_is_due_at_once(database: Database, year: int) -> None:
    past = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    answer = await submitted(database, "run-1", start_at=past)
    assert answer.is_due
    assert answer.due_at == past
    assert (await database.read(find, "run-1")).status is Status.PENDING


async def test_ids_grow_in_the_order_of_submits(database: Database) -> None:
    ids = [(await submitted(database)).id for _ in range(5)]
    assert ids == sorted(set(ids))


async def test_answers_come_in_the_order_of_the_programs(database: Database) -> None:
    programs = [a_program(f"run-{number}") for number in (5, 3, 9, 1)]
    answers = await submitted_all(database, programs)
    assert [answer.run_id for answer in answers if isinstance(answer, Submitted)] == [
        "run-5", "run-3", "run-9", "run-1",
    ]  # fmt: skip


async def test_run_id_that_stands_already_is_success_and_changes_nothing(
    database: Database,
) -> None:
    """Rule R4, invariant 7: the try before was committed though its answer was lost."""
    first = await submitted(database, "run-1")
    answers = await submitted_all(database, [a_program("run-1"), a_program("run-2")])
    assert answers[0] == first
    assert isinstance(answers[1], Submitted)
    assert len((await database.read(list_programs, Filter(), limit=10)).programs) == 2


@pytest.mark.parametrize("run_id", ["007", "1", "' OR 1=1 --", "ψ" * 255, "a/b c%_\\", "null"])
async def test_run_id_is_opaque(database: Database, run_id: str) -> None:
    await submitted(database, run_id)
    assert (await database.read(find, run_id)).run_id == run_id


async def test_thousand_programs_are_submitted_at_once(database: Database) -> None:
    programs = [a_program(f"run-{number:04}") for number in range(1_000)]
    answers = await submitted_all(database, programs)
    assert [answer.run_id for answer in answers if isinstance(answer, Submitted)] == [
        program.run_id for program in programs
    ]
    page = await database.read(list_programs, Filter(is_oldest_first=True), limit=1_001)
    assert sorted(program.run_id for program in page.programs) == [p.run_id for p in programs]


async def test_thousand_jobs_with_the_longest_names_are_kept(database: Database) -> None:
    jobs = [f"{number:03}" + "ω" * 252 for number in range(1_000)]
    await submitted(database, "run-1", jobs=jobs, queue="Ω" * 255)
    program = await database.read(find, "run-1")
    assert program.jobs == jobs
    assert (program.job, program.queue) == (jobs[0], "Ω" * 255)


async def test_clock_is_the_databases_and_read_inside_the_statement(database: Database) -> None:
    """Rule R7, invariant 11: not the start of the transaction."""

    async def submit_between(books: Books) -> list[datetime]:
        before = await clock_of(books)
        (answer,) = await submit(books, [a_program()])
        assert isinstance(answer, Submitted)
        return [before, answer.created_at, await clock_of(books)]

    before, created_at, after = await database.transact(submit_between)
    assert before < created_at < after


async def test_what_counts_as_storable_can_be_stored_however_deep(database: Database) -> None:
    """Invariant 12: what fails on its way to the database takes its whole batch along."""
    deepest = _deepest_storable()
    await submitted(database, "run-1", program_data=deepest, job_data={"charge": deepest})
    program = await database.read(find, "run-1")
    assert program.program_data == program.job_data["charge"] == deepest


def _deepest_storable() -> Json:
    value: Json = {}
    for _ in range(1_000):
        try:
            value = storable_object({"deeper": value}, what="value")
        except NotStorable:
            break
    return value


@on_postgresql
async def test_program_that_the_database_refuses_never_fails_its_neighbours(
    database: Database,
) -> None:
    """Invariant 12."""

    async def flush(programs: Sequence[NewProgram]) -> list[SubmitResult]:
        return await database.transact(submit, programs)

    group: GroupCommit[NewProgram, SubmitResult] = GroupCommit(flush)
    programs = [a_program(f"run-{number}") for number in range(20)]
    programs[13] = a_program("bad", labels={"nul": "\0"})
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(group.run())
        answers = await asyncio.gather(*map(group.add, programs), return_exceptions=True)
        loop.cancel()
    assert isinstance(answers.pop(13), BatchRefused)
    assert all(isinstance(answer, Submitted) for answer in answers)


async def test_moment_that_somebody_set_by_sql_is_read_as_utc(database: Database) -> None:
    await submitted(database, "run-1")
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        await connection.execute(programs.update().values(due_at=seconds_ago(database, 60)))
    row = await row_of(database, "run-1")
    assert row["due_at"].tzinfo == UTC
    assert timedelta(seconds=59) < row["created_at"] - row["due_at"] < timedelta(seconds=61)
