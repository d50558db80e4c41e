"""Round trips: how many statements, commits and messages a drain costs. Counts, not times.

What arrives together is claimed together, runs together and is recorded together: one commit for
each step, whatever the number of programs, up to the 500 of a batch.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from builders import a_program
from patience import PATIENCE_S
from program_executor import JobContext, job
from program_service.bookkeeping.database import Database
from program_service.wakeups.broker import Wakeup
from program_workers.library import Hook
from servers import on_postgresql
from stage import Stage, staged

PROGRAMS, STEPS = 100, 3
NEVER_S = 3_600.0
"""No sweep and no beat of the worker falls into the count."""


@job("first")
async def first(_ctx: JobContext) -> None:
    """Do nothing."""


@job("second")
async def second(_ctx: JobContext) -> None:
    """Do nothing."""


@job("third")
async def third(_ctx: JobContext) -> None:
    """Do nothing."""


@dataclass(slots=True)
class Counted:
    """What was sent to the database and to the broker."""

    table: str
    statements: list[str] = field(default_factory=list)
    transactions: int = 0
    wakeups: list[Wakeup] = field(default_factory=list)

    def watch(self, stage: Stage) -> None:
        """Count from now on."""
        engine = stage.database.engine.sync_engine
        sa.event.listen(engine, "before_cursor_execute", self._note)
        sa.event.listen(engine, "commit", self._note_transaction)
        publish = stage.broker.publish

        async def counted(wakeups: Sequence[Wakeup]) -> list[bool]:
            self.wakeups.extend(wakeups)
            return await publish(wakeups)

        stage.broker.publish = counted  # type: ignore[method-assign]

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self.table in statement:  # a new connection asks for types, too
            self.statements.append(statement)

    def _note_transaction(self, _connection: Any) -> None:
        self.transactions += 1


@pytest.fixture
async def quiet(database: Database) -> AsyncIterator[Stage]:
    """Run a service that looks for nothing by itself."""
    async with staged(database, sweep_interval_s=NEVER_S) as stage:
        yield stage


@on_postgresql
async def test_100_programs_cost_few_statements_and_four_messages(
    quiet: Stage,
) -> None:
    finished, all_finished = 0, asyncio.Event()

    async def count(_event: Any) -> None:
        nonlocal finished
        finished += 1
        if finished == PROGRAMS:
            all_finished.set()

    await quiet.hire(first, second, third, hooks=[Hook("finish", count)], worker_beat_s=NEVER_S)
    counted = Counted(quiet.database.tables.programs.name)
    counted.watch(quiet)
    batch = [a_program(jobs=("first", "second", "third")) for _ in range(PROGRAMS)]
    await quiet.submissions.submit_all(batch)
    async with asyncio.timeout(PATIENCE_S):
        await all_finished.wait()
    assert [len(wakeup.run_ids) for wakeup in counted.wakeups] == [32, 32, 32, 4]
    # submitted, marked as woken; then together what arrives together, and at the worst each
    # wake-up's programs by themselves: a claim, and each step with its attempts
    groups = len(counted.wakeups)
    assert 2 + (1 + STEPS) <= len(counted.statements) <= 2 + groups * (1 + STEPS)
    assert counted.transactions == 0  # each statement committed itself
