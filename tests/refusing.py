"""Refusing: databases that go away, or forbid what we would write."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.database import Database


class Cable:
    """The connection of a process to its database: when it is cut, no transaction begins."""

    def __init__(self, database: Database) -> None:
        """Run the cable to a database."""
        self.database = database
        self.is_cut = False
        self.refused = 0
        self._left = 0
        # no event listener: adding one breaks a transaction that a loop begins at that moment
        self._dialect = database.engine.sync_engine.dialect
        self._begin_there = self._dialect.do_begin
        self._dialect.do_begin = self._begin  # type: ignore[assignment]

    def _begin(self, connection: Any) -> None:
        if self.is_cut or self._left > 0:
            self._left -= 1
            self.refused += 1
            raise ConnectionResetError("the database is away")
        self._begin_there(connection)

    def cut_for(self, transactions: int) -> None:
        """Refuse so many transactions, and no more."""
        self._left = transactions

    async def has_refused(self, times: int) -> bool:
        """Say whether so many transactions were refused since it was cut."""
        return self.refused >= times


@asynccontextmanager
async def own_constraint(database: Database, condition: str) -> AsyncGenerator[None]:
    """Add a constraint to the program table, as the owner of the database may, for a while."""
    table = database.tables.programs.name

    async def alter(change: str) -> None:
        async with database.engine.begin() as connection:
            await connection.execute(sa.text(f"ALTER TABLE {table} {change}"))

    await alter(f"ADD CONSTRAINT no_secrets CHECK ({condition}) NOT VALID")
    try:
        yield
    finally:
        await alter("DROP CONSTRAINT no_secrets")


@asynccontextmanager
async def own_trigger(
    database: Database, condition: str, *, event: str = "UPDATE", code: str = "P0001"
) -> AsyncGenerator[None]:
    """Add a trigger that refuses to have some programs changed, for a while; they are called OLD.

    On PostgreSQL it raises this SQLSTATE.
    """
    name, of_table = f"refuse_{uuid.uuid4().hex[:12]}", database.tables.programs.name
    begun = f"CREATE TRIGGER {name} BEFORE {event} ON {of_table} FOR EACH ROW"
    raising = f"BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}'; END"
    signal = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'"
    make = {
        "postgresql": [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {raising} $$",
            f"{begun} WHEN ({condition}) EXECUTE FUNCTION {name}()",
        ],
        "mysql": [
            f"{begun} IF {condition} THEN {signal}; END IF",
        ],
        "sqlite": [f"{begun} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'not this one'); END"],
    }
    drop = {"postgresql": f"DROP FUNCTION {name} CASCADE"}

    async def run(*statements: str) -> None:
        async with database.engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    dialect = database.engine.dialect.name
    await run(*make[dialect])
    try:
        yield
    finally:
        await run(drop.get(dialect, f"DROP TRIGGER {name}"))
