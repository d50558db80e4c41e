"""Stories: facts of storms that never were, told line by line, to be judged."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from chaos.storm.facts import Attempt, Facts, Note, Row, State, Struck
from chaos.storm.schedule import Kind
from journal import Entry

LEASE_S = 5.0


@dataclass(slots=True)
class Story:
    """What happened so far; every sentence takes its moment last."""

    notes: list[Note] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    ended_alone: list[str] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)
    _transaction: int = 0

    def facts(self) -> Facts:
        """Return the whole, with each row as its last change left it, if it was not said."""
        rows = {run_id: self._row(run_id) for run_id in self.jobs} | self.rows
        return Facts(
            lease_s=LEASE_S,
            notes=self.notes,
            entries=self.entries,
            rows=rows,
            attempts=self.attempts,
            states=self.states,
            struck=self.struck,
            ended_alone=self.ended_alone,
            poison=frozenset(self.poison),
        )

    def last(self, run_id: str) -> State:
        """Return a program's row as it stands."""
        return [state for state in self.states if state.run_id == run_id][-1]

    def note(self, what: str, run_id: str, status: int = 200, value: Any = None) -> Self:
        """Have a client write something down."""
        self.notes.append(Note(what, f"key of {run_id}", run_id, status, value))
        return self

    def submit(self, run_id: str, at: float, *, jobs: int = 2) -> Self:
        """Accept a program."""
        self.jobs[run_id] = jobs
        self._transaction += 1
        first = State(
            run_id,
            at,
            self._transaction,
            step=0,
            resumes=0,
            lease=None,
            holder=None,
            due_at=at,
            is_finished=False,
            is_errored=False,
            is_cancelled=False,
            retries=0,
            losses=0,
            data="",
        )
        self.states.append(first)
        return self.note("accepted", run_id, 201)

    def change(self, run_id: str, at: float, **facts: Any) -> Self:
        """Commit a change of a row."""
        self._transaction += 1
        changed = replace(self.last(run_id), at=at, transaction=self._transaction, **facts)
        self.states.append(changed)
        return self

    def claim(self, run_id: str, worker: str, lease: str, at: float) -> Self:
        """Give a worker a lease."""
        return self.change(run_id, at, lease=lease, holder=worker, due_at=at + LEASE_S)

    def write(self, run_id: str, worker: str, what: str, at: float, *, step: int = 0) -> Self:
        """Have a job write a line."""
        self.entries.append(Entry(run_id, step, 1, worker, what, at))
        return self

    def record(self, run_id: str, worker: str, lease: str, at: float) -> Self:
        """Record that the current step is done: on to the next, or finished."""
        step = self.last(run_id).step
        facts: dict[str, Any]
        if step + 1 == self.jobs[run_id]:
            facts = {"lease": None, "holder": None, "due_at": None, "is_finished": True}
        else:
            facts = {"due_at": at + LEASE_S}
        self.change(run_id, at, step=step + 1, **facts)
        return self.receipt(run_id, worker, lease, step=step)

    def receipt(self, run_id: str, worker: str, lease: str, *, step: int) -> Self:
        """Write an attempt in the transaction of the last change."""
        done = Attempt(run_id, step, lease, worker, "done", self._transaction)
        self.attempts.append(done)
        return self

    def run(self, run_id: str, worker: str, lease: str, at: float) -> Self:
        """Run the current step within a second, and record it."""
        step = self.last(run_id).step
        self.write(run_id, worker, "begin", at + 0.1, step=step)
        self.write(run_id, worker, "end", at + 0.8, step=step)
        return self.record(run_id, worker, lease, at + 0.9)

    def strike(self, kind: Kind, worker: str, since: float, until: float) -> Self:
        """Let a fault happen to a worker."""
        if kind is Kind.KILL_WORKER:
            self.entries.append(Entry("", -1, -1, worker, "killed", until))
        self.struck.append(Struck(kind, frozenset([worker]), since, until, 1))
        return self

    def lock(self, run_id: str, since: float, until: float) -> Self:
        """Let somebody lock the row of a program."""
        programs = frozenset([run_id])
        self.struck.append(Struck(Kind.LOCK_ROWS, frozenset(), since, until, 1, programs))
        return self

    def _row(self, run_id: str) -> Row:
        last = self.last(run_id)
        return {
            "jobs": ["job"] * self.jobs[run_id],
            "program_data": {"key": f"key of {run_id}"},
            "job_data": {},
            "step": last.step,
            "resumes": last.resumes,
            "due_at": last.due_at,
            "finished_at": last.at if last.is_finished else None,
            "errored_at": last.at if last.is_errored else None,
            "cancelled_at": last.at if last.is_cancelled else None,
            "error_message": None,
            "lease_losses": last.losses,
        }
