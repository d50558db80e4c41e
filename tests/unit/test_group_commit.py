"""Group commit: one transaction for what comes together, one answer for each who waits."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from program_service.bookkeeping.errors import (
    BatchRefused,
    BookkeepingError,
    DatabaseUnavailable,
    RowLocked,
    StatementRejected,
    Stopping,
)
from program_service.bookkeeping.group_commit import MAX_BATCH, TRIES, GroupCommit


class Ledger:
    """What the batches are written to; it can be held up, and refuses what is negative."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_entered = asyncio.Event()
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.failures: list[BaseException] = []
        self.bugs: dict[int, Exception] = {}
        self.locked: set[int] = set()
        self.is_forgetful = False

    async def flush(self, items: Sequence[int]) -> list[str | BookkeepingError]:
        """Write a batch and answer each item in words."""
        self.batches.append(list(items))
        self.is_entered.set()
        await self.is_open.wait()
        if self.failures:
            raise self.failures.pop(0)
        for item in self.bugs.keys() & set(items):
            raise self.bugs[item]
        if min(items) < 0:
            msg = f"{min(items)} is negative"
            raise BatchRefused(msg)
        if self.is_forgetful:
            return []
        return [RowLocked() if item in self.locked else f"wrote {item}" for item in items]

    async def hold_up(self, group: GroupCommit[int, str], item: int) -> asyncio.Task[str]:
        """Have one item taken, whose commit does not end before `is_open` is set."""
        self.is_open.clear()
        self.is_entered.clear()
        taken = asyncio.create_task(group.add(item))
        await self.is_entered.wait()
        return taken


@pytest.fixture
async def ledger() -> Ledger:
    """Return a ledger without any entry."""
    return Ledger()


@pytest.fixture
async def group(ledger: Ledger) -> AsyncIterator[GroupCommit[int, str]]:
    """Return a group commit that runs."""
    async with _running(GroupCommit(ledger.flush)) as group:
        yield group


@asynccontextmanager
async def _running(group: GroupCommit[int, str]) -> AsyncIterator[GroupCommit[int, str]]:
    loop = asyncio.create_task(group.run())
    yield group
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert loop.cancelled()


async def _all(group: GroupCommit[int, str], *items: int) -> list[str | BaseException]:
    return await asyncio.gather(*map(group.add, items), return_exceptions=True)


