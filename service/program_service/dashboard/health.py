"""Health: one sentence on how the deployment is, from what was counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from program_service.api.obstacles import waiting_at
from program_service.bookkeeping.ledger.workers import Worker
from program_service.dashboard.words import duration, number

LATE_S = 60.0
"""A program that is due for longer, and that nobody has claimed, waits too long."""

MANY_FAILURES, FEW = 0.1, 5
"""The share of programs that errored in the last hour, and how many are too few to tell."""


class Level(StrEnum):
    """How urgent it is."""

    OK = "ok"
    NOTICE = "notice"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the sentence is made from.

    `ages_s` is {queue: seconds since its oldest due program became due}; `finished` and `errored`
    are those of the last hour.
    """

    has_broker: bool
    workers: Sequence[Worker]
    ages_s: Mapping[str, float]
    finished: int
    errored: int
    broker_trouble: str = "down"
    """What is wrong when there is no broker."""

    @property
    def slots(self) -> int:
        """All slots of the live workers."""
        return sum(worker.slots for worker in self.workers)

    @property
    def busy(self) -> int:
        """How many of them hold a program."""
        return sum(worker.busy for worker in self.workers)

    @property
    def breakers(self) -> set[str]:
        """The hosts, and the jobs of endpoints, that some worker leaves alone."""
        return {
            party
            for worker in self.workers
            for kind in ("breakers", "job_breakers")
            for party in worker.endpoints.get(kind, {})
        }


def health(vitals: Vitals) -> tuple[Level, str]:
    """Say what is wrong, the worst first, or that all is well."""
    return _trouble(vitals) or _notice(vitals) or (Level.OK, f"All is well: {_crew(vitals)}.")


def _trouble(vitals: Vitals) -> tuple[Level, str] | None:
    if not vitals.has_broker:
        what = (
            "takes no messages"
            if vitals.broker_trouble.startswith("blocked")
            else "does not answer"
        )
        text = f"The broker {what}: programs are stored, and run when it is back"
        return Level.TROUBLE, f"{text} ({vitals.broker_trouble})."
    if not vitals.workers and vitals.ages_s:
        return Level.TROUBLE, "No worker is running, and programs wait for one."
    return _late(vitals)


def _late(vitals: Vitals) -> tuple[Level, str] | None:
    queue, age_s = max(vitals.ages_s.items(), key=lambda item: item[1], default=("", 0.0))
    if age_s <= LATE_S:
        return None
    waited = f"Programs in the queue {queue!r} have been due for {duration(age_s)}"
    serving = [worker for worker in vitals.workers if queue in worker.queues]
    if not serving:
        return Level.TROUBLE, f"{waited}, and no live worker serves it."
    if all(worker.busy >= worker.slots for worker in serving):
        return Level.TROUBLE, f"{waited}: all slots of its {len(serving)} workers are taken."
    waiting = sum((Counter(waiting_at(worker)) for worker in serving), Counter[str]())
    if waiting:
        jobs = ", ".join(f"{number(count)} for {job!r}" for job, count in sorted(waiting.items()))
        return Level.NOTICE, f"{waited}: programs wait for room on its workers, {jobs}."
    return Level.TROUBLE, f"{waited}, though its workers have free slots."


def _notice(vitals: Vitals) -> tuple[Level, str] | None:
    ended = vitals.finished + vitals.errored
    if ended >= FEW and vitals.errored / ended >= MANY_FAILURES:
        text = f"{number(vitals.errored)} of {number(ended)} programs errored in the last hour."
        return Level.NOTICE, text
    if vitals.breakers:
        parties = ", ".join(sorted(vitals.breakers))
        return Level.NOTICE, f"Calls to {parties} fail again and again; workers leave it alone."
    if not vitals.workers:
        return Level.NOTICE, "No worker is running; nothing waits for one."
    return None


def _crew(vitals: Vitals) -> str:
    count = len(vitals.workers)
    workers = "1 worker" if count == 1 else f"{number(count)} workers"
    busy, slots = number(vitals.busy), number(vitals.slots)
    return f"{workers}, {busy} of {slots} slots busy, nothing is due for long"
