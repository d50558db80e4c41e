"""Table names: statements name tables without quotes, so a word of SQL is none."""

import sqlite3
from contextlib import closing

from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from program_service.bookkeeping.urls import driver_url

RESERVED = {"postgresql": RESERVED_WORDS, "mysql": RESERVED_WORDS_MARIADB}


def require_table_name(name: str, url: str) -> None:
    """Require a name that tables of this database can have without quotes.

    Raises:
        ValueError: they cannot.
    """
    kind = driver_url(url).get_backend_name()
    if _is_refused_by_sqlite(name) if kind == "sqlite" else name in RESERVED[kind]:
        msg = (
            f"{name!r} is a word that the database keeps for itself; use another, such as my_{name}"
        )
        raise ValueError(msg)


def _is_refused_by_sqlite(name: str) -> bool:
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.execute(f"CREATE TABLE {name} (x)")
        except sqlite3.Error:
            return True
    return False
