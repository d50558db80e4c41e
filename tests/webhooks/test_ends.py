"""Ends: everybody is notified, whatever the receivers of others do, and whatever is in a row."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from builders import a_program, by_hand, row_of, seconds_ago, submitted_all
from patience import eventually
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.notifying import find_ended
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.loops.supervisor import Supervisor
from program_service.telemetry import Metrics
from program_service.webhooks import breaker, ends, places
from program_service.webhooks.courier import Courier
from program_service.webhooks.ends import MAX_TRIES, Ends
from receivers import Receivers
from servers import Place, place_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where the tables are; the statements are tested on every database elsewhere."""
    return place_of(request, tmp_path)


@pytest.fixture
async def receivers() -> Receivers:
    """Return receivers that nobody has called."""
    return Receivers()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no notification, and no probe, wait for long."""
    monkeypatch.setattr(ends, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(ends, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(breaker, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(breaker, "PROBE_S", 0.01)


def described(program: Program) -> Mapping[str, Any]:
    """Show of a program what tests look at; one cannot be shown."""
    if program.run_id.startswith("poison"):
        raise RecursionError(program.run_id)
    return {"run_id": program.run_id, "status": program.status}


def an_ends(database: Database, receivers: Receivers, metrics: Metrics | None = None) -> Ends:
    """Make the loop."""
    metrics = metrics or Metrics()
    courier = Courier(receivers, metrics)
    return Ends(database, courier, metrics, secret=SECRET, describe=described)


@asynccontextmanager
async def notifying(
    database: Database, receivers: Receivers, metrics: Metrics | None = None
) -> AsyncGenerator[None]:
    """Run the loop, supervised."""
    metrics = metrics or Metrics()
    async with Supervisor(metrics).running(an_ends(database, receivers, metrics)):
        yield


async def ended(
    database: Database, urls: Mapping[str, str], *, key: str | None = None, ago_s: float = 1
) -> None:
    """Let programs have ended, {run_id: address}."""
    programs = database.tables.programs
    await submitted_all(
        database,
        [a_program(run_id, notify=url, submitted_by=key) for run_id, url in urls.items()],
    )
    async with database.engine.begin() as connection:
        now = seconds_ago(database, ago_s)
        edit = sa.update(programs).where(programs.c.run_id.in_(list(urls)))
        await connection.execute(edit.values(errored_at=now, cancelled_at=now, notify_due_at=now))


async def all_told(receivers: Receivers, run_ids: Iterable[str]) -> None:
    """Wait until somebody was told of all of these programs."""
    wanted = set(run_ids)

    async def look() -> bool:
        return wanted <= set(receivers.told)

    await eventually(look)


async def marked(database: Database, *run_ids: str) -> None:
    """Wait until it is noted that these programs need no notification any more."""
    for run_id in run_ids:

        async def look(run_id: str = run_id) -> bool:
            return (await row_of(database, run_id))["notify_due_at"] is None

        await eventually(look)


def results(metrics: Metrics) -> dict[str, float]:
    """Return {result: how many notifications} of those that there were."""
    found = {
        sample.labels["result"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "program_executor_notifications_total"
    }
    return {result: value for result, value in found.items() if value}


GOOD = {f"good-{number}": f"https://good-{number}.example/ended" for number in range(11)}


async def test_silent_host_holds_up_no_other(database: Database, receivers: Receivers) -> None:
    """400 notifications to it were first in line, and none of the others was sent in 106 s."""
    silent = {f"silent-{number}": f"https://silent.example/{number}" for number in range(400)}
    await ended(database, silent, ago_s=60)
    await ended(database, GOOD)
    async with notifying(database, receivers):
        await all_told(receivers, GOOD)
        await marked(database, *GOOD)
        assert receivers.in_flight.total() == places.MOST_OF_HOST
        receivers.released.set()


async def test_silent_hosts_hold_up_no_other(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 100)
    silent = {f"silent-{number}": f"https://silent{number}.example/" for number in range(60)}
    await ended(database, silent, ago_s=60)
    await ended(database, GOOD)
    async with notifying(database, receivers):
        await all_told(receivers, GOOD)
        await marked(database, *GOOD)
        assert receivers.in_flight.total() == len(silent)
        receivers.released.set()


async def test_one_key_holds_up_no_other(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 50)
    silent = {f"silent-{number}": f"https://silent{number}.example/" for number in range(600)}
    await ended(database, silent, key="greedy", ago_s=60)
    await ended(database, GOOD, key="modest")
    async with notifying(database, receivers):
        await all_told(receivers, GOOD)
        assert receivers.in_flight.total() < places.MOST
        receivers.released.set()


async def test_place_is_taken_again_as_soon_as_one_notification_ends(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 3)
    urls = {"silent": "https://silent.example/"} | GOOD
    await ended(database, urls, ago_s=60)
    async with notifying(database, receivers):
        await all_told(receivers, urls)
        await marked(database, *GOOD)
        assert (await row_of(database, "silent"))["notify_due_at"] is not None
        assert receivers.in_flight.total() == 1
        receivers.released.set()
    assert max(receivers.most_in_flight.values()) == 1


async def test_planned_stop_notifies_nobody_twice(database: Database, receivers: Receivers) -> None:
    """What is being sent has some seconds; what has not begun is left to the next process."""
    urls = {f"silent-{number}": "https://silent.example/" for number in range(200)}
    await ended(database, urls)
    loop = asyncio.get_running_loop()
    async with notifying(database, receivers):
        await eventually(lambda: _value(receivers.in_flight.total() == places.MOST_OF_HOST))
        loop.call_later(0.1, receivers.released.set)
    first = list(receivers.told)
    assert len(first) == places.MOST_OF_HOST
    await marked(database, *first)
    await _make_due(database)
    async with notifying(database, receivers):
        await all_told(receivers, urls)
    assert set(Counter(receivers.told).values()) == {1}


async def test_process_that_is_killed_costs_a_delay_and_no_notification(
    database: Database, receivers: Receivers
) -> None:
    await ended(database, {"silent-1": "https://silent.example/"})
    killed = asyncio.create_task(an_ends(database, receivers).run())
    await all_told(receivers, ["silent-1"])
    row = await row_of(database, "silent-1")
    assert row["notify_tries"] == 1
    assert row["notify_due_at"] > row["errored_at"]
    killed.cancel()
    receivers.released.set()
    await by_hand(database, "silent-1", notify_due_at=seconds_ago(database, 1))
    async with notifying(database, receivers):
        await marked(database, "silent-1")


@pytest.mark.usefixtures("at_once")
async def test_row_that_cannot_be_shown_harms_no_other_and_is_given_up(
    database: Database, receivers: Receivers
) -> None:
    await ended(database, {"poison-1": "https://good.example/"}, ago_s=60)
    await ended(database, GOOD)
    metrics = Metrics()
    with capture_logs() as lines:
        async with notifying(database, receivers, metrics):
            await all_told(receivers, GOOD)
            await marked(database, "poison-1", *GOOD)
    assert results(metrics) == {"sent": len(GOOD), "failed": MAX_TRIES - 1, "given_up": 1}
    events = [line["event"] for line in lines]
    assert events == ["notify.failed"] * (MAX_TRIES - 1) + ["notify.given_up"]
    assert lines[-1]["run_id"] == "poison-1"
    assert "RecursionError" in lines[-1]["error_message"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("url", ["http://169.254.169.254/", "not an address", ""])
async def test_address_that_may_not_be_called_is_given_up(
    database: Database, receivers: Receivers, url: str
) -> None:
    await ended(database, {"run-1": url}, ago_s=60)
    await ended(database, GOOD)
    metrics = Metrics()
    with capture_logs() as lines:
        async with notifying(database, receivers, metrics):
            await marked(database, "run-1", *GOOD)
    assert results(metrics)["given_up"] == 1
    assert "forbidden address" in lines[-1]["error_message"]


@pytest.mark.usefixtures("at_once")
async def test_row_that_the_database_refuses_to_change_is_left_out(
    database: Database, receivers: Receivers
) -> None:
    await ended(database, {"refused": "https://good.example/"}, ago_s=60)
    await ended(database, GOOD)
    name = database.tables.programs.name
    async with database.engine.begin() as connection:
        trigger = f"""
            CREATE TRIGGER refusing BEFORE UPDATE ON {name} WHEN OLD.run_id = 'refused'
            BEGIN SELECT RAISE(ABORT, 'not this one'); END
        """
        await connection.execute(sa.text(trigger))
    with capture_logs() as lines:
        async with notifying(database, receivers):
            await marked(database, *GOOD)
    assert [(line["event"], line["run_id"]) for line in lines] == [
        ("notify.refused_by_database", "refused")
    ]
    assert sorted(receivers.told) == sorted(GOOD)


async def test_program_that_vanished_harms_no_other(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(database, {"gone": "https://good.example/"}, ago_s=60)
    await ended(database, GOOD)
    read = database.read

    async def read_without(work: Any, *args: Any, **kwargs: Any) -> Any:
        if work is find_ended:
            async with database.engine.begin() as connection:
                programs = database.tables.programs
                await connection.execute(sa.delete(programs).where(programs.c.run_id == "gone"))
        return await read(work, *args, **kwargs)

    monkeypatch.setattr(database, "read", read_without)
    with capture_logs() as lines:
        async with notifying(database, receivers):
            await marked(database, *GOOD)
    assert lines == []
    assert "gone" not in receivers.told


@pytest.mark.usefixtures("at_once")
async def test_row_that_cannot_be_read_harms_no_other(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(database, {"unreadable": "https://good.example/"}, ago_s=60)
    await ended(database, GOOD)
    read = database.read

    async def read_but_one(work: Any, *args: Any, **kwargs: Any) -> Any:
        if work is find_ended and any(each.untold.run_id == "unreadable" for each in args[0]):
            raise ValueError(*args)
        return await read(work, *args, **kwargs)

    monkeypatch.setattr(database, "read", read_but_one)
    metrics = Metrics()
    with capture_logs():
        async with notifying(database, receivers, metrics):
            await marked(database, "unreadable", *GOOD)
    assert results(metrics) == {"sent": len(GOOD), "failed": MAX_TRIES - 1, "given_up": 1}


async def test_end_of_a_program_that_is_resumed_meanwhile_is_not_the_next_end(
    database: Database, receivers: Receivers
) -> None:
    await ended(database, {"run-1": "https://silent.example/"})
    async with notifying(database, receivers):
        await all_told(receivers, ["run-1"])
        await database.transact(resume, "run-1", queues={})
        await database.transact(cancel, "run-1")
        receivers.released.set()
        await marked(database, "run-1")
    ids = [post.headers["webhook-id"] for post in receivers.posts]
    assert ids == ["run-1-ended-0", "run-1-ended-1"]


async def test_program_that_is_resumed_before_its_turn_is_not_sent(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(database, {"run-1": "https://good.example/"})
    read = database.read

    async def read_after_a_resume(work: Any, *args: Any, **kwargs: Any) -> Any:
        if work is find_ended:
            await database.transact(resume, "run-1", queues={})
        return await read(work, *args, **kwargs)

    monkeypatch.setattr(database, "read", read_after_a_resume)
    async with notifying(database, receivers):
        await marked(database, "run-1")
        await asyncio.sleep(0.1)
    assert receivers.posts == []
    assert (await database.read(find, "run-1")).status == "pending"


@pytest.mark.usefixtures("at_once")
async def test_host_that_lets_nobody_connect_is_left_alone_and_then_notified(
    database: Database, receivers: Receivers
) -> None:
    receivers.dead.add("dead.example")
    dead = {f"dead-{number}": "https://dead.example/" for number in range(100)}
    await ended(database, dead, ago_s=60)
    await ended(database, GOOD)
    metrics = Metrics()
    with capture_logs() as lines:
        async with notifying(database, receivers, metrics):
            await marked(database, *GOOD)
            await eventually(lambda: _value(results(metrics).get("postponed", 0) > 0))
            receivers.dead.clear()
            await marked(database, *dead)
    paused = [line for line in lines if line["event"] == "notify.host_paused"]
    assert [line["target"] for line in paused] == ["dead.example"]
    assert results(metrics)["sent"] == len(GOOD) + len(dead)


@pytest.mark.usefixtures("at_once")
async def test_bad_address_of_a_shared_host_holds_up_no_other_address(
    database: Database, receivers: Receivers
) -> None:
    """An answer, whatever it says, is no reason to leave the host alone."""
    receivers.statuses["shared.example"] = 500
    await ended(database, {f"bad-{n}": "https://shared.example/bad" for n in range(20)}, ago_s=60)
    metrics = Metrics()
    with capture_logs():
        async with notifying(database, receivers, metrics):
            await eventually(lambda: _value(results(metrics).get("failed", 0) > 20))
            receivers.statuses.clear()
            await marked(database, *(f"bad-{n}" for n in range(20)))
    assert "postponed" not in results(metrics)


async def test_host_that_is_silent_for_a_day_is_given_up(
    database: Database, receivers: Receivers
) -> None:
    receivers.dead.add("dead.example")
    dead = {f"dead-{number}": "https://dead.example/" for number in range(60)}
    await ended(database, dead, ago_s=2 * 86_400)
    metrics = Metrics()
    with capture_logs():
        async with notifying(database, receivers, metrics):
            await eventually(
                lambda: _value(results(metrics).get("given_up", 0) >= 60 - places.MOST_OF_HOST)
            )


@pytest.mark.parametrize("problem", [RuntimeError("raw"), asyncio.CancelledError("stray")])
async def test_loop_that_fails_goes_on(
    database: Database,
    receivers: Receivers,
    monkeypatch: pytest.MonkeyPatch,
    problem: BaseException,
) -> None:
    await ended(database, GOOD)
    transact, problems = database.transact_past_outages, [problem]

    async def fail_once(*args: Any, **kwargs: Any) -> Any:
        if problems:
            raise problems.pop()
        return await transact(*args, **kwargs)

    monkeypatch.setattr(database, "transact_past_outages", fail_once)
    metrics = Metrics()
    with capture_logs() as lines:
        async with notifying(database, receivers, metrics):
            await marked(database, *GOOD)
    assert [line["event"] for line in lines] == ["loop.failed"]


@pytest.mark.usefixtures("at_once")
async def test_outage_cuts_off_nothing_that_is_being_sent(
    database: Database, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what ended meanwhile is noted when the database is back."""
    await ended(database, {"silent-1": "https://silent.example/"})
    transact, read = database.transact_past_outages, database.read
    is_away = False

    def unless_away(work: Any) -> Any:
        async def called(*args: Any, **kwargs: Any) -> Any:
            if is_away:
                raise DatabaseUnavailable
            return await work(*args, **kwargs)

        return called

    monkeypatch.setattr(database, "transact_past_outages", unless_away(transact))
    monkeypatch.setattr(database, "read", unless_away(read))
    with capture_logs() as lines:
        async with notifying(database, receivers):
            await all_told(receivers, ["silent-1"])
            is_away = True
            receivers.released.set()
            await eventually(lambda: _value(len(lines) > 2))
            is_away = False
            await marked(database, "silent-1")
    assert receivers.told == ["silent-1"]
    assert {line["event"] for line in lines} == {"database.unavailable"}


async def _value(value: bool) -> bool:  # noqa: FBT001 - what is looked for
    return value


async def _make_due(database: Database) -> None:
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        is_waiting = programs.c.notify_due_at.is_not(None)
        now = seconds_ago(database, 1)
        await connection.execute(sa.update(programs).where(is_waiting).values(notify_due_at=now))
