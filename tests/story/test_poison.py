"""Poison: whatever a job does ends its own program at worst, never the worker."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import Any

import pytest

from program_executor import Job as LibraryJob
from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.lifecycle import MAX_LEASE_LOSSES, Status
from servers import on_sqlite
from stage import Stage

pytestmark = on_sqlite  # what jobs raise is judged before any database hears of it


class UnspeakableError(Exception):
    """An error that cannot be turned into a text, as those of careless libraries."""

    def __str__(self) -> str:
        raise AttributeError("there is no response to tell of")


class PanicError(BaseException):
    """What libraries written in Rust raise: no Exception, and no signal either."""


class Meta(type):
    """A metaclass that denies the name of its classes."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("nameless")


class LiarError(Exception, metaclass=Meta):
    """An error that cannot be asked for anything, not even what it is."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class SingleUseError(Exception):
    """An error that cannot be copied: it is made of two things, and keeps neither."""

    def __init__(self, _one: int, _other: int) -> None:
        super().__init__()


class OddText(str):
    """A text that refuses what is done with texts."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        raise RuntimeError("no encoding")

    replace = encode  # type: ignore[assignment]


class OddTextError(Exception):
    """An error with such a text."""

    def __str__(self) -> str:
        return OddText("odd")


class Moody(Enum):
    """A member whose value depends on the mood."""

    GOOD = 1

    @property
    def value(self) -> int:
        raise RuntimeError("not today")


class OddZone(tzinfo):
    """A zone that does not know where it is."""

    def utcoffset(self, _moment: Any) -> timedelta:
        raise RuntimeError("lost")

    dst = utcoffset
    tzname = utcoffset  # type: ignore[assignment]


class OddList(list[int]):
    """A list that lies about its length."""

    def __len__(self) -> int:
        return 100


