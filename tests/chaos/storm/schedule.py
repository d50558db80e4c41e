"""Schedule: which fault comes when, and whom it meets; the same for the same seed."""

import random
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of fault."""

    KILL_WORKER = "worker killed"
    FREEZE_WORKER = "worker frozen"
    KILL_SERVICE = "service killed"
    FREEZE_SERVICE = "service frozen"
    RESTART_BROKER = "broker killed"
    PURGE_QUEUES = "queues purged"
    DELETE_QUEUES = "queues deleted"
    WIPE_BROKER = "broker wiped"
    KILL_DATABASE = "database killed"
    END_SESSIONS = "sessions ended"
    HIDE_DATABASE = "database unreachable"
    HIDE_BROKER = "broker unreachable"
    LOSE_COMMITS = "COMMIT answers lost"
    STEP_CLOCK = "clock stepped"
    STRAY_CANCELS = "calls cancelled by nobody"
    POISON_ROWS = "poison rows"
    POISON_HEADERS = "poison responses"
    POISON_MESSAGES = "poison messages"
    LOCK_ROWS = "rows locked"
    LIMIT_CONNECTIONS = "connections limited"
    ASK_WHILE_SILENT = "asked while the broker is silent"


WORKERS, SERVICES = 3, 2

LEASE_S = 5.0
"""Short, so that leases are lost soon; a busy machine holds up a worker for less."""

CALM_S = 3.0
"""Before the first fault: programs are to run."""

GAP_S = (1.5, 3.5)
"""From one fault to the next; one that takes longer goes on meanwhile."""

STALL_S = (LEASE_S + 1.0, LEASE_S + 3.0)
"""How long somebody is frozen or cut off: longer than a lease."""

STEPS_S = (3_600, -3_600, 86_400, -86_400, 30, -30)
"""By how much a clock is stepped."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come: `place` is the number of the worker or service, `size` what its kind needs.

    A size is seconds of a stall or of a clock's step, and a count of answers or calls.
    """

    at_s: float
    kind: Kind
    place: int
    size: float


HOT = (Kind.KILL_WORKER, Kind.FREEZE_WORKER, Kind.HIDE_DATABASE, Kind.LOSE_COMMITS)
"""They hit running steps, and come again and again once every kind has come."""

SLOW = (Kind.RESTART_BROKER, Kind.WIPE_BROKER)
"""Hardly a step begins until the broker is back: later, only one of them comes in a round."""


def plan(seed: int, seconds: float) -> list[Planned]:
    """Choose the faults of so many seconds: every kind in any order, then the hot ones more."""
    chance = random.Random(seed)
    planned: list[Planned] = []
    to_come = chance.sample([*Kind], len(Kind))
    at_s = CALM_S
    while at_s < seconds:
        if not to_come:
            kinds = [*(set(Kind) - {chance.choice(SLOW)}), *HOT, *HOT]
            to_come = chance.sample(sorted(kinds), len(kinds))
        kind = to_come.pop()
        planned.append(Planned(round(at_s, 2), kind, _place(kind, chance), _size(kind, chance)))
        at_s += chance.uniform(*GAP_S)
    return planned


def _place(kind: Kind, chance: random.Random) -> int:
    if kind in {Kind.KILL_SERVICE, Kind.FREEZE_SERVICE, Kind.ASK_WHILE_SILENT}:
        return chance.randrange(SERVICES)
    if kind in {Kind.HIDE_BROKER, Kind.LOSE_COMMITS, Kind.STRAY_CANCELS}:
        # two of three times a worker's network, else a service's
        places: list[int] = [*range(WORKERS), *range(WORKERS), -1, -2]
        return chance.choice(places)
    return chance.randrange(WORKERS)


def _size(kind: Kind, chance: random.Random) -> float:
    if kind is Kind.STEP_CLOCK:
        return float(chance.choice(STEPS_S))
    if kind in {Kind.LOSE_COMMITS, Kind.STRAY_CANCELS}:
        return float(chance.randint(3, 8))
    if kind in {Kind.RESTART_BROKER, Kind.WIPE_BROKER, Kind.KILL_DATABASE}:
        return round(chance.uniform(0.2, 2.0), 2)
    return round(chance.uniform(*STALL_S), 2)
