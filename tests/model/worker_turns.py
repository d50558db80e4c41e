"""Worker turns: claim, renew, record and edit, also under leases that were lost, and again."""

import time
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from builders import next_step
from model.games import (
    DATA,
    DONE,
    FAILURES,
    KINDS,
    LATER,
    LONG_S,
    OLD,
    PLAIN,
    RUN_IDS,
    Game,
    is_held,
)
from model.reference import QUEUES, Held
from program_service.bookkeeping.ledger.claiming import (
    Claim,
    Claimant,
    Missed,
    claim,
)
from program_service.bookkeeping.ledger.job_data import EditKind, JobDataEdit, change_job_data
from program_service.bookkeeping.ledger.recording import Recorded, StepRecord, record
from program_service.bookkeeping.ledger.renewing import Hold, Renewal, renew
from program_service.bookkeeping.lifecycle import (
    Accepted,
    Claimed,
    Fail,
    LetGo,
    Outcome,
    Released,
    Terms,
    Yielded,
    settle,
)

WORKERS = st.sampled_from(["worker-1", "worker-2"])
BATCHES = st.lists(RUN_IDS, min_size=1, max_size=2, unique=True)
FEW, MANY = 1, 16
SLOTS = st.sampled_from([FEW, MANY])
"""With many, two suspects may run beside each other."""

ONCE_OR_TWICE, TWICE = (1, 2), 2
"""Lost leases of a suspect."""

KNOWN = st.sampled_from([("a", "b"), ("a", "b"), ("a",)])
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    *(DONE, DONE, DONE, LATER, LATER, st.builds(Fail, FAILURES)),
    *(st.just(Accepted(LONG_S)), st.just(Accepted(LONG_S))),
    st.sampled_from([Yielded(), Released(), Released(LONG_S), LetGo()]),
)

ENDS = st.tuples(OUTCOMES, st.booleans(), st.booleans())
"""An outcome, whether the worker may go on, and whether the answer to COMMIT is lost."""

Ended: TypeAlias = tuple[tuple[Claimed, Held], Outcome, bool]
"""What was held, what came of it, and whether the worker may go on with the next step."""


