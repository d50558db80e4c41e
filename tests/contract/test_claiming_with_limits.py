"""Claiming with limits: what a worker has no room for stays as it is, for the next one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from builders import JOBS, a_claim, a_claimant, a_program, lapse, row_of, submitted_all, try_claim
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.claiming import (
    Claim,
    Claimant,
    Missed,
    NoRoom,
    claim,
    claim_at_once,
)
from program_service.bookkeeping.lifecycle import Claimed


@dataclass
class Places:
    """Room for some programs at a job, however often it is asked for."""

    free: int
    jobs: Sequence[str] = ("reserve",)
    asked: list[Sequence[str]] = field(default_factory=list)

    def admit(self, jobs: Sequence[str]) -> list[bool]:
        """Admit the first ones."""
        self.asked.append(jobs)
        return [number < self.free for number in range(len(jobs))]


def limited(places: Places, worker: str = "worker-2") -> Claimant:
    """Return a worker that has room for some programs at the job `reserve`."""
    others = [job for job in JOBS if job not in places.jobs]
    return replace(a_claimant(worker), jobs=others, ration=places)


async def claims_of(database: Database, *run_ids: str) -> list[Claim]:
    """Submit programs and wish for them."""
    await submitted_all(database, [a_program(run_id) for run_id in run_ids])
    return [a_claim(run_id) for run_id in run_ids]


async def test_program_without_room_is_not_changed(database: Database) -> None:
    claims = await claims_of(database, "run-1", "run-2", "run-3")
    before = await row_of(database, "run-3")
    answers = await database.transact(claim, claims, limited(Places(2)))
    assert [type(answer) for answer in answers] == [Claimed, Claimed, NoRoom]
    assert answers[2] == NoRoom("reserve")
    assert await row_of(database, "run-3") == before


async def test_oldest_program_is_admitted_first(database: Database) -> None:
    claims = await claims_of(database, "run-1", "run-2", "run-3")
    answers = await database.transact(claim, claims[::-1], limited(Places(1)))
    assert [type(answer) for answer in answers] == [NoRoom, NoRoom, Claimed]


async def test_jobs_with_room_for_all_are_claimed_in_one_statement(database: Database) -> None:
    await submitted_all(database, [a_program("run-1"), a_program("run-2", jobs=["charge"])])
    places, claims = Places(0), [a_claim("run-1"), a_claim("run-2")]
    at_once = await database.transact(claim_at_once, claims, limited(places))
    assert at_once[0] is None
    assert isinstance(at_once[1], Claimed)
    assert places.asked == []


async def test_try_whose_commit_was_not_answered_keeps_its_places(database: Database) -> None:
    """Rule R4: the try is made again whole, and what it has claimed comes first."""
    claims = await claims_of(database, "run-1", "run-2", "run-3")
    first = await database.transact(claim, claims[1:], limited(Places(1)))
    assert [type(answer) for answer in first] == [Claimed, NoRoom]
    again = await database.transact(claim, claims, limited(Places(1)))
    assert [type(answer) for answer in again] == [NoRoom, Claimed, NoRoom]
    assert again[1] == first[0]


@pytest.mark.parametrize("free", [0, 1])
async def test_lost_lease_waits_for_room_too(database: Database, free: int) -> None:
    """Its loss is counted by the claim that takes it over, and by no other."""
    claims = await claims_of(database, "run-1")
    await try_claim(database, "run-1")
    await lapse(database, "run-1")
    (answer,) = await database.transact(claim, claims, limited(Places(free)))
    row = await row_of(database, "run-1")
    assert isinstance(answer, Claimed if free else NoRoom)
    assert (row["lease_losses"], row["claimed_by"]) == (
        (1, "worker-2") if free else (0, "worker-1")
    )


async def test_program_at_an_unknown_job_is_unknown_all_the_same(database: Database) -> None:
    await submitted_all(database, [a_program("run-1", jobs=["mail"])])
    (answer,) = await database.transact(claim, [a_claim("run-1")], limited(Places(0)))
    assert answer is Missed.UNKNOWN_JOB
