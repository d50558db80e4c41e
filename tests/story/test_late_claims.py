"""Late claims: a claim that was committed, and whose worker hears of it only when it asks again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from builders import row_of
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.claiming import Claim
from program_service.bookkeeping.ledger.measuring import read_clock
from servers import Connect
from stage import Stage

LEASE_S, SILENCE_S = 30.0, 4.0
"""The silence is longer than the part of a lease that workers do not use."""


class Silent(Database):
    """A database that commits the first claims, and is silent for a while then."""

    is_silent = True

    async def transact_past_outages(
        self, patience_s: float, work: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        answer = await super().transact_past_outages(patience_s, work, *args, **kwargs)
        if self.is_silent and any(isinstance(each, Claim) for batch in args for each in batch):
            self.is_silent = False
            await asyncio.sleep(SILENCE_S)
            raise DatabaseUnavailable
        return answer


async def test_worker_does_not_believe_in_a_lease_for_longer_than_the_database(
    stage: Stage, connect: Connect
) -> None:
    """Rules R4 and R7: the lease counts from the first commit, and so must the deadline."""
    begun, let_go = asyncio.Event(), asyncio.Event()

    @job
    async def hold(_ctx: JobContext) -> None:
        begun.set()
        await let_go.wait()

    silent = connect.of(Silent)
    shift = await stage.hire(hold, database=silent, lease_s=LEASE_S)
    run_id = await stage.submit("hold")
    async with asyncio.timeout(LEASE_S):
        await begun.wait()
    (held,) = shift.worker._engine.keeper.held
    believed_until = held.deadline - time.monotonic()
    row = await row_of(stage.database, run_id)
    clock = await stage.database.read(read_clock)
    let_go.set()
    assert not silent.is_silent
    assert believed_until <= (row["due_at"] - clock).total_seconds()
    await stage.finished(run_id)
