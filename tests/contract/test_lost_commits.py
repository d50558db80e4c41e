"""Lost COMMIT answers: what is tried again whole changes nothing (rule R4, invariant 7)."""

from typing import Any

import pytest
import sqlalchemy as sa

from builders import (
    a_claim,
    a_claimant,
    a_failure,
    a_key,
    a_program,
    a_record,
    attempts_of,
    by_hand,
    claimed,
    counts_of,
    lapse,
    later,
    let_go,
    reclaimed,
    row_of,
    seconds_ago,
    submitted,
    submitted_all,
)
from forgetting import Forgetful, committing, empty, plain, tables_of, works
from lost_commits import CASES, Case
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.claiming import claim
from program_service.bookkeeping.ledger.job_data import JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.reading import Filter, list_programs
from program_service.bookkeeping.ledger.recording import RecordAnswer, Recorded, record
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.ledger.submitting import Submitted, submit
from program_service.bookkeeping.lifecycle import Claimed, Done, Fail, Outcome, Status, Yielded
from servers import Connect

READING = {"find_old", "read_back", "try_privileges"}
"""Functions that change nothing, and are tried again like those that do."""


@pytest.fixture
async def forgetful(connect: Connect) -> Forgetful:
    """Return a database that forgets nothing yet."""
    return connect.of(Forgetful)


@pytest.mark.parametrize("name", CASES)
async def test_operation_whose_answer_was_lost_is_done_once(
    forgetful: Forgetful, name: str
) -> None:
    """Rule R4: the caller is answered as if nothing had happened, and the tables are the same."""
    case, lost = CASES[name], 0
    undisturbed = await _done(forgetful, case)
    for work in case.works:
        for times in (1, 2):
            forgetful.losses.of_works = {work}
            disturbed = await _done(forgetful, case, answers_to_lose=times)
            assert disturbed == undisturbed
            lost += times - forgetful.losses.to_come
    assert lost >= 2  # not every database runs every function of a case


async def _done(forgetful: Forgetful, case: Case, *, answers_to_lose: int = 0) -> Any:
    """Do it on empty tables; return the answer and the tables."""
    await empty(forgetful)
    forgetful.losses.to_come = 0
    do = await case.prepare(forgetful)
    forgetful.losses.to_come = answers_to_lose
    answer = plain(await do())
    return answer, await tables_of(forgetful)


def test_no_operation_is_missing_here() -> None:
    listed = {work for case in CASES.values() for work in case.works}
    missing = [f"{name} of {where}" for name, where in works() if name not in listed | READING]
    assert missing == [], "list them in lost_commits.py"
    assert listed <= {name for name, _ in works()}


def test_nothing_else_commits() -> None:
    """What does not go through `Database.transact` is not tried again, or has its own tests."""
    assert committing() == {
        "service/program_service/bookkeeping/migrations/__init__.py",  # test_migrations.py
        "service/program_service/bookkeeping/migrations/adoption.py",  # test_adoption.py
        "service/program_service/bookkeeping/step_transaction.py",  # test_database_steps.py
    }


async def _count(database: Database) -> int:
    return len((await database.read(list_programs, Filter(), limit=100)).programs)


async def test_submit_gives_the_row_that_stands(forgetful: Forgetful) -> None:
    """Rule R4, invariant 1: also with an idempotency key, which is no replay."""
    programs = [a_program("run-1"), a_program("run-2", idempotency=a_key("k"))]
    forgetful.losses.to_come = 1
    answers = await submitted_all(forgetful, programs)
    assert forgetful.losses.to_come == 0
    rows = [await row_of(forgetful, program.run_id) for program in programs]
    assert await _count(forgetful) == 2
    for answer, row in zip(answers, rows, strict=True):
        assert isinstance(answer, Submitted)
        assert (answer.id, answer.created_at, answer.due_at) == (
            row["id"],
            row["created_at"],
            row["due_at"],
        )


@pytest.mark.parametrize("is_lapsed", [False, True])
async def test_claim_is_mine_if_the_lease_is_mine(forgetful: Forgetful, *, is_lapsed: bool) -> None:
    """Rule R4, invariant 3: a lost lease is counted once."""
    await submitted(forgetful, "run-1")
    if is_lapsed:
        await forgetful.transact(claim, [a_claim("run-1")], a_claimant("worker-1"))
        await lapse(forgetful, "run-1")
    wish = a_claim("run-1")
    forgetful.losses.to_come = 2
    (answer,) = await forgetful.transact(claim, [wish], a_claimant("worker-2"))
    assert isinstance(answer, Claimed)
    assert answer.lease == wish.lease
    row = await row_of(forgetful, "run-1")
    assert (row["lease"], row["claimed_by"]) == (wish.lease, "worker-2")
    assert row["lease_losses"] == answer.lease_losses == int(is_lapsed)
    assert row["version"] == answer.version
    outcomes = [attempt.outcome for attempt in await attempts_of(forgetful, "run-1")]
    assert outcomes == ["lost"] * is_lapsed
    assert list((await counts_of(forgetful)).values()) == [1] * is_lapsed


