"""Calls: run a callback job by calling its endpoint, within its time, signed."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.token_keys import TokenKey
from program_service.bookkeeping.lifecycle import (
    TIMED_OUT,
    Claimed,
    Fail,
    Failure,
    Json,
    LetGo,
    Outcome,
    Released,
    RetryLater,
)
from program_service.logs import log
from program_service.redaction import Redaction
from program_service.telemetry import Event, Metrics
from program_service.webhooks.answers import read_answer
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import CallError, Forbidden, NoConnection, TookTooLong
from program_service.webhooks.signing import signature_headers
from program_service.webhooks.tokens import write_token
from program_workers.callbacks.endpoints import CallbackJob
from program_workers.context import Step
from program_workers.judgement import is_for_the_worker
from program_workers.lease import StopReason
from program_workers.room import Room

LEAST_FAILURE = 300
SERVER_ERROR = 500

CONNECT_S = 5.0
"""A host that lets nobody connect for so long is at fault; in less, it may be the job's own limit:
a lost packet costs 1 or 3 s."""


class CallbackJobs:
    """Call endpoints; whether there is room for a call was decided when its program was claimed."""

    def __init__(  # noqa: PLR0913 - what a call needs
        self,
        caller: Caller,
        metrics: Metrics,
        *,
        public_url: str,
        disable: Callable[[CallbackJob], Awaitable[bool]],
        room: Room,
        redaction: Redaction,
    ) -> None:
        """Take who calls, where the service is reached, how a job is disabled, and the breakers."""
        self._redaction = redaction
        self._caller = caller
        self._metrics = metrics
        self._public_url = public_url.rstrip("/")
        self._disable = disable
        self._room = room
        self._running: Counter[str] = Counter()
        self._token_key: TokenKey | None = None

    def sign_tokens_by(self, key: TokenKey) -> None:
        """Take the newest token key of the deployment."""
        self._token_key = key

    @property
    def running(self) -> Json:
        """The calls that run now, as {job: how many}."""
        return dict(+self._running)

    async def run(self, job: CallbackJob, step: Step) -> Outcome:
        """Call the endpoint and say what became of the step."""
        self._running[job.name] += 1
        try:
            return await self._call_stoppable(job, step)
        finally:
            self._running[job.name] -= 1

    async def _call_stoppable(self, job: CallbackJob, step: Step) -> Outcome:
        scope = asyncio.timeout(None)
        try:
            with step.held.stopping(scope):
                async with scope:
                    return await self._call(job, step)
        except BaseException as error:
            if is_for_the_worker(error) or not scope.expired():
                raise
        is_cancelled = step.held.stop_reason is StopReason.CANCELLED
        return LetGo() if is_cancelled else Released()

    async def _call(self, job: CallbackJob, step: Step) -> Outcome:
        began = datetime.now(UTC)
        deadline = (began + timedelta(seconds=job.timeout_s)).isoformat()
        body = self._body(job, step.program, deadline)
        try:
            answer = await self._caller.post(
                job.endpoint.url,
                headers=_headers(step.program, body, deadline, job.endpoint.valid_secrets(began)),
                body=body,
                within_s=job.timeout_s,
            )
        except Forbidden as error:
            self._metrics.blocked.labels(error.rule).inc()
            return Fail(Failure(str(error), type=type(error).__name__, code="forbidden_address"))
        except CallError as error:
            return self._broken(job, error, step.program.lease)
        self._metrics.call_ended(job.name, answer.status)
        self._room.hosts.succeeded(job.host)
        if answer.status >= SERVER_ERROR:
            said = f"it answered {answer.status}"
            self._room.jobs.failed(job.name, said, by=step.program.lease)
        else:
            self._room.jobs.succeeded(job.name)
        is_hiding = self._redaction.is_on and answer.status >= LEAST_FAILURE
        secrets = self._redaction.secrets_of(step.program) if is_hiding else ()
        reading = read_answer(
            answer, within_s=job.timeout_s, max_s=job.retry.max_s, secrets=secrets
        )
        if reading.is_gone:
            await self._disable_if_possible(job)
        return reading.outcome

    async def _disable_if_possible(self, job: CallbackJob) -> None:
        try:
            if await self._disable(job):
                log.warning(Event.JOB_DISABLED, job=job.name)
        except BookkeepingError as error:  # its next call is answered 410 again
            log.warning(Event.DATABASE_UNAVAILABLE, during="disable", error_message=str(error))

    def _broken(self, job: CallbackJob, error: CallError, lease: str) -> Outcome:
        """Say what a call without a response means, and whose breaker counts it."""
        if error.has_connected:
            self._room.hosts.succeeded(job.host)
        if error.has_connected or not _is_of_the_host(job, error):
            self._room.jobs.failed(job.name, str(error), by=lease)
        else:
            self._room.hosts.failed(job.host, str(error), by=lease)
        failure = Failure(str(error), type=type(error).__name__, code="no_answer")
        if isinstance(error, TookTooLong):
            message = (
                f"{TIMED_OUT}: the endpoint of {job.name!r} took longer than {job.timeout_s} s"
            )
            failure = Failure(message, type=TIMED_OUT, code=TIMED_OUT)
        self._metrics.call_ended(job.name, str(failure.code))
        return RetryLater(failure)

    def _body(self, job: CallbackJob, program: Claimed, deadline: str) -> bytes:
        ticket = Ticket(program.run_id, program.step, program.resumes, program.attempt)
        own_key = job.endpoint.token_key
        token = write_token(ticket, job.name, token_key=own_key, by=self._token_key)
        base = f"{self._public_url}/callbacks/{token}"
        return orjson.dumps(
            {
                "type": "job.execute",
                "run_id": program.run_id,
                "job": job.name,
                "step": program.step,
                "attempt": program.attempt,
                "jobs": list(program.jobs),
                "program_data": program.program_data,
                "job_data": program.job_data.get(job.name, {}),
                "deadline": deadline,
                "links": {
                    "job_data": f"{base}/job-data",
                    "heartbeat": f"{base}/heartbeat",
                    "complete": f"{base}/complete",
                    "fail": f"{base}/fail",
                },
            }
        )


def _is_of_the_host(job: CallbackJob, error: CallError) -> bool:
    """Say whether a call that did not connect is the host's failure, and not that of its job."""
    if isinstance(error, TookTooLong):
        return job.timeout_s >= CONNECT_S
    return isinstance(error, NoConnection)


def _headers(
    program: Claimed, body: bytes, deadline: str, secrets: Sequence[str]
) -> dict[str, str]:
    message_id = f"{program.run_id}-{program.step}"
    headers = signature_headers(
        secrets, message_id=message_id, timestamp=int(time.time()), body=body
    )
    headers |= {
        "idempotency-key": message_id,
        "x-program-attempt": str(program.attempt),
        "x-program-deadline": deadline,
    }
    return headers | ({"traceparent": program.traceparent} if program.traceparent else {})
