"""Line: programs that this worker was woken for and has no room for yet.

Their rows are as they were: due, and claimed by nobody. So the line is only a memory of this
process. When it is lost, or too short, the sweeper wakes for the same programs again (rule R6).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from program_service.bookkeeping.lifecycle import Json
from program_service.wakeups.broker import MAX_HOPS, Wakeup
from program_service.webhooks.breaker import UNLIMITED
from program_workers.places import Admission, obstacle
from program_workers.room import Room

LONGEST = 1_000
"""Programs that wait at one worker, about 0.5 MB; for more the sweeper wakes every half minute."""

SHOWN = 5
"""How many of the programs that hold a limit's places a report names."""


@dataclass(slots=True)
class Waiting:
    """A program that waits, at this job, and the wake-up that named it last."""

    run_id: str
    job: str
    wakeup: Wakeup
    has_asked: bool
    """Whether other workers were asked, by its wake-up; so they are until it comes back."""


class Line:
    """The programs that wait for room, in the order of their arrival."""

    def __init__(self, room: Room) -> None:
        """Begin with nobody."""
        self._room = room
        self._waiting: dict[str, Waiting] = {}

    def add(self, run_id: str, job: str, wakeup: Wakeup) -> bool:
        """Let a program wait, or go on waiting; say whether the line was short enough."""
        new = Waiting(run_id, job, wakeup, has_asked=wakeup.hops >= MAX_HOPS)
        if run_id not in self._waiting and len(self._waiting) >= LONGEST:
            return False
        if run_id not in self._waiting:
            self._room.changed.set()
        self._waiting[run_id] = new  # one that waits already keeps its turn
        return True

    def remove(self, run_id: str) -> None:
        """Forget a program: it was claimed, or is no matter of ours."""
        self._waiting.pop(run_id, None)

    def next(self, most: int) -> list[Wakeup]:
        """Return wake-ups for the first programs that there is room for; they stay in line."""
        admission, full, admitted = Admission(), set[str](), list[Waiting]()
        for each in self._waiting.values():
            if len(admitted) == most:
                break
            if each.job in full:
                continue
            if admission.admits(self._room.places_of(each.job)):
                admitted.append(each)
            else:
                full.add(each.job)
        return _wakeups(admitted)

    def all(self) -> list[Wakeup]:
        """Return wake-ups for all who wait."""
        return _wakeups(self._waiting.values())

    def ask_others(self) -> list[Wakeup]:
        """Return the wake-ups that go back to the queue now; the programs stay in line as well."""
        asking = [each for each in self._waiting.values() if not each.has_asked]
        for each in asking:
            each.has_asked = True
        return [replace(wakeup, hops=wakeup.hops + 1) for wakeup in _wakeups(asking)]

    @property
    def opens_in_s(self) -> float:
        """In how many seconds a breaker lets somebody through who waits."""
        return min(map(self._room.opens_in_s, self._jobs()), default=UNLIMITED)

    def report(self) -> dict[str, Json]:
        """Return {job: how many programs wait, for which limit, and who holds its places}."""
        report = {}
        for job, waiting in sorted(self._jobs().items()):
            limit = obstacle(self._room.places_of(job))
            if limit is not None:
                report[job] = {
                    "waiting": waiting,
                    "reason": limit.kind,
                    "limit": int(limit.capacity()),
                    "held_by": list(limit.holders.values())[:SHOWN],
                }
        return report

    def _jobs(self) -> Counter[str]:
        return Counter(each.job for each in self._waiting.values())


def _wakeups(waiting: Iterable[Waiting]) -> list[Wakeup]:
    """Return the wake-ups that named these programs, cut down to them."""
    named: dict[Wakeup, list[str]] = {}
    for each in waiting:
        named.setdefault(each.wakeup, []).append(each.run_id)
    return [replace(wakeup, run_ids=tuple(run_ids)) for wakeup, run_ids in named.items()]
