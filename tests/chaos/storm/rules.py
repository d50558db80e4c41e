"""Rules: what the checker finds broken, by name."""

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """A rule that a story can break."""

    LOST = "accepted programs lost"
    SUBMITTED_TWICE = "programs stored twice"
    NOT_ENDED = "programs not ended"
    WRONG_END = "programs with a wrong end"
    PROMISE = "promises to clients broken"
    ORDER = "steps out of order"
    SKIPPED = "steps skipped or undone"
    AFTER_END = "recorded after the end"
    TAKEN = "claimed before it was due"
    FENCE = "recorded without the lease"
    DONE_TWICE = "steps recorded twice"
    NEVER_DONE = "recorded, never done"
    UNCOMMITTED = "begun before the commit of the step before"
    NO_LEASE = "begun without a lease"
    SAME_LEASE = "begun twice under one lease"
    OVERLAP = "two workers at once, both by right"
    UNEXPLAINED = "begun again without a reason"
    POISON = "programs made to fail that did not end"
    DIED = "processes that ended by themselves"


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that was broken, by which program (or process), and how."""

    rule: Rule
    who: str
    how: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.rule}: {self.who}: {self.how}"
