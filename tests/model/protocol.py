"""Protocol: one program, two workers, and what the rules R1 to R14 make of them.

A state is what can be seen from outside: the program's row, the wake-ups in the queue, what
publishers have read, what workers hold, the tokens that endpoints were given. What may happen next
is said by the functions of `workers`, `wakeups` and `people`, one for each action.

Leases and writes of `due_at` have numbers: 1 is the row's own. Every other is stale for ever, so
all of them can be the same number, and there are finitely many states.
"""

from typing import NamedTuple

STEPS = 2
WORKERS = ("A", "B")
MAX_TRIES = 2
MAX_LOSSES = 2
MAX_WAKEUPS = 2

NONE, OWN, FRESH, STALE = 0, 1, 2, -1
PAST, FUTURE, NEVER = "past", "future", "never"


class Rules(NamedTuple):
    """The rules of the protocol that the search can take away, and the sizes of the world."""

    fences_by_lease: bool = True
    renews_by_lease: bool = True
    wakes_again: bool = True
    wakes_leased_rows_again: bool = True
    reads_claims_back: bool = True
    reads_writes_back: bool = True
    keeps_due_at_of_errored: bool = True
    completes_by_step: bool = True
    tokens_know_resumes: bool = True
    marks_by_comparing: bool = True
    next_step_after_commit: bool = True
    deadline_from_first_try: bool = True
    late_claims_are_new: bool = True
    jobs_are_callbacks: bool = False
    most_readings: int = 2
    """How many publishers (relays and sweepers) work at a time."""
    most_holds: int = 2
    """Of each worker: an old execution that has not noticed, and a new one."""


class Budget(NamedTuple):
    """How often each thing may still go wrong, or be done by somebody."""

    crash: int = 0
    stall: int = 0
    lost_commit: int = 0
    lost_message: int = 0
    double_message: int = 0
    lost_publisher: int = 0
    cancel: int = 0
    resume: int = 0
    edit: int = 0
    sigterm: int = 0
    retry: int = 0
    pause: int = 0


class Row(NamedTuple):
    """The program's row, as far as the protocol looks at it."""

    step: int = 0
    retries: int = 0
    losses: int = 0
    end: str = ""
    due: str = PAST
    due_write: int = OWN
    """Which write of `due_at` it is: what `WHERE due_at = <as read>` compares."""
    is_woken: bool = False
    lease: int = NONE
    claimed_by: str = ""
    awaiting: bool = False
    resumes: int = 0
    is_excused: bool = False
    """Not in the table: the lease may be lost, because its worker died or stalled."""


class Hold(NamedTuple):
    """A program as an execution in a worker holds it."""

    worker: str
    lease: int
    step: int
    resumes: int
    retries: int
    losses: int
    phase: str
    is_valid: bool = True
    """By the worker's own clock the lease has not ended."""
    is_dismissed: bool = False
    """Not in the worker: a person or an endpoint took the lease away; it need not know yet."""
    receipt: str = ""
    """The row in `attempts` of this lease and step: none, `stands` or `lost`."""

    @property
    def attempt(self) -> int:
        """The number of this try."""
        return 1 + self.retries + self.losses


class Reading(NamedTuple):
    """What a publisher (the relay or a sweeper) read, and whether its wake-up was confirmed."""

    due_write: int
    is_published: bool = False


class Token(NamedTuple):
    """What an endpoint may report with."""

    step: int
    resumes: int
    attempt: int


class State(NamedTuple):
    """Everything."""

    budget: Budget
    row: Row = Row()
    wakeups: int = 0
    readings: tuple[Reading, ...] = ()
    holds: tuple[Hold, ...] = ()
    tokens: tuple[Token, ...] = ()

    def spend(self, name: str) -> "State | None":
        """Take one from the budget, if there is one left."""
        left: int = getattr(self.budget, name)
        return self._replace(budget=self.budget._replace(**{name: left - 1})) if left else None

    def without(self, hold: Hold) -> tuple[Hold, ...]:
        """Return what is held besides this."""
        at = self.holds.index(hold)
        return self.holds[:at] + self.holds[at + 1 :]

    def with_hold(self, old: Hold, new: Hold) -> "State":
        """Replace a hold."""
        return self._replace(holds=(*self.without(old), new))


def is_claimable(row: Row) -> bool:
    """Say whether a claim finds the row (rule R1)."""
    return not row.end and row.due == PAST


def normal(state: State) -> State:
    """Make what was just written the row's own, and what it replaced stale."""
    row, holds, readings = state.row, state.holds, state.readings
    if row.lease in {NONE, FRESH}:
        new = {OWN: STALE, FRESH: OWN}
        holds = tuple(hold._replace(lease=new.get(hold.lease, STALE)) for hold in holds)
        row = row._replace(lease=new.get(row.lease, NONE) if row.lease else NONE)
        if state.row.lease == FRESH or not row.lease:
            row = row._replace(is_excused=False)
    if row.due_write == FRESH:
        readings = tuple(each._replace(due_write=STALE) for each in readings)
        row = row._replace(due_write=OWN)
    return state._replace(
        row=row,
        holds=tuple(sorted(holds)),
        readings=tuple(sorted(readings)),
        tokens=tuple(sorted(set(state.tokens))),
    )


def broken_by(before: State, after: State, *, is_by_people: bool) -> str:
    """Name the promise that this change of the whole breaks, if it does."""
    old, new = before.row, after.row
    if old.end and not is_by_people and _facts(old) != _facts(new):
        return "invariant 6: a program that had ended was changed"
    if new.step not in {old.step, old.step + 1}:
        return "invariant 4: steps run out of order"
    valid = [hold for hold in after.holds if hold.is_valid and not hold.is_dismissed]
    if sum(hold.phase in {"holding", "running"} for hold in valid) > 1:
        return "invariant 3: two executions hold leases that they may believe in"
    return ""


def _facts(row: Row) -> Row:
    """Return what must not change once the program has ended: letting go is allowed."""
    return row._replace(lease=NONE, claimed_by="", is_excused=False, due=PAST, due_write=OWN)
