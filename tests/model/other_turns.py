"""Other turns: endpoints report, people submit, edit, cancel and resume."""

from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from builders import by_hand, seconds_ago
from model.games import (
    DATA,
    KINDS,
    LONG_S,
    OLD,
    PLAIN,
    REPORTS,
    RUN_IDS,
    Game,
    a_submission,
    is_held,
)
from model.reference import QUEUES, Held
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import AlreadyFinal, NotResumable, StaleStep
from program_service.bookkeeping.ledger.callbacks import (
    CALLBACK,
    Report,
    Ticket,
    merge_callback_data,
    prolong,
    settle_callback,
)
from program_service.bookkeeping.ledger.job_data import EditKind, edit_job_data
from program_service.bookkeeping.ledger.keys import Mismatched, Replayed
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.ledger.submitting import submit
from program_service.bookkeeping.lifecycle import Done, Fail, RetryLater


class EndpointTurns(Game):
    """Turns of endpoints, which have the token of every try that there ever was."""

    @precondition(is_held)
    @rule(ago=OLD, outcome=REPORTS)
    def report(self, ago: int, outcome: Done | RetryLater | Fail) -> None:
        """Let an endpoint report, with a token of any try that there ever was."""
        told = self.held(ago)[1]
        program = self.expected[told.run_id]
        is_current = program.is_current(told, same_try=not isinstance(outcome, Done))
        try:
            self.bench.transact(
                settle_callback, Report(_ticket(told), outcome, PLAIN), queues=QUEUES
            )
        except StaleStep:
            assert not is_current
            return
        assert is_current
        (lease,) = self._new_leases(told.run_id)
        program.lease = lease
        self.expect(program.held_by(CALLBACK), outcome, goes_on=False)

    def _new_leases(self, run_id: str) -> set[str]:
        """Return the leases of attempts that the reference does not know."""
        attempts = self.bench.database.tables.attempts.c
        query = sa.select(attempts.lease).where(attempts.run_id == run_id)

        async def select(books: Books) -> set[str]:
            return {row.lease for row in await books.select(query)}

        known = {lease for lease, _ in self.expected[run_id].tries}
        return self.bench.run(self.bench.database.read(select)) - known

    @precondition(is_held)
    @rule(ago=OLD)
    def beat(self, ago: int) -> None:
        """Let an endpoint ask for more time."""
        told = self.held(ago)[1]
        program = self.expected[told.run_id]
        try:
            self.bench.transact(prolong, _ticket(told), within_s=LONG_S)
        except StaleStep:
            assert not program.is_current(told, same_try=True)
        else:
            assert program.is_current(told, same_try=True)
            if program.awaiting:
                program.due, program.is_woken = "later", False

    @precondition(is_held)
    @rule(ago=OLD, data=DATA)
    def merge_callback_data(self, ago: int, data: Any) -> None:
        """Let an endpoint merge into the data of its step."""
        told = self.held(ago)[1]
        program = self.expected[told.run_id]
        try:
            answer = self.bench.transact(merge_callback_data, _ticket(told), data)
        except StaleStep:
            assert not program.is_current(told, same_try=True)
        else:
            assert program.is_current(told, same_try=True)
            program.edit(program.job, "merge", data)
            assert answer == program.job_data[program.job]


class PeopleTurns(Game):
    """Turns of people."""

    @rule(run_id=RUN_IDS, same_body=st.booleans())
    def submit_again(self, run_id: str, *, same_body: bool) -> None:
        """Submit with a key that was used before: no second program comes of it."""
        new = a_submission("another", run_id, body="body" if same_body else "other")
        (answer,) = self.bench.transact(submit, [new])
        if same_body:
            assert answer == Replayed(run_id)
        else:
            assert isinstance(answer, Mismatched)

    @rule(run_id=RUN_IDS, job=st.sampled_from(["a", "b"]), kind=KINDS, value=DATA)
    def edit_data(self, run_id: str, job: str, kind: EditKind, value: Any) -> None:
        """Let somebody edit a job's data from outside."""
        program = self.expected[run_id]
        try:
            answer = self.bench.transact(edit_job_data, run_id, job, kind=kind, value=value)
        except AlreadyFinal:
            assert program.is_finished
        else:
            assert not program.is_finished
            program.edit(job, kind, value)
            assert answer == program.job_data[job]

    @rule(run_id=RUN_IDS)
    def cancel(self, run_id: str) -> None:
        """Let somebody cancel a program."""
        program = self.expected[run_id]
        try:
            _, is_new = self.bench.transact(cancel, run_id)
        except AlreadyFinal:
            assert program.has_ended
            assert not program.is_cancelled
            return
        assert is_new != program.has_ended
        if is_new:
            program.cancel()

    @rule(run_id=RUN_IDS, step=st.sampled_from([None, None, 0, 1, 2]))
    def resume(self, run_id: str, step: int | None) -> None:
        """Let somebody resume a program, from its step or another."""
        program = self.expected[run_id]
        is_errored = program.is_errored and not program.is_finished
        has_step = step is None or step < len(program.jobs)
        try:
            self.bench.transact(resume, run_id, queues=QUEUES, from_step=step)
        except NotResumable:
            assert not (is_errored and has_step)
        else:
            assert is_errored
            assert has_step
            program.resume(step)

    @rule(run_id=RUN_IDS)
    def edit_errored_at(self, run_id: str) -> None:
        """Let somebody set `errored_at` in SQL, or clear it."""
        program = self.expected[run_id]
        if program.is_finished:
            return
        program.is_errored = not program.is_errored
        moment = seconds_ago(self.bench.database, 0) if program.is_errored else None
        self.bench.run(by_hand(self.bench.database, run_id, errored_at=moment))


def _ticket(told: Held) -> Ticket:
    return Ticket(told.run_id, told.step, told.resumes, told.attempt)
