"""Group commit: while one batch is being committed, what arrives meanwhile forms the next.

No timer, so no latency is added when there is nothing to share a transaction with; and hundreds of
rows in a commit when there is. Submits, claims, outcomes and job data each have one.

An item that the database refuses, or that meets a bug, fails alone (invariant 12), and nothing that
a flush raises ends the loop.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    Stopping,
)
from program_service.cancellation import TaskGroup, is_being_cancelled
from program_service.logs import log
from program_service.plain import described
from program_service.telemetry import Event

T = TypeVar("T")
R = TypeVar("R")

MAX_BATCH = 500
"""Above this a bigger batch gains nothing: 20 ms for 500 rows are the rows' own work."""

TRIES = 3
"""Of an item that fails for another reason than the database's, before it is refused: what a driver
raises when it loses its connection does not come again, and what is wrong with the item does."""

LANE_FAILED = "What was to be committed was not: the loop that commits it failed."

Waiting: TypeAlias = tuple[T, asyncio.Future[R]]
"""An item, and the answer that its caller waits for."""


class GroupCommit(Generic[T, R]):
    """Collect items and flush them together; each caller gets the answer for its own."""

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R | BookkeepingError]]],
        *,
        name: str = "group",
        limit: int = MAX_BATCH,
        lanes: int = 1,
    ) -> None:
        """Take the function that commits a batch and returns a result, or an error, for each item.

        With several lanes so many batches are on their way at a time.
        """
        self.name = name
        self._flush = flush
        self._limit = limit
        self._lanes = lanes
        self._waiting: deque[Waiting[T, R]] = deque()
        self._arrived = asyncio.Event()
        self._is_stopped = False
        self._left: list[Waiting[T, R]] = []
        """What lanes had taken that have ended."""

    async def add(self, item: T) -> R:
        """Commit an item with others and return its result.

        Raises:
            BatchRefused: the database refused this very item.
            DatabaseUnavailable: it was not committed, and nothing is wrong with it.
        """
        if self._is_stopped:
            raise Stopping
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Flush what arrives until cancelled, which is when nothing more will be added.

        What waits when it ends by a bug is flushed when it is run again.
        """
        self._is_stopped = False
        try:
            async with TaskGroup() as lanes:
                for _ in range(self._lanes):
                    lanes.create_task(self._run_lane())
        finally:
            if is_being_cancelled():
                self._is_stopped = True
                self._left.extend(self._waiting)
                self._waiting.clear()
            # a loop that ends leaves nobody waiting for a lane
            _fail(self._left, Stopping() if self._is_stopped else DatabaseUnavailable(LANE_FAILED))
            self._left.clear()

    async def _run_lane(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            try:
                await self._commit(batch)
            finally:
                self._left.extend(each for each in batch if not each[1].done())

    def _take(self) -> list[Waiting[T, R]]:
        size = min(self._limit, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(size)]
        if not self._waiting:
            self._arrived.clear()
        # a caller that gave up before its item was taken gets its wish: the item is not written
        return [(item, answer) for item, answer in batch if not answer.cancelled()]

    async def _commit(self, batch: list[Waiting[T, R]], tries: int = TRIES) -> None:
        if not batch:
            return
        try:
            results = await self._flush([item for item, _ in batch])
            _answer(batch, results)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            await self._commit_again(batch, error, tries)
        except BookkeepingError as error:
            await self._refuse(batch, error)
        except Exception as error:  # noqa: BLE001 - one turn of a loop: the callers are told
            if len(batch) == 1:
                await self._commit_again(batch, error, tries)
            else:
                await self._split(batch)

    async def _refuse(self, batch: list[Waiting[T, R]], error: BookkeepingError) -> None:
        """Fail what the database does not take, or all of it, if that is no fault of one item."""
        is_of_all = isinstance(error, DatabaseUnavailable) and not error.is_of_one_row
        if is_of_all or len(batch) == 1:
            _fail(batch, error)
        else:
            await self._split(batch)

    async def _split(self, batch: list[Waiting[T, R]]) -> None:
        """Find the bad items by halves, so that they never fail their neighbours."""
        middle = len(batch) // 2
        await self._commit(batch[:middle])
        await self._commit(batch[middle:])

    async def _commit_again(
        self, batch: list[Waiting[T, R]], error: BaseException, tries: int
    ) -> None:
        """Commit again what failed for no reason of the database's, or give it up.

        A cancellation that nobody asked for says nothing of the items; another error refuses one.
        """
        if tries > 1:
            await self._commit(batch, tries - 1)
            return
        words = described(error)
        log.error(Event.COMMIT_FAILED, during=self.name, error_message=words, exc_info=error)
        kind = BatchRefused if isinstance(error, Exception) else DatabaseUnavailable
        failure = kind(words)
        failure.__cause__ = error
        _fail(batch, failure)


def _answer(batch: Sequence[Waiting[T, R]], results: Sequence[R | BookkeepingError]) -> None:
    """Give each caller its own result."""
    for (_, answer), result in zip(batch, results, strict=True):
        if answer.done():
            continue
        if isinstance(result, BookkeepingError):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _fail(batch: Sequence[Waiting[T, R]] | deque[Waiting[T, R]], error: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
