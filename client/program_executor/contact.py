"""Contact: the first with the database and the broker of a process.

A server that does not answer yet is waited for. One that answers, and refuses what the URL says, is
not: the process ends with exit code 2 and what the server said. Once both have been reached,
nothing that they say ends the process any more.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from program_executor.configuring import place
from program_executor.diagnosis import of_broker, of_database
from program_executor.errors import UsageError
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.trouble import is_of_url
from program_service.cancellation import TaskGroup
from program_service.wakeups.rabbitmq.driver.errors import BrokerError, NotAdmitted

WITHIN_S = 4.0
"""How long a start waits for the first answers; then it continues, and asks for them again."""

AGAIN_S = 1.0


class Reachable(Protocol):
    """A broker."""

    async def reach(self) -> None:
        """Connect once."""


class Contact:
    """What is known of the two servers until each was reached once."""

    def __init__(self, database: Database, broker: Reachable) -> None:
        """Begin with neither."""
        self._waiting: dict[str, Callable[[], Awaitable[None]]] = {
            "database_url": lambda: _reach_database(database),
            "amqp_url": lambda: _reach_broker(broker),
        }
        self.refusal: UsageError | None = None

    async def begin(self) -> None:
        """Try once, for a few seconds.

        Raises:
            UsageError: a server does not admit us.
        """
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._try_all()
        except TimeoutError:
            return
        if self.refusal is not None:
            raise self.refusal

    @asynccontextmanager
    async def kept_up(self, stop: Callable[[], object]) -> AsyncGenerator[None]:
        """Try meanwhile until both were reached; call `stop` if one does not admit us.

        Raises:
            UsageError: one did not.
        """
        async with TaskGroup() as tasks:
            trying = tasks.create_task(self._keep_trying(stop))
            yield
            trying.cancel()
        if self.refusal is not None:
            raise self.refusal

    async def _keep_trying(self, stop: Callable[[], object]) -> None:
        while self._waiting:
            await asyncio.sleep(AGAIN_S)
            await self._try_all()
            if self.refusal is not None:
                stop()
                return

    async def _try_all(self) -> None:
        await asyncio.gather(*(self._try(name) for name in list(self._waiting)))

    async def _try(self, name: str) -> None:
        try:
            await self._waiting[name]()
        except UsageError as error:
            self.refusal = self.refusal or UsageError(f"{place(name)}: {error}")
        except (BookkeepingError, BrokerError):
            return  # it is not there yet; its users log that
        else:
            self._waiting.pop(name, None)


async def _reach_database(database: Database) -> None:
    try:
        await database.reach()
    except BookkeepingError as error:
        if is_of_url(error):
            raise UsageError(of_database(error)) from error
        raise


async def _reach_broker(broker: Reachable) -> None:
    try:
        await broker.reach()
    except NotAdmitted as error:
        raise UsageError(of_broker(error)) from error
