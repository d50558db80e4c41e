"""Cancels: endpoints that want to know are notified, a few times, and hold up nobody."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from builders import a_program, submitted_all
from patience import eventually
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.endpoints import put_endpoint
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.ledger.registry import CALLBACK, Endpoint, Job, Secret
from program_service.loops.supervisor import Supervisor
from program_service.telemetry import Metrics
from program_service.webhooks import cancels as cancelling
from program_service.webhooks import places
from program_service.webhooks.cancels import Cancels
from program_service.webhooks.courier import Courier
from program_service.webhooks.signing import new_secret
from receivers import Receivers
from servers import Place, place_of


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where the tables are."""
    return place_of(request, tmp_path)


@pytest.fixture
async def receivers() -> Receivers:
    """Return receivers that nobody has called."""
    return Receivers()


@asynccontextmanager
async def notifying(database: Database, receivers: Receivers) -> AsyncGenerator[Cancels]:
    """Run the loop, supervised."""
    metrics = Metrics()
    cancels = Cancels(database, Courier(receivers, metrics), metrics)
    async with Supervisor(metrics).running(cancels):
        yield cancels


async def registered(database: Database, name: str, cancel_url: str | None) -> None:
    """Register an endpoint."""
    endpoint = Endpoint(
        "https://shop.example/", [Secret(new_secret())], "00" * 32, cancel_url=cancel_url
    )
    job = Job(name, CALLBACK, "default", None, {}, endpoint=endpoint)
    await database.transact(put_endpoint, job, brings_secret=True, beat_s=5.0)


async def programs(database: Database, job: str, count: int = 1) -> list[Program]:
    """Submit programs whose current job this is."""
    run_ids = [f"{job}-{number}" for number in range(count)]
    await submitted_all(database, [a_program(run_id, jobs=[job]) for run_id in run_ids])
    return [await database.read(find, run_id) for run_id in run_ids]


async def told(receivers: Receivers, count: int) -> list[str]:
    """Wait for notifications, and return the run_ids that they name."""

    async def look() -> bool:
        return len(receivers.posts) >= count

    await eventually(look)
    return [post.message["run_id"] for post in receivers.posts]


async def test_endpoint_is_notified_if_it_has_an_address_for_that(
    database: Database, receivers: Receivers
) -> None:
    await registered(database, "charge", "https://shop.example/cancel")
    await registered(database, "mail", None)
    async with notifying(database, receivers) as cancels:
        for job in ("unknown", "mail", "charge"):
            for program in await programs(database, job):
                cancels.add(program)
        assert await told(receivers, 1) == ["charge-0"]
    (post,) = receivers.posts
    assert post.url == "https://shop.example/cancel"
    assert post.headers["webhook-id"] == "charge-0-0-cancel"
    assert post.message == {"type": "job.cancel", "run_id": "charge-0", "job": "charge", "step": 0}


async def test_silent_endpoint_holds_up_no_other(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST_OF_HOST", 3)
    await registered(database, "slow", "https://silent.example/cancel")
    await registered(database, "charge", "https://good.example/cancel")
    async with notifying(database, receivers) as cancels:
        for program in await programs(database, "slow", 20):
            cancels.add(program)
        await told(receivers, 3)
        for program in await programs(database, "charge"):
            cancels.add(program)
        assert (await told(receivers, 4))[3] == "charge-0"
        assert receivers.in_flight.total() == 3
        receivers.released.set()
        await told(receivers, 21)
    assert receivers.most_in_flight["silent.example"] == 3


async def test_endpoint_that_refuses_is_tried_a_few_times(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "FIRST_PAUSE_S", 0.0)
    receivers.statuses["shop.example"] = 500
    await registered(database, "charge", "https://shop.example/cancel")
    with capture_logs() as lines:
        async with notifying(database, receivers) as cancels:
            (program,) = await programs(database, "charge")
            cancels.add(program)
            await told(receivers, cancelling.TRIES)
            await asyncio.sleep(0.05)
    assert len(receivers.posts) == cancelling.TRIES
    assert [(line["event"], line["tries"]) for line in lines] == [
        ("notify.failed", number + 1) for number in range(cancelling.TRIES)
    ]


async def test_cancels_that_wait_are_bounded_and_those_beyond_are_counted(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "MAX_WAITING", 5)
    await registered(database, "charge", "https://shop.example/cancel")
    (program,) = await programs(database, "charge")
    with capture_logs() as lines:
        async with notifying(database, receivers) as cancels:
            for _ in range(20):
                cancels.add(program)
            await told(receivers, 5)
    assert [(line["event"], line["programs"]) for line in lines] == [("notify.dropped", 15)]


async def test_job_that_cannot_be_read_harms_no_other(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = database.read

    async def read_but_one(work: object, *args: object) -> object:
        if "bad" in args:
            raise ValueError(*args)
        return await read(work, *args)  # type: ignore[arg-type]

    await registered(database, "charge", "https://shop.example/cancel")
    bad, good = await programs(database, "bad"), await programs(database, "charge")
    monkeypatch.setattr(database, "read", read_but_one)
    with capture_logs() as lines:
        async with notifying(database, receivers) as cancels:
            for program in (*bad, *good):
                cancels.add(program)
            assert await told(receivers, 1) == ["charge-0"]
    assert [line["event"] for line in lines] == ["task.failed"]
