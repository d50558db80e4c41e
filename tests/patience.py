"""Patience: wait for what will come, with deadlines that only a broken product misses."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
LOOK_EVERY_S = 0.02


async def eventually(look: Callable[[], Awaitable[T]], *, within_s: float = PATIENCE_S) -> T:
    """Look again and again until what is seen is true, and return it.

    Raises:
        AssertionError: it does not become true in time.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while not (seen := await look()):
        assert clock() < deadline, f"after {within_s} s still {seen!r}"
        await asyncio.sleep(LOOK_EVERY_S)
    return seen


@asynccontextmanager
async def in_own_task(context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Enter and leave a context in one task: a fixture is set up and torn down in two."""
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leaving = asyncio.Event()

    async def live() -> None:
        try:
            async with context as value:
                entered.set_result(value)
                await leaving.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    living = asyncio.create_task(live())
    try:
        yield await entered
    finally:
        leaving.set()
        await living
