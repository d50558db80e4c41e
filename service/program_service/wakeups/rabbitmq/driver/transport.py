"""Transport: the socket of a connection, and calls of aiormq over it.

When a connection ends, aiormq rejects everything that waits for it with whatever ended it. Often
that is a `CancelledError` that nobody sent: no `except` for errors catches it, and a task group
takes it for the wanted end of a task, so that the caller is gone without a word. And a call that is
cancelled may wait, inside aiormq, for a socket that nobody reads. Therefore each call runs in a
task of its own, is awaited for a limited time, and raises a `BrokerError` whatever happened to it.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)
from yarl import URL

from program_service.tls_files import is_of_certificates
from program_service.wakeups.rabbitmq.driver import errors
from program_service.wakeups.rabbitmq.driver.errors import BrokerError
from program_service.wakeups.rabbitmq.driver.frames import Frames

T = TypeVar("T")

TIMEOUT_S = 5.0

ADMISSION = {403, 530}
"""Codes by which RabbitMQ refuses a user, or a virtual host, before there is any channel."""

LIMIT = "limit ("
"""What it says, under the same codes, when there are too many connections."""

REFUSALS: dict[type[BaseException], type[errors.Refused]] = {
    ChannelNotFoundEntity: errors.QueueMissing,
    ChannelLockedResource: errors.QueueLocked,
    ChannelPreconditionFailed: errors.ArgumentsDiffer,
}


class Transport(TransportFactory):
    """The socket of one connection, and the frames that arrive there."""

    def __init__(self) -> None:
        """Begin without a socket."""
        self.frames: Frames | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, when aiormq asks for it."""
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **options)
        self.frames = Frames(reader)
        return cast("asyncio.StreamReader", self.frames), self._writer

    def abort(self) -> None:
        """Close the socket, whatever waits there."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def call(
        self, call: Coroutine[Any, Any, T], *, within_s: float = TIMEOUT_S, needs: str = ""
    ) -> T:
        """Await a call of aiormq that needs some permission.

        Raises:
            BrokerError: it failed, was abandoned by aiormq, or took too long.
        """
        (outcome,) = await self.outcomes([call], within_s=within_s, needs=needs)
        if isinstance(outcome, BrokerError):
            raise outcome
        return outcome

    async def outcomes(
        self, calls: Sequence[Coroutine[Any, Any, T]], *, within_s: float, needs: str = ""
    ) -> list[T | BrokerError]:
        """Await calls of aiormq, all at a time, and return what each returned, or its error."""
        began, tasks = time.monotonic(), [started(call) for call in calls]
        try:
            await asyncio.wait(tasks, timeout=within_s)
        finally:
            for task in tasks:
                task.cancel()  # and nobody waits for it: aiormq may be stuck
        answered_at = self.frames.answered_at if self.frames else 0.0
        # not right after the beginning, when the connection may just have fallen silent
        others_were_answered = answered_at > began + within_s / 2
        late = errors.NoAnswer(self, others_were_answered=others_were_answered)
        return [self._outcome(task, late, needs) for task in tasks]

    def _outcome(
        self, task: "asyncio.Task[T]", late: errors.NoAnswer, needs: str
    ) -> T | BrokerError:
        if not task.done():
            return late
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            return self._translated(error, needs)
        return task.result()

    def _translated(self, error: BaseException | None, needs: str) -> BrokerError:
        translated = self._named(error, needs)
        translated.__cause__ = error
        return translated

    def _named(self, error: BaseException | None, needs: str) -> BrokerError:
        closing = self.frames.closing if self.frames else None
        if isinstance(error, DeliveryError):
            how = getattr(error.frame, "name", "no reason")
            return errors.NotConfirmed(f"RabbitMQ did not take a message ({how})")
        if isinstance(error, ChannelAccessRefused):
            return errors.AccessRefused(f"{_text(error)}: it lacks the permission {needs}")
        if error is not None and (refused := REFUSALS.get(type(error))):
            return refused(_text(error))
        if closing is not None:
            is_final = closing.code in ADMISSION and LIMIT not in closing.text
            kind = errors.NotAdmitted if is_final else errors.ConnectionLost
            return kind(closing.text, closing.code)
        if error is None or isinstance(error, asyncio.CancelledError):
            return errors.ConnectionLost("aiormq gave the connection up")
        return (errors.NotAdmitted if _is_of_url(error) else errors.ConnectionLost)(_words(error))


def _is_of_url(error: BaseException) -> bool:
    """Say whether it is of what the URL says: no certificate fits, or the way to log in."""
    causes = (error, error.__cause__, error.__context__)
    of_url = (FileNotFoundError, PermissionError, AuthenticationError)
    return any(isinstance(each, of_url) or is_of_certificates(each) for each in causes)


def _words(error: BaseException) -> str:
    """Return what an error says; not by str, for some of aiormq's cannot be written."""
    match error.args:
        case (int(), str(text)) | (str(text),):
            return f"no AMQP: {text}" if "bytes expected" in text else text
        case _:
            return f"{type(error).__name__}{error.args}"


def _text(error: BaseException | None) -> str:
    return str(error.args[0]) if error is not None and error.args else type(error).__name__


def started(call: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start a call that may outlive whoever waits for it."""
    task = asyncio.get_running_loop().create_task(call)
    task.add_done_callback(_retrieve)
    return task


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Look at the exception, so that asyncio does not log what nobody waited for."""
    if not task.cancelled():
        task.exception()
