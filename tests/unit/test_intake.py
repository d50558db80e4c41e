"""Intake: it gives back every slot that it holds, whenever it is told to stop."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from program_service.telemetry import Metrics
from program_service.wakeups.broker import Delivery, Wakeup
from program_workers import intake as module
from program_workers.intake import Intake, Slots

TURNS = 12
"""Of the event loop, after which an intake that has a slot waits for a wake-up."""


class Quiet:
    """Stands for a subscription to which nothing comes."""

    loops = ()

    def __init__(self) -> None:
        """Begin to receive."""
        self.is_paused = False

    async def next(self) -> Delivery:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError

    async def pause(self) -> Sequence[Delivery]:
        """Receive no more."""
        self.is_paused = True
        return ()

    def resume(self) -> None:
        """Receive again."""
        self.is_paused = False


async def until_paused(subscription: Quiet) -> None:
    while not subscription.is_paused:
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(TURNS))
async def test_full_worker_that_stops_while_it_resumes_loses_no_slot(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """A drain waits for all slots; one that nobody gives back costs the whole grace time."""
    monkeypatch.setattr(module, "HOLD_S", 0.0)
    slots, subscription, nothing = Slots(2), Quiet(), cast("Any", None)
    intake = Intake(nothing, nothing, nothing, slots=slots, line=nothing, metrics=Metrics())
    await slots.reserve()
    await slots.reserve()
    async with asyncio.TaskGroup() as programs:
        running = programs.create_task(intake.run(subscription, programs, nothing))
        await until_paused(subscription)
        slots.release()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
    assert slots.free == 1
    assert subscription.is_paused == (turns == 0)


async def test_intake_that_is_started_again_receives_again() -> None:
    """It may have failed while it was paused."""
    subscription, nothing = Quiet(), cast("Any", None)
    subscription.is_paused = True
    intake = Intake(nothing, nothing, nothing, slots=Slots(1), line=nothing, metrics=Metrics())
    async with asyncio.TaskGroup() as programs:
        running = programs.create_task(intake.run(subscription, programs, nothing))
        await asyncio.sleep(0)
        assert not subscription.is_paused
        running.cancel()


@pytest.mark.parametrize(("ahead", "is_noted"), [(timedelta(), True), (timedelta(days=1), False)])
def test_wakeup_of_the_future_does_not_make_all_others_count_as_lost(
    ahead: timedelta, *, is_noted: bool
) -> None:
    """Rule R6: workers report the newest that they claimed."""
    nothing = cast("Any", None)
    intake = Intake(nothing, nothing, nothing, slots=Slots(1), line=nothing, metrics=Metrics())
    moment = datetime.now(UTC) + ahead
    intake._note(Wakeup("default", ("p-1",), moment), "claimed")
    assert intake.newest_wakeups == ({"default": moment} if is_noted else {})
