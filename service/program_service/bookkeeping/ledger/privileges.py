"""Privileges: try each kind of statement on each table, so that no row is changed."""

from collections.abc import Iterator

import sqlalchemy as sa

from program_service.bookkeeping.books import Books


async def try_privileges(books: Books) -> None:
    """Ask for all that the ledger does.

    Raises:
        DatabaseUnavailable: the database takes no writes, or the user lacks a privilege.
    """
    for table in books.tables.metadata.sorted_tables:
        for statement in _of(table):
            await books.connection.execute(statement)


def _of(table: sa.Table) -> Iterator[sa.Executable]:
    column = list(table.columns)[-1]
    nothing = sa.select(*table.columns).where(sa.false())
    yield nothing
    yield sa.insert(table).from_select(list(table.columns), nothing, include_defaults=False)
    yield sa.update(table).where(sa.false()).values({column.name: column})
    yield sa.delete(table).where(sa.false())
