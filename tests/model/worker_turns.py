"""Worker turns: claim, renew, record and edit, also under leases that were lost, and again."""

import time
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, multiple, rule

from model.games import DATA, KINDS, LONG_S, PLAIN, REPORTS, RUN_IDS, Game
from model.reference import QUEUES, Held
from program_service.bookkeeping.ledger.claiming import Claim, Claimant, Hold, claim, renew
from program_service.bookkeeping.ledger.job_data import EditKind, JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.recording import StepRecord, record
from program_service.bookkeeping.lifecycle import (
    Accepted,
    Claimed,
    LetGo,
    Outcome,
    Released,
    Terms,
    Yielded,
    settle,
)

WORKERS = st.sampled_from(["worker-1", "worker-2"])
BATCHES = st.lists(RUN_IDS, min_size=1, max_size=2, unique=True)
KNOWN = st.sampled_from([("a", "b"), ("a", "b"), ("a",)])
OUTCOMES: st.SearchStrategy[Outcome] = REPORTS | st.sampled_from(
    [Accepted(LONG_S), Yielded(), Released(), Released(LONG_S), LetGo()]
)


class WorkerTurns(Game):
    """Turns of two workers."""

    holds: Bundle[tuple[Claimed, Held]] = Bundle("holds")

    @rule(target=holds, worker=WORKERS, run_ids=BATCHES, knows=KNOWN)
    def claim(self, worker: str, run_ids: list[str], knows: tuple[str, ...]) -> Any:
        """Claim programs in one transaction."""
        wishes = [Claim(run_id, next(self.names)) for run_id in run_ids]
        return self._claim(wishes, worker, knows)

    @rule(target=holds, hold=holds)
    def claim_again(self, hold: tuple[Claimed, Held]) -> Any:
        """Try a claim again whose COMMIT answer was lost, unless the row is to be had anew."""
        told = hold[1]
        program = self.expected[told.run_id]
        if program.lease != told.lease and program.due == "now":
            return multiple()
        return self._claim([Claim(told.run_id, told.lease)], told.worker, ("a", "b"))

    def _claim(self, wishes: list[Claim], worker: str, knows: tuple[str, ...]) -> Any:
        claimant = Claimant(worker, knows, LONG_S)
        held = []
        for wish, answer in zip(wishes, self.bench.transact(claim, wishes, claimant), strict=True):
            program = self.expected[wish.run_id]
            verdict = program.claim(wish.lease, worker, knows)
            if verdict != "held":
                assert not isinstance(answer, Claimed)
                assert answer.value == verdict
                continue
            assert isinstance(answer, Claimed)
            told = program.held_by(worker)
            assert _as_told(answer, worker) == told
            assert (answer.job_data, answer.version) == (program.job_data, program.version)
            held.append((answer, told))
        return multiple(*held)

    @rule(batch=st.lists(holds, min_size=1, max_size=3))
    def renew(self, batch: list[tuple[Claimed, Held]]) -> None:
        """Renew leases, also such as were lost."""
        asked = [Hold(claimed.id, told.lease) for claimed, told in batch]
        renewed = self.bench.transact(renew, asked, lease_s=LONG_S)
        kept = {
            hold
            for hold, (_, told) in zip(asked, batch, strict=True)
            if self.expected[told.run_id].renew(told.lease)
        }
        assert renewed == kept

    @rule(
        target=holds,
        batch=st.lists(st.tuples(holds, OUTCOMES, st.booleans()), min_size=1, max_size=3),
    )
    def record(self, batch: list[tuple[tuple[Claimed, Held], Outcome, bool]]) -> Any:
        """Record what became of steps, also under leases that were lost, and again."""
        records = [_record(*each) for each in batch]
        answers = self.bench.transact(record, records)
        held = []
        for (hold, outcome, goes_on), answer, told in zip(batch, answers, records, strict=True):
            program = self.expected[hold[1].run_id]
            is_new = program.accepts(hold[1])
            stands = self.expect(hold[1], outcome, goes_on=goes_on)
            assert (answer is not None) == stands
            if answer and is_new and told.change.is_lease_kept:
                following = replace(
                    hold[0],
                    step=hold[0].step + 1,
                    step_retry_count=0,
                    lease_losses=0,
                    job_data=answer.job_data,
                    version=answer.version,
                )
                held.append((following, program.held_by(hold[1].worker)))
        self._check_answers(batch, answers)
        return multiple(*held)

    def _check_answers(self, batch: list[Any], answers: list[Any]) -> None:
        """Compare the last answer for each program with the reference."""
        last = {hold[1].run_id: answer for (hold, _, _), answer in zip(batch, answers, strict=True)}
        for run_id, answer in last.items():
            if answer is not None:
                program = self.expected[run_id]
                assert answer.version == program.version

    @rule(batch=st.lists(st.tuples(holds, KINDS, DATA), min_size=1, max_size=3))
    def edit_own_data(self, batch: list[tuple[tuple[Claimed, Held], EditKind, Any]]) -> None:
        """Let running jobs edit their data; several edits of a program are one change of it."""
        edits = [JobDataEdit(hold[0], kind, value) for hold, kind, value in batch]
        answers = self.bench.transact(change_job_data, edits)
        versions = {run_id: each.version for run_id, each in self.expected.items()}
        for (hold, kind, value), answer in zip(batch, answers, strict=True):
            told, program = hold[1], self.expected[hold[1].run_id]
            is_mine = (told.lease, told.step) == (program.lease, program.step)
            if program.has_ended or not is_mine:
                assert answer is None
                continue
            program.edit(program.job, kind, value)
            program.version = versions[told.run_id] + 1
            assert answer == program.job_data


def _as_told(program: Claimed, worker: str) -> Held:
    return Held(
        program.run_id,
        program.lease,
        program.step,
        program.step_retry_count,
        program.attempt,
        program.resumes,
        worker,
    )


def _record(hold: tuple[Claimed, Held], outcome: Outcome, is_next_mine: bool) -> StepRecord:  # noqa: FBT001 - drawn
    program, told = hold
    terms = Terms(PLAIN, lease_s=LONG_S, is_next_mine=is_next_mine)
    change, now = settle(program, outcome, terms), time.monotonic()
    return StepRecord(program, change, QUEUES[change.job], told.worker, began=now, ended=now)
