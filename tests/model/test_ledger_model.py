"""The ledger does what the reference does, whatever workers, people and time do in what order."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.bench import Bench
from model.other_turns import EndpointTurns, PeopleTurns
from model.sweeper_turns import SweeperTurns
from model.worker_turns import WorkerTurns
from servers import Place

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

GAMES = 10
"""In a series: after so many, Hypothesis would rather vary old games than think of new ones."""


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    """Return a database to play at."""
    bench = Bench(place)
    yield bench
    bench.close()


def _play(at: Bench, *, series: int, turns: int) -> None:
    class AllTurns(WorkerTurns, EndpointTurns, PeopleTurns, SweeperTurns):
        bench = at

    rules = settings(database=None, suppress_health_check=SLOW)
    bounds = settings(rules, max_examples=GAMES, stateful_step_count=turns)
    for number in range(series):
        # the same games each time: what is red here is red everywhere
        run_state_machine_as_test(seed(number)(AllTurns), settings=bounds)


@pytest.mark.timeout(600)  # a game that fails is played again until it is short
def test_ledger_does_what_the_reference_does(bench: Bench) -> None:
    """Invariants 3, 4, 6, 7, 8 and 14."""
    _play(bench, series=8, turns=40)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_ledger_does_what_the_reference_does_in_long_games(bench: Bench) -> None:
    _play(bench, series=100, turns=80)
