"""Intake: take as many wake-ups as there are free slots, claim their programs, acknowledge.

A wake-up is acknowledged once its claims are committed and what could not be taken is back in the
queue; from then on the lease guards the work, not the broker. It is never held during a job.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from program_service.bookkeeping.errors import BatchRefused, DatabaseUnavailable
from program_service.bookkeeping.halves import is_of_one_item
from program_service.bookkeeping.ledger.claiming import Answer, Claim, Missed, NoRoom
from program_service.bookkeeping.ledger.rows import ClaimedRow, Unreadable
from program_service.bookkeeping.lifecycle import Claimed
from program_service.crashpoints import CrashPoint, reach
from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_service.wakeups.broker import (
    MAX_BUNDLE,
    MAX_HOPS,
    Broker,
    Delivery,
    Subscription,
    Wakeup,
)
from program_workers.lease import LeaseKeeper
from program_workers.line import Line
from program_workers.recorder import Recorder
from program_workers.safety_net import SafetyNet

LOOK_EVERY_S = 0.02
"""How often a worker that stops looks whether its slots are free."""

TRY_AGAIN_S = 0.5

AHEAD = timedelta(hours=1)
"""How far the database's clock, by which wake-ups are published, may be ahead of this host's."""

HOLD_S = 0.5
"""How long a wake-up waits for slots here, before it goes back to the queue."""


class Slots:
    """Room for running programs."""

    def __init__(self, total: int) -> None:
        """Begin with all slots free."""
        self.total = total
        self.free = total
        self._freed = asyncio.Event()

    async def are_free_within(self, seconds: float, *, unless: asyncio.Event | None = None) -> bool:
        """Wait until all slots are free, or `unless` is set; say whether they are in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.free < self.total:
            if loop.time() >= deadline or (unless is not None and unless.is_set()):
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    async def reserve(self) -> None:
        """Wait for a free slot and take it."""
        while self.free == 0:
            self._freed.clear()
            await self._freed.wait()
        self.free -= 1

    def reserve_more(self, most: int) -> int:
        """Take up to `most` further slots at once and return how many."""
        taken = min(self.free, most)
        self.free -= taken
        return taken

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        self.free += count
        self._freed.set()


Execute: TypeAlias = Callable[[ClaimedRow, float], Awaitable[None]]
"""Run a claimed program; the number is the deadline of its lease, in monotonic time."""

Start: TypeAlias = Callable[[ClaimedRow, float], None]
"""The same, in a task of its own."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of some programs of a wake-up: how many are ours, and which are for others."""

    claimed: int
    rest: Sequence[str]
    is_waiting: bool
    """Whether some wait for room here."""


