"""Cancellation: a task knows whether somebody asked it to end, whatever happened inside it."""

import asyncio

import pytest

from program_service.cancellation import TaskGroup, is_being_cancelled, restoring


async def fail() -> None:
    await asyncio.sleep(0)
    message = "a child failed"
    raise ValueError(message)


async def fail_in(kind: type[asyncio.TaskGroup]) -> None:
    async with kind() as tasks:
        tasks.create_task(fail())
        tasks.create_task(asyncio.sleep(60))


async def test_failed_child_does_not_mark_its_parent_as_being_cancelled() -> None:
    with pytest.raises(ExceptionGroup):
        await fail_in(TaskGroup)
    assert not is_being_cancelled()


async def test_marks_that_other_groups_leave_are_removed() -> None:
    with pytest.raises(ExceptionGroup), restoring():
        await fail_in(asyncio.TaskGroup)
    assert not is_being_cancelled()


async def test_cancellation_from_outside_is_heeded_by_a_group() -> None:
    marks = []

    async def wait() -> None:
        try:
            async with TaskGroup() as tasks:
                tasks.create_task(asyncio.Event().wait())
        finally:
            marks.append(is_being_cancelled())

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert marks == [True]
