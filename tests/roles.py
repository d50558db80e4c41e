"""Roles: users of PostgreSQL that lack a privilege for a while, as after an upgrade."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from program_service.bookkeeping.database import Database


class Role:
    """A role that may do everything with the tables, but for what is revoked."""

    def __init__(self, owner: Database) -> None:
        """Take who owns the tables."""
        self.name = f"pe_test_{uuid.uuid4().hex[:12]}"
        self._owner = owner

    async def connect(self) -> Database:
        """Make the role and return its connections."""
        await self._run(f"CREATE ROLE {self.name} LOGIN")
        await self._run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {self.name}")
        await self._run(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {self.name}")
        url = self._owner.engine.url.set(username=self.name)
        name = self._owner.tables.programs.name
        return Database.connect(url.render_as_string(hide_password=False), table_name=name)

    async def drop(self) -> None:
        """Drop it with what it was granted."""
        await self._run(f"DROP OWNED BY {self.name}")
        await self._run(f"DROP ROLE {self.name}")

    @asynccontextmanager
    async def lacking(self, privilege: str, table: sa.Table) -> AsyncGenerator[None]:
        """Revoke a privilege for a while."""
        await self._run(f"REVOKE {privilege} ON {table.name} FROM {self.name}")
        try:
            yield
        finally:
            await self._run(f"GRANT {privilege} ON {table.name} TO {self.name}")

    async def _run(self, statement: str) -> None:
        async with self._owner.engine.begin() as connection:
            await connection.execute(sa.text(statement))
