"""In flight: what a loop has started for one program harms neither the loop nor other programs."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from program_service.loops.in_flight import InFlight

PATIENCE_S = 20.0


def group() -> BaseException:
    return ExceptionGroup("group", [OSError()])


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, RecursionError, group])
async def test_what_a_task_raises_ends_it_alone(error: Callable[[], BaseException]) -> None:
    done: list[int] = []

    async def fail() -> None:
        raise error()

    async def succeed() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    in_flight = InFlight("notify_ends")
    with capture_logs() as lines:
        async with in_flight.open(end_within_s=PATIENCE_S):
            in_flight.start(fail())
            in_flight.start(succeed())
            await in_flight.changed.wait()
    assert done == [1]
    assert [(line["event"], line["loop"]) for line in lines] == [("task.failed", "notify_ends")]


async def test_tasks_have_a_while_to_end_and_are_then_cancelled() -> None:
    ended: list[str] = []
    may_end = asyncio.Event()

    async def work(name: str, until: asyncio.Event) -> None:
        try:
            await until.wait()
            ended.append(name)
        except asyncio.CancelledError:
            ended.append(f"{name} was cancelled")
            raise

    in_flight = InFlight("notify_ends")
    with capture_logs() as lines:
        async with in_flight.open(end_within_s=0.2):
            in_flight.start(work("late", asyncio.Event()))
            in_flight.start(work("soon", may_end))
            asyncio.get_running_loop().call_later(0.05, may_end.set)
    assert ended == ["soon", "late was cancelled"]
    assert lines == []


async def test_loop_that_fails_lets_its_tasks_end() -> None:
    ended: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        ended.append("work")

    async def run() -> None:
        in_flight = InFlight("notify_ends")
        async with in_flight.open(end_within_s=PATIENCE_S):
            in_flight.start(work())
            raise ValueError

    with pytest.raises(ExceptionGroup):
        await run()
    assert ended == ["work"]