class Liar(dict[str, int]):
    """A dict that cannot be asked what it is."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


def within_itself() -> dict[str, Any]:
    """Return an object that holds itself, twice."""
    held: dict[str, Any] = {}
    held |= {"one": held, "other": [held]}
    return held


def laughs() -> dict[str, Any]:
    """Return an object whose text would have 2 ** 60 parts."""
    held: list[Any] = [1]
    for _ in range(60):
        held = [held, held]
    return {"held": held}


@job
async def bystander(_ctx: JobContext) -> None:
    """Do nothing, on the same worker."""


def raising(error: Callable[[], BaseException]) -> list[LibraryJob]:
    """Return a job of each kind that raises this."""

    @job("poison")
    async def in_the_loop(_ctx: JobContext) -> None:
        await asyncio.sleep(0)
        raise error()

    @job("poison")
    def in_a_thread(_ctx: ThreadJobContext) -> None:
        raise error()

    return [in_the_loop, in_a_thread]


@pytest.mark.parametrize("kind", [0, 1], ids=["async", "thread"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(lambda: SystemExit("bye"), "bye", id="sys.exit"),
        pytest.param(lambda: SystemExit(1), "1", id="sys.exit-code"),
        pytest.param(asyncio.CancelledError, "CancelledError", id="cancelled"),
        pytest.param(lambda: PanicError("the lock is poisoned"), "the lock", id="panic"),
        pytest.param(UnspeakableError, "UnspeakableError", id="unspeakable"),
        pytest.param(StopIteration, "StopIteration", id="stop-iteration"),
        pytest.param(KeyboardInterrupt, "KeyboardInterrupt", id="ctrl-c"),
        pytest.param(lambda: GeneratorExit("closed"), "closed", id="generator-exit"),
        pytest.param(lambda: LiarError("no"), "no", id="liar"),
        pytest.param(lambda: SingleUseError(1, 2), "SingleUseError", id="single-use"),
        pytest.param(OddTextError, "odd", id="odd-text"),
        pytest.param(
            lambda: BaseExceptionGroup("all", [KeyboardInterrupt(), asyncio.CancelledError()]),
            "all",
            id="group-of-signals",
        ),
        pytest.param(
            lambda: BaseExceptionGroup("both", [SystemExit(1), ValueError("no")]),
            "both",
            id="group",
        ),
        pytest.param(lambda: ValueError("a\0b\ud800c"), "a\N{REPLACEMENT CHARACTER}b?c", id="nul"),
    ],
)
async def test_worker_outlives_what_a_job_raises(
    stage: Stage, kind: int, error: Callable[[], BaseException], message: str
) -> None:
    await stage.hire(raising(error)[kind], bystander)
    program = await stage.ended(await stage.submit("poison"), within_s=5)
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert message in program.error_message
    await stage.finished(await stage.submit("bystander"))


@pytest.mark.parametrize("kind", [0, 1], ids=["async", "thread"])
@pytest.mark.parametrize(
    "result",
    [
        pytest.param(lambda: 7, id="number"),
        pytest.param(lambda: {"mood": Moody.GOOD}, id="enum"),
        pytest.param(lambda: {"at": datetime.now(UTC).replace(tzinfo=OddZone())}, id="zone"),
        pytest.param(lambda: {"all": OddList()}, id="list"),
        pytest.param(Liar, id="liar"),
        pytest.param(within_itself, id="within-itself"),
        pytest.param(laughs, id="laughs"),
        pytest.param(lambda: {"error": LiarError()}, id="error"),
        pytest.param(lambda: {"job": bystander}, id="job"),
    ],
)
async def test_worker_outlives_what_a_job_returns(
    stage: Stage, kind: int, result: Callable[[], Any]
) -> None:
    @job("poison")
    async def in_the_loop(_ctx: JobContext) -> Any:
        return result()

    @job("poison")
    def in_a_thread(_ctx: ThreadJobContext) -> Any:
        return result()

    await stage.hire([in_the_loop, in_a_thread][kind], bystander)
    await stage.ended(await stage.submit("poison"))
    await stage.finished(await stage.submit("bystander"))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
async def test_worker_outlives_what_a_task_of_a_job_raises(
    stage: Stage, error: type[BaseException]
) -> None:
    """asyncio raises these out of its loop, too."""

    async def leave() -> None:
        await asyncio.sleep(0)
        raise error

    @job
    async def fan_out(_ctx: JobContext) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(leave())

    @job
    async def forget(_ctx: JobContext) -> None:
        forgotten.append(asyncio.create_task(leave()))

    forgotten: list[asyncio.Task[None]] = []
    await stage.hire(fan_out, forget, bystander)
    program = await stage.ended(await stage.submit("fan_out"))
    assert program.status is Status.ERRORED
    await stage.finished(await stage.submit("forget"))
    await asyncio.wait(forgotten)
    assert error.__name__ in str(forgotten[0].exception())
    await stage.finished(await stage.submit("bystander"))


async def test_traceback_of_a_million_calls_holds_up_nobody(stage: Stage) -> None:
    def call(depth: int) -> None:
        if depth == 0:
            raise ValueError("at the bottom")
        call(depth - 1)

    @job
    def deep(_ctx: ThreadJobContext) -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(20_000)
        try:
            call(5_000)
        finally:
            sys.setrecursionlimit(limit)

    await stage.hire(deep, bystander)
    program = await stage.ended(await stage.submit("deep"))
    assert program.error_message == "at the bottom"
    (attempt,) = await stage.attempts(program.run_id)
    assert attempt.traceback is not None
    assert "at the bottom" in attempt.traceback
    await stage.finished(await stage.submit("bystander"))


async def test_worker_outlives_a_job_that_cancels_itself(stage: Stage) -> None:
    @job
    async def suicidal(_ctx: JobContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    await stage.hire(suicidal, bystander)
    run_id = await stage.submit("suicidal")
    await stage.until(run_id, lambda program: program.status is not Status.PENDING)
    await stage.finished(await stage.submit("bystander"))
    for losses in range(MAX_LEASE_LOSSES):
        if (await stage.program(run_id)).status is Status.RUNNING:  # seen as a lost worker
            await stage.orphan(run_id)
            await stage.until(run_id, ended_or_lost_more_than(losses))
    program = await stage.ended(run_id)
    assert program.status is Status.ERRORED
    await stage.finished(await stage.submit("bystander"))


def ended_or_lost_more_than(losses: int) -> Callable[[Program], bool]:
    """Return the condition that a program has ended, or lost more workers."""
    return lambda program: program.status.is_final or program.lease_losses > losses


async def test_worker_outlives_a_checkpoint_in_a_task_of_the_job(stage: Stage) -> None:
    """A TaskGroup wraps what its tasks raise, also what asks to go on later."""

    @job
    async def fan_out(ctx: JobContext) -> dict[str, bool]:
        if (await ctx.job_data.get()).get("is_half_done"):
            return {"is_done": True}

        async def half() -> None:
            await ctx.job_data.checkpoint({"is_half_done": True}, max_execution_time_s=0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(half())
        return {}

    await stage.hire(fan_out, bystander)
    program = await stage.finished(await stage.submit("fan_out"))
    assert program.job_data == {"fan_out": {"is_half_done": True, "is_done": True}}
    assert await stage.outcomes(program.run_id) == ["yielded", "done"]
    await stage.finished(await stage.submit("bystander"))
