"""Dialects: the few places where the databases' SQL differs, each a named fragment.

A statement is a function of `Sql`; it is rendered once for a database and then reused. A whole
batch of rows travels as one JSON text and is unfolded by the database, so that a statement's text
does not depend on how many rows it changes: it is parsed once, and one bad row cannot fail at a
different parameter number than its neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from program_service.bookkeeping.tables import Tables


class Dialect(Protocol):
    """What a database must be able to say."""

    name: str
    clock: str
    """The database's own clock, read when the statement begins."""

    lock: str
    """The end of a SELECT that locks the rows of `program`, in the order of its ORDER BY."""

    def later(self, seconds: str) -> str:
        """Return the moment `seconds` (an SQL expression) from now."""

    def moment(self, text: str) -> str:
        """Return the moment that an RFC 3339 text in UTC (an SQL expression) names."""

    def seconds_between(self, earlier: str, later: str) -> str:
        """Return the seconds from one moment to another."""

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Return a FROM item `batch` that unfolds a JSON array of objects."""

    def among(self, column: str, parameter: str) -> str:
        """Return the condition that a column is in a JSON array of strings."""


class PostgreSQL:
    """PostgreSQL, the production database."""

    name = "postgresql"
    # Not now(), which stands still in a transaction, and not clock_timestamp(), which is volatile
    # and would keep the planner from using the index on due_at. It is read before the statement
    # waits for row locks, so a lease is never longer than its worker believes (docs/adr/0003).
    clock = "statement_timestamp()"
    lock = "FOR UPDATE OF program"

    def later(self, seconds: str) -> str:
        """Add seconds to the clock."""
        return f"({self.clock} + {seconds} * interval '1 second')"

    def moment(self, text: str) -> str:
        """Read a text."""
        return f"CAST({text} AS timestamptz)"

    def seconds_between(self, earlier: str, later: str) -> str:
        """Subtract, and take the seconds."""
        return f"EXTRACT(EPOCH FROM {later} - {earlier})"

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Unfold with json_to_recordset."""
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        return f"json_to_recordset(CAST(:{parameter} AS json)) AS batch({typed})"

    def among(self, column: str, parameter: str) -> str:
        """Compare with an array, which is hashed when it is long; a subquery would be walked."""
        words = f"SELECT json_array_elements_text(CAST(:{parameter} AS json))"
        return f"{column} = ANY (ARRAY({words}))"


class SQLite:
    """SQLite, the embedded default; it has no clock: `Books` passes the time as `:now`."""

    name = "sqlite"
    clock = ":now"
    lock = ""  # a transaction that writes holds the whole file

    def later(self, seconds: str) -> str:
        """Add seconds to the clock, with a function that the connection registers."""
        return f"program_later(:now, {seconds})"

    def moment(self, text: str) -> str:
        """Bring a text into the form of the columns."""
        return f"program_moment({text})"

    def seconds_between(self, earlier: str, later: str) -> str:
        """Subtract Julian days."""
        return f"((julianday({later}) - julianday({earlier})) * 86400)"

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Unfold with json_each."""
        picked = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {picked} FROM json_each(:{parameter})) AS batch"

    def among(self, column: str, parameter: str) -> str:
        """Compare with what json_each unfolds."""
        return f"{column} IN (SELECT value FROM json_each(:{parameter}))"


DIALECTS: dict[str, Dialect] = {"postgresql": PostgreSQL(), "sqlite": SQLite()}


@dataclass(frozen=True, slots=True)
class Sql:
    """The words that statements are written with: table names and a dialect's fragments."""

    dialect: Dialect
    programs: str
    attempts: str
    idempotency: str
    jobs: str
    workers: str

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
        )

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


Statement: TypeAlias = Callable[[Sql], str]
