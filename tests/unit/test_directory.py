"""Directory: who asks for the jobs shares a reading that began after the question."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.registry import IN_PROCESS, Job

ASKING = 20


class Shelf:
    """Stands for a database: answers with the jobs that it had when a reading began."""

    def __init__(self, *names: str) -> None:
        """Begin with these jobs."""
        self.names = list(names)
        self.readings = 0
        self.failure: Exception | None = None

    async def read(self, _work: Callable[..., Any]) -> list[Job]:
        """Take a moment to read."""
        self.readings += 1
        found = [Job(name, IN_PROCESS, f"queue of {name}", None, {}) for name in self.names]
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return found


def directory_of(shelf: Shelf) -> JobDirectory:
    """Make a directory over it."""
    return JobDirectory(cast("Any", shelf))


async def test_all_who_ask_at_a_time_share_one_reading() -> None:
    shelf = Shelf("charge")
    directory = directory_of(shelf)
    answers = await asyncio.gather(*(directory.queues(["charge"]) for _ in range(ASKING)))
    assert answers == [{"charge": "queue of charge"}] * ASKING
    assert shelf.readings == 1


async def test_who_asks_while_it_is_read_waits_for_the_next_reading() -> None:
    """A job that was registered before the question is in its answer."""
    shelf = Shelf()
    directory = directory_of(shelf)
    early = asyncio.create_task(directory.queues(["charge"]))
    while not shelf.readings:
        await asyncio.sleep(0)
    shelf.names.append("charge")
    assert await directory.queues(["charge"]) == {"charge": "queue of charge"}
    assert await early == {}
    assert shelf.readings == 2


async def test_who_gives_up_leaves_the_others_their_reading() -> None:
    shelf = Shelf("charge")
    directory = directory_of(shelf)
    impatient = asyncio.create_task(directory.queues(["charge"]))
    patient = asyncio.create_task(directory.queues(["charge"]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == {"charge": "queue of charge"}


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), LookupError("a bug")])
async def test_reading_that_fails_is_told_to_all_and_followed_by_another(
    failure: Exception,
) -> None:
    """In an outage each reading takes as long as connecting may: nobody waits for many of them."""
    shelf = Shelf("charge")
    shelf.failure = failure
    directory = directory_of(shelf)
    asked = [directory.queues(["charge"]) for _ in range(ASKING)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert told == [failure] * ASKING
    assert shelf.readings == 1
    shelf.failure = None
    assert await directory.queues(["charge"]) == {"charge": "queue of charge"}


async def test_reader_that_is_cancelled_is_followed_by_one_of_those_who_wait() -> None:
    """A cancellation is for one of them; the others never see it."""
    shelf = Shelf("charge")
    directory = directory_of(shelf)
    reader = asyncio.create_task(directory.queues(["charge"]))
    waiting = [asyncio.create_task(directory.queues(["charge"])) for _ in range(ASKING)]
    while not shelf.readings:
        await asyncio.sleep(0)
    reader.cancel()
    assert await asyncio.gather(*waiting) == [{"charge": "queue of charge"}] * ASKING
    assert shelf.readings == 2


@pytest.mark.parametrize("count", [1, 3])
async def test_known_jobs_are_not_read_again(count: int) -> None:
    shelf = Shelf("charge")
    directory = directory_of(shelf)
    for _ in range(count):
        await directory.queues(["charge"])
    assert shelf.readings == 1
