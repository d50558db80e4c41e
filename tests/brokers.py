"""Brokers: where tests get a RabbitMQ from, and queues of a test's own on it.

PROGRAM_EXECUTOR_TEST_AMQP_URL, when it is set
── else a broker that answers on 127.0.0.1:5672 (user guest)
── else a private one from the Debian packages, installed when we are root
── else NoRabbitError, which says what was missing: the tests are skipped by name

A virtual host cannot be made over AMQP, so a test has a first part of all names for itself.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError

from patience import eventually
from private_rabbitmq import NoRabbitError, private_rabbitmq

URL_VARIABLE = "PROGRAM_EXECUTOR_TEST_AMQP_URL"
STANDARD_URL = "amqp://guest:guest@127.0.0.1:5672/"

CONNECT_TIMEOUT_S = 5

QUEUES = ("default", "mail", "bank", "slow", "dead-letters")
"""The queues that tests use; they are deleted after each test."""


@contextmanager
def some_rabbitmq() -> Iterator[str]:
    """Yield the URL of the first broker there is.

    Raises:
        NoRabbitError: there is none, and none could be started.
    """
    given = os.environ.get(URL_VARIABLE)
    if given and not asyncio.run(answers(given)):
        msg = f"{URL_VARIABLE} is set, but nothing answers there"
        raise NoRabbitError(msg)
    if given:
        yield given
    elif asyncio.run(answers(STANDARD_URL)):
        yield STANDARD_URL
    else:
        with private_rabbitmq() as node:
            yield node.url


async def answers(url: str) -> bool:
    """Say whether a RabbitMQ answers there and lets us in."""
    try:
        connection = await aio_pika.connect(url, timeout=CONNECT_TIMEOUT_S)
    except (OSError, aiormq.AMQPError):
        return False
    await connection.close()
    return True


class Console:
    """What somebody with RabbitMQ's console sees and does, in one deployment's queues."""

    def __init__(self, url: str, queue_name: str) -> None:
        """Look at this broker; each call connects anew, for it may have died since."""
        self.url = url
        self.queue_name = queue_name

    def name(self, queue: str) -> str:
        """Return the whole name of a queue."""
        return f"{self.queue_name}.{queue}"

    async def depth(self, queue: str) -> int | None:
        """Count the messages that wait; None when there is no such queue."""
        async with self._channel() as channel:
            try:
                found = await channel.declare_queue(self.name(queue), passive=True)
            except ChannelNotFoundEntity:
                return None
            return found.declaration_result.message_count

    async def consumers(self, queue: str) -> int:
        """Count the consumers of a queue; 0 when it is not there."""
        async with self._channel() as channel:
            try:
                found = await channel.declare_queue(self.name(queue), passive=True)
            except ChannelNotFoundEntity:
                return 0
            return found.declaration_result.consumer_count or 0

    async def send(self, queue: str, body: bytes) -> None:
        """Publish any message; a queue that was made just now may have no leader yet."""

        async def is_taken() -> bool:
            async with self._channel() as channel:
                exchange = channel.default_exchange
                try:
                    await exchange.publish(aio_pika.Message(body), self.name(queue))
                except DeliveryError:
                    return False
            return True

        await eventually(is_taken)

    async def get(self, queue: str) -> bytes | None:
        """Take a message out; None when there is none."""
        async with self._channel() as channel:
            found = await channel.get_queue(self.name(queue), ensure=False)
            message = await found.get(no_ack=True, fail=False)
            return message.body if message else None

    async def return_one(self, queue: str) -> bool:
        """Take a message and put it back as undelivered; say whether there was one."""
        async with self._channel() as channel:
            found = await channel.get_queue(self.name(queue), ensure=False)
            message = await found.get(fail=False)
            if message is None:
                return False
            await message.nack(requeue=True)
            return True

    async def make_plain(self, queue: str) -> None:
        """Make a queue of another kind than ours."""
        async with self._channel() as channel:
            await channel.declare_queue(self.name(queue), durable=True)

    async def purge(self, queue: str) -> None:
        """Remove all messages."""
        async with self._channel() as channel:
            await (await channel.get_queue(self.name(queue), ensure=False)).purge()

    async def delete(self, *queues: str) -> None:
        """Delete queues, with all that is in them."""
        async with self._channel() as channel:
            for queue in queues:
                await channel.queue_delete(self.name(queue))

    async def clear_away(self) -> None:
        """Delete all that a test made."""
        await self.delete(*QUEUES)
        async with self._channel() as channel:
            await channel.exchange_delete(self.name("control"))

    @asynccontextmanager
    async def _channel(self) -> AsyncGenerator[AbstractChannel]:
        connection: Any = await aio_pika.connect(self.url, timeout=CONNECT_TIMEOUT_S)
        async with connection:
            yield await connection.channel()


def a_queue_name() -> str:
    """Make the first part of all names of one test."""
    return f"program-executor-test-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def a_console(url: str) -> AsyncGenerator[Console]:
    """Make a console for queues of a test's own, which are deleted after."""
    console = Console(url, a_queue_name())
    try:
        yield console
    finally:
        await console.clear_away()
