"""Hanging up: what a balancer does whose broker is down: it takes a connection, and closes it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvloop

from program_service.wakeups.rabbitmq.driver.errors import ConnectionLost
from program_service.wakeups.rabbitmq.link import Nodes

TIMES = 300
"""aiormq says it in another way when the end comes before it has begun to read: now and then."""


@pytest.fixture
def rude_port() -> Iterator[int]:
    """Return a port where connections are taken, and closed at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                listener.accept()[0].close()

    rude = threading.Thread(target=hang_up)
    rude.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    rude.join()


def test_broker_that_hangs_up_at_once_is_a_failure_like_others(rude_port: int) -> None:
    """Whoever connects waits and tries again after a `BrokerError`, and dies of others."""

    async def try_again_and_again() -> None:
        nodes = Nodes(f"amqp://guest:guest@127.0.0.1:{rude_port}/", purpose="test")
        for _ in range(TIMES):
            with pytest.raises(ConnectionLost):
                await nodes.connect()

    # the loop of real processes: asyncio's own never sees the end so early
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(try_again_and_again())
