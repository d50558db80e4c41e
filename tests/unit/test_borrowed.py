"""Borrowed: whose transactions cannot be had."""

import pytest
import sqlalchemy as sa

from program_executor import submit_in
from program_service.bookkeeping.errors import NotBorrowable


def test_transactions_of_sqlite_are_refused() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(NotBorrowable, match="not of SQLite"):
        submit_in(connection, ["mail"])
    engine.dispose()
