"""Waiting: how often a program is looked for, and that no wait harms another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from lines import Lines, of_event
from program_service.api import events, waiting
from program_service.api.waiting import LONGEST_PAUSE_S, MOST_FAILURES, WaitingRoom, Watch
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.reading import Standing
from program_service.bookkeeping.lifecycle import Status

if TYPE_CHECKING:
    from program_service.bookkeeping.database import Database

YEAR_S = 365 * 86_400.0
RUNS, ENDED = Standing(1, has_ended=False), Standing(2, has_ended=True)


def looks(until_s: float, standing_at: Callable[[float], Standing]) -> list[float]:
    """Return when a program is looked for that stands like this at each moment."""
    watch, now, times = Watch("run-1", None, 0.0), 0.0, []
    while (now := watch.look_after(now)) <= until_s and not watch.changed.is_set():
        times.append(now)
        watch.see(standing_at(now), now)
    return times


def test_program_of_next_year_is_looked_for_every_second() -> None:
    times = looks(60, lambda now: Standing(1, has_ended=False, due_in_s=YEAR_S - now))
    assert 55 <= len(times) <= 62


def test_program_that_is_due_soon_is_looked_for_then_and_often_from_then_on() -> None:
    times = looks(12, lambda now: Standing(1, has_ended=False, due_in_s=max(0, 10 - now)))
    assert len([at for at in times if at < 10]) < 15
    after = [at for at in times if at >= 10]
    assert after[0] - 10 < 0.01
    assert after[1] - after[0] < 0.01


def test_short_program_is_looked_for_often() -> None:
    times = looks(0.1, lambda _now: RUNS)
    assert len(times) > 10


def test_long_program_is_looked_for_seldom_and_at_its_steps_often_again() -> None:
    times = looks(200, lambda now: Standing(1 if now < 100 else 2, has_ended=False))
    seldom = [at for at in times if 80 < at < 100]
    assert len(seldom) <= 20 / LONGEST_PAUSE_S
    again = [at for at in times if 100 < at < 102]
    assert len(again) > 30


def test_many_long_waits_share_their_looks() -> None:
    ends = {Watch(f"run-{n}", None, n / 1_000).look_after(100) for n in range(500)}
    assert len(ends) == 1


class Reads:
    """A database that answers as a test says."""

    def __init__(self, answer: Callable[[Sequence[str]], dict[str, Standing]]) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    async def read(self, _verb: Any, run_ids: Sequence[str]) -> dict[str, Standing]:
        self.asked.append(list(run_ids))
        await asyncio.sleep(0)
        return self.answer(run_ids)


@pytest.fixture
async def reads() -> Reads:
    return Reads(lambda run_ids: dict.fromkeys(run_ids, ENDED))


@pytest.fixture
async def room(reads: Reads) -> AsyncIterator[WaitingRoom]:
    """Run a waiting room, again after an outage, as the supervisor does."""
    room = WaitingRoom(cast("Database", reads))

    async def keep() -> None:
        while True:
            with suppress(DatabaseUnavailable):
                await room.run()

    running = asyncio.create_task(keep())
    yield room
    assert not running.done(), running.exception()
    running.cancel()


async def test_room_can_be_closed_while_nobody_waits(room: WaitingRoom) -> None:
    await asyncio.sleep(0)
    room.close()
    assert await room.wait("run-1", timeout_s=30)
    assert await room.wait("run-1", timeout_s=30, beyond=5)
    await asyncio.sleep(0.05)


async def test_all_who_wait_are_answered_when_it_closes(room: WaitingRoom, reads: Reads) -> None:
    reads.answer = lambda run_ids: dict.fromkeys(run_ids, RUNS)
    waits = [asyncio.create_task(room.wait(f"run-{n}", timeout_s=30)) for n in range(5)]
    while not reads.asked:
        await asyncio.sleep(0.01)
    room.close()
    assert await asyncio.gather(*waits) == [True] * 5


async def test_program_that_cannot_be_looked_for_harms_no_other(
    room: WaitingRoom, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_S", 0.01)

    def answer(run_ids: Sequence[str]) -> dict[str, Standing]:
        if "odd" in run_ids:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return dict.fromkeys(run_ids, ENDED)

    reads.answer = answer
    with capture_logs() as lines:
        waits = [room.wait(run_id, timeout_s=30) for run_id in ("one", "odd", "two")]
        assert await asyncio.gather(*waits) == [True] * 3  # who waits for it gets the error
    assert reads.asked.count(["odd"]) == MOST_FAILURES
    (line,) = of_event(cast("Lines", lines), "wait.look_failed")
    assert line["run_id"] == "odd"


async def test_who_waited_during_an_outage_is_answered_after_it(
    room: WaitingRoom, reads: Reads
) -> None:
    def answer(run_ids: Sequence[str]) -> dict[str, Standing]:
        if len(reads.asked) < 3:
            raise DatabaseUnavailable
        return dict.fromkeys(run_ids, ENDED)

    reads.answer = answer
    assert await room.wait("run-1", timeout_s=30)


async def test_stream_outlasts_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "AWAY_PAUSE_S", 0.01)
    begun, ended = (
        SimpleNamespace(run_id="run-1", version=version, status=status)
        for version, status in ((1, Status.RUNNING), (2, Status.FINISHED))
    )
    answers: list[Any] = [DatabaseUnavailable(), DatabaseUnavailable(), ended]

    async def read(_verb: Any, _run_id: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait(_run_id: str, **_terms: Any) -> bool:
        return True

    waiting_room = SimpleNamespace(wait=wait, is_closed=False)
    services: Any = SimpleNamespace(database=SimpleNamespace(read=read), waiting=waiting_room)
    assert [state async for state in events.states(services, cast("Any", begun))] == [begun, ended]
