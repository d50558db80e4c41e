"""Batches: writes that share a transaction, when it fails, is refused, or its answer is lost.

Each item is a write that a fence lets through once; its receipt says later that it stands (rule
R4, invariants 7 and 12).
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from model.search import Model, Move

Batch: TypeAlias = tuple[int, ...]


class Trouble(NamedTuple):
    """The rules that can be taken away, and what goes wrong."""

    items: int = 4
    bad: tuple[int, ...] = ()
    """What the database refuses to store."""
    splits_refused: bool = True
    reads_receipts: bool = True
    failures: int = 0
    lost_answers: int = 0
    timeouts: int = 0
    """How often callers are told that the database does not answer; they ask again."""


class State(NamedTuple):
    """What is to be written, in which batches, what stands, and what callers were told."""

    failures: int
    lost_answers: int
    timeouts: int
    batches: tuple[Batch, ...]
    standing: frozenset[int] = frozenset()
    told: tuple[tuple[int, str], ...] = ()

    def tell(self, batch: Batch, answers: dict[int, str]) -> "State":
        """Answer the callers of the first batch."""
        told = tuple(sorted((*self.told, *((item, answers[item]) for item in batch))))
        return self._replace(batches=self.batches[1:], told=told)


def commit(state: State, trouble: Trouble) -> Iterator[Move[State]]:
    """Let the first batch be committed, whole; perhaps its answer is lost."""
    batch = state.batches[0]
    if set(batch) & set(trouble.bad):
        return
    answers = {item: _answer(item, state, trouble) for item in batch}
    stored = state._replace(standing=state.standing | set(batch))
    broken = "invariant 7: a write that stands was said to be lost"
    told = stored.tell(batch, answers)
    yield Move(f"{batch} is committed", told, broken=broken if "lost" in answers.values() else "")
    if state.lost_answers:
        lost = stored._replace(lost_answers=state.lost_answers - 1)
        yield Move(f"{batch} is committed; the answer is lost", lost, is_fault=True)


def _answer(item: int, state: State, trouble: Trouble) -> str:
    is_known = item not in state.standing or trouble.reads_receipts
    return "stands" if is_known else "lost"


def refuse(state: State, trouble: Trouble) -> Iterator[Move[State]]:
    """Let the database refuse a batch: it is split, until the bad are alone."""
    batch = state.batches[0]
    if not set(batch) & set(trouble.bad):
        return
    if len(batch) == 1 or not trouble.splits_refused:
        is_unfair = not set(batch) <= set(trouble.bad)
        broken = "invariant 12: a bad row failed its neighbours" if is_unfair else ""
        told = state.tell(batch, dict.fromkeys(batch, "refused"))
        yield Move(f"{batch} is refused", told, broken=broken)
    else:
        middle = len(batch) // 2
        halves = (batch[:middle], batch[middle:], *state.batches[1:])
        yield Move(f"{batch} is refused and split", state._replace(batches=halves))


def fail(state: State, trouble: Trouble) -> Iterator[Move[State]]:
    """Let a transaction fail for a reason that passes: it is tried again whole, or put off."""
    del trouble
    batch, *others = state.batches
    if state.failures:
        again = state._replace(failures=state.failures - 1)
        yield Move(f"{batch} meets a deadlock, and is tried again", again, is_fault=True)
    if state.timeouts:
        # its callers ask again, each for itself; what they ask is put together with what waits
        asked_again = tuple(sorted({*batch, *(item for other in others for item in other)}))
        later = state._replace(timeouts=state.timeouts - 1, batches=(asked_again,))
        yield Move(f"{batch} is given up, and asked for again", later, is_fault=True)


def batches(trouble: Trouble) -> Model[State]:
    """Make the model of one batch."""

    def moves(state: State) -> Iterator[Move[State]]:
        if state.batches:
            for action in (commit, refuse, fail):
                yield from action(state, trouble)

    whole = tuple(range(trouble.items))
    initial = State(trouble.failures, trouble.lost_answers, trouble.timeouts, (whole,))

    def is_right(state: State) -> bool:
        expected = {item: "refused" if item in trouble.bad else "stands" for item in whole}
        return dict(state.told) == expected and state.standing == set(whole) - set(trouble.bad)

    return Model(initial, moves, has_ended=is_right)
