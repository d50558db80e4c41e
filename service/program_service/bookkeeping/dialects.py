"""Dialects: the few places where the databases' SQL differs, each a named fragment."""

from collections.abc import Sequence
from typing import Any

import orjson

from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.sql import Dialect, Script, Update
from program_service.bookkeeping.stored import EARLIEST, LATEST


class _Standard:
    """What PostgreSQL and SQLite say in the same words."""

    def pack(self, value: Json | list[Any]) -> str:
        """Write it as it is."""
        return orjson.dumps(value).decode()

    def update(self, wanted: Update) -> str | Script:
        """Change and answer at once."""
        return f"""
            UPDATE {wanted.table} AS program SET {wanted.assignments}
            {f"FROM {wanted.batch}" if wanted.batch else ""}
             WHERE {wanted.matching} AND {wanted.where}
            {f"RETURNING {wanted.returning}" if wanted.returning else ""}
        """

    def insert(self, insert: str, *, returning: str, read: str) -> str | Script:
        """Answer at once with the rows that were written."""
        del read
        return f"{insert} RETURNING {returning}"

    def or_ignore(self, table: str, keys: Sequence[str]) -> str:
        """Say ON CONFLICT."""
        del table
        return f"ON CONFLICT ({', '.join(keys)}) DO NOTHING"

    def or_update(self, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Say ON CONFLICT."""
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
        return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"

    def or_add(self, table: str, keys: Sequence[str], column: str) -> str:
        """Say ON CONFLICT."""
        change = f"{column} = {table}.{column} + excluded.{column}"
        return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {change}"


class PostgreSQL(_Standard):
    """PostgreSQL, the production database."""

    name = "postgresql"
    # Not now(), which stands still in a transaction, and not clock_timestamp(), which is volatile
    # and would keep the planner from using the index on due_at. It is read before the statement
    # waits for row locks, so a lease is never longer than its worker believes (docs/adr/0003).
    clock = "statement_timestamp()"
    minute = f"date_trunc('minute', {clock})"
    connection = "pg_backend_pid()"
    as_joined = ""
    lock = "FOR UPDATE OF program"
    lock_unlocked = "FOR UPDATE SKIP LOCKED"
    skip_locked = "SKIP LOCKED"
    keep = "FOR KEY SHARE"
    keep_unlocked = "FOR KEY SHARE SKIP LOCKED"
    try_advisory_lock: str | None = "SELECT pg_try_advisory_lock(hashtext(:key))"
    advisory_unlock = "SELECT pg_advisory_unlock(hashtext(:key))"
    # by its name: there is none before version 14
    end_when_silent = """
        SELECT set_config(name, CAST(CAST(:seconds AS integer) * 1000 AS text), false)
          FROM pg_settings WHERE name = 'idle_session_timeout'
    """

    def later(self, seconds: str) -> str:
        """Add seconds to the clock."""
        return f"({self.clock} + {seconds} * interval '1 second')"

    def moment(self, text: str) -> str:
        """Read a text; said twice, so that asyncpg takes a parameter for one."""
        return f"CAST(CAST({text} AS text) AS timestamptz)"

    def as_read(self, column: str) -> str:
        """Compare with the bounds."""
        return f"GREATEST(LEAST({column}, timestamptz '{LATEST}'), timestamptz '{EARLIEST}')"

    def update(self, wanted: Update) -> str | Script:
        """Lock the rows first, where those of others are left out: an UPDATE waits for them."""
        if not wanted.skip_locked:
            return super().update(wanted)
        return f"""
            UPDATE {wanted.table} AS program SET {wanted.assignments}
              FROM (SELECT program.id AS unlocked_id, batch.*
                      FROM {wanted.table} AS program, {wanted.batch}
                     WHERE {wanted.matching} AND {wanted.where}
                     ORDER BY program.id {self.lock} {wanted.skip_locked}) AS batch
             WHERE program.id = batch.unlocked_id
            {f"RETURNING {wanted.returning}" if wanted.returning else ""}
        """

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Unfold with json_to_recordset."""
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        return f"json_to_recordset(CAST(:{parameter} AS json)) AS batch({typed})"

    def among(self, column: str, parameter: str) -> str:
        """Compare with an array, which is hashed when it is long; a subquery would be walked."""
        words = f"SELECT json_array_elements_text(CAST(:{parameter} AS json))"
        return f"{column} = ANY (ARRAY({words}))"


class SQLite(_Standard):
    """SQLite, the embedded default; it has no clock: `Books` passes the time as `:now`."""

    name = "sqlite"
    clock = ":now"
    minute = "substr(:now, 1, 17) || '00.000000'"
    connection = "1"
    as_joined = ""
    lock = ""  # a transaction that writes holds the whole file
    lock_unlocked = ""
    skip_locked = ""
    keep = ""
    keep_unlocked = ""
    try_advisory_lock: str | None = None
    advisory_unlock = ""
    end_when_silent = ""

    def later(self, seconds: str) -> str:
        """Add seconds to the clock, with a function that the connection registers."""
        return f"program_later(:now, {seconds})"

    def moment(self, text: str) -> str:
        """Bring a text into the form of the columns."""
        return f"program_moment({text})"

    def as_read(self, column: str) -> str:
        """Read it as Python does."""
        return self.moment(column)

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Unfold with json_each."""
        picked = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {picked} FROM json_each(:{parameter})) AS batch"

    def among(self, column: str, parameter: str) -> str:
        """Compare with what json_each unfolds."""
        return f"{column} IN (SELECT value FROM json_each(:{parameter}))"


class MySQL:
    """MariaDB and MySQL, which answer no UPDATE with rows: a script locks, changes and reads."""

    name = "mysql"
    clock = "UTC_TIMESTAMP(6)"
    minute = "CAST(DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%d %H:%i') AS DATETIME(6))"
    connection = "CONNECTION_ID()"
    as_joined = "STRAIGHT_JOIN"  # for rows that are walked through are locked, and waited for
    lock = "FOR UPDATE"
    lock_unlocked = "FOR UPDATE SKIP LOCKED"
    skip_locked = "SKIP LOCKED"
    keep = "LOCK IN SHARE MODE"
    # each reads its own comment
    keep_unlocked = "/*M! LOCK IN SHARE MODE SKIP LOCKED */ /*!80001 FOR SHARE SKIP LOCKED */"
    # a lock is the whole server's, and other databases may have tables of the same names
    try_advisory_lock: str | None = "SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), :key)), 0)"
    advisory_unlock = "SELECT RELEASE_LOCK(SHA1(CONCAT(DATABASE(), :key)))"
    end_when_silent = "SET SESSION wait_timeout = :seconds"

    _TYPES = {  # noqa: RUF012 - a constant
        # JSON_TABLE cuts in silence: one character more than columns hold, and strict mode refuses
        "varchar": "VARCHAR(256)",
        "text": "LONGTEXT",
        "json": "LONGTEXT",
        "jsonb": "LONGTEXT",
        "integer": "INT",
        "boolean": "TINYINT",
        "double precision": "DOUBLE",
    }

    def pack(self, value: Json | list[Any]) -> str:
        """Write documents in a batch as texts: MariaDB reads JSON to a depth of 32 only."""
        if isinstance(value, dict):
            return orjson.dumps(value).decode()
        return orjson.dumps([_with_texts(row) for row in value]).decode()

    def later(self, seconds: str) -> str:
        """Add microseconds to the clock."""
        return f"({self.clock} + INTERVAL CAST({seconds} * 1000000 AS SIGNED) MICROSECOND)"

    def moment(self, text: str) -> str:
        """Read a text without its zone, which is UTC."""
        return f"CAST(SUBSTRING_INDEX(REPLACE({text}, 'T', ' '), '+', 1) AS DATETIME(6))"

    def as_read(self, column: str) -> str:
        """Compare with the bounds; a month or a day 0 is allowed, and is no moment for Python."""
        latest, earliest = (self.moment(f"'{each.isoformat()}'") for each in (LATEST, EARLIEST))
        is_none = f"EXTRACT(MONTH FROM {column}) = 0 OR EXTRACT(DAY FROM {column}) = 0"
        bounded = f"GREATEST(LEAST({column}, {latest}), {earliest})"
        return f"CASE WHEN {is_none} THEN {earliest} ELSE {bounded} END"

    def batch(self, parameter: str, columns: dict[str, str]) -> str:
        """Unfold with JSON_TABLE."""
        typed = ", ".join(
            f"{name} {self._TYPES.get(kind, kind)} PATH '$.{name}'"
            for name, kind in columns.items()
        )
        return f"{self._unfolded(parameter, typed)} AS batch"

    def among(self, column: str, parameter: str) -> str:
        """Compare with what JSON_TABLE unfolds."""
        words = self._unfolded(parameter, "word VARCHAR(256) PATH '$'")
        return f"{column} IN (SELECT word FROM {words} AS words)"

    def _unfolded(self, parameter: str, columns: str) -> str:
        """Unfold once: JSON_TABLE reads the text again for each row that it is joined with."""
        rows = f"JSON_TABLE(:{parameter}, '$[*]' COLUMNS({columns})) AS unfolded"
        return f"(SELECT * FROM {rows} LIMIT {2**63 - 1})"

    def update(self, wanted: Update) -> str | Script:
        """Lock the rows, change them, and read them if they are asked for."""
        first = f"{wanted.batch}, " if wanted.batch else ""
        # by their ids, and then what is to be written: else others are looked at, and waited for
        then = f"STRAIGHT_JOIN {wanted.batch} ON {wanted.matching}" if wanted.batch else ""
        return Script(
            lock=f"""
                SELECT {self.as_joined} program.id FROM {first}{wanted.table} AS program
                 WHERE {wanted.matching} AND {wanted.where}
                 ORDER BY program.id {self.lock} {wanted.skip_locked}
            """,
            change=f"""
                UPDATE {wanted.table} AS program FORCE INDEX (PRIMARY) {then}
                   SET {wanted.assignments}
                 WHERE program.id IN :ids
            """,
            read=f"SELECT {wanted.returning} FROM {wanted.table} WHERE id IN :ids"
            if wanted.returning
            else None,
        )

    def insert(self, insert: str, *, returning: str, read: str) -> str | Script:
        """Insert, and read."""
        del returning
        return Script(insert, read=read)

    def or_ignore(self, table: str, keys: Sequence[str]) -> str:
        """Give a key the value that it has; IGNORE would hide other errors."""
        return f"ON DUPLICATE KEY UPDATE {keys[0]} = {table}.{keys[0]}"

    def or_update(self, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Say ON DUPLICATE KEY."""
        del keys
        changes = ", ".join(f"{column} = VALUES({column})" for column in columns)
        return f"ON DUPLICATE KEY UPDATE {changes}"

    def or_add(self, table: str, keys: Sequence[str], column: str) -> str:
        """Say ON DUPLICATE KEY."""
        del keys
        return f"ON DUPLICATE KEY UPDATE {column} = {table}.{column} + VALUES({column})"


def _with_texts(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {
        name: orjson.dumps(value).decode() if isinstance(value, list | dict) else value
        for name, value in row.items()
    }


DIALECTS: dict[str, Dialect] = {each.name: each for each in (PostgreSQL(), SQLite(), MySQL())}
