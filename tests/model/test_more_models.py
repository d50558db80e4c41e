"""What surrounds the protocol of one program: queues, batches, submits and edits, searched."""

import pytest

from model.batches import Trouble, batches
from model.bundles import NAMES, World, bundles
from model.requests import Terms, edits, submits
from model.search import STUCK, search

PLAIN = World()
ROOMY = World(slots=2)
ORDERLY = World(slots=2, is_orderly=True)
ONE_KNOWS_LITTLE = World(known=(NAMES, ("P",)))
BUSY = World(is_busy=True)
BUSY_AND_ALONE = World(is_busy=True, slots=2, known=(NAMES,))


@pytest.mark.parametrize(
    "world",
    [PLAIN._replace(losses=1), ROOMY._replace(losses=1), ONE_KNOWS_LITTLE, BUSY_AND_ALONE],
    ids=["full workers", "free workers", "one does not know Q", "busy queue"],
)
def test_bundles_and_hand_backs_strand_no_program(world: World) -> None:
    """Rules R5, R6 and R13."""
    assert not search(bundles(world)).wrong


def test_long_queue_alone_makes_no_duplicates() -> None:
    """Rule R6."""
    assert not search(bundles(ORDERLY)).wrong


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    "world",
    [
        PLAIN._replace(losses=1, crashes=1),
        ONE_KNOWS_LITTLE._replace(losses=1),
        BUSY._replace(losses=1),
        BUSY._replace(known=(NAMES, ("P",))),
    ],
    ids=["full workers", "one does not know Q", "busy queue", "both"],
)
def test_bundles_and_hand_backs_strand_no_program_for_long(world: World) -> None:
    assert not search(bundles(world)).wrong


def test_without_waking_by_order_a_busy_queue_strands_a_program() -> None:
    """Rule R6: a queue that is never empty would hide a lost wake-up for ever."""
    world = BUSY_AND_ALONE._replace(wakes_by_order=False, losses=1)
    assert search(bundles(world)).wrong == STUCK


def test_without_marks_from_after_the_confirmation_a_long_queue_makes_duplicates() -> None:
    """Rule R6: a wake-up that was read earlier may be published later."""
    world = ORDERLY._replace(marks_when_confirmed=False)
    assert search(bundles(world)).wrong == "rule R6: a long queue made a duplicate"


def test_without_hand_backs_waking_again_brings_programs_back() -> None:
    """Rule R13: a hand-back saves time and nothing else."""
    assert not search(bundles(ONE_KNOWS_LITTLE._replace(hands_back=False))).wrong


def test_without_waking_again_a_dropped_wakeup_strands_a_program() -> None:
    """Rule R13: after some hops a wake-up is dropped."""
    assert search(bundles(ONE_KNOWS_LITTLE._replace(wakes_again=False))).wrong == STUCK


@pytest.mark.parametrize("bad", [(), (0,), (2,), (0, 3), (0, 1, 2, 3)], ids=str)
def test_every_write_of_a_batch_gets_its_own_answer(bad: tuple[int, ...]) -> None:
    """Rule R4, invariants 7 and 12."""
    trouble = Trouble(bad=bad, failures=2, lost_answers=2, timeouts=2)
    assert not search(batches(trouble)).wrong


def test_without_splitting_a_bad_row_fails_its_neighbours() -> None:
    """Invariant 12."""
    finding = search(batches(Trouble(bad=(2,), splits_refused=False)))
    assert finding.wrong == "invariant 12: a bad row failed its neighbours"


def test_without_receipts_a_batch_that_stands_is_taken_for_lost() -> None:
    """Rule R4, invariant 7."""
    finding = search(batches(Trouble(lost_answers=1, reads_receipts=False)))
    assert finding.wrong == "invariant 7: a write that stands was said to be lost"


def test_idempotency_key_makes_one_program() -> None:
    """Rule R4, invariant 1."""
    assert not search(submits(Terms(lost_answers=2, crashes=2))).wrong


def test_without_a_unique_key_two_requests_make_two_programs() -> None:
    finding = search(submits(Terms(is_key_unique=False)))
    assert finding.wrong == "rule R4: one key made two programs"


def test_edits_of_job_data_are_never_lost() -> None:
    """Rule R10."""
    assert not search(edits(Terms(lost_answers=2))).wrong


def test_without_the_row_lock_an_edit_is_lost() -> None:
    """Rule R10: the ancestor's read-modify-write."""
    finding = search(edits(Terms(locks_rows=False)))
    assert finding.wrong == "rule R10: an edit that was confirmed is gone"
