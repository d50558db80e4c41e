"""People and endpoints: what is done from outside to a program (rules R9 and R14)."""

from collections.abc import Iterator

from model.protocol import (
    FRESH,
    FUTURE,
    MAX_TRIES,
    NEVER,
    NONE,
    PAST,
    STEPS,
    Row,
    Rules,
    State,
    Token,
)
from model.search import Move


def cancel(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let somebody cancel a program that has not ended."""
    if not state.row.end and (after := state.spend("cancel")):
        due = after.row.due if rules.keeps_due_at_of_errored else NEVER
        row = after.row._replace(end="cancelled", awaiting=False, due=due)
        yield Move("somebody cancels the program", after._replace(row=row), is_fault=True)


def resume(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let somebody resume a program that errored or was cancelled."""
    del rules
    if state.row.end in {"errored", "cancelled"} and (after := state.spend("resume")):
        row = after.row._replace(
            end="", awaiting=False, lease=NONE, claimed_by="", retries=0, losses=0
        )
        row = row._replace(resumes=row.resumes + 1, due=PAST, due_write=FRESH, is_woken=False)
        resumed = _dismissed(after)._replace(row=row)
        yield Move("somebody resumes the program", resumed, is_fault=True)


def edit(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let somebody set `errored_at` in SQL, or clear it."""
    del rules
    if not (after := state.spend("edit")):
        return
    if not state.row.end:
        row = after.row._replace(end="errored")
        yield Move("somebody sets errored_at in SQL", after._replace(row=row), is_fault=True)
    elif state.row.end != "finished":
        row = after.row._replace(end="")
        yield Move("somebody clears errored_at in SQL", after._replace(row=row), is_fault=True)


def complete(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let an endpoint report that it completed a step (invariant 14)."""
    for token in state.tokens:
        rest = tuple(each for each in state.tokens if each != token)
        what, row = f"the endpoint completes step {token.step}", state.row
        if not _is_accepted(token, state.row, rules):
            is_genuine = not row.end and token[:2] == (row.step, row.resumes)
            broken = "invariant 14: a genuine completion is refused" if is_genuine else ""
            yield Move(f"{what}: 409", state._replace(tokens=rest), broken=broken)
            continue
        is_old = token.resumes != row.resumes
        broken = "rule R9: a token of an earlier life completes a step" if is_old else ""
        after = _freed(row)._replace(step=row.step + 1, retries=0, losses=0)
        if after.step == STEPS:
            after = after._replace(end="finished", due=NEVER)
        yield Move(what, _dismissed(state)._replace(row=after, tokens=rest), broken=broken)


def _is_accepted(token: Token, row: Row, rules: Rules) -> bool:
    if row.end or token.step != row.step:
        return False
    if rules.tokens_know_resumes and token.resumes != row.resumes:
        return False
    return rules.completes_by_step or (row.awaiting and _is_current(token, row))


def _is_current(token: Token, row: Row) -> bool:
    return token == (row.step, row.resumes, 1 + row.retries + row.losses)


def fail(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let an endpoint report that the current try failed and may be tried again."""
    for token in state.tokens:
        after = state.spend("retry")
        if not after or state.row.end or not _is_current(token, state.row):
            continue
        row = _freed(state.row)._replace(retries=state.row.retries + 1, due=FUTURE)
        if row.retries == MAX_TRIES:
            due = state.row.due if rules.keeps_due_at_of_errored else NEVER
            row = row._replace(end="errored", retries=state.row.retries, due=due)
        rest = tuple(each for each in state.tokens if each != token)
        failed = _dismissed(after)._replace(row=row, tokens=rest)
        yield Move(f"the endpoint fails step {token.step}", failed, is_fault=True)


def beat(state: State, rules: Rules) -> Iterator[Move[State]]:
    """Let an endpoint ask for more time for the try that is awaited."""
    del rules
    row = state.row
    if row.end or not row.awaiting:
        return
    for token in state.tokens:
        if _is_current(token, row):
            prolonged = row._replace(due=FUTURE, due_write=FRESH, is_woken=False)
            name = f"the endpoint asks for more time for step {token.step}"
            yield Move(name, state._replace(row=prolonged))


def _freed(row: Row) -> Row:
    """Return a row that nobody holds and that is due."""
    row = row._replace(lease=NONE, claimed_by="", awaiting=False, is_excused=False)
    return row._replace(due=PAST, due_write=FRESH, is_woken=False)


def _dismissed(state: State) -> State:
    return state._replace(holds=tuple(hold._replace(is_dismissed=True) for hold in state.holds))


BY_PEOPLE = (cancel, resume, edit)
ACTIONS = (*BY_PEOPLE, complete, fail, beat)
