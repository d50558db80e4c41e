"""Hooks: a worker tells who wants to know, and a hook that fails harms nothing."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from lines import Lines, of_event
from program_executor import (
    IgnorableError,
    Job,
    JobContext,
    ProgramEvent,
    Retry,
    RetryableError,
    ThreadJobContext,
    job,
    on_error,
    on_finish,
    on_retry,
)
from program_service.bookkeeping.lifecycle import Status
from program_workers import hooks
from program_workers.hooks import NoThread
from program_workers.worker import Stopped
from servers import on_sqlite
from stage import Stage

pytestmark = on_sqlite  # hooks are called after the database has answered


def charge_that(raises: Callable[[int], Exception | None]) -> Job:
    """Return a job that raises by its try."""

    @job("charge", retry=Retry(max_attempts=2, initial_s=0.01, jitter="none"))
    async def charge(ctx: JobContext) -> None:
        if error := raises(ctx.attempt):
            raise error

    return charge


async def test_hooks_are_told_of_retries_errors_and_ends(stage: Stage) -> None:
    told: list[ProgramEvent] = []

    @on_retry
    async def retried(event: ProgramEvent) -> None:
        told.append(event)

    @on_error
    def errored(event: ProgramEvent) -> None:
        told.append(event)

    @on_finish
    async def finished(event: ProgramEvent) -> None:
        told.append(event)

    charge = charge_that(lambda attempt: RetryableError(f"closed ({attempt})", code="closed"))
    mail = charge_that(lambda _attempt: None).named("mail")
    await stage.hire(charge, mail, hooks=[retried, errored, finished])
    first = await stage.ended(await stage.submit("mail", "charge", program_data={"customer": 42}))
    second = await stage.finished(await stage.submit("mail"))
    await stage.crew.stop()
    assert told == [
        ProgramEvent(
            "retry", first.run_id, "charge", 1, 1, {"customer": 42}, "closed (1)", "closed", 0.01
        ),
        ProgramEvent(
            "error", first.run_id, "charge", 1, 2, {"customer": 42}, "closed (2)", "closed"
        ),
        ProgramEvent("finish", second.run_id, "mail", 0, 1, {}),
    ]


async def test_hook_is_called_after_the_change_is_committed(stage: Stage) -> None:
    seen: list[Status] = []

    @on_finish
    async def look(event: ProgramEvent) -> None:
        seen.append((await stage.program(event.run_id)).status)

    await stage.hire(charge_that(lambda _attempt: None), hooks=[look])
    await stage.finished(await stage.submit("charge"))
    await stage.crew.stop()
    assert seen == [Status.FINISHED]


async def test_ignorable_end_is_told_as_an_error_too(stage: Stage) -> None:
    told: list[str | None] = []

    @on_error
    async def errored(event: ProgramEvent) -> None:
        told.append(event.error_message)

    await stage.hire(charge_that(lambda _attempt: IgnorableError("gone")), hooks=[errored])
    await stage.ended(await stage.submit("charge"))
    await stage.crew.stop()
    assert told == ["gone"]


class UnspeakableError(Exception):
    """An error that cannot be turned into a text."""

    def __str__(self) -> str:
        raise AttributeError("there is no response to tell of")


class PanicError(BaseException):
    """What libraries written in Rust raise: no Exception, and no signal either."""


@pytest.mark.parametrize(
    "error",
    [UnspeakableError, PanicError, asyncio.CancelledError, SystemExit, KeyboardInterrupt],
)
async def test_worker_outlives_whatever_a_hook_raises(
    stage: Stage, error: type[BaseException]
) -> None:
    @on_finish
    async def in_the_loop(_event: ProgramEvent) -> None:
        raise error

    @on_finish
    def in_a_thread(_event: ProgramEvent) -> None:
        raise error

    told: list[str] = []

    @on_finish
    def good(event: ProgramEvent) -> None:
        told.append(event.run_id)

    await stage.hire(charge_that(lambda _attempt: None), hooks=[in_the_loop, in_a_thread, good])
    first = await stage.finished(await stage.submit("charge"))
    second = await stage.finished(await stage.submit("charge"))
    await stage.crew.stop()
    assert sorted(told) == sorted([first.run_id, second.run_id])


async def test_hook_that_fails_harms_nothing(stage: Stage, logs: Lines) -> None:
    told: list[str] = []

    @on_finish
    async def broken(_event: ProgramEvent) -> None:
        raise LookupError("no such channel")

    @on_finish
    def broken_too(_event: ProgramEvent) -> None:
        raise LookupError("no such channel either")

    @on_finish
    def good(event: ProgramEvent) -> None:
        told.append(event.run_id)

    await stage.hire(charge_that(lambda _attempt: None), hooks=[broken, broken_too, good])
    first = await stage.finished(await stage.submit("charge"))
    second = await stage.finished(await stage.submit("charge"))
    await stage.crew.stop()
    assert sorted(told) == sorted([first.run_id, second.run_id])
    messages = {line["error_message"] for line in of_event(logs, "hook.failed")}
    assert messages == {"no such channel", "no such channel either"}


async def test_hooks_that_never_return_hold_up_neither_others_nor_the_end(
    stage: Stage, logs: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their threads are their own, and few; jobs and look-ups of names have others."""
    monkeypatch.setattr(hooks, "MAX_THREADS", 2)
    monkeypatch.setattr(hooks, "HOOK_TIMEOUT_S", 0.2)
    let_end, told = threading.Event(), list[str]()

    @on_finish
    def hang(_event: ProgramEvent) -> None:
        let_end.wait(60)

    @on_finish
    async def good(event: ProgramEvent) -> None:
        told.append(event.run_id)

    @job
    def plain(_ctx: ThreadJobContext) -> None:
        pass

    shift = await stage.hire(plain, hooks=[hang, good])
    try:
        run_ids = [await stage.submit("plain") for _ in range(3)]
        await stage.all_finished(run_ids)
        assert await shift.stop() is Stopped.DRAINED
    finally:
        let_end.set()
    assert sorted(told) == sorted(run_ids)
    messages = [line["error_message"] for line in of_event(logs, "hook.failed")]
    assert sorted(messages) == [NoThread.__doc__, "TimeoutError", "TimeoutError"]
