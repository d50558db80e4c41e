"""Odd wake-ups: messages that name what no program can be called hold up nobody."""

import pytest

from program_executor import JobContext, job
from program_service.wakeups.broker import MAX_HOPS, Wakeup
from stage import Stage


@job
async def ping(_ctx: JobContext) -> None:
    """Do nothing."""


ODD = {"nul": "p\0", "long": "x" * 100_000, "blank": " ", "sql": "'; DROP TABLE programs; --"}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_name_that_no_program_can_have_takes_no_slot_and_no_neighbour_along(
    stage: Stage, odd: str
) -> None:
    """Invariant 12: one bad row never fails its neighbours; nor does one bad name."""
    run_id = await stage.submit("ping")
    now = (await stage.program(run_id)).created_at
    await stage.hire(ping, concurrency=1)
    await stage.broker.publish([Wakeup("default", (odd, run_id), now)])
    await stage.broker.publish([Wakeup("default", (odd,), now, hops=MAX_HOPS)])
    await stage.finished(run_id)
    await stage.finished(await stage.submit("ping"))
    assert await stage.outcomes(run_id) == ["done"]
