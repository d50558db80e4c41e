"""Late cancels: a message that a program was cancelled is a hint; its row decides (rule R14)."""

import asyncio

import pytest

from builders import row_of
from patience import eventually
from program_executor import JobContext, job
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.broker import Cancelled
from stage import Stage


class Gate:
    """A job that runs until it is let go, and counts how it goes."""

    def __init__(self) -> None:
        self.begun = 0
        self.stopped = 0
        self.opened = asyncio.Event()
        self.job = job("reserve")(self._run)

    async def _run(self, _ctx: JobContext) -> None:
        self.begun += 1
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise

    async def has_begun(self, times: int) -> bool:
        """Say whether it was begun so often."""
        return self.begun == times


@pytest.fixture
def gate() -> Gate:
    """Return a job."""
    return Gate()


@pytest.mark.parametrize("names_lease", [True, False])
async def test_late_message_does_not_stop_the_program_that_was_resumed(
    stage: Stage, gate: Gate, *, names_lease: bool
) -> None:
    """It stops the one that was cancelled, and no other; no lease has to expire."""
    await stage.hire(gate.job)
    run_id = await stage.submit("reserve")
    await eventually(lambda: gate.has_begun(1))
    lease = (await row_of(stage.database, run_id))["lease"]
    await stage.database.transact(cancel, run_id)
    await stage.database.transact(resume, run_id, queues={"reserve": "default"})
    await eventually(lambda: gate.has_begun(2))
    message = Cancelled(run_id, lease if names_lease else None)
    await stage.broker.announce(message)

    async def first_is_stopped() -> bool:
        return gate.stopped == 1

    await eventually(first_is_stopped)
    await stage.broker.announce(message)
    gate.opened.set()
    program = await stage.finished(run_id)
    assert (gate.begun, gate.stopped, program.lease_losses) == (2, 1, 0)
    assert await stage.outcomes(run_id) == ["done"]


async def test_message_about_a_program_that_was_not_cancelled_stops_nothing(
    stage: Stage, gate: Gate
) -> None:
    await stage.hire(gate.job)
    run_id = await stage.submit("reserve")
    other = await stage.submit("reserve")
    await eventually(lambda: gate.has_begun(2))
    for lease in ((await row_of(stage.database, run_id))["lease"], "of nobody", None):
        await stage.broker.announce(Cancelled(run_id, lease))
    await stage.database.transact(cancel, other)  # whose message is dealt with after those
    await stage.broker.announce(Cancelled(other))
    assert (await stage.until(other, lambda program: program.claimed_by is None)).status is (
        Status.CANCELLED
    )
    gate.opened.set()
    await stage.finished(run_id)
    assert (gate.begun, gate.stopped) == (2, 1)
    assert await stage.outcomes(run_id) == ["done"]
