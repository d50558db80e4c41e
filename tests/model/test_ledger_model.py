"""The ledger does what the reference does, whatever workers, people and time do in what order."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from model.bench import Bench
from model.other_turns import EndpointTurns, PeopleTurns
from model.sweeper_turns import SweeperTurns
from model.worker_turns import WorkerTurns
from servers import Place

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    """Return a database to play at."""
    bench = Bench(place)
    yield bench
    bench.close()


def _play(at: Bench, *, games: int, turns: int) -> None:
    class AllTurns(WorkerTurns, EndpointTurns, PeopleTurns, SweeperTurns):
        bench = at

    # the same games each time: what is red here is red everywhere
    rules = settings(derandomize=True, database=None, suppress_health_check=SLOW)
    bounds = settings(rules, max_examples=games, stateful_step_count=turns)
    run_state_machine_as_test(AllTurns, settings=bounds)


@pytest.mark.timeout(600)  # a game that fails is played again until it is short
def test_ledger_does_what_the_reference_does(bench: Bench) -> None:
    """Invariants 3, 4, 6, 7, 8 and 14."""
    _play(bench, games=60, turns=40)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_ledger_does_what_the_reference_does_in_long_games(bench: Bench) -> None:
    _play(bench, games=400, turns=80)
