"""Suspects: programs that lost a lease in their step, perhaps because it kills workers (rule R11).

One poison job must not take the same innocent programs down three times, for then they error. Nor
must one worker's death make a hundred innocent programs run one after the other.
"""

from collections.abc import Sequence

from program_service.bookkeeping.lifecycle import MAX_LEASE_LOSSES

SHARE = 8
"""Suspects that lost one lease may take one of so many slots."""

ALONE_FROM = 2
"""From so many lost leases on, a suspect is the only one of its worker."""


def is_suspect(losses: int) -> bool:
    """Whether a step that lost so many leases is run with care; one that lost three is not run."""
    return 0 < losses < MAX_LEASE_LOSSES


def may_be_held(losses: int, beside: Sequence[int], *, slots: int) -> bool:
    """Say whether a worker may hold a suspect beside others, given the lost leases of each."""
    if losses >= ALONE_FROM or any(other >= ALONE_FROM for other in beside):
        return not beside
    return len(beside) < max(1, slots // SHARE)
