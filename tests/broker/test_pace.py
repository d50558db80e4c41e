"""Pace: a process tries to connect at one pace, however many queues want a connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from patience import eventually
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq import pace
from program_service.wakeups.rabbitmq.driver.errors import Paused
from program_service.wakeups.rabbitmq.pace import Pace
from wakeups import a_driver, a_wakeup, subscribed

QUEUES = [f"q-{number}" for number in range(20)]


class Rude:
    """A broker that hangs up, and counts how often."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.accepted = 0
        self.url = ""

    async def hang_up(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, and close it."""
        self.accepted += 1
        writer.close()


@pytest.fixture
async def rude() -> AsyncIterator[Rude]:
    """Return a broker that hangs up."""
    rude = Rude()
    server = await asyncio.start_server(rude.hang_up, "127.0.0.1", 0)
    rude.url = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    yield rude
    server.close()


async def test_queues_of_a_process_connect_no_more_often_than_one(
    rude: Rude, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE_S", 3_600.0)
    async with a_driver(rude.url, "test", Metrics()) as broker:
        async with subscribed(broker, QUEUES, prefetch=1):

            async def was_tried() -> bool:
                return rude.accepted > 0

            await eventually(was_tried)
            for _ in range(3):
                wakeups = [a_wakeup(queue=queue) for queue in QUEUES]
                assert await broker.publish(wakeups) == [False] * len(QUEUES)
        assert rude.accepted == 1


def test_pauses_become_longer_until_a_connection_works() -> None:
    tried = Pace(longest_s=4.0)
    tried.require()
    pauses = []
    for _ in range(10):
        tried.failed(at=1e12)  # far ahead: the pause is what counts
        pauses.append(tried.pause_s)
        with pytest.raises(Paused):
            tried.require()
    offset = min(pauses)
    assert max(pauses) - offset <= 4.0
    tried.lost(at=0.0)
    tried.require()
