"""Errors: what a job raises decides whether its step is tried again or its program ends."""

from typing import Any

import pytest

from lines import Lines, of_event
from program_executor import (
    IgnorableError,
    JobContext,
    Retry,
    RetryableError,
    ThreadJobContext,
    job,
)
from program_service.bookkeeping.lifecycle import Status
from servers import on_sqlite
from stage import Stage

SOON = Retry(max_attempts=3, initial_s=0.01, jitter="none")


async def test_retryable_error_is_tried_again_until_it_passes(stage: Stage, logs: Lines) -> None:
    @job(retry=SOON)
    async def charge(ctx: JobContext) -> dict[str, int]:
        if ctx.attempt < 3:
            message = f"the bank is closed ({ctx.attempt})"
            raise RetryableError(message, code="bank_closed")
        return {"tries": ctx.attempt}

    @job
    async def ship(_ctx: JobContext) -> None:
        pass

    await stage.hire(charge, ship)
    program = await stage.finished(await stage.submit("charge", "ship"))
    assert program.job_data == {"charge": {"tries": 3}}
    # 0 after each step; the message of the last caught error stays
    assert (program.step_retry_count, program.error_message) == (0, "the bank is closed (2)")
    attempts = await stage.attempts(program.run_id)
    assert [(each.job, each.attempt, each.outcome) for each in attempts] == [
        ("charge", 1, "retry"),
        ("charge", 2, "retry"),
        ("charge", 3, "done"),
        ("ship", 1, "done"),
    ]
    assert attempts[0].error_code == "bank_closed"
    assert attempts[0].error_type == "RetryableError"
    lines = of_event(logs, "Consumer error retry")
    assert [line["attempt"] for line in lines] == [1, 2]
    assert {line["log_level"] for line in lines} == {"warning"}
    assert lines[0]["error_message"] == "the bank is closed (1)"
    assert lines[0]["retry_in_s"] == pytest.approx(0.01)


async def test_program_that_backs_off_shows_count_message_and_time(stage: Stage) -> None:
    @job(retry=Retry(initial_s=1_000, jitter="none"))
    async def charge(_ctx: JobContext) -> None:
        raise RetryableError("the bank is closed")

    await stage.hire(charge)
    run_id = await stage.submit("charge")
    program = await stage.until(run_id, lambda program: program.step_retry_count == 1)
    assert program.status is Status.RETRYING
    assert program.error_message == "the bank is closed"
    assert (program.claimed_by, program.errored_at) == (None, None)
    assert program.due_at is not None
    assert 990 < (program.due_at - program.updated_at).total_seconds() <= 1_000


async def test_after_is_a_lower_bound_of_the_delay(stage: Stage) -> None:
    @job(retry=SOON)
    async def charge(_ctx: JobContext) -> None:
        raise RetryableError("the bank opens in an hour", after=3_600)

    await stage.hire(charge)
    run_id = await stage.submit("charge")
    program = await stage.until(run_id, lambda program: program.step_retry_count == 1)
    assert program.due_at is not None
    assert (program.due_at - program.updated_at).total_seconds() == pytest.approx(3_600, abs=5)


async def test_program_errors_when_the_tries_are_used_up(stage: Stage, logs: Lines) -> None:
    @job(retry=Retry(max_attempts=2, initial_s=0.01))
    def charge(ctx: ThreadJobContext) -> None:
        message = f"the bank is closed ({ctx.attempt})"
        raise RetryableError(message)

    await stage.hire(charge)
    program = await stage.ended(await stage.submit("charge", "ship"))
    assert program.status is Status.ERRORED
    assert (program.step, program.step_retry_count) == (0, 1)
    assert program.error_message == "the bank is closed (2)"
    assert await stage.outcomes(program.run_id) == ["retry", "failed"]
    assert len(of_event(logs, "Consumer error finish")) == 1


async def test_any_other_error_ends_the_program_at_its_step(stage: Stage, logs: Lines) -> None:
    @job
    async def reserve(_ctx: JobContext) -> None:
        pass

    @job
    async def charge(_ctx: JobContext) -> None:
        message = "no such card: " + "4" * 5_000
        raise LookupError(message)

    await stage.hire(reserve, charge)
    program = await stage.ended(await stage.submit("reserve", "charge", "ship"))
    assert program.status is Status.ERRORED
    assert (program.step, program.job, program.step_retry_count) == (1, "charge", 0)
    assert program.error_message == "no such card: " + "4" * 5_000  # whole, not cut
    (line,) = of_event(logs, "Consumer error finish")
    assert line["log_level"] == "error"
    assert line["action"] == "Consumer error finish"
    assert line["name"] == "program-executor"
    assert line["error_message"] == program.error_message
    assert "in charge" in line["error_stack"]
    assert "LookupError: no such card" in line["error_stack"]
    assert line["content"] == {"run_id": program.run_id, "job": "charge", "step": 1}
    last = (await stage.attempts(program.run_id))[-1]
    assert (last.outcome, last.error_type) == ("failed", "LookupError")
    assert last.traceback == line["error_stack"]


async def test_ignorable_error_ends_the_program_as_information(stage: Stage, logs: Lines) -> None:
    @job
    async def charge(_ctx: JobContext) -> None:
        raise IgnorableError("the customer has left", code="gone")

    await stage.hire(charge)
    program = await stage.ended(await stage.submit("charge", "ship"))
    assert (program.status, program.step) == (Status.ERRORED, 0)
    assert program.error_message == "the customer has left"
    assert await stage.outcomes(program.run_id) == ["ignored"]
    (line,) = of_event(logs, "program.ended_ignorably")
    assert line["log_level"] == "info"
    assert line["error_message"] == "the customer has left"
    grave = [line for line in logs if line["log_level"] in {"warning", "error", "critical"}]
    assert not [line for line in grave if line["event"] != "loop.blocked"]  # a busy machine


async def test_attributes_of_foreign_errors_count_too(stage: Stage) -> None:
    class BankError(Exception):
        """An exception of some library, that knows nothing of us."""

        def __init__(self, **marks: Any) -> None:
            super().__init__("the bank says no")
            vars(self).update(marks)

    @job(retry=SOON)
    def flaky(ctx: ThreadJobContext) -> None:
        if ctx.attempt == 1:
            raise BankError(retryable=True, code=503)

    @job
    def rude(_ctx: ThreadJobContext) -> None:
        raise BankError(ignorable=True)

    await stage.hire(flaky, rude)
    program = await stage.ended(await stage.submit("flaky", "rude"))
    attempts = await stage.attempts(program.run_id)
    assert [each.outcome for each in attempts] == ["retry", "done", "ignored"]
    assert attempts[0].error_code == "503"


@on_sqlite
async def test_transaction_of_a_job_on_sqlite_is_refused_in_words(stage: Stage) -> None:
    @job
    async def charge(ctx: JobContext) -> None:
        await ctx.transaction()

    await stage.hire(charge)
    program = await stage.ended(await stage.submit("charge"))
    assert program.status is Status.ERRORED
    assert program.error_message is not None
    assert "not on SQLite" in program.error_message
