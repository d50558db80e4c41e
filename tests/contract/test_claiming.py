"""Claiming: one worker gets a due program that it knows, under a lease, and nobody else."""

import asyncio
from datetime import UTC

import pytest

from builders import (
    HOUR_S,
    JOBS,
    a_claim,
    a_claimant,
    a_program,
    attempts_of,
    by_hand,
    claimed,
    clock_of,
    lapse,
    reclaimed,
    row_of,
    seconds_ago,
    stands,
    submitted,
    submitted_all,
    try_claim,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import Claimant, Missed, claim
from program_service.bookkeeping.ledger.reading import find
from program_service.bookkeeping.lifecycle import Claimed, Released, Status
from servers import Connect


async def test_claimed_program_carries_all_that_its_worker_needs(database: Database) -> None:
    """Rule R1."""
    await submitted(
        database,
        "run-1",
        program_data={"order": 7},
        job_data={"charge": {"card": None}},
        traceparent="00-aa-bb-01",
    )
    program = await try_claim(database, "run-1")
    assert isinstance(program, Claimed)
    row = await row_of(database, "run-1")
    assert program.jobs == list(JOBS)
    assert (program.job, program.step, program.attempt) == ("reserve", 0, 1)
    assert program.program_data == {"order": 7}
    assert program.job_data == {"charge": {"card": None}}
    assert program.traceparent == "00-aa-bb-01"
    assert (program.id, program.lease) == (row["id"], row["lease"])
    assert (program.version, program.resumes) == (row["version"], row["resumes"]) == (2, 0)
    assert (program.created_at, program.claimed_at) == (row["created_at"], row["updated_at"])


async def test_claim_writes_the_lease_and_its_end(database: Database) -> None:
    """Rule R1, rule R7: the lease begins at the database's clock."""
    await submitted(database, "run-1")
    await by_hand(database, "run-1", woken_at=seconds_ago(database, 0))
    before = await database.read(clock_of)
    await try_claim(database, "run-1", worker="worker-7")
    after = await database.read(clock_of)
    row = await row_of(database, "run-1")
    begin = row["due_at"].timestamp() - HOUR_S
    assert before.timestamp() <= begin <= after.timestamp()
    assert (row["claimed_by"], row["woken_at"]) == ("worker-7", None)
    assert (await database.read(find, "run-1")).status is Status.RUNNING


async def test_program_that_is_held_is_gone(database: Database) -> None:
    """Invariant 3."""
    program = await claimed(database, "run-1")
    assert await try_claim(database, "run-1", worker="worker-2") is Missed.GONE
    assert (await row_of(database, "run-1"))["lease"] == program.lease


async def test_program_that_is_not_due_is_gone(database: Database) -> None:
    await submitted(database, "run-1")
    await by_hand(database, "run-1", due_at=seconds_ago(database, -HOUR_S))
    assert await try_claim(database, "run-1") is Missed.GONE
    assert (await row_of(database, "run-1"))["version"] == 1


async def test_run_id_that_nobody_submitted_is_gone(database: Database) -> None:
    assert await try_claim(database, "nobody") is Missed.GONE


@pytest.mark.parametrize("ended", ["finished_at", "errored_at"])
@pytest.mark.parametrize("had_lease", [False, True])
async def test_program_that_has_ended_is_gone(
    database: Database, ended: str, *, had_lease: bool
) -> None:
    """Rule R1, invariant 6: also when somebody set the time by hand."""
    await submitted(database, "run-1")
    if had_lease:
        await try_claim(database, "run-1")
    await lapse(database, "run-1")
    await by_hand(database, "run-1", **{ended: seconds_ago(database, 0)})
    before = await row_of(database, "run-1")
    assert await try_claim(database, "run-1", worker="worker-2") is Missed.GONE
    assert await row_of(database, "run-1") == before


async def test_unknown_job_is_left_pending_and_said_to_be_unknown(database: Database) -> None:
    """Invariant 10."""
    await submitted(database, "run-1")
    before = await row_of(database, "run-1")
    assert await try_claim(database, "run-1", knows=["mail"]) is Missed.UNKNOWN_JOB
    assert await try_claim(database, "run-1", knows=[]) is Missed.UNKNOWN_JOB
    assert await row_of(database, "run-1") == before


async def test_only_the_current_job_must_be_known(database: Database) -> None:
    await submitted(database, "run-1")
    assert isinstance(await try_claim(database, "run-1", knows=["reserve"]), Claimed)


async def test_unknown_job_of_a_held_program_is_gone(database: Database) -> None:
    """Its wake-up has done its work: it need not hop from worker to worker."""
    await claimed(database, "run-1")
    assert await try_claim(database, "run-1", knows=["mail"]) is Missed.GONE


async def test_answers_come_in_the_order_of_the_claims(database: Database) -> None:
    await submitted_all(
        database,
        [
            a_program("free"),
            a_program("unknown", jobs=["mail"]),
            a_program("held"),
            a_program("lapsed"),
        ],
    )
    await try_claim(database, "held")
    await try_claim(database, "lapsed")
    await lapse(database, "lapsed")
    claims = [a_claim(name) for name in ("unknown", "nobody", "lapsed", "held", "free")]
    answers = await database.transact(claim, claims, a_claimant("worker-2"))
    assert [answers[0], answers[1], answers[3]] == [
        Missed.UNKNOWN_JOB,
        Missed.GONE,
        Missed.GONE,
    ]
    for index in (2, 4):
        answer = answers[index]
        assert isinstance(answer, Claimed)
        assert (answer.run_id, answer.lease) == (claims[index].run_id, claims[index].lease)


@pytest.mark.parametrize("is_lapsed", [False, True])
async def test_batch_that_names_a_program_twice_gets_it_once(
    database: Database, *, is_lapsed: bool
) -> None:
    """Invariant 3."""
    await submitted(database, "run-1")
    if is_lapsed:
        await try_claim(database, "run-1")
        await lapse(database, "run-1")
    claims = [a_claim("run-1"), a_claim("run-1"), a_claim("run-1")]
    answers = await database.transact(claim, claims, a_claimant("worker-2"))
    (index,) = [at for at, answer in enumerate(answers) if isinstance(answer, Claimed)]
    assert answers.count(Missed.GONE) == 2
    row = await row_of(database, "run-1")
    assert row["lease"] == claims[index].lease
    assert row["lease_losses"] == int(is_lapsed)


async def test_thousand_programs_are_claimed_at_once(database: Database) -> None:
    programs = [a_program(f"run-{number:04}") for number in range(1_000)]
    await submitted_all(database, programs)
    claims = [a_claim(program.run_id) for program in reversed(programs)]
    answers = await database.transact(claim, claims, a_claimant())
    held = [answer for answer in answers if isinstance(answer, Claimed)]
    assert [(each.run_id, each.lease) for each in held] == [
        (wish.run_id, wish.lease) for wish in claims
    ]


async def test_rivals_for_many_programs_never_get_the_same_one(connect: Connect) -> None:
    """Invariant 3."""
    processes = [connect() for _ in range(4)]
    run_ids = [f"run-{number:02}" for number in range(60)]
    await submitted_all(processes[0], [a_program(run_id) for run_id in run_ids])
    for run_id in run_ids[::2]:
        await try_claim(processes[0], run_id)
        await lapse(processes[0], run_id)

    async def compete(process: Database, number: int) -> list[Claimed]:
        order = run_ids if number % 2 else run_ids[::-1]
        claims = [a_claim(run_id) for run_id in order]
        claimant = a_claimant(f"rival-{number}")
        answers = await process.transact(claim, claims, claimant)
        return [answer for answer in answers if isinstance(answer, Claimed)]

    won = await asyncio.gather(*(compete(each, number) for number, each in enumerate(processes)))
    held = [program for programs in won for program in programs]
    assert len({program.run_id for program in held}) == len(held)
    assert {program.run_id for program in held} >= set(run_ids[1::2])
    # of those that lost a lease, one for each worker, if they were not put off (rule R11)
    assert all(sum(program.lease_losses for program in programs) <= 1 for programs in won)
    assert any(program.lease_losses for program in held)
    for program in held:
        row = await row_of(processes[0], program.run_id)
        assert row["lease"] == program.lease
        assert row["lease_losses"] == 1 - run_ids.index(program.run_id) % 2


@pytest.mark.parametrize("suspects", [[], [1]])
async def test_worker_with_few_slots_holds_one_suspect_at_most(
    database: Database, suspects: list[int]
) -> None:
    """Rule R11: the others keep their old lease, and lose nothing if this worker dies."""
    run_ids = ["lapsed-1", "released", "lapsed-2", "innocent"]
    await submitted_all(database, [a_program(run_id) for run_id in run_ids])
    for run_id in run_ids[:3]:
        await try_claim(database, run_id)
        await lapse(database, run_id)
    second = await try_claim(database, "released", worker="worker-2")
    assert isinstance(second, Claimed)
    await stands(database, second, Released())
    before = {run_id: await row_of(database, run_id) for run_id in run_ids}
    claims, claimant = [a_claim(run_id) for run_id in run_ids], a_claimant("worker-3")
    answers = await database.transact(claim, claims, claimant, suspects=suspects)
    held = [answer.run_id for answer in answers if isinstance(answer, Claimed)]
    assert held == (["innocent"] if suspects else ["lapsed-1", "innocent"])
    put_off = [run_id for run_id in run_ids if run_id not in held]
    assert [answers[run_ids.index(run_id)] for run_id in put_off] == [Missed.PUT_OFF] * len(put_off)
    clock = await database.read(clock_of)
    for run_id in put_off:
        row = await row_of(database, run_id)
        due_in_s = (row["due_at"].replace(tzinfo=UTC) - clock).total_seconds()
        assert due_in_s <= claimant.put_off_s
        assert row["due_at"] > before[run_id]["due_at"]
        kept = ("lease", "claimed_by", "lease_losses", "step", "version")
        assert [row[name] for name in kept] == [before[run_id][name] for name in kept]
        assert row["woken_at"] is None


@pytest.mark.parametrize(
    ("suspects", "slots", "claimed"),
    [
        ([], 16, ["once-1", "once-2"]),
        ([1], 16, ["once-1"]),
        ([1, 1], 16, []),
        ([2], 16, []),
        ([], 100, ["once-1", "once-2", "once-3"]),
        ([1] * 11, 100, ["once-1"]),
        ([2], 100, []),
    ],
)
async def test_suspects_that_lost_one_lease_share_an_eighth_of_the_slots(
    database: Database, suspects: list[int], slots: int, claimed: list[str]
) -> None:
    """Rule R11: one that lost two runs beside no other, so it is put off here as well."""
    once = ["once-1", "once-2", "once-3"]
    await submitted_all(database, [a_program(run_id) for run_id in [*once, "twice", "lost"]])
    for run_id, losses in {"once-1": 1, "once-2": 1, "once-3": 1, "twice": 2, "lost": 3}.items():
        await by_hand(database, run_id, lease_losses=losses)
    claims = [a_claim(run_id) for run_id in [*once, "twice", "lost"]]
    claimant = a_claimant(slots=slots)
    answers = await database.transact(claim, claims, claimant, suspects=suspects)
    held = [answer.run_id for answer in answers if isinstance(answer, Claimed)]
    # what lost three is not run any more: it errors at once
    assert held == [*claimed, "lost"]
    assert answers.count(Missed.PUT_OFF) == 4 - len(claimed)


@pytest.mark.parametrize(("suspects", "is_claimed"), [([], True), ([1], False), ([2], False)])
async def test_suspect_that_lost_two_leases_runs_beside_no_other(
    database: Database, suspects: list[int], *, is_claimed: bool
) -> None:
    """Rule R11: with one that lost the first now it would be its second."""
    await submitted(database, "run-1")
    await try_claim(database, "run-1")
    await lapse(database, "run-1")
    await by_hand(database, "run-1", lease_losses=1)
    claimant = a_claimant("worker-2", slots=100)
    (answer,) = await database.transact(claim, [a_claim("run-1")], claimant, suspects=suspects)
    assert isinstance(answer, Claimed) == is_claimed
    assert (answer is Missed.PUT_OFF) != is_claimed


async def test_suspect_of_a_try_whose_commit_was_not_answered_is_the_one(
    database: Database,
) -> None:
    """Rules R4 and R11: the try is made again whole."""
    run_ids = ["lapsed-1", "lapsed-2"]
    await submitted_all(database, [a_program(run_id) for run_id in run_ids])
    for run_id in run_ids:
        await try_claim(database, run_id)
        await lapse(database, run_id)
    claims, claimant = [a_claim(run_id) for run_id in run_ids], a_claimant("worker-2")
    first = await database.transact(claim, claims, claimant)
    for run_id in run_ids[1:]:
        await lapse(database, run_id)
    again = await database.transact(claim, claims, claimant)
    assert first == again
    assert [type(answer) for answer in again] == [Claimed, Missed]


async def test_greek_job_of_255_characters_is_claimed(database: Database) -> None:
    job = "ψ" * 255
    await submitted(database, "run-1", jobs=[job])
    assert await try_claim(database, "run-1", knows=[job[:-1]]) is Missed.UNKNOWN_JOB
    program = await try_claim(database, "run-1", knows=[job])
    assert isinstance(program, Claimed)
    assert program.job == job


async def test_lease_of_a_fraction_of_a_second_ends_by_itself(database: Database) -> None:
    """Invariant 11: moments have microseconds."""
    await submitted(database, "run-1")
    brief = Claimant(worker="worker-1", jobs=JOBS, lease_s=0.000_001)
    (answer,) = await database.transact(claim, [a_claim("run-1")], brief)
    assert isinstance(answer, Claimed)
    again = await try_claim(database, "run-1", worker="worker-2")
    assert isinstance(again, Claimed)
    assert again.lease_losses == 1


async def test_claim_leaves_other_programs_alone(database: Database) -> None:
    await submitted(database, "run-1")
    await submitted(database, "run-2")
    before = await row_of(database, "run-2")
    await try_claim(database, "run-1")
    await reclaimed(database, "run-1")
    assert await row_of(database, "run-2") == before
    assert await attempts_of(database, "run-2") == []
