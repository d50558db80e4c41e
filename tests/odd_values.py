"""Odd values: what somebody might write by hand into a column of each type, as SQL.

The table's metadata says which type a column has, so a new column needs nothing here.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.tables import Tables, UtcDateTime

TEXTS = (
    *("''", "' '", "'\u202e\u0007x'", "'größe/..%00?#'", "'<script>'", "'http://[::1'", "'{}'"),
    *(f"'{'x' * length}'" for length in (31, 64, 255)),
)
OTHER_TEXTS = {"postgresql": (), "mysql": ("CHAR(0)",), "sqlite": ("char(0)", "x'ff'", "7", "1.5")}

MOMENTS = {
    "postgresql": (
        *("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'0001-01-01+00'", "'1970-01-01'"),
        *("'294276-12-31'", "'9999-12-31 23:59:59.999999+00'", "now() + interval '1 day'"),
    ),
    "mysql": (
        *("'0000-00-00'", "'2024-00-10'", "'0001-01-01'", "'1970-01-01'"),
        *("'9999-12-31 23:59:59.999999'", "UTC_TIMESTAMP(6) + INTERVAL 1 DAY"),
    ),
    "sqlite": (
        *("''", "'infinity'", "'yesterday'", "7", "1e400", "x'ff'", "'0001-01-01 00:00:00.000000'"),
        *("'9999-12-31 23:59:59.999999'", "'9999-12-31T23:59:59-12:00'", "'2026-01-01T00:00:00Z'"),
    ),
}

SMALL_INTEGERS = ("0", "-1", "32767", "-32768")
INTEGERS = ("0", "-1", "2147483647", "-2147483648")
LONG_INTEGERS = (*INTEGERS, "8589934592", "-9223372036854775808")
"""With none at the upper end: MariaDB goes on counting from the greatest id, and has no more."""
NO_INTEGERS = ("'many'", "1.5", "x'ff'", "''", "9223372036854775807", "-9223372036854775808")
"""What SQLite keeps in a column of numbers, too."""

FLOATS = ("0", "-1", "1e308", "5e-324")
OTHER_FLOATS = {
    "postgresql": ("'NaN'", "'Infinity'", "'-Infinity'"),
    "mysql": (),
    "sqlite": ("9e999", "-9e999", "'x'", "x'ff'"),
}

DEEP = '{"a":' * 1_500 + "1" + "}" * 1_500
DOCUMENTS = (
    *("null", "true", "7", '"x"', "[]", "{}", "[[]]", "[null]", "[7]", '["reserve", "reserve"]'),
    *(
        '{"a": null}',
        '{"a": [1]}',
        '{"": {}}',
        '{"reserve": 7}',
        '{"a": "\\ud83d"}',
        '{"a": 1e400}',
    ),
    *('{"a": "\\u0000"}', "[1e400]", '["\\ud83d"]', DEEP),
    # what is kept of endpoints, retries, wake-ups and calls, with values of other types
    '{"url": 7, "secrets": {}, "token_key": []}',
    '{"url": "http://[", "secrets": [], "token_key": "zz"}',
    '{"default": "infinity"}',
    '{"default": 7}',
    '{"default": "9999-12-31T23:59:59.999999+00:00"}',
    '{"max_attempts": "x", "initial_s": -1, "jitter": []}',
    '{"initial_s": 1e308, "multiplier": 1e308}',
    '{"breakers": {"x": 7}, "job_breakers": {"y": {"host": []}}, "running": []}',
    '{"breakers": [], "limits": {"reserve": {"waiting": "x"}}, "running": {"a": {}}}',
)
NO_DOCUMENTS = ("''", "'{'", "x'ff'", "7", "1.5")
"""What SQLite and MariaDB keep in a column of JSON, too, if nothing checks it."""


def odd_values(column: sa.Column[object], dialect: str) -> list[str]:
    """Return the odd values of a column as expressions of SQL.

    Raises:
        AssertionError: nothing here says what is odd for a column of this type.
    """
    return [*_of_type(column.type, dialect), "NULL"]


def _of_type(kind: sa.types.TypeEngine[object], dialect: str) -> tuple[str, ...]:
    documents = tuple(_quoted(document, dialect) for document in DOCUMENTS)
    lax_numbers = NO_INTEGERS if dialect == "sqlite" else ()
    lax_documents = () if dialect == "postgresql" else NO_DOCUMENTS
    # a kind of which another is a part comes after it
    known: dict[type[sa.types.TypeEngine[Any]], tuple[str, ...]] = {
        UtcDateTime: MOMENTS[dialect],
        sa.SmallInteger: SMALL_INTEGERS + lax_numbers,
        sa.BigInteger: LONG_INTEGERS + lax_numbers,
        sa.Integer: INTEGERS + lax_numbers,
        sa.Float: FLOATS + OTHER_FLOATS[dialect],
        sa.JSON: documents + lax_documents,
        sa.String: TEXTS + OTHER_TEXTS[dialect],
    }
    found = [values for each, values in known.items() if isinstance(kind, each)]
    assert found, f"say what is odd for a column of type {kind!r}"
    return found[0]


def _quoted(text: str, dialect: str) -> str:
    escaped = text.replace("\\", "\\\\") if dialect == "mysql" else text
    return f"'{escaped}'"


def table_of(tables: Tables, name: str) -> sa.Table:
    """Return the table that `Tables` calls so."""
    table = getattr(tables, name)
    assert isinstance(table, sa.Table)
    return table


async def write(
    database: Database, column: sa.Column[object], value: str, *, where: sa.ColumnElement[bool]
) -> bool:
    """Write a value as somebody with psql would; say whether the database takes it."""
    edit = sa.update(column.table).where(where).values({column: sa.literal_column(value)})
    try:
        async with database.engine.begin() as connection:
            return bool((await connection.execute(edit)).rowcount)
    except DBAPIError:  # refused: of another type, too long, not unique, or NULL
        return False
