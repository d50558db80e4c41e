"""Monitor: the broker is asked once for all who want to know, and nobody waits for a silent one."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from patience import eventually
from program_service.wakeups import monitor as module
from program_service.wakeups.broker import BrokerReading, KnownTrouble
from program_service.wakeups.monitor import BrokerMonitor
from wakeups import running

ASKING = 50


class SlowBroker:
    """Stands for a broker: counts its readings, each of which waits until it may go on."""

    def __init__(self) -> None:
        """Answer at once."""
        self.readings: list[Sequence[str]] = []
        self.says: str | None = None
        self.trouble: KnownTrouble | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def read(self, queues: Sequence[str]) -> BrokerReading:
        """Return the number of the reading as the depth of each queue."""
        self.readings.append(queues)
        await self.goes_on.wait()
        depths = {} if self.says else dict.fromkeys(queues, len(self.readings))
        return BrokerReading(depths, self.says)


@pytest.fixture
def broker() -> SlowBroker:
    """Return a broker that answers at once."""
    return SlowBroker()


@pytest.fixture
def monitor(broker: SlowBroker) -> BrokerMonitor:
    """Return its monitor."""
    return BrokerMonitor(cast("Any", broker))


async def test_all_who_ask_at_a_time_and_soon_after_share_one_reading(
    broker: SlowBroker, monitor: BrokerMonitor
) -> None:
    async with running(monitor):
        first = await asyncio.gather(*(monitor.depth("default") for _ in range(ASKING)))
        again = [await monitor.depth("default") for _ in range(ASKING)]
        for _ in range(ASKING):
            assert monitor.health.trouble is None
    assert set(first) == set(again) == {1}
    assert len(broker.readings) == 1


async def test_queues_that_are_asked_for_at_a_time_are_read_together(
    broker: SlowBroker, monitor: BrokerMonitor
) -> None:
    async with running(monitor):
        await monitor.depth("default")
        await asyncio.gather(*(monitor.depth(f"q-{number}") for number in range(ASKING)))
    assert len(broker.readings) == 2
    assert len(broker.readings[1]) == ASKING + 1


async def test_old_reading_is_followed_by_another(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GAP_S", 0.0)
    async with running(monitor):
        assert await monitor.depth("default") == 1
        reading = await monitor.read(["default"], max_age_s=0)
        assert reading.depths == {"default": 2}
    assert len(broker.readings) == 2


async def test_nobody_waits_for_a_broker_that_did_not_answer(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known is said at once, while somebody looks in the background."""
    monkeypatch.setattr(module, "WAIT_S", 3_600)
    monkeypatch.setattr(module, "KEEP_S", 0.0)
    broker.says = "down"
    async with running(monitor):
        await eventually(lambda: _has(broker.readings))
        assert await monitor.depth("default") is None
        broker.goes_on.clear()
        before = len(broker.readings)
        assert monitor.health.trouble == "down"
        await eventually(lambda: _has(broker.readings[before:]))
        for _ in range(ASKING):
            assert await monitor.depth("default") is None
            assert monitor.health.trouble == "down"
        assert len(broker.readings) == before + 1
        broker.says = None
        broker.goes_on.set()
        await eventually(lambda: _has([monitor.health.trouble is None]))


async def test_first_who_asks_a_silent_broker_waits_for_a_moment_and_the_next_for_the_rest_of_it(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    broker.goes_on.clear()
    async with running(monitor):
        assert monitor.health.trouble == "unknown"
        for _ in range(ASKING):
            assert await monitor.depth("default") is None
    assert len(broker.readings) == 1


async def test_trouble_of_those_who_publish_is_known_at_once_until_the_broker_answers_again(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GAP_S", 0.0)
    said: list[str | None] = []
    async with running(monitor):
        for known in (
            None,
            KnownTrouble("down", time.monotonic() + 1),
            KnownTrouble("down", time.monotonic() - 1),
            KnownTrouble("blocked: memory alarm", math.inf),
        ):
            broker.trouble = known
            await monitor.read(["default"], max_age_s=0)
            said.append(monitor.health.trouble)
    assert said == [None, "down", None, "blocked: memory alarm"]


async def test_depth_that_is_too_old_is_none(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an old one, a sweeper would take wake-ups for lost that were published since."""
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    async with running(monitor):
        recent = monitor.depths(max_age_s=0.2)
        assert await recent.depth("default") == 1
        broker.goes_on.clear()
        await asyncio.sleep(0.3)
        assert await recent.depth("default") is None


async def test_queue_that_nobody_asks_for_any_more_is_not_read(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WANTED_S", 0.0)
    monkeypatch.setattr(module, "GAP_S", 0.0)
    async with running(monitor):
        for name in ("one", "two"):
            await monitor.read([name], max_age_s=0)
    assert set(broker.readings[-1]) <= {"default", "two"}


async def test_no_more_queues_are_read_than_is_sensible(
    broker: SlowBroker, monitor: BrokerMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUES", 10)
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    async with running(monitor):
        await asyncio.gather(*(monitor.depth(f"q-{number}") for number in range(100)))
    assert max(map(len, broker.readings)) <= 11


async def _has(things: Sequence[object]) -> bool:
    return bool(things) and bool(things[-1])
