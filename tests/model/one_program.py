"""One program: all that may happen to it, put together into a model to be searched."""

from collections.abc import Iterator

from model import people, wakeups, workers
from model.protocol import Budget, Rules, State, broken_by, normal
from model.search import Model, Move


def one_program(rules: Rules, budget: Budget) -> Model[State]:
    """Make the model of one program under these rules, and with so much going wrong."""

    def moves(state: State) -> Iterator[Move[State]]:
        for action in (*wakeups.ACTIONS, *workers.ACTIONS, *people.ACTIONS):
            is_by_people = action in people.BY_PEOPLE
            for move in action(state, rules):
                broken = move.broken or broken_by(state, move.state, is_by_people=is_by_people)
                yield move._replace(state=normal(move.state), broken=broken)

    return Model(State(budget), moves, has_ended=lambda state: bool(state.row.end))
