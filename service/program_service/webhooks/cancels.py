"""Cancels: notify the endpoint of a step whose program was cancelled, if it has a `cancel_url`.

A courtesy: the process that was asked to cancel sends it, with a few tries, and nothing is stored.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import UTC, datetime

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import JobNotFound
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.ledger.registry import Endpoint, find_job
from program_service.logs import log
from program_service.loops.in_flight import InFlight
from program_service.loops.turns import is_set_within, turn
from program_service.plain import described
from program_service.telemetry import Event, Metrics
from program_service.webhooks.courier import Courier, Notification
from program_service.webhooks.guard import host_of
from program_service.webhooks.places import Wish

LOOK_EVERY_S = 1.0
TRIES = 3
FIRST_PAUSE_S = 1.0
MAX_WAITING = 10_000
"""Cancels that wait for a place; those beyond are not sent."""
PAGE = 500
END_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a notification says of a program that was cancelled."""

    run_id: str
    job: str
    step: int
    key: str | None
    traceparent: str | None
    of: Context
    """That of the request to cancel: the span of the notification is linked to it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification that waits for a place."""

    wish: Wish
    notification: Notification
    of: Context


class Cancels:
    """The loop that notifies of cancels."""

    name = "notify_cancels"

    def __init__(self, database: Database, courier: Courier, metrics: Metrics) -> None:
        """Take where jobs are found, and who sends."""
        self._database = database
        self._courier = courier
        self._metrics = metrics
        self._in_flight = InFlight(self.name)
        self._new: deque[Cancelled] = deque()
        self._waiting: deque[Waiting] = deque()
        self._dropped = 0
        self._stopping = asyncio.Event()

    def add(self, program: Program) -> None:
        """Notify the endpoint of a program's current job soon."""
        if len(self._new) + len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        self._new.append(
            Cancelled(
                run_id=program.run_id,
                job=program.job,
                step=program.step,
                key=program.submitted_by,
                traceparent=program.traceparent,
                of=copy_context(),
            )
        )
        self._in_flight.changed.set()

    def stop(self) -> None:
        """Begin nothing new; what is being sent has some seconds to end."""
        self._stopping.set()
        self._in_flight.changed.set()

    async def run(self) -> None:
        """Notify until stopped."""
        async with self._in_flight.open(end_within_s=END_WITHIN_S):
            while not self._stopping.is_set():
                self._in_flight.changed.clear()
                async with turn():
                    await self._turn()
                if not self._new:
                    await is_set_within(self._in_flight.changed, LOOK_EVERY_S)
        self._dropped += len(self._new) + len(self._waiting)
        self._report_dropped()

    async def _turn(self) -> None:
        new = [self._new.popleft() for _ in range(min(PAGE, len(self._new)))]
        endpoints = await self._endpoints({each.job for each in new})
        for each in new:
            if (endpoint := endpoints.get(each.job)) is not None:
                self._waiting.append(_notification(each, endpoint))
        for _ in range(len(self._waiting)):
            self._begin(self._waiting.popleft())
        self._report_dropped()

    async def _endpoints(self, jobs: Iterable[str]) -> dict[str, Endpoint]:
        """Return the endpoints of those jobs that want to know."""
        found = {}
        for name in jobs:
            try:
                job = await self._database.read(find_job, name)
            except JobNotFound:
                continue
            except Exception as error:  # noqa: BLE001 - everything done for the programs of one job
                message = described(error)
                log.error(Event.TASK_FAILED, loop=self.name, error_message=message, exc_info=error)
                continue
            if job.endpoint is not None and job.endpoint.cancel_url is not None:
                found[name] = job.endpoint
        return found

    def _begin(self, waiting: Waiting) -> None:
        """Send a notification, if there is a place; those to dead hosts are dropped."""
        places, wish, notification = self._courier.places, waiting.wish, waiting.notification
        if places.free <= 0 or places.full(wish) is not None:
            self._waiting.append(waiting)
        elif self._courier.wait_s(notification.url) > 0:
            self._dropped += 1
        else:
            places.take(wish)
            self._in_flight.start(self._send(wish, notification), within=waiting.of)

    async def _send(self, wish: Wish, notification: Notification) -> None:
        try:
            for number in range(TRIES):
                if number:
                    await asyncio.sleep(FIRST_PAUSE_S * 2.0 ** (number - 1))
                problem = await self._courier.send(notification)
                if problem is None:
                    self._metrics.notifications.labels("sent").inc()
                    return
                run_id = notification.message["run_id"]
                log.warning(
                    Event.NOTIFY_FAILED, run_id=run_id, tries=number + 1, error_message=problem
                )
            self._metrics.notifications.labels("given_up").inc()
        finally:
            self._courier.places.give_back(wish)

    def _report_dropped(self) -> None:
        if self._dropped:
            log.warning(Event.NOTIFY_DROPPED, programs=self._dropped)
            self._metrics.notifications.labels("dropped").inc(self._dropped)
        self._dropped = 0


def _notification(cancelled: Cancelled, endpoint: Endpoint) -> Waiting:
    assert endpoint.cancel_url is not None
    notification = Notification(
        url=endpoint.cancel_url,
        message_id=f"{cancelled.run_id}-{cancelled.step}-cancel",
        message={
            "type": "job.cancel",
            "run_id": cancelled.run_id,
            "job": cancelled.job,
            "step": cancelled.step,
        },
        secrets=endpoint.valid_secrets(datetime.now(UTC)),
        traceparent=cancelled.traceparent,
    )
    wish = Wish(host_of(endpoint.cancel_url), cancelled.key)
    return Waiting(wish, notification, cancelled.of)
