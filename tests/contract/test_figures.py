"""Figures: what the dashboard shows is what was counted."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from builders import (
    HOUR_S,
    a_failure,
    by_hand,
    claimed,
    clock_of,
    later,
    seconds_ago,
    stands,
    submitted,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.counting import NO_DURATION, bucket_of, seconds_of
from program_service.bookkeeping.ledger.figures import (
    JobFigures,
    counts_by_status,
    job_figures,
    throughput,
    top_failing,
)
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Done, Fail, Status

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


async def _this_minute(database: Database) -> datetime:
    return (await database.read(clock_of)).replace(second=0, microsecond=0)


async def _counted(
    database: Database,
    minute: datetime,
    counts: Mapping[str, int],
    *,
    took_s: float | None = None,
    **keys: Any,
) -> None:
    """Pretend that {outcome: count} came to an end, for the first time in this minute."""
    bucket = NO_DURATION if took_s is None else bucket_of(took_s)
    row = {"minute": minute, "job": "reserve", "worker": "worker-1", "shard": 0, "bucket": bucket}
    rows = [row | keys | {"outcome": word, "count": times} for word, times in counts.items()]
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(database.tables.rollups), rows)


async def _figures_of(database: Database, job: str = "reserve", hours: float = 24) -> JobFigures:
    figures = await database.read(job_figures, hours=hours)
    return next(each for each in figures if each.job == job)


async def test_throughput_has_every_minute_up_to_this_one(database: Database) -> None:
    now = await _this_minute(database)
    await _counted(database, now - 2 * MINUTE, {"done": 3, "failed": 1})
    await _counted(database, now - 2 * MINUTE, {"done": 4}, worker="worker-2")
    await _counted(database, now - 2 * MINUTE, {"done": 5}, job="charge", took_s=1.0, shard=3)
    await _counted(database, now - 60 * MINUTE, {"done": 9})
    minutes = await database.read(throughput, minutes=10)
    assert len(minutes) == 10
    assert {b.minute - a.minute for a, b in pairwise(minutes)} == {MINUTE}
    assert minutes[-1].minute - now <= MINUTE
    counts = {each.minute: each.counts for each in minutes if each.counts}
    assert list(counts.values()) == [{"done": 12, "failed": 1}]
    assert list(counts) == [now - 2 * MINUTE]


async def test_throughput_counts_what_ends_now(database: Database) -> None:
    await stands(database, await claimed(database), later())
    await stands(database, await claimed(database, jobs=["reserve"]), Done())
    await submitted(database, "run-1")
    await database.transact(cancel, "run-1")
    minutes = await database.read(throughput, minutes=3)
    counts = {word: times for each in minutes for word, times in each.counts.items()}
    assert counts == {"retry": 1, "finished": 1, "cancelled": 1}


async def test_figures_of_a_job_are_those_of_its_attempts(database: Database) -> None:
    now = await _this_minute(database)
    attempts = {"done": 5, "finished": 1, "failed": 1, "ignored": 1, "retry": 3}
    await _counted(database, now - 3 * MINUTE, attempts | {"lost": 1, "yielded": 7, "cancelled": 2})
    await _counted(database, now - 2 * MINUTE, {"done": 2}, job="charge")
    charge, reserve = await database.read(job_figures)
    assert (charge.job, charge.done, charge.success_rate) == ("charge", 2, 1.0)
    assert (reserve.done, reserve.failed, reserve.retried) == (6, 2, 3)
    assert reserve.success_rate == 0.75
    assert reserve.last_minute == charge.last_minute - MINUTE
    assert (reserve.p50_s, reserve.p95_s) == (None, None)


async def test_job_that_neither_succeeded_nor_failed_has_no_rate(database: Database) -> None:
    now = await _this_minute(database)
    await _counted(database, now, {"retry": 3})
    assert (await _figures_of(database)).success_rate is None


async def test_only_cancelled_programs_say_nothing_of_a_job(database: Database) -> None:
    now = await _this_minute(database)
    await _counted(database, now, {"cancelled": 3})
    assert await database.read(job_figures) == []


async def test_figures_are_those_of_the_last_hours(database: Database) -> None:
    now = await _this_minute(database)
    await _counted(database, now - 10 * MINUTE, {"failed": 1})
    await _counted(database, now - 3 * HOUR, {"failed": 2})
    await _counted(database, now - 25 * HOUR, {"failed": 4})
    assert [(await _figures_of(database, hours=hours)).failed for hours in (1, 24, 48)] == [1, 3, 7]


@pytest.mark.parametrize("scale", [0.005, 1.0, 60.0])
async def test_percentiles_are_right_to_a_fifth(database: Database, scale: float) -> None:
    now = await _this_minute(database)
    durations = [scale * number for number in range(1, 101)]
    for number, seconds in enumerate(durations):
        # the same bucket again and again: in another minute each time
        word = ("done", "failed", "retry", "finished")[number % 4]
        await _counted(database, now - (number + 1) * MINUTE, {word: 2}, took_s=seconds)
    await _counted(database, now, {"yielded": 500, "released": 500}, took_s=1000 * scale)
    await _counted(database, now, {"done": 500})  # nobody knows how long
    figures = await _figures_of(database)
    assert figures.p50_s == pytest.approx(50 * scale, rel=0.2)
    assert figures.p95_s == pytest.approx(95 * scale, rel=0.2)


async def test_one_slow_attempt_of_a_hundred_moves_no_percentile(database: Database) -> None:
    now = await _this_minute(database)
    await _counted(database, now, {"done": 99}, took_s=0.1)
    await _counted(database, now, {"done": 1}, took_s=100.0)
    figures = await _figures_of(database)
    assert figures.p50_s == figures.p95_s == seconds_of(bucket_of(0.1))


async def test_jobs_that_fail_most_come_first(database: Database) -> None:
    now = await _this_minute(database)
    for number, job in enumerate(["a", "b", "c", "d"]):
        counts = {"failed": number % 3, "ignored": 0, "done": 100}
        await _counted(database, now, counts, job=job)
    figures = await database.read(job_figures, hours=1)
    assert [each.job for each in top_failing(figures)] == ["c", "b"]
    assert [each.job for each in top_failing(figures, limit=1)] == ["c"]


async def test_overview_counts_every_status(database: Database) -> None:
    now = await _this_minute(database)
    await submitted(database, "pending")
    await submitted(database, "scheduled")
    await by_hand(database, "scheduled", due_at=seconds_ago(database, -HOUR_S))
    await claimed(database, "running")
    await stands(database, await claimed(database, "retrying"), later())
    await by_hand(database, "retrying", due_at=seconds_ago(database, -HOUR_S))
    await submitted(database, "waiting")
    waits = {"awaiting": 1, "due_at": seconds_ago(database, -HOUR_S)}
    await by_hand(database, "waiting", **waits)
    await stands(database, await claimed(database, jobs=["reserve"]), Done())
    await stands(database, await claimed(database), Fail(a_failure()))
    await stands(database, await claimed(database), Fail(a_failure(), is_ignorable=True))
    await submitted(database, "cancelled")
    await database.transact(cancel, "cancelled")
    await _counted(database, now - 90 * MINUTE, {"finished": 5, "cancelled": 6, "done": 7})
    await _counted(database, now - 25 * HOUR, {"finished": 50})
    overview = await database.read(counts_by_status)
    open_ones = [status for status in Status if not status.is_final]
    assert overview.open == dict.fromkeys(open_ones, 1)
    assert not overview.is_capped
    ended = {Status.FINISHED: 1, Status.ERRORED: 2, Status.CANCELLED: 1}
    assert overview.ended_in_hour == ended
    assert overview.ended_in_day == ended | {Status.FINISHED: 6, Status.CANCELLED: 7}


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_overview_says_when_it_did_not_count_all(database: Database, limit: int) -> None:
    for _ in range(2):
        await submitted(database)
        await claimed(database)
    overview = await database.read(counts_by_status, limit=limit)
    assert overview.open[Status.PENDING] == overview.open[Status.RUNNING] == min(limit, 2)
    assert overview.is_capped == (limit < 3)
