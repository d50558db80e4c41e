"""Halves: write a batch although the database refuses a part of it.

A user's constraint or trigger may refuse any change of one row. What is written for many programs
at once is then split in half until each refused row is alone (invariant 12).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from program_service.bookkeeping.errors import BatchRefused, DatabaseUnavailable, RowLocked

T = TypeVar("T")


def is_of_some_rows(error: BatchRefused | DatabaseUnavailable) -> bool:
    """Say whether some rows, refused or locked, caused an error, so that others can be written."""
    return isinstance(error, BatchRefused) or error.is_of_one_row


def is_of_one_item(error: BatchRefused | DatabaseUnavailable) -> bool:
    """Say whether one item of a batch may have caused an error, so that the others can go ahead.

    Locks are none of these: what is written so leaves locked rows out, so that the whole table is
    locked, and each half would wait for it.
    """
    return is_of_some_rows(error) and not isinstance(error, RowLocked)


async def write_by_halves(
    write: Callable[[Sequence[T]], Awaitable[None]],
    batch: Sequence[T],
    *,
    leave_out: Callable[[T, BatchRefused | DatabaseUnavailable], None],
) -> None:
    """Write a batch, or, if the database refuses it, its halves; leave out what it refuses alone.

    Raises:
        DatabaseUnavailable: it does not take anything now, and no item is the reason.
    """
    if not batch:
        return
    try:
        await write(batch)
    except (BatchRefused, DatabaseUnavailable) as error:
        if not is_of_one_item(error):
            raise
        if len(batch) == 1:
            leave_out(batch[0], error)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await write_by_halves(write, half, leave_out=leave_out)
