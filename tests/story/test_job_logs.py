"""Job logs: what a job logs carries its step, and its last lines are kept with its attempt."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import structlog

from lines import Lines, logging_as_workers_do
from program_executor import (
    Job,
    JobContext,
    ProgramEvent,
    Retry,
    RetryableError,
    ThreadJobContext,
    job,
    job_of,
    on_finish,
)
from program_executor.testing import ProgramRunner
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.broker import Cancelled
from program_workers.worker import Stopped
from refusing import own_constraint
from servers import on_postgresql, on_sqlite
from stage import Stage

shop = logging.getLogger("shop")
mail = structlog.get_logger()

Printed = Callable[[], Lines]


@pytest.fixture(autouse=True)
def printed(capsys: pytest.CaptureFixture[str]) -> Iterator[Printed]:
    """Log as workers do, and return what was printed so far."""
    said: list[str] = []

    def read() -> Lines:
        said.append(capsys.readouterr().err)
        return [orjson.loads(line) for line in "".join(said).splitlines()]

    with logging_as_workers_do(level="INFO"):
        yield read


@job("loop")
async def in_loop(ctx: JobContext) -> None:
    """Log from the event loop."""
    shop.info("loop %s", ctx.run_id)
    mail.warning("mailed", parcels=2)


@job("thread")
def in_thread(ctx: ThreadJobContext) -> None:
    """Log from a thread."""
    shop.info("thread %s", ctx.run_id)
    mail.warning("mailed", parcels=2)


class AsyncClass:
    """A class whose jobs log from the event loop."""

    name = "async_class"

    @classmethod
    def create(cls, _program_data: dict[str, Any]) -> "AsyncClass":
        return cls()

    async def execute(self, message: Any, _job_data: Any) -> None:
        shop.info("async_class %s", message.run_id)
        mail.warning("mailed", parcels=2)


class PlainClass:
    """A class that logs from the event loop while it is made, and from a thread."""

    name = "plain_class"

    @classmethod
    async def create(cls, _program_data: dict[str, Any]) -> "PlainClass":
        shop.info("plain_class %s", "made")
        return cls()

    def execute(self, _message: Any, _job_data: Any) -> None:
        mail.warning("mailed", parcels=2)


FORMS = (in_loop, in_thread, job_of(AsyncClass), job_of(PlainClass))


async def texts_of(stage: Stage, run_id: str) -> list[list[str]]:
    """Return what each attempt says, in the order of steps and tries."""
    attempts = sorted(await stage.attempts(run_id), key=lambda each: (each.step, each.attempt))
    return [[line["text"] for line in attempt.log] for attempt in attempts]


async def test_lines_of_every_form_of_job_are_kept_with_its_attempt(stage: Stage) -> None:
    await stage.hire(*FORMS)
    program = await stage.finished(await stage.submit(*(each.name for each in FORMS)))
    for attempt in await stage.attempts(program.run_id):
        own, mailed = attempt.log
        assert own["text"].startswith(f"{attempt.job} ")
        assert (own["level"], own.get("fields")) == ("info", None)
        assert (mailed["level"], mailed["text"]) == ("warning", "mailed")
        assert mailed["fields"] == {"parcels": 2}


@on_sqlite
async def test_printed_lines_of_a_job_carry_its_step(stage: Stage, printed: Printed) -> None:
    await stage.hire(*FORMS)
    program = await stage.finished(await stage.submit(*(each.name for each in FORMS)))
    lines = [line for line in printed() if "." not in line["event"]]
    assert len(lines) == 2 * len(FORMS)
    for step, form in enumerate(FORMS):
        for line in lines[2 * step : 2 * step + 2]:
            where = {"run_id": program.run_id, "job": form.name, "step": step, "attempt": 1}
            assert where.items() <= line.items()


@on_sqlite
async def test_lines_are_printed_once(stage: Stage, printed: Printed) -> None:
    """They are the users' data; no event of ours repeats them."""
    await stage.hire(in_loop)
    program = await stage.finished(await stage.submit("loop"))
    await stage.crew.stop()
    said = [line for line in printed() if f"loop {program.run_id}" in str(line)]
    assert len(said) == 1


async def test_each_try_keeps_its_own_lines(stage: Stage) -> None:
    @job(retry=Retry(initial_s=0.01, jitter="none"))
    async def charge(ctx: JobContext) -> None:
        shop.info("try %d", ctx.attempt)
        if ctx.attempt < 3:
            raise RetryableError("the bank is closed")

    await stage.hire(charge)
    program = await stage.finished(await stage.submit("charge"))
    assert await texts_of(stage, program.run_id) == [["try 1"], ["try 2"], ["try 3"]]


async def test_programs_that_run_at_once_do_not_mix_their_lines(stage: Stage) -> None:
    together, threads = asyncio.Barrier(3), threading.Barrier(3)

    @job
    async def pack(ctx: JobContext) -> None:
        for number in range(5):
            await together.wait()
            shop.info("%s packs %d", ctx.run_id, number)

    @job
    def ship(ctx: ThreadJobContext) -> None:
        for number in range(5):
            threads.wait()
            mail.info(f"{ctx.run_id} ships {number}")

    await stage.hire(pack, ship, threads=4)
    run_ids = [await stage.submit("pack", "ship") for _ in range(3)]
    for run_id in run_ids:
        await stage.finished(run_id)
        assert await texts_of(stage, run_id) == [
            [f"{run_id} packs {number}" for number in range(5)],
            [f"{run_id} ships {number}" for number in range(5)],
        ]


