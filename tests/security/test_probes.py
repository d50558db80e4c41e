"""Probes: they need no key; however many come, one at a time asks database and broker."""

import asyncio
from typing import Any

import pytest

from program_service import app as wiring
from program_service.api.contract.document import document
from program_service.bookkeeping import migrations
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.wakeups.broker import BrokerReading
from program_service.wakeups.memory import MemoryBroker
from servers import on_sqlite
from serving import serving

pytestmark = on_sqlite

CLIENTS = 120


class Counting:
    """How often something is asked, and by how many at a time at most."""

    def __init__(self) -> None:
        """Begin."""
        self.asked = self.now = self.most = 0

    async def __aenter__(self) -> None:
        """One more asks."""
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)

    async def __aexit__(self, *_error: object) -> None:
        """It was answered."""
        self.now -= 1


class CountedBroker(MemoryBroker):
    """A broker that takes a moment to answer."""

    counting = Counting()

    async def read(self, queues: Any) -> BrokerReading:
        """Count who asks."""
        async with self.counting:
            await asyncio.sleep(0.05)
            return await super().read(queues)


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/livez"])
async def test_many_probes_ask_database_and_broker_one_at_a_time(
    database: Database, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_database, of_gauges = Counting(), Counting()
    CountedBroker.counting = of_broker = Counting()
    is_migrated, read = migrations.is_migrated, Database.read

    async def counted(database: Database) -> bool:
        async with of_database:
            await asyncio.sleep(0.05)
            return await is_migrated(database)

    async def counted_read(self: Database, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work.__name__ != "measure_backlog":
            return await read(self, work, *args, **kwargs)
        async with of_gauges:
            return await read(self, work, *args, **kwargs)

    monkeypatch.setattr(wiring, "is_migrated", counted)
    monkeypatch.setattr(Database, "read", counted_read)
    async with serving(database, broker=CountedBroker()) as service:
        answers = await asyncio.gather(*(service.client.get(path) for _ in range(CLIENTS)))
        assert {answer.status_code for answer in answers} == {200}
    assert of_database.most <= 1
    assert of_broker.most <= 1
    assert of_gauges.most <= 1
    # once for the first, once for those that came while it was answered, and what took long
    assert of_database.asked <= 5
    assert of_gauges.asked <= 5
    assert of_broker.asked <= 20  # GAP_S apart


async def test_outage_is_asked_about_by_one_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counting()

    async def failing(_database: Database) -> bool:
        async with asked:
            await asyncio.sleep(0.01)
            raise DatabaseUnavailable

    monkeypatch.setattr(wiring, "is_migrated", failing)
    async with serving(database) as service:
        answers = await asyncio.gather(*(service.client.get("/readyz") for _ in range(CLIENTS)))
    assert {answer.status_code for answer in answers} == {503}
    assert asked.most == 1
    assert asked.asked <= 5


async def test_document_is_written_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def counted(app: Any) -> Any:
        nonlocal written
        written += 1
        return document(app)

    monkeypatch.setattr(wiring, "document", counted)
    async with serving(database) as service:
        answers = [await service.client.get("/openapi.json") for _ in range(3)]
        texts = {answer.content for answer in answers}
        assert len(texts) == 1
        assert (await service.client.head("/openapi.json")).status_code == 200
        assert answers[0].json()["openapi"].startswith("3.1")
        service.app.openapi_schema = {"another": "document"}
        assert (await service.client.get("/openapi.json")).content in texts
    assert written == 1
