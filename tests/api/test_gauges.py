"""Gauges: table and broker are read seldom, however many ask, and an old number is never shown."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest

from patience import eventually, in_own_task
from program_service.api import gauges as module
from program_service.api.gauges import Gauges
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.measuring import Backlog, measure_backlog
from program_service.bookkeeping.ledger.workers import Worker
from program_service.bookkeeping.lifecycle import Status
from program_service.telemetry import Metrics
from program_service.wakeups.memory import MemoryBroker
from serving import DownBroker, Service, serving
from wakeups import running

ASKING = 20


class Table:
    """Stands for a database: counts its readings, each of which waits until it may go on."""

    def __init__(self) -> None:
        """Begin at once with three programs that wait in `mail`."""
        self.readings = 0
        self.is_away = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.backlog = Backlog({Status.PENDING: 3}, {"mail": 7.0})

    async def read(
        self, work: Callable[..., Any], **_arguments: object
    ) -> Backlog | Sequence[Worker]:
        """Answer what was asked."""
        if work is not measure_backlog:
            return []
        self.readings += 1
        await self.goes_on.wait()
        if self.is_away:
            raise DatabaseUnavailable
        return self.backlog


class Shown:
    """Gauges over a table, and what they show."""

    def __init__(self) -> None:
        """Put them together."""
        self.table, self.metrics = Table(), Metrics()
        database = cast("Any", self.table)
        self.gauges = Gauges(database, MemoryBroker(), self.metrics, beat_s=1.0)
        self.refresh = self.gauges.refresh

    def value(self, name: str, **labels: str) -> float | None:
        """Return what is shown, or None."""
        return self.metrics.registry.get_sample_value(f"program_executor_{name}", labels)


@pytest.fixture
async def shown() -> AsyncIterator[Shown]:
    """Return gauges whose loop runs."""
    made = Shown()
    async with in_own_task(running(made.gauges)):
        yield made


async def test_all_who_scrape_at_a_time_and_soon_after_share_one_reading(shown: Shown) -> None:
    await asyncio.gather(*(shown.refresh() for _ in range(ASKING)))
    await shown.refresh()
    assert shown.table.readings == 1
    assert shown.value("programs", status="pending") == 3
    assert shown.value("programs", status="running") == 0
    assert shown.value("oldest_due_age_seconds", queue="mail") == 7
    assert shown.value("workers", queue="mail") == 0


async def test_old_reading_is_followed_by_another(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_S", 0.0)
    monkeypatch.setattr(module, "REST", 0)
    await shown.refresh()
    shown.table.backlog = Backlog({Status.RUNNING: 1}, {})
    await shown.refresh()
    assert shown.value("programs", status="pending") == 0
    assert shown.value("programs", status="running") == 1
    assert shown.value("oldest_due_age_seconds", queue="mail") is None


async def test_long_reading_is_shown_for_longer(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the table is, reading it takes no more than a part of the time."""
    monkeypatch.setattr(module, "KEEP_S", 0.0)
    monkeypatch.setattr(module, "REST", 1_000_000)
    await shown.refresh()
    await shown.refresh()
    assert shown.table.readings == 1


async def test_scrape_does_not_wait_for_a_table_that_does_not_answer(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    shown.table.goes_on.clear()
    await shown.refresh()
    await shown.refresh()
    assert shown.table.readings == 1
    assert shown.value("programs", status="pending") is None
    shown.table.goes_on.set()

    async def is_shown() -> bool:
        return shown.value("programs", status="pending") == 3

    await eventually(is_shown)


async def test_numbers_of_a_table_that_went_away_are_shown_no_more(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_S", 0.0)
    monkeypatch.setattr(module, "REST", 0)
    await shown.refresh()
    shown.table.is_away = True
    await shown.refresh()
    assert shown.value("programs", status="pending") is None
    assert shown.value("worker_slots", state="free") is None
    shown.table.is_away = False
    await shown.refresh()
    assert shown.value("programs", status="pending") == 3


async def test_depth_of_a_broker_that_is_away_is_not_said_to_be_zero(service: Service) -> None:
    assert "queue_depth{" in (await service.client.get("/metrics")).text
    async with serving(service.database, broker=DownBroker()) as other:
        text = (await other.client.get("/metrics")).text
    assert 'programs{status="pending"}' in text
    assert "queue_depth{" not in text


async def test_overview_shares_what_is_read_for_prometheus(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open pages look again with every change, and a long table takes a while to count."""
    readings: list[Books] = []

    async def counted(books: Books) -> Backlog:
        readings.append(books)
        return await measure_backlog(books)

    monkeypatch.setattr(module, "measure_backlog", counted)
    for _ in range(3):
        await service.client.get("/metrics")
        service.app.state.board.readings.forget()
        assert (await service.client.get("/")).status_code == 200
    assert len(readings) == 1


async def test_table_that_cannot_be_read_is_told_to_who_asks(shown: Shown) -> None:
    shown.table.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await shown.gauges.read()
