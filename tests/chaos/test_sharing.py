"""Sharing: short programs do not wait behind long ones while another worker has room.

Acceptance item 4 of the distributed engine.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest

from asking import all_finished, submit_many
from journal import Entry, Journal
from processes import PRODUCTION, Deployment

SLOTS = 4
PROGRAMS = 200
LONG_S, SHORT_S = 20.0, 0.1
AT_MOST_S = 2.0

Span = tuple[float, float]


def free_times(journal: Journal, worker: str, since: float, until: float) -> Iterator[Span]:
    """Yield the times in which a worker had a free slot all the while."""
    running, free_since = 0, since
    for entry in journal.entries:
        if entry.worker != worker or entry.what not in {"begin", "end"}:
            continue
        was_full = running == SLOTS
        running += 1 if entry.what == "begin" else -1
        if running == SLOTS and not was_full:
            yield free_since, entry.at
        elif was_full:
            free_since = entry.at
    if running < SLOTS:
        yield free_since, until


def longest_wait_s(begins: list[Entry], since: float, free: list[Span]) -> float:
    """Return how long a program waited at most while a slot was free all the while."""
    waits = [
        min(until, entry.at) - max(begin, since)
        for entry in begins
        for begin, until in free
        if begin < entry.at
    ]
    return max(waits, default=0.0)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_short_program_waits_while_another_worker_has_a_free_slot(
    deployment: Deployment,
) -> None:
    """Acceptance 4: at most 2 s, whichever worker the bundles of 32 wake-ups went to."""
    deployment.settings |= PRODUCTION
    service, *workers = await asyncio.gather(
        deployment.serve(), *[deployment.work(concurrency=SLOTS) for _ in range(2)]
    )
    programs = [
        {"jobs": ["tick"], "program_data": {"seconds": LONG_S if number % 10 == 9 else SHORT_S}}
        for number in range(PROGRAMS)
    ]
    since = time.monotonic()
    run_ids = await submit_many(service, programs)
    await all_finished(deployment, within_s=400)
    until = time.monotonic()
    journal = Journal(deployment.journal)
    long_ones = {run_id for number, run_id in enumerate(run_ids) if number % 10 == 9}
    short_begins = [entry for entry in journal.begins() if entry.run_id not in long_ones]
    waited: defaultdict[str, float] = defaultdict(float)
    for worker in workers:
        free = list(free_times(journal, worker.name, since, until))
        waited[worker.name] = longest_wait_s(short_begins, since, free)
    last_s = max(entry.at for entry in short_begins) - since
    shares = {
        worker.name: sum(entry.worker == worker.name for entry in journal.begins())
        for worker in workers
    }
    print(
        f"\n{PROGRAMS} programs in {until - since:.1f} s, shares {shares}; the last short one began"
        f" after {last_s:.1f} s; short ones waited while a slot was free at most"
        f" {max(waited.values()):.2f} s"
    )
    assert len(short_begins) == PROGRAMS - len(long_ones)
    assert not journal.begun_again()
    assert max(waited.values()) <= AT_MOST_S
