"""Workers: how they claim, run steps and record what became of them (rules R1 to R4, R7, R8)."""

from collections.abc import Iterator

from model.protocol import (
    FRESH,
    FUTURE,
    MAX_LOSSES,
    MAX_TRIES,
    NEVER,
    NONE,
    OWN,
    PAST,
    STEPS,
    WORKERS,
    Hold,
    Row,
    Rules,
    State,
    Token,
    is_claimable,
)
from model.search import Move


def take_wakeup(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a worker take a wake-up, claim what it names and acknowledge it."""
    if not state.wakeups:
        return
    taken = state._replace(wakeups=state.wakeups - 1)
    doubled = state.spend("double_message")
    for worker in WORKERS:
        if sum(hold.worker == worker for hold in state.holds) < rules.most_holds:
            yield from _claims(taken, worker, is_fault=False)
            if doubled:
                yield from _claims(doubled, worker, is_fault=True)


def _claims(state: State, worker: str, *, is_fault: bool) -> Iterator[Move[State]]:
    again = " (and it will come again)" if is_fault else ""
    if not is_claimable(state.row):
        yield Move(f"{worker} takes the wake-up: nothing to claim{again}", state, is_fault)
        return
    hold, after = _claimed(state, worker)
    held = after._replace(holds=(*after.holds, hold))
    yield Move(f"{worker} claims step {hold.step}{again}", held, is_fault)
    if unsure := held.spend("lost_commit"):
        asking = unsure._replace(holds=(*after.holds, hold._replace(phase="claiming")))
        name = f"{worker} claims step {hold.step}; the answer to COMMIT is lost{again}"
        yield Move(name, asking, is_fault=True)


def _claimed(state: State, worker: str) -> tuple[Hold, State]:
    """Claim the row; what is lost or timed out is counted (rule R1)."""
    old = state.row
    is_lapsed = old.lease != NONE
    row = old._replace(
        lease=FRESH,
        claimed_by=worker,
        due=FUTURE,
        due_write=FRESH,
        is_woken=False,
        losses=old.losses + is_lapsed,
        retries=old.retries + old.awaiting,
        awaiting=False,
    )
    # whoever claims a lapsed lease notes the lost try, where its worker would look for a receipt
    holds = tuple(
        hold._replace(receipt=hold.receipt or "lost") if hold.lease == OWN else hold
        for hold in state.holds
    )
    hold = Hold(worker, FRESH, row.step, row.resumes, row.retries, row.losses, "holding")
    return hold, state._replace(row=row, holds=holds)


def ask_again(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a worker that does not know whether its claim was committed try again (rule R4)."""
    for hold in state.holds:
        if hold.phase != "claiming":
            continue
        is_new = rules.late_claims_are_new and not hold.is_valid
        is_mine = hold.lease == OWN and not state.row.end and not is_new
        if is_mine and rules.reads_claims_back:
            is_valid = hold.is_valid or not rules.deadline_from_first_try
            held = hold._replace(phase="holding", is_valid=is_valid)
            yield Move(f"{hold.worker} finds its own lease", state.with_hold(hold, held))
        elif is_claimable(state.row) and not is_mine:
            # under its first lease id, where the receipt of another try may stand, or a new one
            rest = state._replace(holds=state.without(hold))
            new, after = _claimed(rest, hold.worker)
            new = new._replace(receipt="" if is_new else hold.receipt)
            name = f"{hold.worker} tries again and claims step {new.step}"
            yield Move(name, after._replace(holds=(*after.holds, new)))
        else:
            name = f"{hold.worker} tries again: nothing to claim"
            yield Move(name, state._replace(holds=state.without(hold)))


def begin(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a worker begin the step that it holds, unless it is beyond help, or the lease is over."""
    del rules
    for hold in state.holds:
        if hold.phase != "holding":
            continue
        if hold.losses >= MAX_LOSSES or hold.retries >= MAX_TRIES:
            failing = hold._replace(phase="fail")
            yield Move(f"{hold.worker} gives step {hold.step} up", state.with_hold(hold, failing))
        elif not hold.is_valid:
            leaving = hold._replace(phase="release")
            name = f"{hold.worker} sees that its lease is over"
            yield Move(name, state.with_hold(hold, leaving))
        else:
            running = state.with_hold(hold, hold._replace(phase="running"))
            broken = "" if hold.is_dismissed else _broken_by_beginning(hold, state.row)
            yield Move(f"{hold.worker} begins step {hold.step}", running, broken=broken)


def _broken_by_beginning(hold: Hold, row: Row) -> str:
    if row.step > hold.step:
        return "invariant 4: a committed step is begun again"
    if row.step < hold.step:
        return "invariant 4: a step is begun before the one before it is committed"
    return ""


def end_step(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a running job end, in each way that jobs and endpoints have."""
    for hold in state.holds:
        if hold.phase != "running":
            continue
        if rules.jobs_are_callbacks:
            yield _called(state, hold)
        else:
            done = state.with_hold(hold, hold._replace(phase="done"))
            yield Move(f"{hold.worker}: the job of step {hold.step} is done", done)
        if not hold.is_valid:
            stopped = state.with_hold(hold, hold._replace(phase="release"))
            yield Move(f"{hold.worker} stops the job: its lease is over", stopped)
        for cost, phase, what in (
            ("retry", "retry", "the job fails and may be tried again"),
            ("pause", "pause", "the job asks for a pause"),
            ("sigterm", "release", "SIGTERM: the job is stopped"),
        ):
            if after := state.spend(cost):
                ended = after.with_hold(hold, hold._replace(phase=phase))
                yield Move(f"{hold.worker}: {what}", ended, is_fault=True)


def _called(state: State, hold: Hold) -> Move[State]:
    """Let an endpoint accept; one that works at the step already keeps its first token."""
    works = any(each[:2] == (hold.step, hold.resumes) for each in state.tokens)
    token = Token(hold.step, hold.resumes, hold.attempt)
    tokens = state.tokens if works else (*state.tokens, token)
    after = state._replace(tokens=tokens).with_hold(hold, hold._replace(phase="accept"))
    return Move(f"{hold.worker}: the endpoint accepts step {hold.step}", after)


WRITES = {"done", "retry", "fail", "pause", "release", "accept"}


def record(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a worker write what became of its step, if the fence lets it (rules R2 and R4)."""
    for hold in state.holds:
        if hold.phase not in WRITES:
            continue
        what = f"{hold.worker} records {hold.phase} of step {hold.step}"
        if not _passes(hold, state.row, rules):
            yield _refused(state, hold, rules)
            continue
        row, kept = _written(hold, state.row, rules)
        broken = "" if hold.lease == OWN else "invariant 3: a write under a lost lease was accepted"
        after = state._replace(row=row, holds=state.without(hold) + ((kept,) if kept else ()))
        yield Move(what, after, broken=broken)
        if unsure := state.spend("lost_commit"):
            # a lease that is kept is the row's still, else the number says that it is gone
            asking = hold._replace(receipt=hold.receipt or "stands")
            after = unsure._replace(row=row).with_hold(hold, asking)
            yield Move(f"{what}; the answer to COMMIT is lost", after, is_fault=True)
            if not rules.next_step_after_commit and kept:
                after = unsure.with_hold(hold, kept)
                yield Move(f"{what}; COMMIT fails, unnoticed", after, is_fault=True)


def _passes(hold: Hold, row: Row, rules: Rules) -> bool:
    is_mine = hold.lease == OWN if rules.fences_by_lease else hold.worker == row.claimed_by
    is_same_try = (hold.step, hold.retries) == (row.step, row.retries)
    return is_mine and is_same_try and not row.end


def _refused(state: State, hold: Hold, rules: Rules) -> Move[State]:
    """Look for the receipt; let go of a row that has ended."""
    row, dropped = state.row, state._replace(holds=state.without(hold))
    if hold.receipt == "stands" and rules.reads_writes_back:
        what = f"{hold.worker} finds the receipt of step {hold.step}"
        if hold.phase == "done" and hold.lease == OWN and not row.end:
            return Move(what, state.with_hold(hold, _next_step(hold)))
        return Move(what, dropped)
    what = f"{hold.worker} may not record {hold.phase} of step {hold.step}, and drops it"
    if row.end and hold.lease == OWN:
        dropped = dropped._replace(row=row._replace(lease=NONE, claimed_by=""))
    return Move(what, dropped)


def _next_step(hold: Hold) -> Hold:
    return hold._replace(step=hold.step + 1, phase="holding", retries=0, losses=0, receipt="")


def _written(hold: Hold, row: Row, rules: Rules) -> tuple[Row, Hold | None]:
    """Return the row after a write, and the hold if the worker goes on."""
    free = row._replace(
        lease=NONE, claimed_by="", awaiting=False, is_woken=False, due_write=FRESH, is_excused=False
    )
    match hold.phase:
        case "done":
            return _advanced(hold, free, row)
        case "retry" if row.retries + 1 < MAX_TRIES:
            return free._replace(retries=row.retries + 1, due=FUTURE), None
        case "retry" | "fail":
            due = row.due if rules.keeps_due_at_of_errored else NEVER
            return free._replace(end="errored", due=due), None
        case "accept":
            return free._replace(awaiting=True, due=FUTURE), None
    return free._replace(due=PAST), None


def _advanced(hold: Hold, free: Row, row: Row) -> tuple[Row, Hold | None]:
    after = free._replace(step=row.step + 1, retries=0, losses=0)
    if after.step == STEPS:
        return after._replace(end="finished", due=NEVER), None
    if not hold.is_valid:  # the next step is for whoever holds it next
        return after._replace(due=PAST), None
    kept = after._replace(lease=row.lease, claimed_by=row.claimed_by, due=FUTURE)
    return kept, _next_step(hold)


def crash(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let a worker die, and with it all that it holds; its successor has another name."""
    del rules
    for worker in WORKERS:
        if after := state.spend("crash"):
            row = after.row
            if row.claimed_by == worker:
                row = row._replace(claimed_by="dead", is_excused=True)
            holds = tuple(hold for hold in state.holds if hold.worker != worker)
            died = after._replace(row=row, holds=holds)
            yield Move(f"{worker} is killed", died, is_fault=True)


ACTIONS = (take_wakeup, ask_again, begin, end_step, record, crash)