class Intake:
    """Turn wake-ups into claimed programs, within the slots."""

    def __init__(  # noqa: PLR0913 - between the broker, the ledger and the steps
        self,
        broker: Broker,
        recorder: Recorder,
        keeper: LeaseKeeper,
        *,
        slots: Slots,
        line: Line,
        metrics: Metrics,
    ) -> None:
        """Take what it needs."""
        self._broker = broker
        self._recorder = recorder
        self._keeper = keeper
        self._metrics = metrics
        self._net = SafetyNet(metrics)
        self.slots = slots
        self.line = line
        self.newest_wakeups: dict[str, datetime] = {}

    def subscribe(self, queues: Sequence[str]) -> Subscription:
        """Subscribe to as many wake-ups of these queues at a time as the slots are for."""
        return self._broker.subscribe(queues, prefetch=max(1, self.slots.total // MAX_BUNDLE))

    def starter(self, tasks: asyncio.TaskGroup, execute: Execute) -> Start:
        """Return what starts a claimed program in a task of its own, in a slot that is reserved."""

        async def occupy(program: ClaimedRow, deadline: float) -> None:
            try:
                await execute(program, deadline)
            finally:
                self.slots.release()

        def start(program: ClaimedRow, deadline: float) -> None:
            tasks.create_task(occupy(program, deadline))

        return start

    async def run(self, subscription: Subscription, tasks: asyncio.TaskGroup, start: Start) -> None:
        """Take wake-ups until cancelled, and start the claimed programs."""
        subscription.resume()  # it may have failed while it was paused
        while True:
            await self._reserve(subscription)
            try:
                delivery = await subscription.next()
            except BaseException:
                self.slots.release()
                raise
            reach(CrashPoint.INTAKE_RECEIVED)
            await self._deal(delivery, tasks, start)

    async def _reserve(self, subscription: Subscription) -> None:
        """Reserve a slot; while there is none for long, leave all wake-ups to other workers."""
        if await self._reserve_until(time.monotonic() + HOLD_S):
            return
        for delivery in await subscription.pause():
            await self._broker.publish([delivery.wakeup])
            reach(CrashPoint.INTAKE_HANDED_BACK)
            await delivery.acknowledge()
        await self.slots.reserve()
        subscription.resume()  # no await: a cancel here would lose the slot

    async def _deal(self, delivery: Delivery, tasks: asyncio.TaskGroup, start: Start) -> None:
        """Claim a wake-up's programs, as many at a time as slots are free; one is reserved.

        One wake-up is dealt with at a time, so that no two hold programs that wait for slots; their
        claims are committed together with those of the next.
        """
        wakeup = delivery.wakeup
        waiting, claims, reserved = wakeup.run_ids, [], 1
        give_up_at = time.monotonic() + HOLD_S
        while waiting and reserved:
            reserved += self.slots.reserve_more(len(waiting) - reserved)
            batch, waiting = waiting[:reserved], waiting[reserved:]
            claims.append(tasks.create_task(self.claim(wakeup, batch, start)))
            reserved = await self._reserve_until(give_up_at) if waiting else 0
        self.slots.release(reserved)  # by a wake-up that names nobody
        tasks.create_task(self._conclude(delivery, claims, waiting))

    async def _conclude(
        self, delivery: Delivery, claims: Sequence[asyncio.Task[Taken]], waiting: tuple[str, ...]
    ) -> None:
        """Hand back what could not be taken, and acknowledge, once the claims are committed.

        What cannot be handed back is acknowledged, too: it would hold a place of the prefetch for
        ever, and the sweeper wakes for its programs.
        """
        wakeup, taken = delivery.wakeup, await asyncio.gather(*claims)
        rest = (*waiting, *(run_id for each in taken for run_id in each.rest))
        has_claimed = any(each.claimed for each in taken)
        if rest:
            with self._net.around("hand_back", rest[0]):
                await self.hand_back(wakeup, rest, is_fresh=has_claimed)
        with self._net.around("acknowledge", ", ".join(wakeup.run_ids[:1])):
            reach(CrashPoint.INTAKE_BEFORE_ACK)
            await delivery.acknowledge()
            reach(CrashPoint.INTAKE_AFTER_ACK)
            is_waiting = any(each.is_waiting for each in taken)
            result = "claimed" if has_claimed else "no_room" if is_waiting else "nothing_to_do"
            self._note(wakeup, result)

    async def _reserve_until(self, moment: float) -> int:
        try:
            async with asyncio.timeout(max(0.0, moment - time.monotonic())):
                await self.slots.reserve()
        except TimeoutError:
            return 0
        return 1

    async def claim(self, wakeup: Wakeup, run_ids: Sequence[str], start: Start) -> Taken:
        """Claim and start programs, each in a reserved slot; those without room wait in line."""
        answers = await asyncio.gather(*map(self._claim_one, run_ids))
        claimed, rest, is_waiting = 0, [], False
        for run_id, (answer, sent_at) in zip(run_ids, answers, strict=True):
            if isinstance(answer, Claimed | Unreadable):
                claimed += 1
                start(answer, self._keeper.deadline_from(sent_at))
                with self._net.around("measure", run_id):
                    self._measure(answer, wakeup)
            else:
                self.slots.release()
            if isinstance(answer, NoRoom) and self.line.add(run_id, answer.job, wakeup):
                is_waiting = True
                continue
            self.line.remove(run_id)
            if isinstance(answer, NoRoom) or answer is Missed.UNKNOWN_JOB:
                rest.append(run_id)
        return Taken(claimed, rest, is_waiting)

    def _measure(self, program: ClaimedRow, wakeup: Wakeup) -> None:
        self._metrics.taken_over.inc(program.is_taken_over)
        if isinstance(program, Claimed):
            waited = program.claimed_at - wakeup.published_at
            self._metrics.wait_s.labels(program.job).observe(max(0.0, waited.total_seconds()))

    async def _claim_one(self, run_id: str) -> tuple[Answer, float]:
        """Claim a program; what nobody foresaw makes it one that is not to be had.

        If a lease was taken, it lapses, and that is seen as a lost worker.
        """
        with self._net.around("claim", run_id):
            return await self._claim_when_possible(run_id)
        return Missed.GONE, 0.0

    async def _claim_when_possible(self, run_id: str) -> tuple[Answer, float]:
        """Claim a program, with others that are claimed at that time; say when it was sent.

        While the database is away this waits for it: the wake-up is not acknowledged yet.
        """
        wish, sent_at = _wish(run_id), time.monotonic()
        while True:
            try:
                # the lease counts from the first try, whose answer may have been lost (rule R7)
                return await self._recorder.claims.add(wish), sent_at
            except (BatchRefused, DatabaseUnavailable) as error:
                if is_of_one_item(error):
                    # of a trigger of the user's, for one: it is left as it is, and woken again
                    log.warning(Event.CLAIM_REFUSED, run_id=run_id, error_message=str(error))
                    return Missed.GONE, sent_at
                log.warning(Event.DATABASE_UNAVAILABLE, during="claim", error_message=str(error))
                await asyncio.sleep(TRY_AGAIN_S)
            if time.monotonic() >= self._keeper.deadline_from(sent_at):
                # others may have noted that lease as lost, so that its receipt is taken (rule R4)
                wish, sent_at = _wish(run_id), time.monotonic()

    async def hand_back(self, wakeup: Wakeup, run_ids: tuple[str, ...], *, is_fresh: bool) -> None:
        """Put the rest back into the queue; after some hops that brought nothing, drop it."""
        hops = 0 if is_fresh else wakeup.hops + 1
        if hops > MAX_HOPS:
            self._metrics.received.labels("dropped").inc()
            log.info(Event.WAKEUP_DROPPED, queue=wakeup.queue, programs=len(run_ids))
            return
        self._metrics.received.labels("handed_back").inc()
        await self._broker.publish([replace(wakeup, run_ids=run_ids, hops=hops)])
        reach(CrashPoint.INTAKE_HANDED_BACK)

    def _note(self, wakeup: Wakeup, result: str) -> None:
        self._metrics.received.labels(result).inc()
        if wakeup.published_at > datetime.now(UTC) + AHEAD:
            return  # somebody made it up: all others would count as lost
        newest = self.newest_wakeups.get(wakeup.queue)
        if newest is None or wakeup.published_at > newest:
            self.newest_wakeups[wakeup.queue] = wakeup.published_at


def _wish(run_id: str) -> Claim:
    """Wish for a program; 64 random bits are unique among the leases of one program."""
    return Claim(run_id, secrets.token_hex(8))
