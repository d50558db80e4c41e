"""Requests: the same submit sent by impatient clients, and job data edited by two at a time.

Two transactions at a time, each in the steps between which another can come in: what a row lock or
a unique key holds up waits (rules R4 and R10).
"""

from collections.abc import Iterator
from typing import NamedTuple

from model.search import Model, Move


class Terms(NamedTuple):
    """The rules that can be taken away, and what goes wrong."""

    is_key_unique: bool = True
    locks_rows: bool = True
    lost_answers: int = 0
    crashes: int = 0


class Submit(NamedTuple):
    """A client's request with the key that all of them use: where its transaction is."""

    stage: str = "sent"
    program: int = 0
    """The program that it was answered; 0 is none."""


class Submits(NamedTuple):
    """Who holds the key, which programs stand, and where the requests are."""

    lost_answers: int
    crashes: int
    holder: int = 0
    programs: frozenset[int] = frozenset()
    requests: tuple[Submit, ...] = (Submit(), Submit())

    def set(self, number: int, request: Submit) -> "Submits":
        """Replace a request."""
        requests = list(self.requests)
        requests[number] = request
        return self._replace(requests=tuple(requests))


def submits(terms: Terms) -> Model[Submits]:
    """Make the model of two requests with one idempotency key; each makes a run_id of its own."""

    def moves(state: Submits) -> Iterator[Move[Submits]]:
        for number, request in enumerate(state.requests):
            match request.stage:
                case "sent":
                    yield from _look_up_key(state, number, terms)
                case "writing":
                    yield from _commit_submit(state, number)

    def is_right(state: Submits) -> bool:
        answers = {request.program for request in state.requests}
        return answers == state.programs and all(
            request.stage == "answered" for request in state.requests
        )

    return Model(Submits(terms.lost_answers, terms.crashes), moves, has_ended=is_right)


def _look_up_key(state: Submits, number: int, terms: Terms) -> Iterator[Move[Submits]]:
    mine, name = number + 1, f"request {number + 1}"
    other = state.requests[1 - number]
    if state.holder and state.holder != mine:
        answered = state.set(number, Submit("answered", state.holder))
        yield Move(f"{name} finds the key of program {state.holder}", answered)
    elif other.stage == "writing" and terms.is_key_unique:
        return  # the unique key is locked until the other transaction ends
    else:
        yield Move(f"{name} takes the key", state.set(number, Submit("writing")))


def _commit_submit(state: Submits, number: int) -> Iterator[Move[Submits]]:
    mine, name = number + 1, f"request {number + 1}"
    stored = state._replace(holder=mine, programs=state.programs | {mine})
    broken = "rule R4: one key made two programs" if len(stored.programs) > 1 else ""
    yield Move(f"{name} commits", stored.set(number, Submit("answered", mine)), broken=broken)
    if state.lost_answers:
        unsure = stored._replace(lost_answers=state.lost_answers - 1).set(number, Submit())
        yield Move(f"{name} commits; the answer is lost", unsure, is_fault=True, broken=broken)
    if state.crashes:
        again = state._replace(crashes=state.crashes - 1).set(number, Submit())
        yield Move(f"the service dies; {name} is sent again", again, is_fault=True)


class Edit(NamedTuple):
    """One edit: where its transaction is, and the data that it read."""

    stage: str = "sent"
    read: frozenset[str] = frozenset()


class Edits(NamedTuple):
    """A job's data, as the properties that stand, and two who merge one property each."""

    lost_answers: int
    data: frozenset[str] = frozenset()
    edits: tuple[Edit, ...] = (Edit(), Edit())

    def set(self, number: int, edit: Edit) -> "Edits":
        """Replace an edit."""
        edits = list(self.edits)
        edits[number] = edit
        return self._replace(edits=tuple(edits))


def edits(terms: Terms) -> Model[Edits]:
    """Make the model of two merges of different properties of one job's data."""

    def moves(state: Edits) -> Iterator[Move[Edits]]:
        for number, edit in enumerate(state.edits):
            who = ("the job", "somebody outside")[number]
            is_locked = terms.locks_rows and state.edits[1 - number].stage == "read"
            if edit.stage == "sent" and not is_locked:
                yield Move(f"{who} reads", state.set(number, Edit("read", state.data)))
            elif edit.stage == "read":
                yield from _commit_edit(state, number, who)

    def is_right(state: Edits) -> bool:
        return all(edit.stage == "answered" for edit in state.edits)

    return Model(Edits(terms.lost_answers), moves, has_ended=is_right)


def _commit_edit(state: Edits, number: int, who: str) -> Iterator[Move[Edits]]:
    written = state._replace(data=state.edits[number].read | {f"property {number}"})
    is_lost = any(
        edit.stage == "answered" and f"property {other}" not in written.data
        for other, edit in enumerate(state.edits)
    )
    broken = "rule R10: an edit that was confirmed is gone" if is_lost else ""
    yield Move(f"{who} commits", written.set(number, Edit("answered")), broken=broken)
    if state.lost_answers:
        unsure = written._replace(lost_answers=state.lost_answers - 1).set(number, Edit())
        yield Move(f"{who} commits; the answer is lost", unsure, is_fault=True, broken=broken)
