"""Advisory locks: one process of a deployment sweeps, purges or notifies at a time.

All locks of a process are held by one session of its own, so that they take no connection away from
those who work. The database ends that session when it hears nothing of it for a while: a frozen
process does not keep its locks (protocol rule R5).
"""

import asyncio
import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from program_service.bookkeeping.sql import Dialect

EXPIRES_AFTER_S = 30
"""When the database ends a session that is silent, on PostgreSQL from version 14 on."""
KEEP_EVERY_S = 5.0


class AdvisoryLocks:
    """The advisory locks of one process."""

    def __init__(self, make_engine: Callable[[], AsyncEngine], dialect: Dialect) -> None:
        """Take what makes the engine of the session; nothing is connected yet."""
        self._make_engine = make_engine
        self._dialect = dialect
        self._engine: AsyncEngine | None = None
        self._session: AsyncConnection | None = None
        self._held: set[str] = set()
        self._turn = asyncio.Lock()
        self._used_at = 0.0

    async def take(self, key: str) -> bool:
        """Take a lock, unless it is held, also by this process; say whether it was taken."""
        async with self._turn:
            if key in self._held:
                return False
            assert self._dialect.try_advisory_lock is not None
            is_taken = bool(await self._ask(self._dialect.try_advisory_lock, key=key))
            if is_taken:
                self._held.add(key)
            return is_taken

    async def give_back(self, key: str) -> None:
        """Give a lock back; the session that held it may have ended meanwhile."""
        async with self._turn:
            if key in self._held:
                self._held.discard(key)
                await self._ask(self._dialect.advisory_unlock, key=key)

    async def keep(self) -> None:
        """Show the database that this process still works, in a turn that takes long."""
        if time.monotonic() - self._used_at < KEEP_EVERY_S:
            return
        async with self._turn:
            await self._ask(f"SELECT {self._dialect.connection}")

    async def close(self) -> None:
        """End the session, and so give all locks back."""
        await self._drop()
        if self._engine is not None:
            await self._engine.dispose()

    async def _ask(self, statement: str, **parameters: str) -> object:
        if time.monotonic() - self._used_at > EXPIRES_AFTER_S / 2 and not self._held:
            await self._drop()  # it has ended, or is about to
        try:
            session = self._session or await self._connect()
            answer: object = await session.scalar(sa.text(statement), parameters)
        except BaseException:
            await self._drop()
            raise
        self._used_at = time.monotonic()
        return answer

    async def _connect(self) -> AsyncConnection:
        self._engine = self._engine or self._make_engine()
        self._session = await self._engine.connect()
        await self._session.execution_options(isolation_level="AUTOCOMMIT")
        await self._session.execute(
            sa.text(self._dialect.end_when_silent), {"seconds": EXPIRES_AFTER_S}
        )
        return self._session

    async def _drop(self) -> None:
        """Forget the session; what it held is free as soon as the database notices."""
        session, self._session = self._session, None
        self._held.clear()
        if session is not None:
            await session.invalidate()
            await session.close()
