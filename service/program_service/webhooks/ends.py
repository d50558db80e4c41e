"""Ends: notify the addresses that submitters named when their programs have ended.

Every service process claims some of the notifications that are due, each for a minute. A place that
becomes free is taken by the next notification at once, and each outcome is written as it comes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from program_service.bookkeeping.database import PATIENCE_S, Database
from program_service.bookkeeping.errors import BatchRefused, BookkeepingError, DatabaseUnavailable
from program_service.bookkeeping.halves import is_of_one_item
from program_service.bookkeeping.ledger.notifying import (
    Claim,
    Put,
    Told,
    Untold,
    claim_untold,
    find_ended,
    is_any_due,
)
from program_service.bookkeeping.ledger.reading import Program
from program_service.cancellation import is_being_cancelled
from program_service.logs import log
from program_service.loops.in_flight import InFlight
from program_service.loops.turns import is_set_within, turn
from program_service.plain import described
from program_service.telemetry import Event, Metrics
from program_service.texts import cut
from program_service.webhooks.courier import Courier, Notification
from program_service.webhooks.guard import host_of
from program_service.webhooks.outcomes import Outcomes
from program_service.webhooks.places import Places, Wish

LOOK_EVERY_S = 1.0
PAGE = 500
CLAIM_S = 60.0
"""Four times what sending may take: reading the program and writing the outcome are included."""
MAX_TRIES = 20
LONGEST_PAUSE_S = 3_600.0
READ_PAGE = 50
"""Programs that are read at a time: each may have megabytes."""
MAX_UNWRITTEN = 1_000
"""Outcomes that are not written yet, before nothing more is claimed."""
MAX_REFUSED = 1_000
END_WITHIN_S, WRITE_WITHIN_S = 5.0, 1.5


class Ends:
    """The loop that notifies of ends."""

    name = "notify_ends"

    def __init__(
        self,
        database: Database,
        courier: Courier,
        metrics: Metrics,
        *,
        secret: str,
        describe: Callable[[Program], Mapping[str, Any]],
    ) -> None:
        """Take who sends, what signs, and how a program is shown."""
        self._database = database
        self._courier = courier
        self._metrics = metrics
        self._secret = secret
        self._describe = describe
        self._in_flight = InFlight(self.name)
        self._outcomes = Outcomes(database)
        self._planned: Sequence[Untold] = ()
        self._refused: list[str] = []
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Claim nothing more; what is being sent has some seconds to end."""
        self._stopping.set()
        self._in_flight.changed.set()

    async def run(self) -> None:
        """Notify until stopped."""
        try:
            async with self._in_flight.open(end_within_s=END_WITHIN_S):
                while not self._stopping.is_set():
                    self._in_flight.changed.clear()
                    if not await self._is_more_due():
                        await is_set_within(self._in_flight.changed, LOOK_EVERY_S)
        finally:
            await self._write_last()

    async def _is_more_due(self) -> bool:
        """Take a turn; an outage of the database cuts off nothing that is being sent."""
        try:
            async with turn():
                return await self._turn()
        except DatabaseUnavailable as error:
            log.warning(Event.DATABASE_UNAVAILABLE, during=self.name, error_message=str(error))
            return False

    async def _turn(self) -> bool:
        """Write outcomes, claim what there are places for; return whether more may be due."""
        await self._outcomes.write()
        if len(self._outcomes) > MAX_UNWRITTEN or self._courier.places.free <= 0:
            return False
        if not await self._database.read(is_any_due):
            return False
        claims = await self._claim()
        taken = [claim for claim in claims if self._is_taken(claim)]
        for first in range(0, len(taken), READ_PAGE):
            try:
                await self._begin(taken[first : first + READ_PAGE])
            except DatabaseUnavailable:
                self._put_back(taken[first:])
                raise
        return len(claims) == PAGE

    async def _claim(self) -> list[Claim]:
        """Claim a page; leave out a row that the database refuses to change, found by halves."""
        limit = PAGE
        while True:
            try:
                return await self._database.transact_past_outages(
                    PATIENCE_S, claim_untold, limit=limit, plan=self._plan, without=self._refused
                )
            except (BatchRefused, DatabaseUnavailable) as error:
                if not is_of_one_item(error):
                    raise
                if limit == 1:
                    self._leave_out(self._planned[0], error)
                    limit = PAGE
                limit = max(1, limit // 2)

    def _leave_out(self, untold: Untold, error: BookkeepingError) -> None:
        log.error(Event.NOTIFY_REFUSED, run_id=untold.run_id, error_message=str(error))
        self._refused = [*self._refused, untold.run_id][-MAX_REFUSED:]

    def _plan(self, untold: Sequence[Untold]) -> dict[int, Put]:
        """Say what to do with each notification, for as long as there are places."""
        self._planned = untold
        places, puts = self._courier.places.draft(), dict[int, Put]()
        for each in untold:
            if places.free <= 0:
                break
            puts[each.id] = self._put(each, places)
        return puts

    def _put(self, untold: Untold, places: Places) -> Put:
        """Take a place for a notification, or say when it is likely to find one."""
        if untold.tries >= MAX_TRIES:  # the process that began the last try died
            return Put(None, untold.tries)
        wish = _wish(untold)
        if (party := places.full(wish)) is not None:
            return Put(places.wait_s(party), untold.tries)
        if (wait_s := self._courier.wait_s(untold.url)) > 0:
            return Put(None if untold.is_overdue else wait_s, untold.tries)
        places.take(wish)
        return Put(CLAIM_S, untold.tries + 1)

    def _is_taken(self, claim: Claim) -> bool:
        """Return whether a notification has a place; note why not."""
        untold, put = claim.untold, claim.put
        if put.again_in_s is None:
            problem = "its host does not respond, or the last try was cut off"
            self._give_up(untold, put.tries, problem)
            return False
        if put.tries == untold.tries:
            self._metrics.notifications.labels("postponed").inc()
            return False
        return True

    async def _begin(self, claims: Sequence[Claim]) -> None:
        """Read the programs of some claims, and begin to send them."""
        try:
            programs = await self._database.read(find_ended, claims)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - everything done for some programs
            if len(claims) == 1:
                self._outcomes.add(self._outcome(claims[0], described(error)))
                return
            for claim in claims:
                await self._begin([claim])
            return
        if self._stopping.is_set():
            self._put_back(claims)
            return
        for claim in claims:
            if (program := programs.get(claim.untold.id)) is not None:
                self._courier.places.take(_wish(claim.untold))
                self._in_flight.start(self._notify(claim, program))

    def _put_back(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._outcomes.add(Told(claim, claim.untold.tries, again_in_s=0.0))

    async def _notify(self, claim: Claim, program: Program) -> None:
        try:
            self._outcomes.add(self._outcome(claim, await self._problem(program)))
        finally:
            self._courier.places.give_back(_wish(claim.untold))

    async def _problem(self, program: Program) -> str | None:
        """Send a notification; return what went wrong, or None."""
        try:
            return await self._courier.send(self._notification(program))
        except (Exception, asyncio.CancelledError) as error:
            if is_being_cancelled():
                raise
            return described(error)

    def _notification(self, program: Program) -> Notification:
        return Notification(
            url=program.notify or "",
            message_id=f"{program.run_id}-ended-{program.resumes}",
            message={"type": "program.ended", "program": self._describe(_cut(program))},
            secrets=[self._secret],
            traceparent=program.traceparent,
        )

    def _outcome(self, claim: Claim, problem: str | None) -> Told:
        tries = claim.put.tries
        if problem is None:
            self._metrics.notifications.labels("sent").inc()
            return Told(claim, tries)
        if tries >= MAX_TRIES:
            self._give_up(claim.untold, tries, problem)
            return Told(claim, tries)
        self._metrics.notifications.labels("failed").inc()
        run_id = claim.untold.run_id
        log.warning(Event.NOTIFY_FAILED, run_id=run_id, tries=tries, error_message=problem)
        return Told(claim, tries, again_in_s=min(LONGEST_PAUSE_S, 2.0 ** (tries - 1)))

    def _give_up(self, untold: Untold, tries: int, problem: str) -> None:
        self._metrics.notifications.labels("given_up").inc()
        log.error(Event.NOTIFY_GIVEN_UP, run_id=untold.run_id, tries=tries, error_message=problem)

    async def _write_last(self) -> None:
        """Write what has ended, so that no other process sends it again."""
        try:
            async with asyncio.timeout(WRITE_WITHIN_S):
                await self._outcomes.write()
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning(Event.DATABASE_UNAVAILABLE, during=self.name, error_message=str(error))


def _cut(program: Program) -> Program:
    """Cut an error message that was stored before there was a limit."""
    message = program.error_message
    return program if message is None else replace(program, error_message=cut(message))


def _wish(untold: Untold) -> Wish:
    return Wish(host_of(untold.url), untold.key, is_retry=untold.tries > 0)
