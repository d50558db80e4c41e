"""Health: the one sentence of the overview, the worst first."""

from dataclasses import replace
from typing import Any

import pytest

from program_service.bookkeeping.ledger.workers import Worker
from program_service.dashboard.health import Level, Vitals, health


def a_worker(**facts: Any) -> Worker:
    """Return a worker with ten slots."""
    known: dict[str, Any] = {
        "name": "w-1",
        "host": "h",
        "version": "1",
        "queues": ["default"],
        "jobs": [],
        "slots": 10,
        "busy": 0,
        "newest_wakeups": {},
    }
    return Worker(**(known | facts))


WELL = Vitals(has_broker=True, workers=[a_worker()], ages_s={}, finished=100, errored=0)


def test_nothing_wrong_says_who_works() -> None:
    text = "All is well: 1 worker, 0 of 10 slots busy, nothing is due for long."
    assert health(WELL) == (Level.OK, text)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"has_broker": False}, Level.TROUBLE, "The broker does not answer"),
        ({"workers": [], "ages_s": {"default": 1}}, Level.TROUBLE, "No worker is running, and"),
        ({"ages_s": {"default": 90}}, Level.TROUBLE, "due for 90 s, though its workers have free"),
        ({"ages_s": {"far": 90}}, Level.TROUBLE, "no live worker serves it"),
        (
            {"ages_s": {"default": 90}, "workers": [a_worker(busy=10)]},
            Level.TROUBLE,
            "all slots of its 1 workers are taken",
        ),
        ({"errored": 20}, Level.NOTICE, "20 of 120 programs errored"),
        (
            {"workers": [a_worker(endpoints={"breakers": {"shop.example": {}}})]},
            Level.NOTICE,
            "Calls to shop.example fail",
        ),
        ({"workers": []}, Level.NOTICE, "nothing waits for one"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], level: Level, words: str) -> None:
    found, text = health(replace(WELL, **changes))
    assert found is level
    assert words in text


def test_worst_is_said_first() -> None:
    level, text = health(replace(WELL, has_broker=False, errored=100, ages_s={"default": 900}))
    assert level is Level.TROUBLE
    assert "broker" in text


def test_few_failures_and_short_waits_are_no_trouble() -> None:
    vitals = replace(WELL, finished=3, errored=1, ages_s={"default": 30})
    assert health(vitals)[0] is Level.OK
