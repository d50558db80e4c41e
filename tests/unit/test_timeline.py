"""Timeline: how a program's life is split into waiting, running and backing off."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from program_service.bookkeeping.ledger.reading import Attempt, Program
from program_service.bookkeeping.lifecycle import Status
from program_service.dashboard.timeline import Phase, timeline, totals

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return a moment after noon."""
    return NOON + timedelta(seconds=seconds)


def a_life(status: Status, **facts: Any) -> Program:
    """Return a program that was submitted at noon."""
    nothing: dict[str, Any] = dict.fromkeys(Program.__slots__)
    known = {"run_id": "1", "created_at": NOON, "step": 0, "job": "charge", "status": status}
    return Program(**(nothing | known | facts))


def a_try(begin: float | None, end: float, outcome: str, **rest: Any) -> Attempt:
    """Return a try that began and ended so many seconds after noon."""
    nothing: dict[str, Any] = dict.fromkeys(Attempt.__slots__)
    known = {
        "step": 0,
        "attempt": 1,
        "job": "charge",
        "started_at": None if begin is None else at(begin),
        "finished_at": at(end),
        "outcome": outcome,
    }
    return Attempt(**(nothing | known | rest))


def phases(program: Program, *attempts: Attempt, now: float) -> list[tuple[str, float]]:
    """Return what it did, and for how many seconds."""
    return [(span.phase, span.seconds) for span in timeline(program, attempts, now=at(now))]


def test_program_that_was_never_claimed_waits() -> None:
    assert phases(a_life(Status.PENDING), now=5) == [(Phase.WAITING, 5)]


def test_retry_backs_off_until_the_next_try() -> None:
    program = a_life(Status.FINISHED, finished_at=at(9))
    tries = [a_try(1, 2, "retry"), a_try(6, 9, "done")]
    expected = [
        (Phase.WAITING, 1),
        (Phase.RUNNING, 1),
        (Phase.BACKING_OFF, 4),
        (Phase.RUNNING, 3),
    ]
    assert phases(program, *tries, now=100) == expected


def test_what_goes_on_now_is_drawn_up_to_now() -> None:
    running = a_life(Status.RUNNING)
    assert phases(running, a_try(0, 2, "done"), now=7)[-1] == (Phase.RUNNING, 5)
    retrying = replace(running, status=Status.RETRYING)
    assert phases(retrying, a_try(0, 2, "retry"), now=7)[-1] == (Phase.BACKING_OFF, 5)
    scheduled = replace(running, status=Status.SCHEDULED)
    assert phases(scheduled, now=7) == [(Phase.SCHEDULED, 7)]


def test_call_that_was_accepted_is_awaited() -> None:
    program = a_life(Status.WAITING)
    assert phases(program, a_try(0, 1, "accepted"), now=9)[-1] == (Phase.AWAITING, 8)


def test_try_of_a_lost_worker_has_no_beginning_and_is_a_moment() -> None:
    program = a_life(Status.PENDING)
    tries = [a_try(None, 4, "lost")]
    assert phases(program, *tries, now=4) == [(Phase.RUNNING, 4)]


def test_phases_are_added_up() -> None:
    program = a_life(Status.FINISHED, finished_at=at(9))
    spans = timeline(program, [a_try(1, 2, "retry"), a_try(6, 9, "done")], now=at(9))
    assert totals(spans) == {Phase.WAITING: 1, Phase.RUNNING: 4, Phase.BACKING_OFF: 4}
