"""Job data: one job's key at a time, under the row lock, merged shallowly (rule R10)."""

import asyncio
from dataclasses import replace

import pytest

from builders import (
    by_hand,
    claimed,
    later,
    next_step,
    reclaimed,
    recorded,
    row_of,
    seconds_ago,
    stands,
    submitted,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import AlreadyFinal, ProgramNotFound
from program_service.bookkeeping.ledger.job_data import (
    Changed,
    EditKind,
    JobDataEdit,
    change_job_data,
    edit_job_data,
    edited,
)
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.lifecycle import Claimed, Done, Json
from servers import Connect

OLD: Json = {"kept": 1, "gone": {"inner": 1}, "nothing": None}
PATCH: Json = {"gone": {"other": 2}, "kept": None, "new": [None, {"a": None}]}
MERGED: Json = {"kept": None, "gone": {"other": 2}, "nothing": None, "new": [None, {"a": None}]}


async def _change(database: Database, program: Claimed, kind: EditKind, value: Json) -> Changed:
    edit = JobDataEdit(program, kind, value)
    return (await database.transact(change_job_data, [edit]))[0]


async def _stored(database: Database, run_id: str = "run-1") -> dict[str, Json]:
    return (await database.read(find, run_id)).job_data


async def test_result_of_a_job_is_merged_shallowly_and_nulls_are_kept(database: Database) -> None:
    """Rule R10: a later property replaces an earlier one of the same name, whole."""
    program = await claimed(database, "run-1", job_data={"reserve": OLD, "ship": {"to": "Larisa"}})
    answer = await stands(database, program, Done(PATCH))
    assert await _stored(database) == {"reserve": MERGED, "ship": {"to": "Larisa"}}
    assert answer.job_data == await _stored(database)


async def test_running_job_merges_into_its_own_data(database: Database) -> None:
    program = await claimed(database, "run-1", job_data={"reserve": OLD, "ship": {"to": "Larisa"}})
    answer = await _change(database, program, "merge", PATCH)
    assert answer == await _stored(database) == {"reserve": MERGED, "ship": {"to": "Larisa"}}


async def test_running_job_replaces_its_own_data(database: Database) -> None:
    program = await claimed(database, "run-1", job_data={"reserve": OLD, "ship": {"to": "Larisa"}})
    answer = await _change(database, program, "set", PATCH)
    assert answer == await _stored(database) == {"reserve": PATCH, "ship": {"to": "Larisa"}}


@pytest.mark.parametrize("patch", [None, {}])
async def test_job_without_a_result_leaves_its_data_alone(
    database: Database, patch: Json | None
) -> None:
    program = await claimed(database, "run-1", job_data={"reserve": OLD})
    answer = await stands(database, program, Done(patch))
    assert answer.job_data == await _stored(database) == {"reserve": OLD}


async def test_job_that_stands_twice_shares_its_data(database: Database) -> None:
    program = await claimed(database, "run-1", jobs=["charge", "charge"])
    program = next_step(program, await stands(database, program, Done({"first": 1, "both": 1})))
    assert program.job_data == {"charge": {"first": 1, "both": 1}}
    await stands(database, program, Done({"second": 2, "both": 2}))
    assert await _stored(database) == {"charge": {"first": 1, "second": 2, "both": 2}}


async def test_edits_in_one_batch_are_made_in_their_order(database: Database) -> None:
    one = await claimed(database, "run-1")
    two = await claimed(database, "run-2")
    edits = [
        JobDataEdit(one, "merge", {"a": 1, "b": 1}),
        JobDataEdit(two, "merge", {"c": 1}),
        JobDataEdit(one, "merge", {"b": 2}),
        JobDataEdit(one, "set", {"d": 3}),
        JobDataEdit(one, "merge", {"e": 4}),
    ]
    answers = await database.transact(change_job_data, edits)
    assert [isinstance(answer, dict) and answer["reserve"] for answer in answers] == [
        {"a": 1, "b": 1},
        {"c": 1},
        {"a": 1, "b": 2},
        {"d": 3},
        {"d": 3, "e": 4},
    ]
    assert await _stored(database) == {"reserve": {"d": 3, "e": 4}}
    assert await _stored(database, "run-2") == {"reserve": {"c": 1}}


async def test_edit_under_a_lost_lease_is_refused_alone(database: Database) -> None:
    """Rule R2, rule R10, invariant 3."""
    old = await claimed(database, "run-1")
    new = await reclaimed(database, "run-1")
    edits = [JobDataEdit(each, "merge", {"by": each.lease}) for each in (old, new)]
    answers = await database.transact(change_job_data, edits)
    assert answers == [None, {"reserve": {"by": new.lease}}]
    assert await _stored(database) == {"reserve": {"by": new.lease}}


async def test_edit_for_a_step_that_has_moved_on_is_refused(database: Database) -> None:
    """Rule R2: under the very same lease."""
    program = await claimed(database, "run-1")
    await stands(database, program, Done())
    assert await _change(database, program, "set", {"late": True}) is None
    assert await _stored(database) == {}


@pytest.mark.parametrize("ended", ["finished_at", "errored_at"])
async def test_job_of_a_program_that_has_ended_edits_nothing(
    database: Database, ended: str
) -> None:
    """Rule R2, invariant 6."""
    program = await claimed(database, "run-1")
    await by_hand(database, "run-1", **{ended: seconds_ago(database, 0)})
    before = await row_of(database, "run-1")
    assert await _change(database, program, "set", {"late": True}) is None
    assert await row_of(database, "run-1") == before


async def test_program_that_nobody_submitted_is_edited_by_nobody(database: Database) -> None:
    program = await claimed(database, "run-1")
    assert await _change(database, replace(program, id=program.id + 1), "set", {}) is None


async def test_edit_counts_as_a_change_that_clients_see(database: Database) -> None:
    program = await claimed(database, "run-1")
    before = await row_of(database, "run-1")
    await _change(database, program, "merge", {"a": 1})
    after = await row_of(database, "run-1")
    assert after["version"] == before["version"] + 1
    assert after["updated_at"] > before["updated_at"]
    assert after["due_at"] == before["due_at"]


@pytest.mark.parametrize("outcome", [Done(), Done({"mine": 2}), later()])
async def test_recorded_job_data_is_fresh_when_someone_else_edited(
    database: Database, outcome: Done
) -> None:
    program = await claimed(database, "run-1", job_data={"charge": {"amount": 1}})
    edit = {"amount": 5}
    await database.transact(edit_job_data, "run-1", "charge", kind="set", value=edit)
    answer = await stands(database, program, outcome)
    assert answer.job_data == await _stored(database)
    assert answer.job_data["charge"] == {"amount": 5}


async def test_recorded_job_data_has_what_the_job_itself_stored(database: Database) -> None:
    program = await claimed(database, "run-1")
    await _change(database, program, "merge", {"checkpoint": 7})
    answer = await stands(database, program, Done({"total": 9}))
    assert answer.job_data == {"reserve": {"checkpoint": 7, "total": 9}}


async def test_person_sets_and_merges_the_data_of_any_job(database: Database) -> None:
    await submitted(database, "run-1", job_data={"ship": OLD})
    assert (
        await database.transact(edit_job_data, "run-1", "ship", kind="merge", value=PATCH) == MERGED
    )
    assert await database.transact(
        edit_job_data, "run-1", "charge", kind="set", value={"amount": 5}
    ) == {"amount": 5}
    assert await _stored(database) == {"ship": MERGED, "charge": {"amount": 5}}


async def test_edit_of_nobodys_job_data_says_so(database: Database) -> None:
    with pytest.raises(ProgramNotFound):
        await database.transact(edit_job_data, "nobody", "ship", kind="set", value={})


async def test_job_data_of_a_finished_program_is_not_edited(database: Database) -> None:
    """Invariant 6: a final program never changes again."""
    program = await claimed(database, "run-1", jobs=["ship"])
    await stands(database, program, Done({"parcel": 1}))
    before = await row_of(database, "run-1")
    with pytest.raises(AlreadyFinal):
        await database.transact(edit_job_data, "run-1", "ship", kind="set", value={})
    assert await row_of(database, "run-1") == before


async def test_edits_that_race_lose_nothing(connect: Connect) -> None:
    """Rule R10: the ancestor's unguarded read-modify-write lost most of these."""
    processes = [connect() for _ in range(4)]
    program = await claimed(processes[0], "run-1")
    async with asyncio.TaskGroup() as tasks:
        for number, process in enumerate(processes):
            tasks.create_task(_edit_often(process, program, f"from-{number}"))
        tasks.create_task(_edit_from_outside_often(processes[0]))
    expected = {f"from-{number}-{turn}": turn for number in range(4) for turn in range(5)}
    assert (await _stored(processes[0]))["reserve"] == expected
    assert (await _stored(processes[0]))["ship"] == {str(turn): turn for turn in range(5)}


async def _edit_often(process: Database, program: Claimed, name: str) -> None:
    for turn in range(5):
        assert await _change(process, program, "merge", {f"{name}-{turn}": turn}) is not None


async def _edit_from_outside_often(process: Database) -> None:
    for turn in range(5):
        await process.transact(
            edit_job_data, "run-1", "ship", kind="merge", value={str(turn): turn}
        )


async def test_outcome_merges_into_what_an_edit_left(connect: Connect) -> None:
    """Rule R10: the merge sees the row as it is locked, not as it was claimed."""
    worker, person = connect(), connect()
    for _ in range(10):
        program = await claimed(worker)
        edit = {"outside": 1}
        await asyncio.gather(
            recorded(worker, program, Done({"inside": 1})),
            person.transact(edit_job_data, program.run_id, "reserve", kind="merge", value=edit),
        )
        assert await _stored(worker, program.run_id) == {"reserve": {"inside": 1, "outside": 1}}


def test_edited_leaves_what_it_was_given_alone() -> None:
    before = {"ship": {"a": 1}, "charge": {"b": 2}}
    after = edited(before, "merge", "ship", {"a": 2})
    assert (before["ship"], after["ship"]) == ({"a": 1}, {"a": 2})
    assert edited({}, "merge", "ship", None) == {"ship": {}}
