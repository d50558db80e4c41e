"""Alteration: the statements that make the Node library's table one of ours.

Two ALTER TABLEs with a fill between them, so that a large table is rewritten as seldom as can be.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.dialects import DIALECTS
from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE


def alter_statements(
    connection: sa.Connection, name: str, columns: Sequence[sa.Column[Any]]
) -> list[str]:
    """Return what makes their table one with these columns: alter, fill, alter."""
    inspector = sa.inspect(connection)
    theirs = {each["name"]: each["type"] for each in inspector.get_columns(name)}
    their_index = next(
        (
            index["name"]
            for index in inspector.get_indexes(name)
            if index["column_names"] == ["run_id"] and not index["unique"]
        ),
        None,
    )
    say = (
        _MySQL(connection, name)
        if connection.dialect.name == "mysql"
        else _PostgreSQL(connection, name)
    )
    new = [each for each in columns if each.name not in theirs]
    first = [f"ADD COLUMN {_specification(connection, each)}" for each in new]
    first += [say.widen(each, theirs[each.name]) for each in columns if each.name in theirs]
    second = [
        clause for each in columns for clause in say.finish(each, is_theirs=each.name in theirs)
    ]
    return [
        *say.before(),
        f"ALTER TABLE {name} {', '.join([*say.first(), *first])}",
        say.fill(),
        f"ALTER TABLE {name} {', '.join([*second, 'ADD UNIQUE (run_id)'])}",
        *([say.drop_index(their_index)] if their_index else []),
    ]


class _PostgreSQL:
    """How PostgreSQL says it."""

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def before(self) -> list[str]:
        sequence = self._connection.scalar(
            sa.text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": self._name}
        )
        return [f"ALTER SEQUENCE {sequence} AS bigint"] if sequence else []

    def first(self) -> list[str]:
        return []

    def widen(self, column: sa.Column[Any], theirs: Any) -> str:
        kind = type_of(self._connection, column)
        # a moment without a zone was written in UTC
        is_naive = isinstance(theirs, sa.DateTime) and not theirs.timezone
        how = f"{column.name} AT TIME ZONE 'UTC'" if is_naive else column.name
        return f"ALTER COLUMN {column.name} TYPE {kind} USING CAST({how} AS {kind})"

    def finish(self, column: sa.Column[Any], *, is_theirs: bool) -> list[str]:
        clauses = []
        if not column.nullable and column.name != "id":
            clauses.append(f"ALTER COLUMN {column.name} SET NOT NULL")
        if is_theirs and column.name != "id":
            default = _default_of(column)
            change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
            clauses.append(f"ALTER COLUMN {column.name} {change}")
        return clauses

    def fill(self) -> str:
        at = "LEAST(COALESCE(step, 0), json_array_length(jobs) - 1)"
        # of what has ended, a name may be longer than any of ours
        job = f"CASE WHEN json_typeof(jobs) = 'array' THEN LEFT(jobs ->> {at}, 255) END"
        return _fill(self._name, job=job, clock=DIALECTS["postgresql"].clock)

    def drop_index(self, index: str) -> str:
        return f'DROP INDEX "{index}"'


class _MySQL:
    """How MariaDB and MySQL say it: texts compare byte by byte afterwards, too."""

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def before(self) -> list[str]:
        return []

    def first(self) -> list[str]:
        collation = bytewise_collation(self._connection)
        return [f"CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}"]

    def widen(self, column: sa.Column[Any], theirs: Any) -> str:
        del theirs
        kind = type_of(self._connection, column)
        if column.name == "id":
            return f"MODIFY COLUMN id {kind} NOT NULL AUTO_INCREMENT"
        return f"MODIFY COLUMN {column.name} {kind} NULL"

    def finish(self, column: sa.Column[Any], *, is_theirs: bool) -> list[str]:
        del is_theirs
        if column.nullable or column.name == "id":
            return []
        default = _default_of(column)
        ending = "" if default is None else f" DEFAULT {default}"
        kind = type_of(self._connection, column)
        return [f"MODIFY COLUMN {column.name} {kind} NOT NULL{ending}"]

    def fill(self) -> str:
        at = "CONCAT('$[', LEAST(COALESCE(step, 0), JSON_LENGTH(jobs) - 1), ']')"
        job = f"LEFT(JSON_UNQUOTE(JSON_EXTRACT(jobs, {at})), 255)"
        return _fill(self._name, job=job, clock=DIALECTS["mysql"].clock)

    def drop_index(self, index: str) -> str:
        return f"ALTER TABLE {self._name} DROP INDEX `{index}`"


def _fill(name: str, *, job: str, clock: str) -> str:
    """Give every row what ours has; who has not ended is due now."""
    return f"""
        UPDATE {name}
           SET job = COALESCE({job}, ''), queue = '{DEFAULT_QUEUE}', labels = '{{}}',
               due_at = CASE WHEN finished_at IS NULL THEN {clock} END,
               step = COALESCE(step, 0), step_retry_count = COALESCE(step_retry_count, 0),
               job_data = COALESCE(job_data, '{{}}'), program_data = COALESCE(program_data, '{{}}')
    """


def _specification(connection: sa.Connection, column: sa.Column[Any]) -> str:
    """Return a new column as it can be added to a table with rows."""
    kind, default = type_of(connection, column), _default_of(column)
    if default is None:
        return f"{column.name} {kind} NULL"
    return f"{column.name} {kind} NOT NULL DEFAULT {default}"


def bytewise_collation(connection: sa.Connection) -> str:
    """Return the collation of MariaDB, or MySQL, that takes no two texts for one."""
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    return "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"


def type_of(connection: sa.Connection, column: sa.Column[Any]) -> str:
    """Return the type of a column as this database says it."""
    return plain(column.type.compile(connection.dialect))


def plain(kind: str) -> str:
    """Return a type without its collation."""
    return kind.partition(" COLLATE ")[0].partition(" CHARACTER SET ")[0]


def _default_of(column: sa.Column[Any]) -> str | None:
    default: Any = column.server_default
    return None if default is None else str(default.arg)
