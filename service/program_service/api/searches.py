"""Searches: lists that may look at many rows, with a share of the connections of their own.

However many search, and for what, submits, workers and probes are served as before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

from program_service.api.problems import Problem
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import RowLocked
from program_service.bookkeeping.ledger.reading import Filter

R = TypeVar("R")
P = ParamSpec("P")

AT_A_TIME = 3
"""Searches that a service process has the database do at a time, each over its own connection."""

WAIT_S = 1.0
"""How long a search waits for others."""

STATEMENT_S = 5.0
"""How long a search may take in the database; SQLite knows no such limit."""


class Searches:
    """Whoever searches comes by here."""

    def __init__(self, database: Database) -> None:
        """Take the database, and another few connections to it; none is opened yet."""
        self._database = database
        self._apart = database.apart(connections=AT_A_TIME, statement_s=STATEMENT_S)
        self._places = asyncio.Semaphore(AT_A_TIME)

    async def read(
        self,
        work: Callable[Concatenate[Books, Filter, P], Awaitable[R]],
        wanted: Filter,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Read what a filter finds; without conditions that may pass over many rows, at once.

        Raises:
            Problem: there are too many searches, or this one takes too long.
        """
        if not wanted.is_search:
            return await self._database.read(work, wanted, *args, **kwargs)
        try:
            async with asyncio.timeout(WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            detail = (
                f"{AT_A_TIME} searches are under way, the most at a time: try again in a second."
            )
            raise Problem(503, "searches_busy", detail, headers={"Retry-After": "1"}) from None
        try:
            return await self._apart.read(work, wanted, *args, **kwargs)
        except RowLocked as error:
            detail = (
                f"The search took longer than {STATEMENT_S:g} s, the most it may: give a later"
                " created_after, or other conditions."
            )
            raise Problem(422, "search_too_long", detail) from error
        finally:
            self._places.release()
