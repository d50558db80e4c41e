"""Search: visit every state that the moves of a model can lead to, and say what goes wrong.

Two things can: a move breaks a promise, or a state is reached from which no end can be reached any
more, even if nothing else breaks. The search goes breadth first, so the way to what is wrong is the
shortest there is, and reads like a story.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)

MOST_STATES = 3_000_000
"""A model that grows beyond this has lost its bounds."""


class Move(NamedTuple, Generic[S]):
    """What may happen next: its story, the state after it, and the promise that it breaks."""

    name: str
    state: S
    is_fault: bool = False
    """Nothing may depend on it to happen."""
    broken: str = ""


@dataclass(frozen=True)
class Model(Generic[S]):
    """Where everything begins, what may happen, and which states are an end."""

    initial: S
    moves: Callable[[S], Iterable[Move[S]]]
    has_ended: Callable[[S], bool]


@dataclass(frozen=True)
class Finding:
    """How many states there are, and what is wrong, with the shortest way to it."""

    states: int
    wrong: str = ""
    way: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Tell it as a story."""
        if not self.wrong:
            return f"{self.states:,} states: holds"
        lines = (f"  {number}. {name}" for number, name in enumerate(self.way, 1))
        return "\n".join((f"{self.states:,} states: {self.wrong}", *lines))


STUCK = "no end can be reached any more"


class Search(Generic[S]):
    """One search through all states of a model."""

    def __init__(self, model: Model[S]) -> None:
        """Begin where the model begins."""
        self._model = model
        self._came_from: dict[S, tuple[S, str] | None] = {model.initial: None}
        self._sound_ways_back: dict[S, list[S]] = {}

    def run(self) -> Finding:
        """Visit every state; stop at the first promise that is broken."""
        waiting = deque([self._model.initial])
        while waiting:
            state = waiting.popleft()
            for move in self._model.moves(state):
                if move.broken:
                    return self._finding(move.broken, (*self._way_to(state), move.name))
                if move.state not in self._came_from:
                    self._came_from[move.state] = (state, move.name)
                    waiting.append(move.state)
                if not move.is_fault:
                    self._sound_ways_back.setdefault(move.state, []).append(state)
            assert len(self._came_from) < MOST_STATES
        stuck = self._stuck()
        return self._finding() if stuck is None else self._finding(STUCK, self._way_to(stuck))

    def _stuck(self) -> S | None:
        """Return the nearest state from which no end is reached by moves that are no faults."""
        waiting = [state for state in self._came_from if self._model.has_ended(state)]
        hopeful = set(waiting)
        while waiting:
            for before in self._sound_ways_back.get(waiting.pop(), ()):
                if before not in hopeful:
                    hopeful.add(before)
                    waiting.append(before)
        return next((state for state in self._came_from if state not in hopeful), None)

    def _way_to(self, state: S) -> tuple[str, ...]:
        names: list[str] = []
        while (step := self._came_from[state]) is not None:
            state, name = step
            names.append(name)
        return tuple(reversed(names))

    def _finding(self, wrong: str = "", way: tuple[str, ...] = ()) -> Finding:
        return Finding(len(self._came_from), wrong, way)


def search(model: Model[S]) -> Finding:
    """Visit every state of a model and tell what was found."""
    finding = Search(model).run()
    print(finding)
    return finding
