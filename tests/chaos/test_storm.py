"""A short storm, in which every kind of fault comes once; `make chaos` blows longer ones."""

import pytest

from chaos.storm.faults import without_effect
from chaos.storm.judging import judge
from chaos.storm.keeping import a_folder, keep
from chaos.storm.report import report
from chaos.storm.schedule import Kind, plan
from chaos.storm.storm import Weather, storm
from private_postgres import PrivatePostgres
from private_rabbitmq import PrivateRabbit

SEED, SECONDS = 11, 75.0


@pytest.mark.timeout(900)
async def test_nothing_is_lost_nor_done_out_of_turn_in_a_storm(
    postgres: PrivatePostgres, node: PrivateRabbit
) -> None:
    """Invariants 1 to 8, 11 and 14: every kind of fault at once, judged by plain facts."""
    planned = plan(SEED, SECONDS)
    assert {each.kind for each in planned} == set(Kind)
    with a_folder() as folder:
        facts = await storm(folder, Weather(SEED, SECONDS, planned), postgres, node)
        keep(facts, folder)
        broken = judge(facts)
        print(f"\nseed {SEED}, {SECONDS:.0f} s\n{report(facts, broken)}")
        assert not broken
        assert not without_effect(facts.planned)
        assert facts.noted("accepted")
