"""Drains: how fast what waits in a table is worked off, by the rows' own times, and at what cost.

The rate is taken from the first step's beginning to the last program's end, as the database noted
them; the tables of the yardstick have the same columns.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from grounds import fetch
from measuring import Figures, cpu_s, peak_mib
from product import until

STEPS = 3
PER = 1_000

LEFT = "SELECT 1 FROM {programs} WHERE due_at IS NOT NULL LIMIT 1"
SPAN = """
SELECT extract(epoch FROM max(program.finished_at) - min(attempt.started_at))::float
  FROM {programs} AS program JOIN {attempts} AS attempt USING (run_id)
 WHERE program.id > $1
"""
COUNTED = """
SELECT (SELECT count(*) FROM {programs} WHERE finished_at IS NOT NULL AND id > $1),
       (SELECT count(*) FROM {attempts} JOIN {programs} AS program USING (run_id)
         WHERE outcome = 'done' AND program.id > $1)
"""


class WrongRows(Exception):
    """What stands in the tables is not what was submitted."""


@dataclass(frozen=True, slots=True)
class Table:
    """Where programs stand; those of this drain have an id above `after`."""

    url: str
    name: str = "programs"
    after: int = 0

    def said(self, query: str) -> str:
        """Put the names into a query."""
        return query.format(programs=self.name, attempts=self.attempts)

    @property
    def attempts(self) -> str:
        """The table beside it; the yardstick's is named by itself."""
        return f"{self.name}_attempts"


async def drained(
    table: Table,
    programs: int,
    *,
    journal: Path | None = None,
    workers: Sequence[int] = (),
    servers: Mapping[str, int] | None = None,
) -> Figures:
    """Wait until nothing is left; return the rate, and what the processes used for it.

    `workers` and `servers` are process ids; they are looked at from the first step on, which leaves
    its mark in the journal.

    Raises:
        WrongRows: not every program finished, or not with all its attempts.
    """
    pids = {"worker": list(workers)} | {name: [pid] for name, pid in (servers or {}).items()}
    if journal is not None:
        await until(_exists(journal))
    began, used = time.perf_counter(), {name: sum(map(cpu_s, of)) for name, of in pids.items()}
    connection = await asyncpg.connect(table.url)
    try:
        await until(_is_empty(connection, table))
        took = time.perf_counter() - began
        figures = {
            f"{name}_cpus": (sum(map(cpu_s, of)) - used[name]) / took for name, of in pids.items()
        }
        span = await connection.fetchval(table.said(SPAN), table.after)
        counted = tuple(await connection.fetchrow(table.said(COUNTED), table.after))
    finally:
        await connection.close()
    if counted != (programs, STEPS * programs):
        msg = f"of {programs} programs {counted[0]} finished, with {counted[1]} attempts"
        raise WrongRows(msg)
    cost = figures["worker_cpus"] * took / (STEPS * programs / PER)
    peak = max(map(peak_mib, workers), default=0.0)
    return figures | {
        "drain_per_s": programs / span,
        "cpu_s_per_1000_steps": cost,
        "worker_peak_mib": peak,
    }


async def newest(url: str) -> int:
    """Return the id of our newest program; 0 when there is none."""
    return int(await fetch(url, "SELECT COALESCE(max(id), 0) FROM programs"))


def _exists(journal: Path) -> Callable[[], Awaitable[bool]]:
    async def exists() -> bool:
        return journal.exists()

    return exists


def _is_empty(connection: Any, table: Table) -> Callable[[], Awaitable[bool]]:
    async def is_empty() -> bool:
        return await connection.fetchval(table.said(LEFT)) is None

    return is_empty
