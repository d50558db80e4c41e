"""Bench: a database to play at, with a loop of its own, and a time that moves when it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from model.reference import Expected
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.engines import utc_now
from program_service.bookkeeping.ledger.status import status_expression
from servers import Place

P = ParamSpec("P")
R = TypeVar("R")


class Bench:
    """A database with a loop of its own, and a time that only moves when it is told."""

    def __init__(self, place: Place) -> None:
        """Connect; `close` it."""
        self.now = utc_now()
        self._runner = asyncio.Runner()
        self.database = Database.connect(
            place.url, table_name=place.table_name, clock=lambda: self.now
        )

    def run(self, work: Awaitable[R]) -> R:
        """Wait for something."""

        async def wait() -> R:
            return await work

        return self._runner.run(wait())

    def transact(
        self,
        work: Callable[Concatenate[Books, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a transaction of the ledger."""
        return self.run(self.database.transact(work, *args, **kwargs))

    def execute(self, statement: sa.Executable) -> None:
        """Run a statement, as somebody with psql would."""

        async def execute() -> None:
            async with self.database.engine.begin() as connection:
                await connection.execute(statement)

        self.run(execute())

    def empty(self) -> None:
        """Begin anew."""

        async def empty(books: Books) -> None:
            for table in (books.tables.programs, books.tables.attempts, books.tables.idempotency):
                await books.connection.execute(sa.delete(table))

        self.transact(empty)

    def wait(self, wait: timedelta) -> timedelta:
        """Let time pass, and return by how much earlier all moments in the table are now."""
        if self.database.clock is not None:
            self.now += wait
            return timedelta(0)
        # a server's clock cannot be moved, but what is written down can
        due_at = self.database.tables.programs.c.due_at
        earlier = sa.type_coerce(due_at, sa.DateTime(timezone=True)) - sa.literal(wait)
        self.execute(sa.update(due_at.table).values(due_at=earlier))
        return wait

    def close(self) -> None:
        """Disconnect."""
        self.run(self.database.close())
        self._runner.close()


MOMENTS = ("finished_at", "errored_at", "cancelled_at", "woken_at")
NUMBERS = ("step", "step_retry_count", "lease_losses", "resumes", "version", "awaiting")
TEXTS = ("lease", "claimed_by", "error_message", "job", "queue", "job_data")


async def seen(books: Books) -> dict[str, dict[str, Any]]:
    """Read all that can be compared, of all programs."""
    programs, tries = books.tables.programs, books.tables.attempts.c
    status = status_expression(programs, books.clock).label("status")
    is_later = (programs.c.due_at > books.clock).label("is_later")
    columns = (tries.step, tries.attempt, tries.job, tries.worker, tries.outcome)
    attempts = await books.select(sa.select(tries.run_id, *columns))
    return {
        row.run_id: {
            **{name: getattr(row, name) for name in (*NUMBERS, *TEXTS, "status")},
            **{name: getattr(row, name) is not None for name in MOMENTS},
            "due_at": "never" if row.due_at is None else "later" if row.is_later else "now",
            "attempts": sorted(tuple(each[1:]) for each in attempts if each.run_id == row.run_id),
        }
        for row in await books.select(sa.select(programs, status, is_later))
    }


def wanted(program: Expected) -> dict[str, Any]:
    """Say the same of the reference."""
    return {
        "step": program.step,
        "step_retry_count": program.retries,
        "lease_losses": program.losses,
        "resumes": program.resumes,
        "version": program.version,
        "lease": program.lease,
        "claimed_by": program.claimed_by,
        "awaiting": program.awaiting,
        "error_message": program.error,
        "job": program.job,
        "queue": program.queue,
        "job_data": program.job_data,
        "finished_at": program.is_finished,
        "errored_at": program.is_errored,
        "cancelled_at": program.is_cancelled,
        "woken_at": program.is_woken,
        "due_at": program.due,
        "status": program.status,
        "attempts": sorted(program.tries.values()),
    }
