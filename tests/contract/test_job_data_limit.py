"""The limit of job data: checked under the lock, for each program by itself, whoever writes."""

import pytest

from builders import (
    a_record,
    attempts_of,
    by_hand,
    claimed,
    recorded,
    row_of,
    stands,
    submitted,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import JobDataTooLarge
from program_service.bookkeeping.ledger.callbacks import (
    Report,
    Ticket,
    merge_callback_data,
    settle_callback,
)
from program_service.bookkeeping.ledger.job_data import JobDataEdit, change_job_data, edit_job_data
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.ledger.recording import Recorded, record
from program_service.bookkeeping.lifecycle import Claimed, Done, Json, Status

MOST = 1_000
FULL: Json = {"text": "x" * 900}
MORE: Json = {"more": "y" * 200}


@pytest.fixture(autouse=True)
def limited(database: Database) -> None:
    """Let job data have 1,000 bytes."""
    database.max_job_data_bytes = MOST


async def _data(database: Database, run_id: str) -> dict[str, Json]:
    return (await database.read(find, run_id)).job_data


async def test_result_that_is_too_long_fails_no_neighbour(database: Database) -> None:
    programs = [
        await claimed(database, f"run-{number}", job_data={"reserve": FULL}) for number in range(3)
    ]
    results: list[Json] = [{"a": 1}, MORE, {"b": 2}]
    steps = [
        a_record(program, Done(result)) for program, result in zip(programs, results, strict=True)
    ]
    first, refused, last = await database.transact(record, steps)
    assert isinstance(first, Recorded)
    assert isinstance(last, Recorded)
    assert isinstance(refused, JobDataTooLarge)
    assert " bytes as JSON" in str(refused)
    assert "1,000" in str(refused)
    assert await _data(database, "run-0") == {"reserve": FULL | {"a": 1}}
    assert await _data(database, "run-1") == {"reserve": FULL}
    assert await _data(database, "run-2") == {"reserve": FULL | {"b": 2}}
    assert [len(await attempts_of(database, f"run-{number}")) for number in range(3)] == [1, 0, 1]


async def test_step_whose_result_was_refused_can_still_be_recorded(database: Database) -> None:
    program = await claimed(database, "run-1", job_data={"reserve": FULL})
    with pytest.raises(JobDataTooLarge):
        await recorded(database, program, Done(MORE))
    assert (await stands(database, program, Done({"a": 1}))).job_data["reserve"]["a"] == 1


async def test_edit_that_is_too_long_fails_no_neighbour_and_no_later_edit(
    database: Database,
) -> None:
    one = await claimed(database, "run-1", job_data={"reserve": FULL})
    two = await claimed(database, "run-2")
    edits = [
        JobDataEdit(one, "merge", MORE),
        JobDataEdit(two, "merge", MORE),
        JobDataEdit(one, "merge", {"a": 1}),
        JobDataEdit(one, "set", {"text": "z" * 2_000}),
    ]
    refused, other, later, last = await database.transact(change_job_data, edits)
    assert isinstance(refused, JobDataTooLarge)
    assert isinstance(last, JobDataTooLarge)
    assert other == {"reserve": MORE}
    assert later == {"reserve": FULL | {"a": 1}} == await _data(database, "run-1")


async def test_edit_from_outside_is_refused_with_the_size_and_the_limit(database: Database) -> None:
    await submitted(database, "run-1", job_data={"reserve": FULL})
    before = await row_of(database, "run-1")
    with pytest.raises(JobDataTooLarge, match=r"1,\d\d\d bytes .* 1,000 \(MAX_JOB_DATA_BYTES\)"):
        await database.transact(edit_job_data, "run-1", "charge", kind="merge", value=MORE)
    assert await row_of(database, "run-1") == before


async def test_what_an_endpoint_reports_is_refused_and_the_step_waits_on(
    database: Database,
) -> None:
    program = await claimed(database, "run-1", job_data={"reserve": FULL})
    ticket = Ticket("run-1", 0, 0, program.attempt)
    before = await row_of(database, "run-1")
    with pytest.raises(JobDataTooLarge):
        await database.transact(settle_callback, Report(ticket, Done(MORE)), queues={})
    with pytest.raises(JobDataTooLarge):
        await database.transact(merge_callback_data, ticket, MORE)
    assert await row_of(database, "run-1") == before
    assert await database.transact(merge_callback_data, ticket, {"a": 1}) == FULL | {"a": 1}


async def test_program_above_the_limit_runs_and_shrinks_but_does_not_grow(
    database: Database,
) -> None:
    long = {"reserve": {"text": "x" * 5_000}}
    await submitted(database, "run-1", jobs=["reserve", "charge"])
    await by_hand(database, "run-1", job_data=long)
    program = await try_claim(database, "run-1")
    assert isinstance(program, Claimed)
    with pytest.raises(JobDataTooLarge):
        await recorded(database, program, Done({"a": 1}))
    edit = JobDataEdit(program, "set", {"text": "x" * 4_000})
    (shorter,) = await database.transact(change_job_data, [edit])
    assert isinstance(shorter, dict)
    await stands(database, program, Done())
    assert (await database.read(find, "run-1")).status is Status.RUNNING


async def test_size_is_counted_in_bytes_of_json_and_may_be_exactly_the_limit(
    database: Database,
) -> None:
    await submitted(database, "run-1")
    frame = len(b'{"reserve":{"text":""}}')
    whole = {"text": "é" * ((MOST - frame) // 2) + "x" * ((MOST - frame) % 2)}
    await database.transact(edit_job_data, "run-1", "reserve", kind="set", value=whole)
    longer = {"text": whole["text"] + "x"}
    with pytest.raises(JobDataTooLarge, match="1,001 bytes"):
        await database.transact(edit_job_data, "run-1", "reserve", kind="set", value=longer)


async def test_second_try_of_a_lost_commit_is_not_refused_for_what_the_first_has_written(
    database: Database,
) -> None:
    """Rule R4: others have made the row longer since."""
    program = await claimed(database, "run-1", job_data={"reserve": {}})
    step = a_record(program, Done(MORE))
    await database.transact(record, [step])
    await database.transact(edit_job_data, "run-1", "reserve", kind="set", value=FULL)
    (again,) = await database.transact(record, [step])
    assert isinstance(again, Recorded)
    assert again.job_data == {"reserve": FULL}
