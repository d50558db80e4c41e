"""Token keys: all processes agree on them, whoever makes them first or rotates them."""

import asyncio
from datetime import timedelta

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.token_keys import (
    list_token_keys,
    require_token_key,
    rotate_token_key,
)
from servers import Connect

DAY = timedelta(days=1)
PROCESSES = 8


async def numbers(database: Database) -> list[int]:
    """Return the numbers of the valid keys."""
    return [key.id for key in await database.read(list_token_keys)]


async def test_processes_that_start_together_make_one_key(connect: Connect) -> None:
    processes = [connect() for _ in range(PROCESSES)]
    made = await asyncio.gather(
        *(
            process.transact(require_token_key, f"{number:064x}")
            for number, process in enumerate(processes)
        )
    )
    assert len({key.secret for key in made}) == 1
    assert await numbers(processes[0]) == [1]


async def test_rotations_at_once_are_all_done(connect: Connect) -> None:
    processes = [connect() for _ in range(PROCESSES)]
    await asyncio.gather(
        *(
            process.transact(rotate_token_key, f"{number:064x}", overlap=DAY)
            for number, process in enumerate(processes)
        )
    )
    # the first rotation of all ends number 1, which nobody has made
    assert await numbers(processes[0]) == list(range(PROCESSES + 1, 1, -1))


async def test_older_keys_expire_once_and_not_later(database: Database) -> None:
    await database.transact(require_token_key, "01" * 32)
    _, first = await database.transact(rotate_token_key, "02" * 32, overlap=DAY)
    *_, same = await database.transact(rotate_token_key, "03" * 32, overlap=30 * DAY)
    assert same == first
    assert await numbers(database) == [3, 2, 1]
    (newest,) = await database.transact(rotate_token_key, "04" * 32, overlap=timedelta())
    assert (newest.id, newest.expires_at) == (4, None)
    assert await numbers(database) == [4]


async def test_number_is_never_given_twice(database: Database) -> None:
    """A token names its key by number."""
    for number in range(1, 4):
        await database.transact(rotate_token_key, f"{number:064x}", overlap=timedelta())
    assert await numbers(database) == [4]
