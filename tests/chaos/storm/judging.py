"""Judging: hold the facts of a storm against every rule."""

from chaos.storm import check_ends, check_rows
from chaos.storm.check_journal import Turns
from chaos.storm.facts import Facts
from chaos.storm.rules import Broken

CHECKS = (
    check_ends.lost,
    check_ends.submitted_twice,
    check_ends.wrong_ends,
    check_ends.broken_promises,
    check_ends.died,
    check_rows.skipped,
    check_rows.changed_after_the_end,
    check_rows.claimed_too_early,
    check_rows.recorded_without_the_lease,
    check_rows.done_twice,
    check_rows.never_done,
)

TURNS = (
    Turns.out_of_order,
    Turns.uncommitted,
    Turns.without_lease,
    Turns.by_right,
    Turns.unexplained,
)


def judge(facts: Facts) -> list[Broken]:
    """Return everything that is broken; nothing, when the story is permitted."""
    others = facts.of_others()
    turns = Turns(others)
    return [
        *check_ends.poisoned(facts),
        *(broken for check in CHECKS for broken in check(others)),
        *(broken for check in TURNS for broken in check(turns)),
    ]
