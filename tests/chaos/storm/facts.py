"""Facts: what is known of a storm, all of it plain: files, rows, and what a trigger saw.

All moments are of this machine's monotonic clock, in seconds.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from journal import Entry

Row = dict[str, Any]
"""A row as the database gave it."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a client wrote down: what it asked for, and whether the service said yes.

    `what` is accepted, cancel, resume, or edit; `status` that of the answer, 0 when none came.
    """

    what: str
    key: str
    run_id: str
    status: int
    value: Any = None

    @property
    def is_yes(self) -> bool:
        """Whether it was promised."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class State:
    """A program's row after one committed change, as the trigger saw it."""

    run_id: str
    at: float
    transaction: int
    step: int
    resumes: int
    lease: str | None
    holder: str | None
    due_at: float | None
    is_finished: bool
    is_errored: bool
    is_cancelled: bool
    retries: int
    losses: int
    data: str

    @property
    def is_final(self) -> bool:
        """Whether the program has ended."""
        return self.is_finished or self.is_errored


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the attempts table, and the transaction that wrote it."""

    run_id: str
    step: int
    lease: str
    worker: str
    outcome: str
    transaction: int


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened: to these workers, from then to then, with what effect."""

    kind: str
    workers: frozenset[str]
    since: float
    until: float
    effect: int
    programs: frozenset[str] = frozenset()
    """Programs that it may have affected, whoever runs them."""

    def concerns(self, run_id: str, since: float, until: float) -> bool:
        """Say whether it may have affected a program in a span of time."""
        return run_id in self.programs and self.since <= until and since <= self.until

    def reaches(self, worker: str, since: float, until: float) -> bool:
        """Say whether it met a worker in a span of time."""
        return worker in self.workers and self.since <= until and since <= self.until


MACHINE = "machine stood still"
"""A fault that nobody planned: the harness itself was not run for a while."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is to be judged."""

    lease_s: float
    notes: Sequence[Note]
    entries: Sequence[Entry]
    rows: dict[str, Row]
    attempts: Sequence[Attempt]
    states: Sequence[State]
    struck: Sequence[Struck]
    ended_alone: Sequence[str] = ()
    """Processes that ended though nobody ended them."""

    poison: frozenset[str] = frozenset()
    """Programs that were made to fail; whatever becomes of them, they must end."""

    history: dict[str, list[State]] = field(init=False)
    """{run_id: its states, in their order}."""

    def __post_init__(self) -> None:
        """Sort the states by their programs."""
        history: defaultdict[str, list[State]] = defaultdict(list)
        for state in self.states:
            history[state.run_id].append(state)
        object.__setattr__(self, "history", dict(history))

    @property
    def planned(self) -> list[Struck]:
        """The faults that were ours."""
        return [struck for struck in self.struck if struck.kind != MACHINE]

    def of_others(self) -> "Facts":
        """Return the same without the programs that were made to fail."""
        poison = self.poison
        return replace(
            self,
            notes=[note for note in self.notes if note.run_id not in poison],
            entries=[entry for entry in self.entries if entry.run_id not in poison],
            rows={run_id: row for run_id, row in self.rows.items() if run_id not in poison},
            attempts=[each for each in self.attempts if each.run_id not in poison],
            states=[state for state in self.states if state.run_id not in poison],
        )

    def pairs(self) -> list[tuple[State, State]]:
        """Return every change of every program: the row before, and after."""
        return [
            (before, after)
            for states in self.history.values()
            for before, after in pairwise(states)
        ]

    def noted(self, what: str) -> list[Note]:
        """Return what clients noted of one kind."""
        return [note for note in self.notes if note.what == what]
