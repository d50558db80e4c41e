"""Journal: each step was begun in its turn, by its holder, and again only for a reason."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from chaos.storm.facts import MACHINE, Facts, State
from chaos.storm.rules import Broken, Rule
from chaos.storm.schedule import Kind
from chaos.storm.spans import CLOCKS_S, LATE_S, Holders
from journal import Entry

AWAKE_S = 1.0
"""A worker that was frozen just before a job's first line writes it when it is awake again."""


PATIENCE = 10
"""A worker waits a sixth of a lease for a renewal; the statement is not all of it."""


class Turns:
    """The beginnings of a journal, and what the rows say of each."""

    def __init__(self, facts: Facts) -> None:
        """Match beginnings with leases."""
        self.facts = facts
        self.holders = Holders(facts)
        self.begins = [entry for entry in facts.entries if entry.what == "begin"]
        self.covering = {id(begin): self.holders.covering(begin) for begin in self.begins}
        self.sleepers = {id(each) for each in self.begins if self._was_asleep(each)}
        self.again = _again(self.begins)

    def _was_asleep(self, begin: Entry) -> bool:
        """Whether its worker held the step, and was frozen while the lease ended."""
        return (
            self.covering[id(begin)] is None
            and any(span.since <= begin.at for span in self.holders.of_worker(begin))
            and any(
                struck.kind in {Kind.FREEZE_WORKER, MACHINE}
                and struck.reaches(begin.worker, begin.at - AWAKE_S, begin.at)
                for struck in self.facts.struck
            )
        )

    def out_of_order(self) -> Iterator[Broken]:
        """Find steps begun before the one before them had ended, or after a later one."""
        ended: defaultdict[str, set[int]] = defaultdict(set)
        newest: Counter[str] = Counter()
        for entry in self.facts.entries:
            if entry.what == "end":
                ended[entry.run_id].add(entry.step)
            if entry.what != "begin" or id(entry) in self.sleepers:
                continue
            is_early = entry.step > 0 and entry.step - 1 not in ended[entry.run_id]
            if is_early or entry.step < newest[entry.run_id]:
                yield Broken(Rule.ORDER, entry.run_id, f"{entry}")
            newest[entry.run_id] = max(newest[entry.run_id], entry.step)

    def uncommitted(self) -> Iterator[Broken]:
        """Find steps begun before any row said that it was their turn."""
        first: dict[tuple[str, int], float] = {}
        for state in self.facts.states:
            first.setdefault((state.run_id, state.step), state.at)
        for begin in self.begins:
            at = first.get(begin.of)
            if at is None or begin.at < at - CLOCKS_S:
                yield Broken(Rule.UNCOMMITTED, begin.run_id, f"{begin}")

    def without_lease(self) -> Iterator[Broken]:
        """Find steps begun by a worker that did not hold them, or twice under one lease."""
        for begin in self.begins:
            if self.covering[id(begin)] is None and id(begin) not in self.sleepers:
                yield Broken(Rule.NO_LEASE, begin.run_id, f"{begin}")
        counts = Counter((*begin.of, begin.worker) for begin in self.begins)
        for (run_id, step, worker), count in counts.items():
            held = [
                span
                for span in self.holders.of.get(run_id, [])
                if (span.step, span.holder) == (step, worker)
            ]
            if count > max(1, len(held)):
                yield Broken(Rule.SAME_LEASE, run_id, f"step {step} by {worker}, {count} times")

    def overlaps(self) -> list[tuple[Entry, Entry]]:
        """Return the beginnings that found another one of the same program still running."""
        running: defaultdict[str, dict[tuple[int, int, str], Entry]] = defaultdict(dict)
        found = []
        for entry in self.facts.entries:
            key = (entry.step, entry.attempt, entry.worker)
            if entry.what == "killed":
                for steps in running.values():
                    for other in [each for each in steps if each[2] == entry.worker]:
                        del steps[other]
            elif entry.what == "begin":
                found += [(other, entry) for other in running[entry.run_id].values()]
                running[entry.run_id][key] = entry
            else:
                running[entry.run_id].pop(key, None)
        return found

    def by_right(self) -> Iterator[Broken]:
        """Find overlaps in which the first one's lease was neither lost nor taken away."""
        for first, second in self.overlaps():
            span = self.covering[id(first)]
            if span and min(span.until, span.gone_at) > second.at + CLOCKS_S:
                yield Broken(Rule.OVERLAP, first.run_id, f"{first} and {second}")

    def unexplained(self) -> Iterator[Broken]:
        """Find steps begun again though they did not ask for it, and nothing befell them."""
        for first, second in self.again:
            if not self._reason(first, second):
                yield Broken(Rule.UNEXPLAINED, first.run_id, f"{first} and {second}")

    def reasons(self) -> Counter[str]:
        """Count the steps that were begun again, by their reasons."""
        return Counter(self._reason(first, second) or "none" for first, second in self.again)

    def _reason(self, first: Entry, second: Entry) -> str | None:
        """Say why a step was begun again: it asked for it, somebody resumed it, or a fault."""
        facts = self.facts
        if id(second) in self.sleepers:
            return "sleeper"
        if any(
            entry.what == "raised"
            and (entry.of, entry.attempt, entry.worker) == (first.of, first.attempt, first.worker)
            for entry in self._of(first.run_id)
        ):
            return "retry"
        states = facts.history.get(first.run_id, [])
        for before, after in pairwise(states):
            if after.resumes > before.resumes and first.at - facts.lease_s < after.at < second.at:
                return "resume"
        lost_at = self._lost_at(first, second)
        is_met = any(
            struck.reaches(first.worker, first.at - facts.lease_s, lost_at)
            or struck.concerns(first.run_id, first.at - facts.lease_s, lost_at)
            for struck in facts.struck
        )
        if is_met:
            return "fault"
        return "slowness" if self._was_slow(first, lost_at) else None

    def _lost_at(self, first: Entry, second: Entry) -> float:
        """Return when the first one's lease had ended: what came later is no reason."""
        span = self.covering[id(first)]
        return min(second.at, span.until + LATE_S) if span else second.at

    def _was_slow(self, first: Entry, lost_at: float) -> bool:
        """Whether the database took so long for a lease that its worker may not have waited.

        The trigger runs at the end of the statement that counted the lease from its own beginning.
        A statement that was slow because it waited for the row of another program is no excuse.
        """
        lease_s = self.facts.lease_s
        return any(
            state.lease is not None
            and not self._waited_for_a_locked_row(state)
            and state.due_at is not None
            and state.holder == first.worker
            and lease_s - (state.due_at - state.at) > lease_s / PATIENCE
            for state in self.facts.states
            if first.at - lease_s < state.at < lost_at
        )

    def _waited_for_a_locked_row(self, state: State) -> bool:
        """Whether somebody had locked rows of others before this one was written."""
        return any(
            struck.since <= state.at <= struck.until + self.facts.lease_s
            for struck in self.facts.struck
            if struck.programs and state.run_id not in struck.programs
        )

    def _of(self, run_id: str) -> Iterator[Entry]:
        return (entry for entry in self.facts.entries if entry.run_id == run_id)


def _again(begins: list[Entry]) -> list[tuple[Entry, Entry]]:
    """Return each beginning that was followed by another of the same step, and that other."""
    last: dict[tuple[str, int], Entry] = {}
    pairs = []
    for entry in begins:
        if entry.of in last:
            pairs.append((last[entry.of], entry))
        last[entry.of] = entry
    return pairs