async def test_timed_out_callback_is_counted_once(forgetful: Forgetful) -> None:
    """Rule R1, rule R4."""
    await submitted(forgetful, "run-1")
    await by_hand(forgetful, "run-1", awaiting=1, due_at=seconds_ago(forgetful, 1))
    forgetful.losses.to_come = 1
    (answer,) = await forgetful.transact(claim, [a_claim("run-1")], a_claimant())
    assert isinstance(answer, Claimed)
    assert answer.step_retry_count == (await row_of(forgetful, "run-1"))["step_retry_count"] == 1


@pytest.mark.parametrize(
    ("outcome", "jobs"),
    [
        (Done({"total": 9}), ["reserve", "ship"]),
        (Done({"total": 9}), ["ship"]),
        (Done(), ["ship"]),
        (later(), ["ship"]),
        (Fail(a_failure()), ["ship"]),
        (Yielded(), ["ship"]),
    ],
    ids=["advanced", "finished", "finished without data", "retry", "errored", "yielded"],
)
async def test_outcome_is_recorded_once(
    forgetful: Forgetful, outcome: Outcome, jobs: list[str]
) -> None:
    """Rule R4, invariant 7: the receipt in attempts stands for it."""
    program = await claimed(forgetful, "run-1", jobs=jobs)
    step = a_record(program, outcome)
    seen: list[dict[str, Any]] = []

    async def record_and_look(books: Books) -> RecordAnswer:
        (answer,) = await record(books, [step])
        programs = books.tables.programs
        seen.extend(dict(row._mapping) for row in await books.select(sa.select(programs)))
        return answer

    forgetful.losses.to_come = 2
    answer = await forgetful.transact(record_and_look)
    first, *others = seen
    assert others == [first, first]
    assert isinstance(answer, Recorded)
    assert (answer.version, answer.job_data) == (first["version"], first["job_data"])
    assert len(await attempts_of(forgetful, "run-1")) == 1
    assert list((await counts_of(forgetful)).values()) == [1]


async def test_outcome_stands_though_others_went_on_meanwhile(forgetful: Forgetful) -> None:
    """Rule R4, invariant 4: the step is not taken for refused, and not written again."""
    program = await claimed(forgetful, "run-1")
    step = a_record(program, Done({"total": 9}), is_next_mine=False)
    await forgetful.transact(record, [step])
    other = await reclaimed(forgetful, "run-1")
    await forgetful.transact(record, [a_record(other, Done({"paid": True}))])
    before = await row_of(forgetful, "run-1")
    (answer,) = await forgetful.transact(record, [step])
    assert isinstance(answer, Recorded)
    assert answer.job_data == {"reserve": {"total": 9}, "charge": {"paid": True}}
    assert await row_of(forgetful, "run-1") == before


async def test_letting_go_is_recorded_once(forgetful: Forgetful) -> None:
    program = await claimed(forgetful, "run-1")
    await forgetful.transact(cancel, "run-1")
    forgetful.losses.to_come = 1
    answer = await let_go(forgetful, program)
    row = await row_of(forgetful, "run-1")
    assert isinstance(answer, Recorded)
    assert (answer.version, row["lease"]) == (row["version"], None)
    assert len(await attempts_of(forgetful, "run-1")) == 1


async def test_job_data_are_edited_once(forgetful: Forgetful) -> None:
    """Invariant 7."""
    program = await claimed(forgetful, "run-1", job_data={"reserve": {"a": 1}})
    edits = [JobDataEdit(program, "merge", {"b": 2}), JobDataEdit(program, "merge", {"a": 3})]
    forgetful.losses.to_come = 1
    answers = await forgetful.transact(change_job_data, edits)
    assert answers[-1] == {"reserve": {"a": 3, "b": 2}}
    assert (await row_of(forgetful, "run-1"))["job_data"] == {"reserve": {"a": 3, "b": 2}}


async def test_cancel_is_the_callers_though_its_answer_was_lost(forgetful: Forgetful) -> None:
    """Rule R14."""
    await submitted(forgetful, "run-1")
    forgetful.losses.to_come = 1
    program, _ = await forgetful.transact(cancel, "run-1")
    assert (program.status, program.version) == (Status.CANCELLED, 2)
    assert list((await counts_of(forgetful)).values()) == [1]


async def test_database_that_never_answers_is_unavailable_in_the_end(
    forgetful: Forgetful,
) -> None:
    forgetful.losses.to_come = 1_000
    with pytest.raises(DatabaseUnavailable):
        await forgetful.transact_within(0.2, submit, [a_program("run-1")])
    forgetful.losses.to_come = 0
    assert await _count(forgetful) == 1