class WorkerTurns(Game):
    """Turns of two workers."""

    @rule(worker=WORKERS, run_ids=BATCHES, knows=KNOWN, slots=SLOTS)
    def claim(self, worker: str, run_ids: list[str], knows: tuple[str, ...], slots: int) -> None:
        """Claim programs in one transaction."""
        wishes = [Claim(run_id, next(self.names)) for run_id in run_ids]
        self._claim(wishes, worker, knows, slots)

    @rule(worker=WORKERS, run_id=RUN_IDS, ends=st.lists(ENDS, max_size=3))
    def work(self, worker: str, run_id: str, ends: list[tuple[Outcome, bool, bool]]) -> None:
        """Claim a program as soon as time lets, and run some steps, as a worker undisturbed."""
        self._hold(worker, run_id)
        for outcome, goes_on, is_unheard in ends:
            if self._hold(worker, run_id):
                self.every_row_is_as_expected()
                self.record([(0, outcome, goes_on)], is_unheard=is_unheard)
                self.every_row_is_as_expected()

    def _hold(self, worker: str, run_id: str) -> bool:
        """Claim a program that is not held by the newest hold; say whether it is now."""
        if not self._is_good(run_id):
            self.let_time_pass()
            self._claim([Claim(run_id, next(self.names))], worker, ("a", "b"))
        return self._is_good(run_id)

    def _is_good(self, run_id: str) -> bool:
        told = self.holds[-1][1] if self.holds else None
        return told is not None and told.run_id == run_id and self.expected[run_id].accepts(told)

    @precondition(is_held)
    @rule(ago=OLD)
    def claim_again(self, ago: int) -> None:
        """Try a claim again whose COMMIT answer was lost, unless the row is to be had anew."""
        told = self.held(ago)[1]
        program = self.expected[told.run_id]
        if program.lease == told.lease or program.due != "now":
            self._claim([Claim(told.run_id, told.lease)], told.worker, ("a", "b"))

    def _claim(
        self, wishes: list[Claim], worker: str, knows: tuple[str, ...], slots: int = FEW
    ) -> None:
        claimant = Claimant(worker, knows, LONG_S, slots=slots, put_off_s=LONG_S)
        put_off = self._put_off(wishes, knows, slots)
        for wish, answer in zip(wishes, self.bench.transact(claim, wishes, claimant), strict=True):
            program = self.expected[wish.run_id]
            if wish.run_id in put_off:
                assert answer is Missed.PUT_OFF
                program.put_off()
                continue
            verdict = program.claim(wish.lease, worker, knows)
            if verdict != "held":
                assert isinstance(answer, Missed)
                assert answer.value == verdict
                continue
            assert isinstance(answer, Claimed)
            told = program.held_by(worker)
            assert _as_told(answer, worker) == told
            assert (answer.job_data, answer.version) == (program.job_data, program.version)
            self.holds.append((answer, told))

    def _put_off(self, wishes: list[Claim], knows: tuple[str, ...], slots: int) -> list[str]:
        """Return the suspects that a worker must not hold beside the others (rule R11)."""
        leases = {wish.run_id: wish.lease for wish in wishes}
        asked = [program for run_id, program in self.expected.items() if run_id in leases]
        beside = [
            each.losses
            for each in asked
            if each.lease == leases[each.run_id] and each.losses in ONCE_OR_TWICE
        ]
        put_off = []
        for each in asked:
            losses = each.losses + bool(each.lease)
            is_suspect = each.is_suspect_for(leases[each.run_id], knows)
            if not is_suspect or losses not in ONCE_OR_TWICE:
                continue
            is_any_twice = TWICE in (losses, *beside)
            if len(beside) < (1 if is_any_twice else max(1, slots // 8)):
                beside.append(losses)
            else:
                put_off.append(each.run_id)
        return put_off

    @precondition(is_held)
    @rule(old=st.lists(OLD, min_size=1, max_size=3))
    def renew(self, old: list[int]) -> None:
        """Renew leases, also such as were lost."""
        batch = [self.held(ago) for ago in old]
        asked = [Hold(claimed.id, told.lease) for claimed, told in batch]
        renewals = self.bench.transact(renew, asked, lease_s=LONG_S)
        for hold, (_, told) in zip(asked, batch, strict=True):
            is_kept = self.expected[told.run_id].renew(told.lease)
            assert renewals[hold] is (Renewal.RENEWED if is_kept else Renewal.LOST)

    @precondition(is_held)
    @rule(
        batch=st.lists(st.tuples(OLD, OUTCOMES, st.booleans()), min_size=1, max_size=2),
        is_unheard=st.booleans(),
    )
    def record(self, batch: list[tuple[int, Outcome, bool]], *, is_unheard: bool) -> None:
        """Record what became of steps, also under lost leases; twice, if no answer was heard."""
        held = [(self.held(ago), outcome, goes_on) for ago, outcome, goes_on in batch]
        self._record(held)
        if is_unheard:
            self._record(held)

    def _record(self, batch: list[Ended]) -> None:
        records = [_record(*each) for each in batch]
        answers = self.bench.transact(record, records)
        facts: dict[str, tuple[int, Any]] = {}
        for ended, step, answer in zip(batch, records, answers, strict=True):
            (claimed, told), outcome, goes_on = ended
            program = self.expected[told.run_id]
            is_new = program.accepts(told)
            assert (answer is not None) == self.expect(told, outcome, goes_on=goes_on)
            if answer is None:
                continue
            assert isinstance(answer, Recorded)
            facts[told.run_id] = (answer.version, answer.job_data if is_new else None)
            if is_new and step.change.is_lease_kept:
                following = next_step(claimed, answer)
                self.holds.append((following, program.held_by(told.worker)))
        for run_id, (version, job_data) in facts.items():
            program = self.expected[run_id]
            assert version == program.version
            assert job_data is None or job_data == program.job_data

    @precondition(is_held)
    @rule(batch=st.lists(st.tuples(OLD, KINDS, DATA), min_size=1, max_size=3))
    def edit_own_data(self, batch: list[tuple[int, EditKind, Any]]) -> None:
        """Let running jobs edit their data; several edits of a program are one change of it."""
        edits = [JobDataEdit(self.held(ago)[0], kind, value) for ago, kind, value in batch]
        answers = self.bench.transact(change_job_data, edits)
        versions = {run_id: each.version for run_id, each in self.expected.items()}
        for (ago, kind, value), answer in zip(batch, answers, strict=True):
            told = self.held(ago)[1]
            program = self.expected[told.run_id]
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
    terms = Terms(PLAIN, is_next_mine=is_next_mine)
    change, now = settle(program, outcome, terms), time.monotonic()
    return StepRecord(program, change, QUEUES[change.job], told.worker, began=now, ended=now)