@on_sqlite
async def test_lines_of_what_a_job_starts_belong_to_its_attempt(stage: Stage) -> None:
    async def child(name: str) -> None:
        await asyncio.sleep(0)
        shop.info(name)

    @job
    async def pack(_ctx: JobContext) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child("first task"))
            tasks.create_task(child("second task"))
        await asyncio.to_thread(shop.info, "thread")

    await stage.hire(pack)
    program = await stage.finished(await stage.submit("pack"))
    assert await texts_of(stage, program.run_id) == [["first task", "second task", "thread"]]


@on_sqlite
async def test_lines_after_the_attempt_belong_to_nobody(stage: Stage) -> None:
    is_over, late = asyncio.Event(), set()

    async def linger() -> None:
        await is_over.wait()
        shop.info("late")

    @job
    async def pack(_ctx: JobContext) -> None:
        shop.info("in time")
        late.add(asyncio.create_task(linger()))

    @job
    async def ship(_ctx: JobContext) -> None:
        is_over.set()
        await asyncio.wait(late)

    @on_finish
    async def told(_event: ProgramEvent) -> None:
        shop.info("a hook")

    await stage.hire(pack, ship, hooks=[told])
    program = await stage.finished(await stage.submit("pack", "ship"))
    await stage.crew.stop()
    assert await texts_of(stage, program.run_id) == [["in time"], []]


@on_sqlite
async def test_last_lines_within_the_settings_are_kept(stage: Stage) -> None:
    @job
    async def pack(_ctx: JobContext) -> None:
        for number in range(10):
            shop.info("parcel %d", number)

    await stage.hire(pack, attempt_log_lines=2)
    program = await stage.finished(await stage.submit("pack"))
    assert await texts_of(stage, program.run_id) == [
        ["8 lines before these were left out", "parcel 8", "parcel 9"]
    ]


@on_sqlite
@pytest.mark.parametrize("off", [{"attempt_log_lines": 0}, {"attempt_log_bytes": 0}])
async def test_nothing_is_kept_where_the_settings_say_so(stage: Stage, off: dict[str, Any]) -> None:
    await stage.hire(in_loop, in_thread, **off)
    program = await stage.finished(await stage.submit("loop", "thread"))
    assert await texts_of(stage, program.run_id) == [[], []]


def stuck_form(kind: str, begun: asyncio.Event) -> Job:
    """Return a job that logs, and then works until it is stopped."""
    loop = asyncio.get_running_loop()

    @job("stuck")
    async def waits(_ctx: JobContext) -> None:
        shop.info("begun")
        begun.set()
        await asyncio.Event().wait()

    @job("stuck")
    def asks(ctx: ThreadJobContext) -> None:
        shop.info("begun")
        loop.call_soon_threadsafe(begun.set)
        while not ctx.cancelled:
            threading.Event().wait(0.01)

    return waits if kind == "async" else asks


@on_sqlite
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_lines_of_a_job_that_was_stopped_are_kept(stage: Stage, kind: str) -> None:
    begun = asyncio.Event()
    shift = await stage.hire(stuck_form(kind, begun), grace_s=0.1)
    run_id = await stage.submit("stuck")
    await begun.wait()
    await shift.stop()
    assert await stage.outcomes(run_id) == ["released"]
    assert await texts_of(stage, run_id) == [["begun"]]


@on_sqlite
async def test_lines_of_a_thread_that_does_not_end_are_kept(stage: Stage) -> None:
    loop, begun, let_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    @job
    def deaf(_ctx: ThreadJobContext) -> None:
        shop.info("begun")
        loop.call_soon_threadsafe(begun.set)
        let_end.wait(60)

    shift = await stage.hire(deaf, grace_s=0.1)
    run_id = await stage.submit("deaf")
    await begun.wait()
    try:
        assert await shift.stop() is Stopped.ABANDONED
        assert await texts_of(stage, run_id) == [["begun"]]
    finally:
        let_end.set()


@on_sqlite
async def test_lines_of_a_job_that_was_cancelled_are_kept(stage: Stage) -> None:
    begun = asyncio.Event()
    shift = await stage.hire(stuck_form("async", begun))
    run_id = await stage.submit("stuck")
    await begun.wait()
    await stage.database.transact(cancel, run_id)
    await stage.broker.announce(Cancelled(run_id))
    assert (await stage.ended(run_id)).status is Status.CANCELLED
    await shift.stop()
    assert await texts_of(stage, run_id) == [["begun"]]


@on_postgresql
async def test_lines_go_with_what_the_database_refuses(stage: Stage) -> None:
    """Perhaps it is they that it refuses."""

    @job
    async def charge(_ctx: JobContext) -> dict[str, str]:
        shop.info("charged")
        return {"card": "forbidden"}

    await stage.hire(charge)
    async with own_constraint(stage.database, "job_data::text NOT LIKE '%forbidden%'"):
        program = await stage.ended(await stage.submit("charge"))
    assert program.status is Status.ERRORED
    assert await texts_of(stage, program.run_id) == [[]]


def test_testing_kit_shows_what_a_job_logged(program_runner: ProgramRunner) -> None:
    run = program_runner.run([in_loop, in_thread])
    texts = [[line["text"] for line in attempt.log] for attempt in run.attempts]
    run_id = run.program.run_id
    assert texts == [[f"loop {run_id}", "mailed"], [f"thread {run_id}", "mailed"]]
