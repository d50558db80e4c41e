"""Sql: the words that statements are written with, the same for all databases.

A statement is a function of `Sql`; it is rendered once for a database and then reused. A whole
batch of rows travels as one JSON text and is unfolded by the database, so that a statement's text
does not depend on how many rows it changes: it is parsed once, and one bad row cannot fail at a
different parameter number than its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.tables import Tables


@dataclass(frozen=True, slots=True)
class Script:
    """What one statement says elsewhere, for a database that answers no UPDATE with rows.

    `lock` finds and locks the rows, `:ids` in the others are their ids; `read` answers.
    """

    change: str
    lock: str | None = None
    read: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """An UPDATE of `program`, a table, by the rows of a batch, if there is one."""

    table: str
    assignments: str
    where: str
    batch: str = ""
    matching: str = "TRUE"
    """How a row finds its entry in the batch."""
    returning: str = ""
    skip_locked: str = ""
    """`SKIP LOCKED`, to leave out rows that others have locked; empty to wait for them."""


class Dialect(Protocol):
    """What a database must be able to say."""

    name: str
    clock: str
    """The database's own clock, read when the statement begins."""

    minute: str
    """The minute that the clock is in."""

    connection: str
    """The number of this connection."""

    as_joined: str
    """What follows SELECT where tables are to be joined in the order in which they are named."""

    lock: str
    """The end of a SELECT that locks the rows of `program`, in the order of its ORDER BY."""

    lock_unlocked: str
    """The end of a SELECT from one other table that locks the rows that nobody else has locked."""

    skip_locked: str
    """What follows `lock` in a SELECT that leaves out rows that others have locked."""

    keep: str
    """The end of a SELECT that keeps the rows it finds from being deleted, and from nothing else
    where a database can tell; on SQLite a transaction holds the whole file."""

    keep_unlocked: str
    """The same, without the rows that others have locked."""

    try_advisory_lock: str | None
    """Take the lock `:key` for this session, if nobody holds it, and say whether it is held; None
    where one process is all there is."""

    advisory_unlock: str
    """Give it back."""

    end_when_silent: str
    """End this session after `:seconds` without a statement."""

    def later(self, seconds: str) -> str:
        """Return the moment `seconds` (an SQL expression) from now."""

    def moment(self, text: str) -> str:
        """Return the moment that an RFC 3339 text in UTC (an SQL expression) names."""

    def as_read(self, column: str) -> str:
        """Return the moment that a column is read as: see `tables.EARLIEST`."""

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Return a FROM item `batch` that unfolds a JSON array of objects.

        Columns have the types varchar (a name, 255 characters), text, integer, bigint, boolean,
        double precision, json or jsonb.
        """

    def pack(self, value: Json | list[Any]) -> str:
        """Return a parameter as the JSON text that `batch` and `among` unfold."""

    def among(self, column: str, parameter: str) -> str:
        """Return the condition that a column is in a JSON array of strings."""

    def update(self, wanted: Update) -> "str | Script":
        """Return the statement that changes rows and answers with them."""

    def insert(self, insert: str, *, returning: str, read: str) -> "str | Script":
        """Return an INSERT that answers with the rows it wrote, or with those that `read` finds."""

    def or_ignore(self, table: str, keys: Sequence[str]) -> str:
        """Return the end of an INSERT that leaves rows alone that have these keys already."""

    def or_update(self, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Return the end of an INSERT that gives such rows the new values of these columns."""

    def or_add(self, table: str, keys: Sequence[str], column: str) -> str:
        """Return the end of an INSERT that adds the new value of a column to that of such rows."""


@dataclass(frozen=True, slots=True)
class Sql:
    """The words that statements are written with: table names and a dialect's fragments."""

    dialect: Dialect
    programs: str
    attempts: str
    idempotency: str
    jobs: str
    workers: str
    rollups: str
    token_keys: str
    keys: str
    sessions: str
    audit: str

    @classmethod
    def of(cls, dialect: Dialect, tables: Tables) -> "Sql":
        """Take the names from the tables."""
        return cls(
            dialect=dialect,
            programs=tables.programs.name,
            attempts=tables.attempts.name,
            idempotency=tables.idempotency.name,
            jobs=tables.jobs.name,
            workers=tables.workers.name,
            rollups=tables.rollups.name,
            token_keys=tables.token_keys.name,
            keys=tables.keys.name,
            sessions=tables.sessions.name,
            audit=tables.audit.name,
        )

    def as_read(self, column: str) -> str:
        """Return the moment that a column is read as, to compare it with what was read."""
        return self.dialect.as_read(column)

    @property
    def clock(self) -> str:
        """The database's clock."""
        return self.dialect.clock

    @property
    def is_open(self) -> str:
        """The condition of rows that have not ended, for statements that find rows by their keys.

        Not in the words of the partial index on due rows: PostgreSQL would rather walk through all
        that is queued than look up a hundred keys, whenever its statistics are from a quiet hour
        (drain of 6,000 programs, 500 slots: 1,150 programs/s in the index's words, 3,100 in these).
        """
        return "COALESCE(finished_at, errored_at) IS NULL"

    @property
    def next_version(self) -> str:
        """The version after a change of many rows, none of which may fail the others.

        Somebody may have written the greatest number there is.
        """
        return f"CASE WHEN version < {2**31 - 1} THEN version + 1 ELSE version END"

    @property
    def lock(self) -> str:
        """The end of a SELECT that locks the rows of `program`."""
        return self.dialect.lock

    def later(self, seconds: str) -> str:
        """Return the moment `seconds` from now."""
        return self.dialect.later(seconds)

    def moment(self, text: str) -> str:
        """Return the moment that a text names."""
        return self.dialect.moment(text)

    def batch(self, **columns: str) -> str:
        """Unfold the parameter `:batch` into rows with these columns and PostgreSQL types."""
        return self.dialect.batch("batch", columns)

    def among(self, column: str, parameter: str) -> str:
        """Return the condition that a column is in the list that the parameter holds."""
        return self.dialect.among(column, parameter)

    def update_programs(
        self,
        assignments: str,
        *,
        where: str,
        batch: str = "",
        matching: str = "TRUE",
        returning: str = "",
    ) -> str | Script:
        """Change programs, by a batch if there is one, and answer with them if asked to."""
        wanted = Update(self.programs, assignments, where, batch, matching, returning)
        return self.dialect.update(wanted)

    def update_unlocked(
        self,
        assignments: str,
        *,
        where: str,
        batch: str,
        matching: str,
        returning: str = "",
    ) -> str | Script:
        """Change programs like `update_programs`, but those that another session has locked."""
        skip_locked = self.dialect.skip_locked
        wanted = Update(self.programs, assignments, where, batch, matching, returning, skip_locked)
        return self.dialect.update(wanted)


Statement: TypeAlias = Callable[[Sql], str | Script]
