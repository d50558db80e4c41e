"""Plans: on a long table no statement of the hot path reads what it does not need."""

from collections.abc import Sequence
from datetime import timedelta

from builders import JOBS, a_claim, a_claimant, a_record, lapse, seconds_ago
from explaining import OPEN_ROWS, ROWS, Explained
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import claim
from program_service.bookkeeping.ledger.job_data import (
    JobDataEdit,
    change_job_data,
    edit_job_data,
)
from program_service.bookkeeping.ledger.measuring import measure_backlog
from program_service.bookkeeping.ledger.notifying import (
    Put,
    Told,
    Untold,
    claim_untold,
    is_any_due,
    mark_told,
)
from program_service.bookkeeping.ledger.purging import forget_keys, purge
from program_service.bookkeeping.ledger.reading import find, standings
from program_service.bookkeeping.ledger.recording import record
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.ledger.waking import (
    Silence,
    find_due,
    find_unanswered,
    mark_woken,
    queues_with_unanswered,
)
from program_service.bookkeeping.lifecycle import Claimed, Done

BATCH = 100


async def _some(explained: Explained, first: int) -> list[str]:
    """Return the run_ids of due programs, other ones for each test, as if nothing had happened."""
    numbers = range(ROWS - OPEN_ROWS + 10 * first, ROWS - OPEN_ROWS + 10 * (first + BATCH), 10)
    run_ids = [f"run-{number + 5}" for number in numbers]
    with explained.unseen() as database:
        due_at, programs = seconds_ago(database, 60), database.tables.programs
        chosen = programs.update().where(programs.c.run_id.in_(run_ids))
        async with database.engine.begin() as connection:
            afresh = chosen.values(lease=None, errored_at=None, step=0, due_at=due_at)
            await connection.execute(afresh)
    return run_ids


async def _claimed(database: Database, run_ids: list[str]) -> list[Claimed]:
    claims = [a_claim(run_id) for run_id in run_ids]
    answers = await database.transact(claim, claims, a_claimant())
    return [answer for answer in answers if isinstance(answer, Claimed)]


KEY, ID = "Index Scan _run_id_key", "Index Scan _pkey"


