"""Spans: who held which step of a program, from when until when, by what the rows said."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from chaos.storm.facts import Facts, State
from journal import Entry

CLOCKS_S = 0.05
"""What the readings of two clocks of one machine may differ."""

LATE_S = 0.5
"""From a worker's last look at its lease to the first line of the job, on a busy machine."""


@dataclass(slots=True)
class Span:
    """One step of a program under one lease, from the commit that gave it."""

    run_id: str
    step: int
    lease: str
    holder: str
    since: float
    until: float
    """When the lease ends, as renewed last."""
    gone_at: float = inf
    """When the row named another lease or another step, or none."""

    def covers(self, begin: Entry) -> bool:
        """Say whether a step was begun under it; its worker may not know yet that it is gone."""
        return (begin.run_id, begin.step, begin.worker) == (
            self.run_id,
            self.step,
            self.holder,
        ) and self.since - CLOCKS_S <= begin.at <= self.until + LATE_S


def spans_of(states: Iterable[State]) -> list[Span]:
    """Return the spans of one program, in their order."""
    spans: list[Span] = []
    current: Span | None = None
    for state in states:
        if current and (state.lease, state.step) != (current.lease, current.step):
            current.gone_at = state.at
            current = None
        if state.lease is None or state.due_at is None:
            continue
        if current is None:
            current = Span(
                state.run_id,
                state.step,
                state.lease,
                holder=state.holder or "",
                since=state.at,
                until=state.due_at,
            )
            spans.append(current)
        elif not state.is_final:
            current.until = max(current.until, state.due_at)
    return spans


class Holders:
    """The spans of all programs."""

    def __init__(self, facts: Facts) -> None:
        """Work them out."""
        self.of = {run_id: spans_of(states) for run_id, states in facts.history.items()}
        self._by_place: defaultdict[tuple[str, int, str], list[Span]] = defaultdict(list)
        for spans in self.of.values():
            for span in spans:
                self._by_place[span.run_id, span.step, span.holder].append(span)

    def of_worker(self, begin: Entry) -> list[Span]:
        """Return all spans of a step that its worker ever held."""
        return self._by_place[begin.run_id, begin.step, begin.worker]

    def covering(self, begin: Entry) -> Span | None:
        """Return the span that a step was begun under, the latest that fits; None without one."""
        fitting = [span for span in self.of_worker(begin) if span.covers(begin)]
        return fitting[-1] if fitting else None
