"""Setbacks: steps that are given back because the database was away, counted while they recur.

Giving a step back costs it no attempt. So that none is given back for ever, the pause grows, and
what may be the job's own doing, whose statement may crash the server, is given back a few times.
"""

from collections import OrderedDict

from program_service.bookkeeping.lifecycle import Claimed, Released
from program_service.logs import log
from program_service.telemetry import Event

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
FEW = 10
"""A database that goes away so often within one step is perhaps brought down by it."""

REMEMBERED = 10_000
"""Steps that one process remembers: about 2 MB."""


class InARow:
    """How often the same happened to each step in a row, in this process."""

    def __init__(self) -> None:
        """Begin without any."""
        self._counts: OrderedDict[tuple[str, int], int] = OrderedDict()

    def __len__(self) -> int:
        """Count the steps that are remembered."""
        return len(self._counts)

    def times(self, program: Claimed) -> int:
        """Return how often it happened to the current step."""
        return self._counts.get((program.run_id, program.step), 0)

    def add(self, program: Claimed) -> int:
        """Count once more, and return how often it was."""
        count = self._counts.pop((program.run_id, program.step), 0) + 1
        self._counts[program.run_id, program.step] = count
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return count

    def forget(self, program: Claimed) -> None:
        """Begin again with the current step."""
        self._counts.pop((program.run_id, program.step), None)


class Setbacks:
    """How often each step was given back in a row, by this process."""

    def __init__(self) -> None:
        """Begin without any."""
        self._in_a_row = InARow()

    def give_back(self, program: Claimed, words: str) -> Released:
        """Give the current step back, for a while that grows."""
        count = self._in_a_row.add(program)
        log.warning(
            Event.STEP_GIVEN_BACK,
            run_id=program.run_id,
            job=program.job,
            step=program.step,
            times=count,
            error_message=words,
        )
        return Released(PAUSES_S[min(count, len(PAUSES_S)) - 1])

    def give_back_a_few_times(self, program: Claimed, words: str) -> Released | None:
        """Give the current step back, unless that was done too often in a row."""
        return self.give_back(program, words) if self._in_a_row.times(program) < FEW else None

    def forget(self, program: Claimed) -> None:
        """Note that the current step was recorded."""
        self._in_a_row.forget(program)
