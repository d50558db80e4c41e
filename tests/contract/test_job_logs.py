"""Job logs: the lines of an attempt stand in its row, whatever they hold, on every database."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import (
    JOBS,
    a_failure,
    a_program,
    a_record,
    attempts_of,
    claimed,
    later,
    submitted_all,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.recording import (
    RecordAnswer,
    StepRecord,
    record,
    record_at_once,
)
from program_service.bookkeeping.lifecycle import Claimed, Done, Fail, Json, Outcome, Released

AT = "2026-01-01T12:00:00.123456+00:00"


def a_line(text: str, **fields: Any) -> Json:
    """Make a line as a worker keeps it."""
    line: Json = {"at": AT, "level": "info", "text": text}
    return line | ({"fields": fields} if fields else {})


def nested(levels: int) -> Any:
    """Make a value that nests so deeply."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def written(database: Database, records: Sequence[StepRecord]) -> list[RecordAnswer]:
    """Record as a worker does, in one statement where the database can."""
    way = record_at_once if database.commits_statements else record
    return await database.transact(way, records)


@pytest.mark.parametrize(
    "line",
    [
        a_line("charged"),
        a_line("charged", cents=12, rate=1.5, is_new=True, card=None),
        a_line("""it's "quoted" \\ \n\t {'a': 1} %s :name 'x'"""),
        a_line("žluťoučký 馬 \N{GRINNING FACE} \N{REPLACEMENT CHARACTER}"),
        a_line("deep", value=nested(90)),
        a_line("", value={"": [{}, [], ""]}),
        a_line("x" * 100_000),
    ],
    ids=lambda line: line["text"][:10],
)
@pytest.mark.parametrize("way", ["at once", "in a transaction"])
async def test_lines_are_read_as_they_were_written(
    database: Database, line: Json, way: str
) -> None:
    program = await claimed(database, "run-1")
    step = replace(a_record(program, Done()), log=[line, a_line("done")])
    if way == "at once":
        assert await written(database, [step]) != [None]
    else:
        assert await database.transact(record, [step]) != [None]
    (attempt,) = await attempts_of(database, "run-1")
    assert attempt.log == [line, a_line("done")]


async def test_attempt_without_lines_has_none(database: Database) -> None:
    program = await claimed(database, "run-1")
    await written(database, [a_record(program, Done())])
    (attempt,) = await attempts_of(database, "run-1")
    assert attempt.log == []


@pytest.mark.parametrize("outcome", [Done(), later(), Fail(a_failure()), Released()])
async def test_lines_are_kept_whatever_the_attempt_came_to(
    database: Database, outcome: Outcome
) -> None:
    program = await claimed(database, "run-1")
    await written(database, [replace(a_record(program, outcome), log=[a_line("charged")])])
    (attempt,) = await attempts_of(database, "run-1")
    assert attempt.log == [a_line("charged")]


async def test_each_attempt_of_a_batch_has_its_own_lines(database: Database) -> None:
    run_ids = [f"run-{number}" for number in range(20)]
    await submitted_all(database, [a_program(run_id, jobs=JOBS) for run_id in run_ids])
    records = []
    for number, run_id in enumerate(run_ids):
        program = await try_claim(database, run_id)
        assert isinstance(program, Claimed)
        # some have job data to merge, some nothing to tell
        outcome = Done({"charged": number} if number % 3 == 0 else {})
        log = [a_line(run_id, number=number)] if number % 2 else None
        records.append(replace(a_record(program, outcome), log=log))
    await database.transact(record, records)
    for number, run_id in enumerate(run_ids):
        (attempt,) = await attempts_of(database, run_id)
        assert attempt.log == ([a_line(run_id, number=number)] if number % 2 else [])


async def test_lines_of_a_refused_write_are_not_kept(database: Database) -> None:
    program = await claimed(database, "run-1")
    stranger = replace(program, lease="a-lease-of-nobody")
    step = replace(a_record(stranger, Done()), log=[a_line("charged")])
    assert await written(database, [step]) == [None]
    assert await attempts_of(database, "run-1") == []
