"""Count: how often what came to an end in which minute, for the dashboard.

Each count is written in the transaction that writes what it counts, so it is as true as the table;
nothing is ever scanned for it. The counts come last in their transaction and in a fixed order: who
waits for one holds nothing that those ahead still want.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.sql import Sql

FINISHED = "finished"
"""In the place of `done`, for the attempt that finished its program."""
CANCELLED = "cancelled"
"""A program that somebody cancelled: no attempt."""
LET_GO = "let_go"
"""An attempt whose program ended, or was cancelled, behind its worker's back."""
LOST = "lost"

NOBODY = ""
"""Stands in `rollups.worker` for what no worker did."""

NO_DURATION = -1
"""The bucket of what has no duration, or none that anybody knows."""
MAX_BUCKET = 60
"""Twelve days; what took longer is in it, too."""

SHARDS = 4
"""Rows for one count, for what commits one by one, many at a time: completed callbacks, jobs with a
transaction. Each holds its row until its commit. Ten at a time on PostgreSQL: 173 a second
uncounted, 165 in four rows, 108 in one."""


class Tally(NamedTuple):
    """What is counted once."""

    job: str
    outcome: str
    worker: str = NOBODY
    bucket: int = NO_DURATION


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration: the half powers of two of milliseconds, rounded up."""
    if seconds <= 0:
        return NO_DURATION
    return min(MAX_BUCKET, max(0, math.ceil(2 * math.log2(seconds * 1000))))


def seconds_of(bucket: int) -> float:
    """Return what a duration in a bucket is about: at most 19 % more or less."""
    # by hand, a bucket may be one that has no duration
    within = min(max(bucket, 0), MAX_BUCKET)
    return float(2 ** ((within - 0.5) / 2) / 1000)


async def count(books: Books, tallies: Sequence[Tally]) -> None:
    """Count what was just written; call it once for each change that was really made."""
    batch = [_as_row(tally, times) for tally, times in Counter(tallies).items()]
    shards = SHARDS if len(tallies) == 1 else 1
    await books.run(_insert_counts, batch=batch, shards=shards)


def _as_row(tally: Tally, times: int) -> dict[str, Any]:
    return {
        "job": tally.job,
        "word": tally.outcome,
        "worker": tally.worker,
        "bucket": tally.bucket,
        "times": times,
    }


def _insert_counts(sql: Sql) -> str:
    batch = sql.batch(
        job="varchar", word="varchar", worker="varchar", bucket="integer", times="integer"
    )
    return insert_counts(sql, batch, shard=f"{sql.dialect.connection} % :shards")


def insert_counts(sql: Sql, tallies: str, *, shard: str = "0") -> str:
    """Return the statement that adds `times` for each row of `tallies`, a FROM item."""
    keys = ["minute", "job", "outcome", "worker", "bucket", "shard"]
    return f"""
        INSERT INTO {sql.rollups} ({", ".join(keys)}, count)
        SELECT {sql.dialect.minute}, job, word, worker, bucket, {shard}, times
          FROM {tallies}
         WHERE TRUE
         ORDER BY job, word, worker, bucket
        {sql.dialect.or_add(sql.rollups, keys, "count")}
    """
