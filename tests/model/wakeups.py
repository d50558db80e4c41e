"""Wake-ups: what publishers, the broker and time may do next (rules R5 and R6)."""

from collections.abc import Iterator

from model.protocol import (
    FRESH,
    FUTURE,
    MAX_WAKEUPS,
    NONE,
    OWN,
    PAST,
    Reading,
    Rules,
    State,
)
from model.search import Move


def read_due(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a publisher read a row that is due; nobody was woken, or it is time to wake again."""
    row = state.row
    if len(state.readings) == rules.most_readings or row.end or row.due != PAST:
        return
    read = state._replace(readings=(*state.readings, Reading(OWN)))
    if not row.is_woken:
        yield Move("a publisher reads that the program is due, and nobody was woken", read)
    elif rules.wakes_again and not (
        state.wakeups or (row.lease and not rules.wakes_leased_rows_again)
    ):
        yield Move("the sweeper suspects that the wake-up was lost", read)


def publish(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let the broker confirm a wake-up, and its publisher mark the row after that."""
    for at, reading in enumerate(state.readings):
        rest = state.readings[:at] + state.readings[at + 1 :]
        if not reading.is_published:
            published = (*rest, reading._replace(is_published=True))
            wakeups = min(MAX_WAKEUPS, state.wakeups + 1)
            sent = state._replace(readings=published, wakeups=wakeups)
            yield Move("a wake-up is published and confirmed", sent)
        else:
            yield _marked(state._replace(readings=rest), reading, rules)
        if lost := state.spend("lost_publisher"):
            yield Move("the publisher dies", lost._replace(readings=rest), is_fault=True)


def _marked(state: State, reading: Reading, rules: Rules) -> Move[State]:
    is_as_read = reading.due_write == OWN or not rules.marks_by_comparing
    if state.row.end or not is_as_read:
        return Move("its publisher finds another due_at, and marks nothing", state)
    marked = state._replace(row=state.row._replace(is_woken=True))
    return Move("its publisher marks the row as woken", marked)


def lose(state: State, _rules: Rules) -> Iterator[Move[State]]:
    """Let the broker lose a wake-up."""
    if state.wakeups and (lost := state.spend("lost_message")):
        yield Move("the wake-up is lost", lost._replace(wakeups=state.wakeups - 1), is_fault=True)


def let_time_pass(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let `due_at` come: a retry, a deadline, or the end of a lease that is not renewed."""
    row = state.row
    if row.due != FUTURE:
        return
    over = state._replace(
        row=row._replace(due=PAST),
        holds=tuple(
            hold._replace(is_valid=False) if hold.lease == OWN else hold for hold in state.holds
        ),
    )
    if row.lease == NONE or row.end:
        yield Move("time passes: the program is due", over)
    elif _is_renewed(state, rules):
        if stalled := over.spend("stall"):
            row = stalled.row._replace(is_excused=True)
            name = f"{row.claimed_by} stalls until its lease has ended"
            yield Move(name, stalled._replace(row=row), is_fault=True)
    else:
        broken = "" if row.is_excused else "invariant 8: a lease is lost, but no worker was"
        yield Move("time passes: nobody renews the lease, and it ends", over, broken=broken)


def _is_renewed(state: State, rules: Rules) -> bool:
    """Say whether somebody alive renews the row's lease."""
    if not rules.renews_by_lease:
        return state.row.claimed_by != "dead"
    return any(hold.lease == OWN for hold in state.holds)


def renew(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a worker renew its lease, also one that has ended, if nobody took it (rule R3).

    In time, that changes nothing here, unless it brings back what was lost.
    """
    row = state.row
    if row.end or not row.lease or (rules.renews_by_lease and row.due != PAST):
        return
    for worker in sorted({hold.worker for hold in state.holds}):
        if rules.renews_by_lease:
            mine = [each for each in state.holds if each[:2] == (worker, OWN)]
        elif row.claimed_by == worker:
            mine = [each for each in state.holds if each.worker == worker]
        else:
            mine = []
        if mine:
            holds = [each._replace(is_valid=True) if each in mine else each for each in state.holds]
            renewed = row._replace(due=FUTURE, due_write=FRESH, is_woken=False, is_excused=False)
            after = state._replace(row=renewed, holds=tuple(holds))
            yield Move(f"{worker} renews the lease{', late' * (row.due == PAST)}", after)


ACTIONS = (read_due, publish, lose, let_time_pass, renew)