async def test_single_item_is_committed_at_once(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    assert await group.add(1) == "wrote 1"
    assert await group.add(2) == "wrote 2"
    assert ledger.batches == [[1], [2]]


async def test_what_arrives_meanwhile_forms_the_next_batch(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    first = await ledger.hold_up(group, 1)
    others = asyncio.gather(*map(group.add, [2, 3, 4]))
    await asyncio.sleep(0)
    ledger.is_open.set()
    assert await first == "wrote 1"
    assert await others == ["wrote 2", "wrote 3", "wrote 4"]
    assert ledger.batches == [[1], [2, 3, 4]]


async def test_batches_are_no_longer_than_the_limit(ledger: Ledger) -> None:
    async with _running(GroupCommit(ledger.flush, limit=2)) as group:
        assert await _all(group, 1, 2, 3, 4, 5) == [f"wrote {n}" for n in range(1, 6)]
    assert ledger.batches == [[1, 2], [3, 4], [5]]


async def test_crowd_is_committed_in_few_batches(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    items = range(2 * MAX_BATCH + 1)
    assert await _all(group, *items) == [f"wrote {item}" for item in items]
    assert [len(batch) for batch in ledger.batches] == [MAX_BATCH, MAX_BATCH, 1]


async def test_items_added_before_it_runs_are_not_forgotten(ledger: Ledger) -> None:
    group = GroupCommit(ledger.flush)
    early = asyncio.create_task(group.add(1))
    await asyncio.sleep(0)
    async with _running(group):
        assert await early == "wrote 1"


@pytest.mark.parametrize("bad", [{0}, {7}, {15}, {3, 4}, {0, 15}, set(range(16)), set()])
async def test_refused_item_never_fails_its_neighbours(
    group: GroupCommit[int, str], bad: set[int]
) -> None:
    """Invariant 12."""
    items = [-100 - at if at in bad else at for at in range(16)]
    for at, answer in enumerate(await _all(group, *items)):
        if at in bad:
            assert isinstance(answer, BatchRefused)
            assert str(items[at]) in str(answer)
        else:
            assert answer == f"wrote {at}"
    assert await group.add(99) == "wrote 99"


async def test_one_bad_item_is_found_by_halves(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    """Invariant 12: not by writing each alone."""
    await _all(group, *range(128), -1, *range(128, 255))
    assert len(ledger.batches) <= 1 + 2 * 8


async def test_split_that_meets_a_dead_database_fails_only_that_half(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    ledger.failures = [BatchRefused(), DatabaseUnavailable()]
    answers = await _all(group, 1, 2, 3, 4)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 2 + [str] * 2
    assert ledger.batches == [[1, 2, 3, 4], [1, 2], [3, 4]]


async def test_dead_database_is_told_to_everybody_and_asked_once(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    gone = DatabaseUnavailable()
    ledger.failures = [gone]
    assert await _all(group, 1, 2) == [gone, gone]
    assert ledger.batches == [[1, 2]]
    assert await group.add(3) == "wrote 3"


@pytest.mark.parametrize("failure", [LookupError("a bug"), OverflowError(), OSError()])
async def test_item_that_meets_a_bug_is_refused_alone_and_the_loop_lives_on(
    ledger: Ledger, group: GroupCommit[int, str], failure: Exception
) -> None:
    """Invariant 12: what the database never saw may fail a batch, too."""
    ledger.bugs = {3: failure}
    first, second, refused, fourth = await _all(group, 1, 2, 3, 4)
    assert [first, second, fourth] == ["wrote 1", "wrote 2", "wrote 4"]
    assert isinstance(refused, BatchRefused)
    assert refused.__cause__ is failure
    assert type(failure).__name__ in str(refused)
    assert await group.add(5) == "wrote 5"


async def test_driver_that_fails_once_by_a_bug_refuses_nothing(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    """As when a connection is lost in a moment that a driver did not expect."""
    ledger.failures = [AttributeError("'NoneType' object has no attribute 'write'")]
    assert await group.add(1) == "wrote 1"
    assert ledger.batches == [[1], [1]]


async def test_cancellation_that_nobody_asked_for_is_a_failed_try(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    """It says nothing of the items, so that the batch stays whole; and it ends no loop."""
    ledger.failures = [asyncio.CancelledError()]
    assert await _all(group, 1, 2) == ["wrote 1", "wrote 2"]
    assert ledger.batches == [[1, 2], [1, 2]]


async def test_cancellation_that_comes_again_and_again_is_told_as_an_outage(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    ledger.failures = [asyncio.CancelledError() for _ in range(TRIES)]
    answers = await _all(group, 1, 2)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 2
    assert await group.add(3) == "wrote 3"


async def test_answers_that_are_too_few_are_a_bug_like_any_other(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    ledger.is_forgetful = True
    answers = await _all(group, 1, 2)
    assert [type(answer) for answer in answers] == [BatchRefused] * 2
    ledger.is_forgetful = False
    assert await group.add(3) == "wrote 3"


async def test_item_that_fails_by_itself_in_a_batch_is_told_so(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    ledger.locked = {2}
    first, second, third = await _all(group, 1, 2, 3)
    assert isinstance(second, RowLocked)
    assert (first, third) == ("wrote 1", "wrote 3")
    assert ledger.batches == [[1, 2, 3]]


@pytest.mark.parametrize(
    "blocked", [RowLocked(), StatementRejected("in a trigger", is_of_one_row=True)]
)
async def test_batch_that_one_row_holds_up_is_split(
    ledger: Ledger, group: GroupCommit[int, str], blocked: DatabaseUnavailable
) -> None:
    ledger.bugs = {3: blocked}
    assert await _all(group, 1, 2, 3, 4) == ["wrote 1", "wrote 2", blocked, "wrote 4"]


async def test_batch_for_which_a_privilege_is_missing_is_not_split(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    """All its parts would be rejected, too."""
    rejected = StatementRejected()
    ledger.failures = [rejected]
    assert await _all(group, 1, 2) == [rejected, rejected]
    assert ledger.batches == [[1, 2]]


class PanicError(BaseException):
    """What libraries written in Rust raise: no Exception, and no signal either."""


async def test_loop_that_ends_by_a_bug_leaves_nobody_waiting_and_may_run_again(
    ledger: Ledger,
) -> None:
    group = GroupCommit(ledger.flush)
    ledger.failures = [PanicError()]
    loop = asyncio.create_task(group.run())
    taken = await ledger.hold_up(group, 1)
    waiting = asyncio.create_task(group.add(2))
    await asyncio.sleep(0)
    ledger.is_open.set()
    ended, told = await asyncio.gather(loop, taken, return_exceptions=True)
    assert isinstance(ended, BaseExceptionGroup)
    assert type(told) is DatabaseUnavailable
    async with _running(group):
        assert await waiting == "wrote 2"


async def test_item_of_a_caller_that_gave_up_is_not_written(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    first = await ledger.hold_up(group, 1)
    second, third = (asyncio.create_task(group.add(item)) for item in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    ledger.is_open.set()
    assert (await first, await third) == ("wrote 1", "wrote 3")
    assert ledger.batches == [[1], [3]]


async def test_batch_that_everybody_gave_up_is_not_written(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    first = await ledger.hold_up(group, 1)
    second = asyncio.create_task(group.add(2))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    ledger.is_open.set()
    await first
    assert await group.add(3) == "wrote 3"
    assert ledger.batches == [[1], [3]]


async def test_item_that_is_taken_is_written_though_its_caller_gave_up(
    ledger: Ledger, group: GroupCommit[int, str]
) -> None:
    first = await ledger.hold_up(group, 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    ledger.is_open.set()
    assert await group.add(2) == "wrote 2"
    assert ledger.batches == [[1], [2]]


async def test_everybody_who_waits_is_told_when_it_is_stopped(ledger: Ledger) -> None:
    """By an error of ours: a cancellation would be one that nobody sent them."""
    group = GroupCommit(ledger.flush)
    loop = asyncio.create_task(group.run())
    taken = await ledger.hold_up(group, 1)
    waiting = asyncio.create_task(group.add(2))
    await asyncio.sleep(0)
    loop.cancel()
    _, *told = await asyncio.gather(loop, taken, waiting, return_exceptions=True)
    assert loop.cancelled()
    assert [type(each) for each in told] == [Stopping, Stopping]
    with pytest.raises(Stopping):
        await group.add(3)
