"""Sweeper turns: find what is due and mark it as woken, perhaps too late; and let time pass."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from builders import row_of
from model.games import Game
from program_service.bookkeeping.ledger.waking import (
    Due,
    Silence,
    find_due,
    find_unanswered,
    mark_woken,
)


class SweeperTurns(Game):
    """Turns of the sweeper and of time."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        super().__init__()
        self.unmarked: list[Due] = []

    @rule()
    def pass_time(self) -> None:
        """Let leases end, retries come due and deadlines pass."""
        self.let_time_pass()

    @rule(is_slow=st.booleans())
    def wake(self, *, is_slow: bool) -> None:
        """Look for what nobody was woken for."""
        self._mark_what_was_read()
        self.earlier += self.bench.wait(timedelta(seconds=2))  # the relay's head start
        page = self.bench.run(self.bench.database.read(find_due, jobs=["a", "b"], limit=10))
        wanted = {
            program.run_id: (program.queue, program.lease is not None or program.losses > 0)
            for program in self.expected.values()
            if not program.has_ended and program.due == "now" and not program.is_woken
        }
        assert {row.run_id: (row.queue, row.is_suspect) for row in page.rows} == wanted
        self._read(page.rows, is_slow=is_slow)

    @rule(queue=st.sampled_from(["left", "right"]), is_slow=st.booleans())
    def wake_again(self, queue: str, *, is_slow: bool) -> None:
        """Look for wake-ups that may be lost."""
        self._mark_what_was_read()
        silence = Silence(queue, seconds=0)
        database = self.bench.database
        page = self.bench.run(database.read(find_unanswered, silence, jobs=["a", "b"], limit=10))
        wanted = {
            program.run_id
            for program in self.expected.values()
            if program.queue == queue
            and not program.has_ended
            and (program.due, program.is_woken) == ("now", True)
        }
        assert {row.run_id for row in page.rows} == wanted
        self._read(page.rows, is_slow=is_slow)

    def _read(self, rows: Sequence[Due], *, is_slow: bool) -> None:
        """Mark at once, or before the next look."""
        self.unmarked = [replace(row, due_at=row.due_at + self.earlier) for row in rows]
        if not is_slow:
            self._mark_what_was_read()

    def _mark_what_was_read(self) -> None:
        rows = [replace(row, due_at=row.due_at - self.earlier) for row in self.unmarked]
        self.unmarked = []
        stands = [self._due_at(row.run_id) == row.due_at for row in rows]
        self.bench.transact(mark_woken, rows)
        for row, is_as_read in zip(rows, stands, strict=True):
            program = self.expected[row.run_id]
            if is_as_read and not program.has_ended:
                program.is_woken = True

    def _due_at(self, run_id: str) -> datetime | None:
        due_at: datetime | None = self.bench.run(row_of(self.bench.database, run_id))["due_at"]
        return due_at
