"""Late claims: a claim whose COMMIT answer was lost, and that is tried again much later.

The search says what goes wrong then (`test_search`, rules R4 and R7): whoever reads a claim back
must not count its lease from the reading, and must not claim anew under the old lease.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from builders import a_claimant, a_record, attempts_of, reclaimed, recorded, submitted
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.claiming import Answer, Claim, claim
from program_service.bookkeeping.ledger.recording import record
from program_service.bookkeeping.lifecycle import Claimed, Done, Released
from program_service.telemetry import Metrics
from program_workers.intake import Intake, Slots
from program_workers.lease import LeaseKeeper

LEASE_S = 1.0
"""Shorter than the pauses between two tries and the margin of a lease together."""


class Unheard:
    """Claims; the answer to the first is lost, and then something happens."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        self._database = database
        self._meanwhile = meanwhile
        self.first: list[Answer] = []

    async def add(self, wish: Claim) -> Answer:
        """Claim a program."""
        claimant = a_claimant("worker-1", lease_s=LEASE_S)
        (answer,) = await self._database.transact(claim, [wish], claimant)
        if self.first:
            return answer
        self.first.append(answer)
        await self._meanwhile()
        raise DatabaseUnavailable


async def _claimed_late(
    database: Database, meanwhile: Callable[[], Awaitable[Any]]
) -> tuple[Claimed, float]:
    """Claim at the second try; return the program and the deadline that its worker believes in."""
    claims, keeper = Unheard(database, meanwhile), LeaseKeeper(database, Metrics(), lease_s=LEASE_S)
    recorder = cast("Any", SimpleNamespace(claims=claims))
    nobody = cast("Any", None)
    slots, metrics = Slots(1), Metrics()
    intake = Intake(nobody, recorder, keeper, slots=slots, line=nobody, metrics=metrics)
    answer, sent_at = await intake._claim_one("run-1")
    assert isinstance(answer, Claimed)
    return answer, keeper.deadline_from(sent_at)


async def test_claim_that_is_read_back_late_is_not_believed_in_for_longer(
    database: Database,
) -> None:
    """Rule R7: past the end of the lease in the table, another worker may claim the program."""
    await submitted(database, "run-1")
    ends_at: list[float] = []

    async def note() -> None:
        ends_at.append(time.monotonic() + LEASE_S)

    _, deadline = await _claimed_late(database, note)
    assert deadline <= ends_at[0]


async def test_claim_that_is_made_anew_after_others_has_a_receipt_of_its_own(
    database: Database,
) -> None:
    """Rule R4: the try that others noted as lost is another, so its row is no receipt of this."""
    await submitted(database, "run-1")

    async def let_others_try() -> None:
        await asyncio.sleep(LEASE_S)
        other = await reclaimed(database, "run-1")
        await recorded(database, other, Released())

    program, _ = await _claimed_late(database, let_others_try)
    step = a_record(program, Done())
    await database.transact(record, [step])
    (again,) = await database.transact(record, [step])  # the answer to COMMIT was lost
    outcomes = sorted(attempt.outcome for attempt in await attempts_of(database, "run-1"))
    assert (again is not None, outcomes) == (True, ["done", "lost", "released"])
