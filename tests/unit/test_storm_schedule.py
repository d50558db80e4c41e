"""The storm's schedule: the same for the same seed, and every kind of fault in 75 s."""

import pytest

from chaos.storm.schedule import LEASE_S, SERVICES, WORKERS, Kind, plan

SEEDS = range(50)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_of_fault_comes_within_seventy_five_seconds(seed: int) -> None:
    assert {planned.kind for planned in plan(seed, 75)} == set(Kind)


def test_seed_says_all_of_the_schedule() -> None:
    assert plan(7, 120) == plan(7, 120)
    assert len({tuple(plan(seed, 120)) for seed in SEEDS}) == len(SEEDS)


def test_shorter_storm_is_the_beginning_of_a_longer_one() -> None:
    short, long = plan(7, 60), plan(7, 120)
    assert long[: len(short)] == short


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_is_stalled_is_so_for_longer_than_a_lease(seed: int) -> None:
    stalls = {
        Kind.FREEZE_WORKER,
        Kind.FREEZE_SERVICE,
        Kind.HIDE_DATABASE,
        Kind.HIDE_BROKER,
        Kind.LOCK_ROWS,
        Kind.LIMIT_CONNECTIONS,
    }
    for planned in plan(seed, 120):
        assert -SERVICES <= planned.place < WORKERS
        assert planned.kind not in stalls or planned.size > LEASE_S
