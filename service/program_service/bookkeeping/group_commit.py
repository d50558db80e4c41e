"""Group commit: while one batch is being committed, what arrives meanwhile forms the next.

No timer, so no latency is added when there is nothing to share a transaction with; and hundreds of
rows in a commit when there is. Submits, claims, outcomes and job data each have one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from program_service.bookkeeping.errors import DatabaseUnavailable

T = TypeVar("T")
R = TypeVar("R")

MAX_BATCH = 500
"""Above this a bigger batch gains nothing: 20 ms for 500 rows are the rows' own work."""


class GroupCommit(Generic[T, R]):
    """Collect items and flush them together; each caller gets the answer for its own."""

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        limit: int = MAX_BATCH,
        lanes: int = 1,
    ) -> None:
        """Take the function that commits a batch and answers one result for each item.

        With several lanes so many batches are on their way at a time.
        """
        self._flush = flush
        self._limit = limit
        self._lanes = lanes
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._arrived = asyncio.Event()

    async def add(self, item: T) -> R:
        """Have an item committed with others and return its answer.

        Raises:
            BatchRefused: the database refused this very item.
            DatabaseUnavailable: the database did not answer in time.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Flush what arrives, for ever; cancel it when nothing more will be added."""
        async with asyncio.TaskGroup() as lanes:
            for _ in range(self._lanes):
                lanes.create_task(self._run_lane())

    async def _run_lane(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            try:
                await self._commit(batch)
            except asyncio.CancelledError:
                for _, answer in (*batch, *self._waiting):
                    answer.cancel()
                raise

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        size = min(self._limit, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(size)]
        if not self._waiting:
            self._arrived.clear()
        # a caller that gave up before its item was taken gets its wish: the item is not written
        return [(item, answer) for item, answer in batch if not answer.cancelled()]

    async def _commit(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            results = await self._flush([item for item, _ in batch])
        except DatabaseUnavailable as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - one turn of a loop: the callers are told
            await self._split(batch, error)
        else:
            for (_, answer), result in zip(batch, results, strict=True):
                if not answer.done():
                    answer.set_result(result)

    async def _split(self, batch: list[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
        """Find the bad rows by halves, so that they never fail their neighbours."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        middle = len(batch) // 2
        await self._commit(batch[:middle])
        await self._commit(batch[middle:])


def _fail(batch: Sequence[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