async def test_claim_looks_programs_up_by_their_keys(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        run_ids = await _some(explained, 400)
        assert len(await _claimed(database, run_ids)) == BATCH

    assert set(await explained.ways(work)) == {KEY}


async def test_claim_of_lapsed_leases_looks_programs_up_by_their_keys(
    explained: Explained,
) -> None:
    database = explained.database

    async def work() -> None:
        run_ids = (await _some(explained, 600))[:5]
        await _claimed(database, run_ids)
        with explained.unseen():
            for run_id in run_ids:
                await lapse(database, run_id)
        (again,) = await _claimed(database, run_ids)  # and the other suspects are put off
        assert again.lease_losses > 0

    assert set(await explained.ways(work)) == {KEY}


async def test_record_and_renew_look_programs_up_by_their_ids(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        programs = await _claimed(database, await _some(explained, 800))
        holds = [Hold(program.id, program.lease) for program in programs]
        renewals = await database.transact(renew, holds, lease_s=60.0)
        assert renewals == dict.fromkeys(holds, Renewal.RENEWED)
        edits = [JobDataEdit(program, "merge", {"a": 1}) for program in programs]
        await database.transact(change_job_data, edits)
        records = [a_record(program, Done({"b": 2})) for program in programs]
        assert None not in await database.transact(record, records)
        assert None not in await database.transact(record, records)  # looks for the receipts

    scans = await explained.ways(work)
    assert set(scans) == {KEY, ID}
    assert scans.count(ID) >= 6


async def test_sweep_reads_no_more_than_it_wakes_for(explained: Explained) -> None:
    """However many wait in a long queue: woken for, and due."""
    database = explained.database

    async def find_unwoken() -> None:
        assert len((await database.read(find_due, jobs=JOBS, limit=BATCH)).rows) == BATCH

    async def find_lost() -> None:
        silence = Silence("default", 30.0)
        page = await database.read(find_unanswered, silence, jobs=JOBS, limit=BATCH)
        assert len(page.rows) == BATCH

    for work, index in ((find_unwoken, "_unwoken"), (find_lost, "_woken")):
        (scan,) = await explained.scans(work)
        assert (scan.way, scan.rows) == (f"Index Scan {index}", BATCH)


async def test_sweep_of_a_long_queue_that_lost_nothing_reads_almost_nothing(
    explained: Explained,
) -> None:
    database = explained.database

    async def work() -> None:
        assert await database.read(queues_with_unanswered, silence_s=30.0) == ["default", "mail"]
        assert await database.read(queues_with_unanswered, silence_s=86_400.0) == []
        silence = Silence("default", 86_400.0)
        page = await database.read(find_unanswered, silence, jobs=JOBS, limit=BATCH)
        assert page.rows == []

    scans = await explained.scans(work)
    assert {scan.index for scan in scans} == {"_woken"}
    assert sum(scan.rows for scan in scans) < BATCH


async def test_marking_what_was_woken_looks_programs_up_by_their_ids(
    explained: Explained,
) -> None:
    database = explained.database
    page = await database.read(find_unanswered, Silence("default", 30.0), jobs=JOBS, limit=BATCH)
    scans = await explained.ways(lambda: database.transact(mark_woken, page.rows))
    assert set(scans) == {ID}


async def test_notifications_are_found_before_all_that_wait(explained: Explained) -> None:
    """Of 10,000 that have to wait for their receivers none is read."""
    database = explained.database

    async def work() -> None:
        with explained.unseen():
            await _notify_again(database, 20_000, 10_000, after_s=3_600)
            await _notify_again(database, 30_000, BATCH, after_s=-60)
        assert await database.read(is_any_due)
        claims = await database.transact(claim_untold, limit=BATCH, plan=_claim_each)
        assert len(claims) == BATCH
        assert await database.transact(mark_told, [Told(claim, 1) for claim in claims]) == []

    scans = await explained.scans(work)
    assert {scan.index for scan in scans if not scan.table} == {"_notify", "_pkey"}
    assert all(scan.rows <= BATCH for scan in scans)


async def _notify_again(database: Database, first: int, count: int, *, after_s: float) -> None:
    programs = database.tables.programs
    run_ids = [f"run-{number}" for number in range(first, first + count)]
    chosen = programs.update().where(programs.c.run_id.in_(run_ids))
    due_at = seconds_ago(database, -after_s)
    async with database.engine.begin() as connection:
        await connection.execute(chosen.values(notify="https://a/", notify_due_at=due_at))


def _claim_each(untold: Sequence[Untold]) -> dict[int, Put]:
    return {each.id: Put(60.0, each.tries + 1) for each in untold}


async def test_purge_reads_what_it_deletes(explained: Explained) -> None:
    database = explained.database

    async def work() -> None:
        old = timedelta(days=60)
        assert await database.transact(purge, older_than=old, limit=BATCH) == BATCH

    scans = await explained.scans(work)
    assert {(scan.table, scan.index) for scan in scans} == {
        ("", "_old_finished"),
        ("", "_pkey"),
        ("_attempts", "_attempts_pkey"),
        ("_idempotency", "_idempotency_run_id"),
    }
    assert all(scan.rows <= BATCH for scan in scans)


async def test_purge_of_nothing_reads_nothing(explained: Explained) -> None:
    database, very_old = explained.database, timedelta(days=9_999)
    scans = await explained.scans(
        lambda: database.transact(purge, older_than=very_old, limit=BATCH)
    )
    assert [scan.index for scan in scans] == ["_old_finished", "_old_errored"]
    assert [scan.rows for scan in scans] == [0, 0]


async def test_keys_of_gone_programs_are_looked_for_page_by_page(explained: Explained) -> None:
    database = explained.database
    scans = await explained.scans(lambda: database.transact(forget_keys, after="", limit=BATCH))
    assert {scan.index for scan in scans} == {"_idempotency_run_id", "_run_id_key"}
    assert all(scan.rows <= BATCH for scan in scans)


async def test_gauges_read_what_has_not_ended(explained: Explained) -> None:
    database = explained.database
    scans = await explained.scans(lambda: database.read(measure_backlog))
    assert {scan.index for scan in scans if scan.index} == {"_due"}
    assert not any(scan.kind.startswith("Seq") for scan in scans)
    assert all(scan.rows <= OPEN_ROWS for scan in scans)


async def test_one_program_is_looked_up_by_its_key(explained: Explained) -> None:
    database, run_id = explained.database, f"run-{ROWS - 1}"

    async def work() -> None:
        await database.read(find, run_id)
        await database.read(standings, [run_id, "run-5"])
        await database.transact(edit_job_data, run_id, "reserve", kind="set", value={"a": 1})
        await database.transact(cancel, run_id)
        await database.transact(resume, run_id, queues={})

    scans = await explained.ways(work)
    assert {scan.partition(" ")[0] for scan in scans} <= {"Index", "Bitmap"}
    assert {scan.rpartition(" ")[2] for scan in scans} <= {"_run_id_key", "_pkey"}
