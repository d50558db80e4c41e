"""Calls: run a callback job by calling its endpoint, within its time, signed."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import orjson

from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.registry import DEFAULT_TIMEOUT_S, Endpoint, Job
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
from program_service.bookkeeping.retry import LONGEST_S, Retry
from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_service.webhooks.answers import read_answer
from program_service.webhooks.breaker import Breakers
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import CallError, Forbidden, TookTooLong
from program_service.webhooks.signing import require_secret, signature_headers
from program_service.webhooks.tokens import write_token
from program_workers.context import Step
from program_workers.judgement import is_for_the_worker
from program_workers.lease import StopReason

FULL_PAUSE_S = 1.0
"""How late a program comes again that found its job's `max_concurrency` used up."""

SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class CallbackJob:
    """A registered endpoint, as the worker calls it."""

    name: str
    endpoint: Endpoint
    queue: str
    timeout_s: float
    retry: Retry = field(default_factory=Retry)
    registered_at: datetime | None = None

    @classmethod
    def of(cls, job: Job) -> "CallbackJob":
        """Take what the registry says.

        Raises:
            ValueError: it could not be called; nobody registers such an endpoint over the API.
        """
        assert job.endpoint is not None
        for each in job.endpoint.secrets:
            require_secret(each.secret)
        if job.timeout_s is not None and not 0 < job.timeout_s <= LONGEST_S:
            msg = f"timeout_s is {job.timeout_s}; it must be above 0 and at most {LONGEST_S:.0f}"
            raise ValueError(msg)
        return cls(
            name=job.name,
            endpoint=job.endpoint,
            queue=job.queue,
            timeout_s=job.timeout_s or DEFAULT_TIMEOUT_S,
            retry=job.retry,
            registered_at=job.last_seen_at,
        )


class CallbackJobs:
    """Call endpoints; limits and circuits are this process's own."""

    def __init__(
        self,
        caller: Caller,
        metrics: Metrics,
        *,
        public_url: str,
        disable: Callable[[CallbackJob], Awaitable[bool]],
    ) -> None:
        """Take who calls, where the service is reached, and how a job is disabled."""
        self._caller = caller
        self._metrics = metrics
        self._public_url = public_url.rstrip("/")
        self._disable = disable
        self._running: Counter[str] = Counter()
        self.breakers = Breakers()

    def report(self) -> Json:
        """Return what people should see of the calls, and show Prometheus the same breakers."""
        breakers = self.breakers.report()
        self._metrics.breaker_open.clear()
        for host in breakers:
            self._metrics.breaker_open.labels(host).set(1)
        return {"breakers": breakers, "running": dict(+self._running)}

    async def run(self, job: CallbackJob, step: Step) -> Outcome:
        """Call the endpoint and say what became of the step."""
        host = urlsplit(job.endpoint.url).netloc
        limit = job.endpoint.max_concurrency
        if limit is not None and self._running[job.name] >= limit:
            return Released(FULL_PAUSE_S * (1 + random.random()))  # noqa: S311 - jitter
        wait_s = self.breakers.wait_s(host)
        if wait_s > 0:
            return Released(wait_s + random.random())  # noqa: S311 - jitter
        self._running[job.name] += 1
        try:
            return await self._call_stoppable(job, step, host)
        finally:
            self._running[job.name] -= 1

    async def _call_stoppable(self, job: CallbackJob, step: Step, host: str) -> Outcome:
        scope = asyncio.timeout(None)
        try:
            with step.held.stopping(scope):
                async with scope:
                    return await self._call(job, step, host)
        except BaseException as error:
            if is_for_the_worker(error) or not scope.expired():
                raise
        is_cancelled = step.held.stop_reason is StopReason.CANCELLED
        return LetGo() if is_cancelled else Released()

    async def _call(self, job: CallbackJob, step: Step, host: str) -> Outcome:
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
            return self._broken(job, host, error)
        self._metrics.called.labels(job.name, answer.status).inc()
        if answer.status >= SERVER_ERROR:
            self.breakers.failed(host)
        else:
            self.breakers.succeeded(host)
        reading = read_answer(answer, within_s=job.timeout_s)
        if reading.is_gone and await self._disable(job):
            log.warning(Event.JOB_DISABLED, job=job.name)
        return reading.outcome

    def _broken(self, job: CallbackJob, host: str, error: CallError) -> Outcome:
        self.breakers.failed(host)
        failure = Failure(str(error), type=type(error).__name__, code="no_answer")
        if isinstance(error, TookTooLong):
            message = (
                f"{TIMED_OUT}: the endpoint of {job.name!r} took longer than {job.timeout_s} s"
            )
            failure = Failure(message, type=TIMED_OUT, code=TIMED_OUT)
        self._metrics.called.labels(job.name, failure.code).inc()
        return RetryLater(failure)

    def _body(self, job: CallbackJob, program: Claimed, deadline: str) -> bytes:
        ticket = Ticket(program.run_id, program.step, program.resumes, program.attempt)
        token = write_token(ticket, job.name, token_key=job.endpoint.token_key)
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
