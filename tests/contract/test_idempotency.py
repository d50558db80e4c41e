"""Idempotency: a client's key stands for one program, also when its requests race."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from builders import a_key, a_program, submitted, submitted_all
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import IdempotencyMismatch, ProgramNotFound
from program_service.bookkeeping.ledger.keys import Mismatched, Replayed
from program_service.bookkeeping.ledger.reading import Filter, find, list_programs
from program_service.bookkeeping.ledger.submitting import SubmitResult, Submitted, submit
from program_service.bookkeeping.sql import Statement
from servers import Connect


async def test_same_key_and_body_replays_the_first_program(database: Database) -> None:
    await submitted(database, "run-1", idempotency=a_key("k"))
    answers = await submitted_all(database, [a_program("run-2", idempotency=a_key("k"))])
    assert answers == [Replayed("run-1")]
    with pytest.raises(ProgramNotFound):
        await database.read(find, "run-2")


async def test_same_key_with_another_body_is_a_mismatch(database: Database) -> None:
    await submitted(database, "run-1", idempotency=a_key("k"))
    other = a_program("run-2", idempotency=a_key("k", body="other"))
    (answer,) = await submitted_all(database, [other])
    assert isinstance(answer, Mismatched)
    assert isinstance(answer.error, IdempotencyMismatch)
    with pytest.raises(ProgramNotFound):
        await database.read(find, "run-2")


async def test_same_key_of_another_owner_is_another_key(database: Database) -> None:
    mine = a_program("run-1", idempotency=a_key("k", owner="shop"))
    yours = a_program("run-2", idempotency=a_key("k", owner="bank"))
    answers = await submitted_all(database, [mine, yours])
    assert all(isinstance(answer, Submitted) for answer in answers)


async def test_key_twice_in_one_batch_is_answered_with_the_first(database: Database) -> None:
    programs = [
        a_program("run-1", idempotency=a_key("k")),
        a_program("run-2", idempotency=a_key("k")),
        a_program("run-3", idempotency=a_key("k", body="other")),
        a_program("run-4"),
    ]
    first, second, third, fourth = await submitted_all(database, programs)
    assert isinstance(first, Submitted)
    assert second == Replayed("run-1")
    assert isinstance(third, Mismatched)
    assert isinstance(fourth, Submitted)


async def test_races_for_one_key_have_one_winner(database: Database) -> None:
    rivals = [a_program(f"run-{number}", idempotency=a_key("k")) for number in range(8)]
    answers = await asyncio.gather(*(database.transact(submit, [rival]) for rival in rivals))
    results = [answer for (answer,) in answers]
    (winner,) = [result for result in results if isinstance(result, Submitted)]
    losers = [result for result in results if result is not winner]
    assert losers == [Replayed(winner.run_id)] * 7
    assert len((await database.read(list_programs, Filter(), limit=10)).programs) == 1


async def test_batches_that_claim_the_same_keys_in_opposite_orders_both_succeed(
    connect: Connect,
) -> None:
    keys = [f"k{number:02}" for number in range(50)]
    batches = [
        [a_program(f"{way}-{key}", idempotency=a_key(key)) for key in keys[::step]]
        for way, step in (("up", 1), ("down", -1))
    ]
    processes = [connect(), connect()]
    await asyncio.gather(
        *(
            process.transact(submit, batch)
            for process, batch in zip(processes, batches, strict=True)
        )
    )
    page = await processes[0].read(list_programs, Filter(), limit=101)
    assert sorted(program.run_id.partition("-")[2] for program in page.programs) == keys


async def test_key_of_a_program_that_was_rolled_back_is_free(database: Database) -> None:
    """Invariant 1: a key must never stand for a program that does not."""

    async def fail_after(books: Books) -> None:
        await submit(books, [a_program("run-1", idempotency=a_key("k"))])
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fail_after)
    answer = await submitted(database, "run-2", idempotency=a_key("k"))
    assert answer.run_id == "run-2"


async def test_try_after_a_lost_answer_is_no_replay(database: Database) -> None:
    """Rule R4: the key is held by this very program."""
    program = a_program("run-1", idempotency=a_key("k"))
    first = await submitted_all(database, [program])
    assert await submitted_all(database, [program]) == first


async def test_key_that_a_purge_deletes_before_it_is_read_is_taken_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the program that had it was purged between the two statements."""
    keys, purges = database.tables.idempotency, list[int]()
    programs = [a_program("run-1", idempotency=a_key("k")), a_program("run-2")]

    async def submit_beside_a_purge(books: Books) -> list[SubmitResult]:
        async def run(statement: Statement, **parameters: Any) -> None:
            await books.fetch(statement, **parameters)
            if not purges:
                purges.append((await books.connection.execute(sa.delete(keys))).rowcount)

        monkeypatch.setattr(books, "run", run)
        return await submit(books, programs)

    answers = await database.transact(submit_beside_a_purge)
    assert purges == [1]
    assert [type(answer) for answer in answers] == [Submitted, Submitted]
    assert await submitted_all(database, [programs[0]]) == [answers[0]]


async def _delete_by_hand(database: Database, run_id: str) -> None:
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(programs).where(programs.c.run_id == run_id))


@pytest.mark.parametrize("body", ["body", "other"])
async def test_key_of_a_program_that_was_deleted_by_hand_is_free(
    database: Database, body: str
) -> None:
    await submitted(database, "run-1", idempotency=a_key("k"))
    await _delete_by_hand(database, "run-1")
    programs = [
        a_program("run-2", idempotency=a_key("k", body=body)),
        a_program("run-3", idempotency=a_key("k", body=body)),
    ]
    first, second = await submitted_all(database, programs)
    assert isinstance(first, Submitted)
    assert second == Replayed("run-2")
    assert await submitted_all(database, [programs[1]]) == [Replayed("run-2")]


async def test_races_for_the_key_of_a_program_that_is_gone_have_one_winner(
    connect: Connect,
) -> None:
    processes = [connect() for _ in range(4)]
    await submitted(processes[0], "run-1", idempotency=a_key("k"))
    await _delete_by_hand(processes[0], "run-1")
    rivals = [a_program(f"rival-{number}", idempotency=a_key("k")) for number in range(4)]
    answers = await asyncio.gather(
        *(
            process.transact(submit, [rival])
            for process, rival in zip(processes, rivals, strict=True)
        )
    )
    (winner,) = [answer for (answer,) in answers if isinstance(answer, Submitted)]
    losers = [answer for (answer,) in answers if answer is not winner]
    assert losers == [Replayed(winner.run_id)] * 3
