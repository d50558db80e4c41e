"""Transport: whatever a call of the driver does, its caller gets a `BrokerError`, in time."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)

from program_service.wakeups.rabbitmq.driver import errors
from program_service.wakeups.rabbitmq.driver.frames import Closing, Frames
from program_service.wakeups.rabbitmq.driver.transport import Transport


async def ends_with(error: BaseException) -> None:
    raise error


async def rejected_with(error: type[BaseException]) -> None:
    """Wait for something that somebody else rejects, as aiormq does when a connection ends."""
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(waiting.set_exception, error)
    await waiting


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("closed"),
        StopAsyncIteration(),
        AttributeError("'NoneType' object has no attribute 'put'"),
        KeyError(7),
        ValueError("Invalid value for queue"),
        Exception(),
        RecursionError(),
        OSError("no route"),
        TimeoutError(),
    ],
    ids=repr,
)
async def test_odd_error_of_the_driver_is_a_lost_connection(error: Exception) -> None:
    with pytest.raises(errors.ConnectionLost) as caught:
        await Transport().call(ends_with(error))
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize(
    "call", [ends_with(asyncio.CancelledError()), rejected_with(asyncio.CancelledError)]
)
async def test_cancellation_that_nobody_requested_is_a_lost_connection(
    call: Coroutine[Any, Any, None],
) -> None:
    """A task group would take it for the wanted end of a loop."""
    with pytest.raises(errors.ConnectionLost):
        await Transport().call(call)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancellation_of_the_caller_stays_one() -> None:
    is_called = asyncio.Event()

    async def never() -> None:
        is_called.set()
        await asyncio.Event().wait()

    calling = asyncio.create_task(Transport().call(never()))
    await is_called.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_call_that_cannot_be_cancelled_is_not_waited_for() -> None:
    """As one that is stuck behind a socket which nobody reads."""
    is_let_go = asyncio.Event()

    async def deaf() -> None:
        while not is_let_go.is_set():
            try:
                await is_let_go.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(errors.NoAnswer):
        await Transport().call(deaf(), within_s=0.01)
    is_let_go.set()


@pytest.mark.parametrize(("answered_s_ago", "is_of_use"), [(0.0, True), (60.0, False)])
async def test_missing_answer_says_whether_others_got_theirs(
    answered_s_ago: float, *, is_of_use: bool
) -> None:
    """By that, a queue that hangs is told from a connection that is silent."""
    transport = Transport()
    transport.frames = Frames(asyncio.StreamReader())

    async def never() -> None:
        await asyncio.sleep(0.06)
        assert transport.frames is not None
        transport.frames.answered_at = time.monotonic() - answered_s_ago
        await asyncio.Event().wait()

    with pytest.raises(errors.NoAnswer) as caught:
        await transport.call(never(), within_s=0.1)
    assert caught.value.others_were_answered == is_of_use


async def test_refusals_say_what_they_are_about() -> None:
    transport = Transport()
    refused = ChannelAccessRefused("access to queue 'x' refused")
    with pytest.raises(errors.AccessRefused, match="'x' refused: it lacks the permission read"):
        await transport.call(ends_with(refused), needs="read")
    with pytest.raises(errors.QueueMissing, match="no queue"):
        await transport.call(ends_with(ChannelNotFoundEntity("no queue")))
    with pytest.raises(errors.ArgumentsDiffer, match="inequivalent arg"):
        await transport.call(ends_with(ChannelPreconditionFailed("inequivalent arg")))
    with pytest.raises(errors.NotConfirmed):
        await transport.call(ends_with(DeliveryError(None, None)))  # type: ignore[arg-type]


async def test_reason_that_rabbitmq_gave_is_told_whatever_the_driver_made_of_it() -> None:
    transport = Transport()
    transport.frames = Frames(asyncio.StreamReader())
    transport.frames.closing = Closing(530, "connection limit (3) is reached")
    with pytest.raises(errors.ConnectionLost, match="connection limit") as caught:
        await transport.call(ends_with(asyncio.CancelledError()))
    assert caught.value.code == 530
