"""Games: the real ledger and the reference side by side, whatever comes in what order.

Workers, the sweeper, endpoints, people and time take turns at two programs; each kind of turn is a
rule in a module of its own. After each turn every column of every row is compared with the
reference, and every answer was.
"""

import itertools
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from builders import a_key, a_program
from model.bench import Bench, seen, wanted
from model.reference import MAX_ATTEMPTS, QUEUES, Expected, Held
from program_service.bookkeeping.ledger.job_data import EditKind
from program_service.bookkeeping.ledger.submitting import NewProgram, Submitted, submit
from program_service.bookkeeping.lifecycle import (
    Accepted,
    Claimed,
    Done,
    Fail,
    Failure,
    LetGo,
    Outcome,
    Released,
    RetryLater,
    Yielded,
)
from program_service.bookkeeping.retry import Retry

LONG_S = 3_600.0
"""Every lease, backoff and deadline."""

PLAIN = Retry(max_attempts=MAX_ATTEMPTS, initial_s=LONG_S, max_s=LONG_S, jitter="none")
PROGRAMS = {"run-1": ("a", "b", "a", "b"), "run-2": ("b", "b", "a")}

OLD = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 7])
"""How many holds ago: mostly the newest, which is good for something."""

RUN_IDS = st.sampled_from(sorted(PROGRAMS))
DATA = st.sampled_from([{"n": 1}, {"n": {"deep": 2}}, {"m": None}, {}])
KINDS: st.SearchStrategy[EditKind] = st.sampled_from(["set", "merge"])
FAILURES = st.sampled_from(["the bank is closed", "the card was refused"]).map(Failure)
DONE = st.builds(Done, st.none() | DATA)
LATER = st.builds(RetryLater, FAILURES)
REPORTS: st.SearchStrategy[Done | RetryLater | Fail] = st.one_of(
    DONE, DONE, DONE, LATER, LATER, st.builds(Fail, FAILURES)
)


class Game(RuleBasedStateMachine):
    """What all turns share."""

    bench: Bench

    def __init__(self) -> None:
        """Begin before the first turn."""
        super().__init__()
        self.expected: dict[str, Expected] = {}
        self.holds: list[tuple[Claimed, Held]] = []
        self.names = (f"lease-{number}" for number in itertools.count())
        self.earlier = timedelta(0)

    @initialize()
    def submit_all(self) -> None:
        """Submit the programs, each with an idempotency key."""
        self.bench.empty()
        news = [a_submission(run_id, run_id) for run_id in PROGRAMS]
        for answer in self.bench.transact(submit, news):
            assert isinstance(answer, Submitted)
            jobs = PROGRAMS[answer.run_id]
            self.expected[answer.run_id] = Expected(answer.run_id, jobs, queue=QUEUES[jobs[0]])

    def held(self, ago: int) -> tuple[Claimed, Held]:
        """Return what a worker was told so many claims and steps ago."""
        return self.holds[-1 - ago % len(self.holds)]

    def let_time_pass(self) -> None:
        """Let leases end, retries come due and deadlines pass."""
        self.earlier += self.bench.wait(timedelta(hours=2))
        for program in self.expected.values():
            program.due = "now" if program.due == "later" else program.due

    def expect(self, told: Held, outcome: Outcome, *, goes_on: bool) -> bool:
        """Tell the reference; return whether the outcome stands."""
        program = self.expected[told.run_id]
        if isinstance(outcome, LetGo):
            return program.let_go(told)
        if not program.accepts(told):
            return program.has_receipt(told)
        _tell(program, told, outcome, goes_on=goes_on)
        return True

    @invariant()
    def every_row_is_as_expected(self) -> None:
        """Compare whole rows, their status and their attempts."""
        rows = self.bench.run(self.bench.database.read(seen))
        assert rows == {run_id: wanted(each) for run_id, each in self.expected.items()}


def is_held(game: Game) -> bool:
    """Say whether anything was ever claimed."""
    return bool(game.holds)


def a_submission(run_id: str, key: str, body: str = "body") -> NewProgram:
    """Make a program with an idempotency key."""
    jobs = PROGRAMS.get(run_id, ("a",))
    return a_program(run_id, jobs=jobs, queue=QUEUES[jobs[0]], idempotency=a_key(key, body=body))


def _tell(program: Expected, told: Held, outcome: Outcome, *, goes_on: bool) -> None:
    match outcome:
        case Done(data):
            program.done(told, data, goes_on=goes_on)
        case RetryLater(failure):
            program.retry(told, failure.message)
        case Fail(failure):
            program.fail(told, failure.message)
        case Accepted():
            program.accept(told)
        case Yielded():
            program.give_back(told, "yielded", "now")
        case Released(seconds):
            program.give_back(told, "released", "later" if seconds else "now")
