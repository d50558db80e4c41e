"""Poison rows: whatever somebody writes into one row, every other program runs."""

import asyncio
from typing import Any

import sqlalchemy as sa

from builders import by_hand, scribble
from program_executor import JobContext, job
from program_service.bookkeeping.lifecycle import Status
from program_workers.worker import Stopped
from stage import Stage

GOOD = 5

DEEP = '{"a":' * 2_000 + "1" + "}" * 2_000

JSON = {
    "lone surrogate": ("program_data", '{"name": "\\ud83d"}', "program_data is JSON that"),
    "beyond a double": ("program_data", '{"amount": 1e400}', "program_data is JSON that"),
    "long integer": ("program_data", '{"n": ' + "1" * 400 + "}", "program_data is JSON that"),
    "deep": ("program_data", DEEP, "program_data is JSON that"),
    "no object": ("program_data", "[1]", "program_data is a list, not an object"),
    "null": ("program_data", "null", "program_data is null, not an object"),
    "job data null": ("job_data", "null", "job_data is null, not an object"),
    "job data a number": ("job_data", "7", "job_data is a number, not an object"),
    "job data surrogate": ("job_data", '{"run": {"a": "\\udfff"}}', "job_data is JSON that"),
    "job's data null": ("job_data", '{"run": null}', "job_data.run is null, not an object"),
    "jobs null": ("jobs", "null", "jobs is null, not a list of names"),
    "jobs an object": ("jobs", '{"0": "run"}', "jobs is an object, not a list of names"),
    "jobs a text": ("jobs", '"run"', "jobs is a text, not a list of names"),
    "jobs empty": ("jobs", "[]", "jobs is an empty list, not a list of names"),
    "jobs a number": ("jobs", '["run", 7]', "jobs[1] is a number, not a name"),
    "jobs surrogate": ("jobs", '["run", "\\ud83d"]', "jobs is JSON that"),
}


@job
async def run(_ctx: JobContext) -> None:
    """Do nothing."""
    await asyncio.sleep(0)


async def test_rows_that_cannot_be_read_fail_nobody_else(stage: Stage) -> None:
    poison = {kind: await stage.submit("run", "run") for kind in JSON}
    for kind, (column, text, _) in JSON.items():
        await scribble(stage.database, poison[kind], column, text)
    is_sqlite = stage.database.engine.dialect.name == "sqlite"
    never: sa.ColumnElement[Any] = sa.literal_column("'yesterday'" if is_sqlite else "'infinity'")
    by_column: dict[str, tuple[dict[str, Any], str]] = {
        "step beyond": ({"step": 7}, "step is 7, and must be from 0 to 1"),
        "step negative": ({"step": -1}, "step is -1, and must be from 0 to 1"),
        "no moment": ({"created_at": never}, "created_at is no moment between"),
    }
    for kind, (columns, _) in by_column.items():
        poison[kind] = await stage.submit("run", "run")
        await by_hand(stage.database, poison[kind], **columns)
    expected = {kind: reason for kind, (*_, reason) in (JSON | by_column).items()}
    good = [await stage.submit("run", "run") for _ in range(GOOD)]
    shift = await stage.hire(run, concurrency=3)
    for kind, run_id in poison.items():
        program = await stage.ended(run_id)
        assert program.status is Status.ERRORED, kind
        assert program.error_message is not None
        assert program.error_message.startswith(f"This row cannot be read: {expected[kind]}"), kind
        (attempt,) = await stage.attempts(run_id)
        assert (attempt.outcome, attempt.error_code) == ("failed", "unreadable_row")
        assert attempt.error_message == program.error_message
    for run_id in good:
        await stage.finished(run_id)
    assert await shift.stop() is Stopped.DRAINED
    assert shift.worker._slots.free == 3
