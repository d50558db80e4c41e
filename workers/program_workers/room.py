"""Room: which jobs this worker has room for, and which programs hold it.

Some jobs run only so often at a time in one worker: plain jobs, one in each thread; endpoints with
`max_concurrency`; endpoints whose breaker is open, by one probe. A program is claimed, or kept for
its next step, only when there is room for its job, so that waiting changes nothing in the table
(docs/adr/0022).
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.webhooks.breaker import UNLIMITED, Breakers, Circuit
from program_workers.callbacks.endpoints import CallbackJob
from program_workers.catalogue import Catalogue
from program_workers.places import Places, Pool, free, obstacle, set_aside


class Offer:
    """What one batch of claims may take: all that it finds of `open_jobs`, and some of `jobs`."""

    def __init__(self, room: "Room", open_jobs: Collection[str], jobs: Sequence[str]) -> None:
        """Offer the jobs that have room for every claim of the batch, and those that do not."""
        self._room = room
        self.open_jobs = open_jobs
        self.jobs = jobs
        self._admitted: list[Places] = []

    def admit(self, jobs: Sequence[str]) -> list[bool]:
        """Say of programs at these jobs, in this order, which of them there is room for.

        Their places are set aside. A transaction that is tried again asks again.
        """
        self.withdraw()
        return [self._admits(self._room.places_of(job)) for job in jobs]

    def _admits(self, limits: Sequence[Places]) -> bool:
        if obstacle(limits) is not None:
            return False
        self._admitted += limits
        set_aside(limits, 1)
        return True

    def withdraw(self) -> None:
        """Set nothing aside any more."""
        set_aside(self._admitted, -1)
        self._admitted = []


class Room:
    """The places of this worker's limits."""

    def __init__(self, catalogue: Catalogue, *, threads: int) -> None:
        """Begin with all places free."""
        self._catalogue = catalogue
        self.changed = asyncio.Event()
        """Set when there may be room for a job that had none."""
        self.hosts = Breakers(on_closed=self.changed.set)
        self.jobs = Breakers(on_closed=self.changed.set)
        self._threads = Pool("threads", threads)
        self._calls: dict[str, Pool] = {}
        self._held: dict[str, list[Places]] = {}

    def places_of(self, job: str) -> list[Places]:
        """Return the limits of a job: a program at it holds a place of each."""
        if job in self._catalogue.functions:
            return [self._threads] if job in self._catalogue.plain else []
        runnable = self._catalogue.find(job)
        if not isinstance(runnable, CallbackJob):
            return []
        circuits = (self.jobs.circuit(job), self.hosts.circuit(runnable.host))
        limits: list[Places] = [each for each in circuits if each is not None]
        return limits if runnable.max_concurrency is None else [*limits, self._pool_of(runnable)]

    def breakers(self) -> Json:
        """Return the open breakers: `breakers` of hosts, `job_breakers` of jobs."""
        jobs = {
            job: said | {"host": _authority(runnable.host)}
            for job, said in self.jobs.report().items()
            if isinstance(runnable := self._catalogue.find(job), CallbackJob)
        }
        hosts = {_authority(host): said for host, said in self.hosts.report().items()}
        return {"breakers": hosts, "job_breakers": jobs}

    def opens_in_s(self, job: str) -> float:
        """Return in how many seconds a breaker lets the next program at this job through."""
        pauses = [each.probed_in_s for each in self.places_of(job) if isinstance(each, Circuit)]
        return max((pause_s for pause_s in pauses if pause_s > 0), default=UNLIMITED)

    def _pool_of(self, job: CallbackJob) -> Pool:
        pool = self._calls.setdefault(job.name, Pool("max_concurrency"))
        pool.size = job.max_concurrency or UNLIMITED  # it may have been changed
        return pool

    @contextmanager
    def offering(self, claims: int) -> Iterator[Offer]:
        """Offer room to so many claims, while they are on their way."""
        short, ample = self._compared_with(claims)
        offer = Offer(self, set(self._catalogue) - short if short else (), list(short))
        set_aside(ample, claims)
        try:
            yield offer
        finally:
            offer.withdraw()
            set_aside(ample, -claims)
            self.changed.set()

    def _compared_with(self, claims: int) -> tuple[set[str], Collection[Places]]:
        """Return the jobs without room for so many, and the limits of the others."""
        short, ample = set[str](), dict[int, Places]()
        if free(self._threads) < claims:
            short.update(self._catalogue.plain)
        else:
            ample[id(self._threads)] = self._threads
        has_circuits = self.hosts or self.jobs
        for job in self._catalogue.endpoints if has_circuits else self._catalogue.limited:
            limits = self.places_of(job)
            if any(free(each) < claims for each in limits):
                short.add(job)
            else:
                ample |= {id(each): each for each in limits}
        return short, ample.values()

    def book(self, program: Claimed) -> None:
        """Give a claimed program the places that it was admitted to."""
        # by the slice: a row edited by hand may have no such step
        for job in program.jobs[program.step : program.step + 1]:
            self._take(program, self.places_of(job))

    def book_next(self, program: Claimed, job: str) -> bool:
        """Give a program that runs the places of its next job besides, if there is room."""
        held = self._held.get(program.lease, [])
        wanted = [each for each in self.places_of(job) if each not in held]
        if obstacle(wanted) is not None:
            return False
        self._take(program, wanted)
        return True

    def keep(self, program: Claimed, job: str) -> None:
        """Leave a program that goes on with this job the places of it, and no others."""
        held = self._held.get(program.lease)
        if held:
            kept = self.places_of(job)
            self._give_back(program, [each for each in held if each not in kept])

    def leave(self, program: Claimed) -> None:
        """Take back all places of a program."""
        self._give_back(program, list(self._held.get(program.lease, ())))

    def _take(self, program: Claimed, wanted: Sequence[Places]) -> None:
        # no probe is what was admitted before the circuit opened
        taken = [each for each in wanted if isinstance(each, Pool) or 1 <= free(each) < UNLIMITED]
        for places in taken:
            places.holders[program.lease] = program.run_id
        if taken:
            self._held.setdefault(program.lease, []).extend(taken)

    def _give_back(self, program: Claimed, given: Sequence[Places]) -> None:
        for places in given:
            places.holders.pop(program.lease, None)
            self._held[program.lease].remove(places)
        if given:
            self.changed.set()
            if not self._held[program.lease]:
                del self._held[program.lease]


def _authority(host: str) -> str:
    """Return a host without its scheme, as reports and metrics have always named it."""
    return host.partition("://")[2]
