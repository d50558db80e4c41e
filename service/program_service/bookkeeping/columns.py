"""Columns: the types of columns whose values each kind of database keeps in its own way."""

from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from program_service.bookkeeping.stored import read_json, read_moment


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment in UTC with microseconds: timestamptz, datetime(6) on MariaDB, text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the column type of the database."""
        chosen: dict[str, Any] = {"sqlite": sa.String(26), "mysql": mysql.DATETIME(fsp=6)}
        return dialect.type_descriptor(chosen.get(dialect.name, sa.DateTime(timezone=True)))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Write a moment; naive ones are refused.

        Raises:
            ValueError: the moment has no zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"a moment needs a zone: {value!r}"
            raise ValueError(msg)
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else written(moment)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Read a moment."""
        del dialect
        return read_moment(value)


def written(moment: datetime) -> str:
    """Write a moment in UTC as SQLite keeps it.

    Four digits of year, which strftime does not promise, and six of fraction: texts compare as
    times do.
    """
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


class TextJson(sa.types.TypeDecorator[Any]):
    """JSON in a text: MariaDB's own type takes no value that nests deeper than 32 levels."""

    impl = mysql.LONGTEXT
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        """Write it."""
        del dialect
        return orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Read it."""
        del dialect
        return read_json(value)


NAME = sa.String(255)
# MySQL's TEXT ends after 64 KiB
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")
# JSON keeps the text as it came; JSONB can be indexed
JSON = sa.JSON().with_variant(TextJson(), "mysql")
