"""Silent connections: a firewall forgot all of them at once, and the database answers new ones.

No process here: only the pool of connections that each of them has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from patience import eventually
from private_postgres import PrivatePostgres
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database
from tcp_proxy import TcpProxy, proxied

CONNECTIONS = 8

ONE_IS_GIVEN_UP_S = 60.0
"""A statement may last 30 s; all connections one after the other would take four minutes."""

NO_OTHER_S = 15.0


@pytest.fixture
async def proxy(postgres: PrivatePostgres) -> AsyncIterator[TcpProxy]:
    """Stand before the database."""
    async with proxied("127.0.0.1", postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def silenced(proxy: TcpProxy) -> AsyncIterator[Database]:
    """Return a database all of whose open connections are dead, and do not know it."""
    database = Database.connect(
        f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", pool_size=CONNECTIONS
    )
    all_are_open = asyncio.Barrier(CONNECTIONS)

    async def meet(books: Books) -> None:
        await one(books)
        await all_are_open.wait()

    await asyncio.gather(*(database.transact(meet) for _ in range(CONNECTIONS)))
    assert proxy.accepted == CONNECTIONS
    proxy.stall()
    proxy.heal()
    yield database
    await database.close()


async def one(books: Books) -> int:
    """Return 1, the database's."""
    (row,) = await books.select(sa.select(sa.literal(1)))
    return int(row[0])


async def require_the_rest_is_new(database: Database) -> None:
    """Nobody waits for a dead connection any more."""
    for _ in range(CONNECTIONS):
        async with asyncio.timeout(NO_OTHER_S):
            assert await database.transact(one) == 1


async def test_statement_without_an_answer_is_given_up_and_with_it_all_connections(
    silenced: Database,
) -> None:
    async with asyncio.timeout(ONE_IS_GIVEN_UP_S):
        assert await silenced.transact_within(float("inf"), one) == 1
    await require_the_rest_is_new(silenced)


async def test_statement_that_nobody_waits_for_any_more_costs_the_others_no_time(
    silenced: Database, proxy: TcpProxy
) -> None:
    """As a renewal, whose patience ends long before the statement's."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await silenced.transact(one)
    assert proxy.bytes_swallowed > 0
    await require_the_rest_is_new(silenced)


async def test_dead_connections_do_not_hold_up_the_end(silenced: Database, proxy: TcpProxy) -> None:
    """A service must have ended before its platform kills it."""
    async with asyncio.timeout(ONE_IS_GIVEN_UP_S):
        await silenced.close()
    proxy.heal()
    await eventually(proxy.is_empty)
