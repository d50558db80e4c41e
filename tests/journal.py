"""Journal: what jobs wrote down of themselves, read and judged without any code of the product.

A line is `run_id step attempt worker what moment`. Tests add lines of their own: `- - - worker
killed moment`, written when the process is surely gone, so that the order of lines is the order of
events.
"""

import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

Step = tuple[str, int]
"""(run_id, step)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line."""

    run_id: str
    step: int
    attempt: int
    worker: str
    what: str
    at: float

    @classmethod
    def parse(cls, line: str) -> "Entry":
        """Read a line."""
        run_id, step, attempt, worker, what, at = line.split()
        if run_id == "-":
            return cls("", -1, -1, worker, what, float(at))
        return cls(run_id, int(step), int(attempt), worker, what, float(at))

    @property
    def of(self) -> Step:
        """The step that it is about."""
        return self.run_id, self.step


class Journal:
    """A journal as it is now."""

    def __init__(self, file: Path) -> None:
        """Read it; a last line that is being written is left out."""
        text = file.read_text()
        self.entries = [Entry.parse(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def begins(self, run_id: str | None = None) -> list[Entry]:
        """Return the beginnings, of one program or of all."""
        return self._of("begin", run_id)

    def ends(self, run_id: str | None = None) -> list[Entry]:
        """Return the ends, of one program or of all."""
        return self._of("end", run_id)

    def _of(self, what: str, run_id: str | None) -> list[Entry]:
        return [
            entry for entry in self.entries if entry.what == what and run_id in {None, entry.run_id}
        ]

    def running(self) -> dict[str, list[Entry]]:
        """Return {worker: beginnings of steps that it is running by what the file says}."""
        opened: dict[tuple[Step, str], Entry] = {}
        for entry in self.entries:
            if entry.what == "begin":
                opened[entry.of, entry.worker] = entry
            elif entry.what == "killed":
                opened = {key: each for key, each in opened.items() if key[1] != entry.worker}
            else:
                opened.pop((entry.of, entry.worker), None)
        of_worker: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in opened.values():
            of_worker[entry.worker].append(entry)
        return dict(of_worker)

    def begun_again(self) -> list[tuple[Entry, Entry]]:
        """Return each beginning that was followed by another of the same step, and that other."""
        last: dict[Step, Entry] = {}
        pairs = []
        for entry in self.begins():
            if entry.of in last:
                pairs.append((last[entry.of], entry))
            last[entry.of] = entry
        return pairs

    def deaths(self) -> Counter[Step]:
        """Count for each step the workers that died while it was theirs.

        A step was still its worker's when it had no end by the time of the kill, or when it was
        begun again though it had: its end was not committed.
        """
        position = {id(entry): number for number, entry in enumerate(self.entries)}
        again = {id(first) for first, _ in self.begun_again()}
        killed_at = {entry.worker: position[id(entry)] for entry in self._of("killed", None)}
        ended = {(entry.of, entry.attempt, entry.worker) for entry in self.ends()}
        return Counter(
            entry.of
            for entry in self.begins()
            if killed_at.get(entry.worker, -1) > position[id(entry)]
            and ((entry.of, entry.attempt, entry.worker) not in ended or id(entry) in again)
        )

    def out_of_order(self) -> list[Entry]:
        """Return the beginnings of a step before the end of the one before it, or after a later."""
        ended: defaultdict[str, set[int]] = defaultdict(set)
        newest: defaultdict[str, int] = defaultdict(int)
        wrong = []
        for entry in self.entries:
            if entry.what == "end":
                ended[entry.run_id].add(entry.step)
            elif entry.what == "begin":
                is_early = entry.step > 0 and entry.step - 1 not in ended[entry.run_id]
                if is_early or entry.step < newest[entry.run_id]:
                    wrong.append(entry)
                newest[entry.run_id] = max(newest[entry.run_id], entry.step)
        return wrong

    def unexplained(self) -> list[tuple[Entry, Entry]]:
        """Return the steps that were begun again though no kill of their worker lies between."""
        position = {id(entry): number for number, entry in enumerate(self.entries)}
        kills = [(entry.worker, position[id(entry)]) for entry in self._of("killed", None)]
        return [
            (first, second)
            for first, second in self.begun_again()
            if not any(
                worker == first.worker and position[id(first)] < at < position[id(second)]
                for worker, at in kills
            )
        ]


def note_kill(file: Path, worker: str) -> None:
    """Add the line of a killed worker; it must be gone."""
    with file.open("a") as journal:
        journal.write(f"- - - {worker} killed {time.monotonic():.6f}\n")
        journal.flush()
        os.fsync(journal.fileno())
