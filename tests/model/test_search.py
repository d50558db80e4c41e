"""The protocol, searched: its rules hold under every fault, and each of them is needed."""

import pytest

from model.one_program import one_program
from model.protocol import Budget, Rules
from model.search import STUCK, search

ALL_RULES = Rules()
CALLBACKS = Rules(jobs_are_callbacks=True, most_holds=1, most_readings=1)

FAULTS = [
    Budget(),
    Budget(crash=1, lost_message=1, lost_publisher=1, double_message=1),
    Budget(stall=1, double_message=1),
    Budget(stall=1, lost_commit=1),
    Budget(lost_commit=2, retry=1),
    Budget(crash=2, retry=1),
    Budget(sigterm=1, crash=1, lost_commit=1),
    Budget(pause=2, lost_message=1),
    Budget(edit=2, crash=1),
    Budget(cancel=1, resume=1, lost_commit=1),
]

MORE_FAULTS = [
    Budget(stall=2, double_message=1),
    Budget(crash=1, stall=1, lost_commit=1, lost_message=1),
    Budget(stall=2, lost_commit=2),
    Budget(cancel=1, resume=1, stall=1),
    Budget(edit=2, cancel=1, crash=1),
    Budget(sigterm=2, crash=1, lost_commit=1),
]

FAULTS_OF_CALLBACKS = [
    Budget(),
    Budget(crash=1),
    Budget(stall=1),
    Budget(lost_commit=1, lost_message=1),
    Budget(retry=1),
]

MORE_FAULTS_OF_CALLBACKS = [
    Budget(crash=1, stall=1),
    Budget(cancel=1, resume=1),
    Budget(retry=1, stall=1, lost_commit=1),
]


def _spelled(budget: Budget) -> str:
    return ", ".join(f"{name} {left}" for name, left in budget._asdict().items() if left) or "none"


@pytest.mark.parametrize("budget", FAULTS, ids=_spelled)
def test_protocol_holds(budget: Budget) -> None:
    """Invariants 3, 4, 6 and 8; and from wherever these faults lead, the program can still end."""
    assert not search(one_program(ALL_RULES, budget)).wrong


@pytest.mark.parametrize("budget", FAULTS_OF_CALLBACKS, ids=_spelled)
def test_protocol_holds_for_callbacks(budget: Budget) -> None:
    """Rule R9, invariant 14 too."""
    assert not search(one_program(CALLBACKS, budget)).wrong


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("budget", MORE_FAULTS, ids=_spelled)
def test_protocol_holds_under_more_faults(budget: Budget) -> None:
    assert not search(one_program(ALL_RULES, budget)).wrong


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("budget", MORE_FAULTS_OF_CALLBACKS, ids=_spelled)
def test_protocol_holds_for_callbacks_under_more_faults(budget: Budget) -> None:
    assert not search(one_program(CALLBACKS, budget)).wrong


def test_without_the_lease_in_the_fence_a_lost_lease_still_writes() -> None:
    """Rule R2: the name of the worker does not tell two claims of one worker apart."""
    rules = ALL_RULES._replace(fences_by_lease=False)
    finding = search(one_program(rules, Budget(stall=1, double_message=1)))
    assert finding.wrong == "invariant 3: a write under a lost lease was accepted"


def test_without_waking_leased_rows_again_a_lost_message_strands_a_program() -> None:
    """Rule R6."""
    rules = ALL_RULES._replace(wakes_leased_rows_again=False)
    assert search(one_program(rules, Budget(crash=1, lost_message=1))).wrong == STUCK


def test_without_renewal_by_lease_a_lost_lease_comes_back() -> None:
    """Rule R3."""
    rules = ALL_RULES._replace(renews_by_lease=False)
    finding = search(one_program(rules, Budget(stall=1, double_message=1)))
    assert finding.wrong == "invariant 3: two executions hold leases that they may believe in"


def test_without_reading_a_claim_back_its_lease_is_lost() -> None:
    """Rule R4, invariant 8."""
    rules = ALL_RULES._replace(reads_claims_back=False)
    finding = search(one_program(rules, Budget(lost_commit=1)))
    assert finding.wrong == "invariant 8: a lease is lost, but no worker was"


def test_without_reading_a_write_back_its_lease_is_lost() -> None:
    """Rule R4, invariant 8."""
    rules = ALL_RULES._replace(reads_writes_back=False)
    finding = search(one_program(rules, Budget(lost_commit=1)))
    assert finding.wrong == "invariant 8: a lease is lost, but no worker was"


def test_without_due_at_an_errored_program_is_not_revived_by_hand() -> None:
    """Section 4: clearing `errored_at` in SQL is enough."""
    rules = ALL_RULES._replace(keeps_due_at_of_errored=False)
    assert search(one_program(rules, Budget(cancel=1, edit=1))).wrong == STUCK


def test_without_completion_by_step_a_genuine_completion_is_refused() -> None:
    """Rule R9, invariant 14: it may come before the 202 is recorded."""
    rules = CALLBACKS._replace(completes_by_step=False)
    finding = search(one_program(rules, Budget()))
    assert finding.wrong == "invariant 14: a genuine completion is refused"


def test_without_resumes_in_a_token_an_earlier_life_completes_a_step() -> None:
    """Rule R9."""
    rules = CALLBACKS._replace(tokens_know_resumes=False)
    finding = search(one_program(rules, Budget(cancel=1, resume=1)))
    assert finding.wrong == "rule R9: a token of an earlier life completes a step"


def test_marks_that_compare_need_no_waking_again_while_messages_arrive() -> None:
    """Rule R5, by itself: a row that is marked has a wake-up on its way."""
    rules = ALL_RULES._replace(wakes_again=False)
    assert not search(one_program(rules, Budget(crash=1, retry=1))).wrong


def test_without_comparing_marks_a_later_due_at_is_taken_for_woken() -> None:
    """Rule R5."""
    rules = ALL_RULES._replace(wakes_again=False, marks_by_comparing=False)
    assert search(one_program(rules, Budget(crash=1, retry=1))).wrong == STUCK


def test_without_waiting_for_the_commit_steps_run_out_of_order() -> None:
    """Rule R8, invariant 4."""
    rules = ALL_RULES._replace(next_step_after_commit=False)
    finding = search(one_program(rules, Budget(lost_commit=1)))
    assert finding.wrong == "invariant 4: a step is begun before the one before it is committed"


def test_without_a_deadline_from_the_first_try_a_lease_seems_to_hold_for_too_long() -> None:
    """Rule R7: a claim that was read back late is as old as its first try."""
    rules = ALL_RULES._replace(deadline_from_first_try=False, late_claims_are_new=False)
    finding = search(one_program(rules, Budget(lost_commit=1, stall=1)))
    assert finding.wrong == "invariant 3: two executions hold leases that they may believe in"


def test_without_a_new_lease_for_a_late_claim_a_receipt_is_taken_for_another() -> None:
    """Rule R4: whoever took the lapsed lease over noted its try as lost, under the same id."""
    rules = ALL_RULES._replace(late_claims_are_new=False)
    finding = search(one_program(rules, Budget(stall=2, lost_commit=2)))
    assert finding.wrong == "invariant 8: a lease is lost, but no worker was"
