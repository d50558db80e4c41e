"""Books: one open transaction on the bookkeeping tables, and the words that it is kept in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from program_service.bookkeeping.dialects import DIALECTS
from program_service.bookkeeping.engines import UtcClock
from program_service.bookkeeping.errors import BatchRefused
from program_service.bookkeeping.sql import Script, Sql, Statement
from program_service.bookkeeping.tables import Tables, UtcDateTime, written

MAX_JOB_DATA_BYTES = 1_048_576
"""How long the job data of a program may become, where no setting says so."""

F = TypeVar("F", bound=Callable[..., Any])

_changing_once: set[object] = set()


def one_change(work: F) -> F:
    """Mark a function of the ledger that changes rows by one statement, if at all.

    Where that statement can commit by itself it needs neither BEGIN nor COMMIT, two round trips.
    """
    _changing_once.add(work)
    return work


def changes_once(work: object) -> bool:
    """Say whether a function is marked so."""
    return work in _changing_once


class Books:
    """One open transaction on the bookkeeping tables."""

    def __init__(self, connection: AsyncConnection, words: "Words") -> None:
        """Wrap a connection whose transaction somebody else commits."""
        self.connection = connection
        self.tables = words.tables
        self.notes: dict[object, Any] = {}
        """What earlier tries of this transaction were about to commit.

        The answer to a COMMIT may be lost. A function that cannot tell its own work from other
        people's by the table alone notes here what it writes, and compares on its second try.
        """
        self._words = words

    async def fetch(self, statement: Statement, **parameters: Any) -> Sequence[sa.Row[Any]]:
        """Run a statement and return its rows; lists and dicts are passed as JSON."""
        pack = self._words.sql.dialect.pack
        with _refusing_values():
            packed = {
                name: pack(value) if isinstance(value, list | dict) else value
                for name, value in parameters.items()
            }
        if self._words.clock is not None:
            packed["now"] = written(self._words.clock())
        prepared = self._words.prepared(statement)
        if prepared.lock is not None:
            packed["ids"] = [row.id for row in await self._run(prepared.lock, packed)]
            if not packed["ids"]:
                return ()
        answer = await self._run(prepared.change, packed)
        return answer if prepared.read is None else await self._run(prepared.read, packed)

    async def run(self, statement: Statement, **parameters: Any) -> None:
        """Run a statement that returns nothing."""
        await self.fetch(statement, **parameters)

    async def select(self, query: sa.Select[*tuple[Any, ...]]) -> Sequence[sa.Row[Any]]:
        """Run a query whose shape depends on what was asked for."""
        with _refusing_values():
            return (await self.connection.execute(query)).all()

    @property
    def max_job_data_bytes(self) -> int:
        """How long the job data of a program may become, as JSON."""
        return self._words.max_job_data_bytes

    @property
    def skips_locked(self) -> bool:
        """Whether rows are locked one by one, and those of others can be left alone."""
        return bool(self._words.sql.dialect.skip_locked)

    @property
    def clock(self) -> sa.ColumnElement[datetime]:
        """The database's clock, for queries."""
        if self._words.clock is None:
            return sa.literal_column(self._words.sql.clock, UtcDateTime())
        return sa.literal(self._words.clock(), UtcDateTime())

    async def _run(self, text: sa.TextClause, packed: dict[str, Any]) -> Sequence[sa.Row[Any]]:
        with _refusing_values():
            cursor = await self.connection.execute(text, packed)
            return cursor.all() if cursor.returns_rows else ()


@contextmanager
def _refusing_values() -> Iterator[None]:
    """Say in our words that a value can be neither sent nor read; drivers say it in Python's."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        msg = f"{type(error).__name__}: {error}"
        raise BatchRefused(msg) from error


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as it is sent: what a `Script` says, or just the one text."""

    change: sa.TextClause
    lock: sa.TextClause | None = None
    read: sa.TextClause | None = None

    @classmethod
    def of(cls, said: str | Script) -> Self:
        """Parse what a dialect says."""
        if isinstance(said, str):
            return cls(sa.text(said))
        return cls(
            change=_with_ids(said.change),
            lock=sa.text(said.lock) if said.lock else None,
            read=_with_ids(said.read) if said.read else None,
        )


def _with_ids(said: str) -> sa.TextClause:
    text = sa.text(said)
    is_by_ids = ":ids" in said
    return text.bindparams(sa.bindparam("ids", expanding=True)) if is_by_ids else text


class Words:
    """The ledger's statements in the words of one kind of database, each rendered once."""

    def __init__(self, dialect_name: str, tables: Tables, clock: UtcClock | None) -> None:
        """Take the kind, the tables, and a clock for a database that has none of its own."""
        self.clock = clock
        self.tables = tables
        self.sql = Sql.of(DIALECTS[dialect_name], tables)
        self.max_job_data_bytes = MAX_JOB_DATA_BYTES
        self._prepared: dict[Statement, Prepared] = {}

    def prepared(self, statement: Statement) -> Prepared:
        """Render a statement for this database, once."""
        if statement not in self._prepared:
            self._prepared[statement] = Prepared.of(statement(self.sql))
        return self._prepared[statement]
