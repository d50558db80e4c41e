"""Notifier: tell the ends of programs to the addresses that their submitters named, signed.

Whom to tell stands in the table, so telling goes on after a restart. One service process tells at a
time. Cancels are told to endpoints once, with a few tries: they are a courtesy.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import SecretStr

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger.notifying import Told, Untold, find_untold, mark_told
from program_service.bookkeeping.ledger.reading import Program, find
from program_service.bookkeeping.ledger.registry import find_job
from program_service.logs import log
from program_service.loops.turns import is_set_within
from program_service.telemetry import Event, Metrics
from program_service.tracing.spans import HEADER
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import BadWebhookSetting, CallError, Forbidden
from program_service.webhooks.guard import Guard
from program_service.webhooks.signing import require_secret, signature_headers

LOOK_EVERY_S = 1.0
PAGE = 50
WITHIN_S = 15.0
MAX_TRIES = 20
LONGEST_PAUSE_S = 3_600.0
CANCEL_TRIES = 3
END_WITHIN_S = 5.0


class Notifier:
    """Post final states, and cancels."""

    def __init__(  # noqa: PLR0913 - what telling needs comes from many parts
        self,
        database: Database,
        caller: Caller,
        guard: Guard,
        metrics: Metrics,
        *,
        secret: SecretStr | None,
        describe: Callable[[Program], Mapping[str, Any]],
    ) -> None:
        """Take who calls, where refusals are counted, what signs, and how a program is shown.

        Raises:
            BadWebhookSetting: the secret is none.
        """
        self._database = database
        self._caller = caller
        self._guard = guard
        self._metrics = metrics
        self._secret = _checked(secret.get_secret_value()) if secret else None
        self._describe = describe
        self._telling: set[asyncio.Task[None]] = set()
        self._is_ending = asyncio.Event()

    def require_tellable(self, url: str) -> None:
        """Look whether an address could be told.

        Raises:
            Forbidden: it may not be called, or nothing is there to sign with.
        """
        if self._secret is None:
            rule = "no_secret"
            raise Forbidden(rule, "this service tells nobody: its NOTIFY_SECRET is not set")
        self._guard.check_url(url)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Tell meanwhile; what is being told at the end has a few seconds to come about."""
        running = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._is_ending.set()
            _, late = await asyncio.wait({running, *self._telling}, timeout=END_WITHIN_S)
            for task in late:
                task.cancel()

    async def _run(self) -> None:
        while not await is_set_within(self._is_ending, LOOK_EVERY_S):
            if self._secret is None:
                continue
            try:
                async with self._database.alone("notify") as is_alone:
                    while is_alone and await self._tell_page(self._secret):
                        pass
            except (BookkeepingError, OSError) as error:
                log.warning(Event.DATABASE_UNAVAILABLE, during="notify", error_message=str(error))

    async def _tell_page(self, secret: str) -> bool:
        """Tell whom to tell now; say whether there may be more."""
        page = await self._database.read(find_untold, limit=PAGE)
        if page:
            told = await asyncio.gather(*(self._tell(untold, secret) for untold in page))
            await self._database.transact(mark_told, told)
        return len(page) == PAGE and not self._is_ending.is_set()

    async def _tell(self, untold: Untold, secret: str) -> Told:
        program = await self._database.read(find, untold.run_id)
        message_id = f"{untold.run_id}-ended-{program.resumes}"
        message = {"type": "program.ended", "program": self._describe(program)}
        problem = await self._post(untold.url, message, [secret], message_id, of=program)
        if problem is None:
            return Told(untold, again_in_s=None)
        names = {"run_id": untold.run_id, "tries": untold.tries + 1, "error_message": problem}
        if untold.tries + 1 >= MAX_TRIES:
            log.error(Event.NOTIFY_GIVEN_UP, **names)
            return Told(untold, again_in_s=None)
        log.warning(Event.NOTIFY_FAILED, **names)
        return Told(untold, again_in_s=min(LONGEST_PAUSE_S, 2.0**untold.tries))

    def tell_cancelled(self, program: Program) -> None:
        """Tell the endpoint of the current job, if it wants to know, soon."""
        telling = asyncio.create_task(self._tell_cancelled(program))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell_cancelled(self, program: Program) -> None:
        try:
            job = await self._database.read(find_job, program.job)
        except BookkeepingError:
            return
        if job.endpoint is None or job.endpoint.cancel_url is None:
            return
        message = {
            "type": "job.cancel",
            "run_id": program.run_id,
            "job": program.job,
            "step": program.step,
        }
        secrets = job.endpoint.valid_secrets(datetime.now(UTC))
        message_id = f"{program.run_id}-{program.step}-cancel"
        for number in range(CANCEL_TRIES):
            url = job.endpoint.cancel_url
            problem = await self._post(url, message, secrets, message_id, of=program)
            if problem is None:
                return
            log.warning(Event.NOTIFY_FAILED, run_id=program.run_id, error_message=problem)
            await asyncio.sleep(2.0**number)

    async def _post(
        self,
        url: str,
        message: Mapping[str, Any],
        secrets: list[str],
        message_id: str,
        *,
        of: Program,
    ) -> str | None:
        """Post a message about a program, in its trace; return what went wrong, or None."""
        body = orjson.dumps(message, default=str)
        headers = signature_headers(
            secrets, message_id=message_id, timestamp=int(time.time()), body=body
        )
        if of.traceparent is not None:
            headers[HEADER] = of.traceparent
        try:
            answer = await self._caller.post(url, headers=headers, body=body, within_s=WITHIN_S)
        except CallError as error:
            if isinstance(error, Forbidden):
                self._metrics.blocked.labels(error.rule).inc()
            return str(error)
        is_fine = 200 <= answer.status < 300  # noqa: PLR2004 - as HTTP says
        return None if is_fine else f"it answered {answer.status}"


def _checked(secret: str) -> str:
    try:
        return require_secret(secret)
    except ValueError as error:
        msg = f"PROGRAM_EXECUTOR_NOTIFY_SECRET: {error}"
        raise BadWebhookSetting(msg) from error
