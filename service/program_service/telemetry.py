"""Telemetry: every metric, every fact of a span, and how lines are logged."""

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum
from http import HTTPStatus
from importlib.metadata import version as installed_version
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from program_service import logs
from program_service.events import Event as Event  # noqa: PLC0414 - telemetry is where it is sought
from program_service.redaction import Redaction
from program_service.rendering import LineFormatter, bounded, guarded, renderers
from program_service.tracing.switch import add_trace_id

disable_created_metrics()  # a line more for each series, which nobody asks for

VERSION = installed_version("program-executor")

FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 15, 30, 60, 300, 900, 3600, 14400)
ROW_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500)

MOST_REASONS = 50
OTHER_REASON = "other"
"""What the codes of errors are called beyond so many in a process: jobs and endpoints make them."""

STATUSES = frozenset(HTTPStatus)


class Fact(StrEnum):
    """The names of what our spans say of a step, besides those that OpenTelemetry has."""

    RUN_ID = "program_executor.run_id"
    JOB = "program_executor.job"
    STEP = "program_executor.step"
    ATTEMPT = "program_executor.attempt"
    WORKER = "program_executor.worker"
    OUTCOME = "program_executor.outcome"


class Metrics:
    """The metrics of one process, in a registry of their own; no label ever holds a run_id."""

    def __init__(self) -> None:
        """Declare all of them, so that a scrape shows each from the start."""
        self.registry = CollectorRegistry()
        self._declare_programs()
        self._declare_wakeups()
        self._declare_callbacks()
        self._declare_plumbing()
        self._declare_gauges()

    def put_off(self, job: str, reason: str) -> None:
        """Count a step that is put off."""
        if len(self._reasons) < MOST_REASONS:
            self._reasons.add(reason)
        self._retries.labels(job, reason if reason in self._reasons else OTHER_REASON).inc()

    def show_breakers(self, open_ones: Iterable[tuple[str, str]]) -> None:
        """Show which breakers are open, as (host, job); those of hosts have no job."""
        self._breaker_open.clear()
        for host, job in open_ones:
            self._breaker_open.labels(host, job).set(1)

    def show_waiting(self, waiting: Mapping[str, int]) -> None:
        """Show how many programs wait for room, by job."""
        self._waiting_for_room.clear()
        for job, programs in waiting.items():
            self._waiting_for_room.labels(job).set(programs)

    def call_ended(self, job: str, code: int | str) -> None:
        """Count a call of an endpoint, by its status or why there is none."""
        # an endpoint may answer with any of a thousand statuses
        is_known = isinstance(code, str) or code in STATUSES
        self._called.labels(job, code if is_known else OTHER_REASON).inc()

    def written(self, accept: str) -> tuple[bytes, str]:
        """Write them down in the format that a scraper accepts; return its media type, too."""
        write, media_type = choose_encoder(accept)
        return write(self.registry), media_type

    def _declare_programs(self) -> None:
        self.submitted = self._counter(
            "programs_submitted",
            "Programs accepted: over HTTP (api), or started by jobs (job)",
            "source",
        )
        self.finished = self._counter(
            "programs_finished", "Programs that ended: finished, errored, cancelled", "outcome"
        )
        _begin_at_zero(self.finished, "finished", "errored", "cancelled")
        self.attempts = self._counter(
            "step_attempts",
            "Tries of steps that ended: done, retry, failed, …",
            "job",
            "kind",
            "outcome",
        )
        self._retries = self._counter(
            "step_retries",
            "Steps put off, by the code of their error, or error; after 50 codes, other",
            "job",
            "reason",
        )
        self._reasons: set[str] = set()
        self.step_s = self._histogram(
            "step_duration_seconds", "How long a try of a step ran", "job", "kind"
        )
        self.wait_s = self._histogram(
            "step_wait_seconds", "From the wake-up of a program to its claim", "job"
        )
        self.program_s = self._histogram(
            "program_duration_seconds", "From submit to the end of a program", "outcome"
        )
        self.purged = self._counter(
            "programs_purged", "Ended programs that were deleted, being too old"
        )
        self.leases_lost = self._counter("leases_lost", "Leases that this worker lost")
        self._waiting_for_room = self._gauge(
            "programs_waiting_for_room",
            "Programs that wait at this worker for a thread, a call or a breaker of their job",
            "job",
        )
        self.taken_over = self._counter(
            "leases_taken_over", "Lapsed leases of others that this worker found when it claimed"
        )
        self.failed_internally = self._counter(
            "internal_failures",
            "Unforeseen exceptions around single programs, by what was done for them",
            "during",
        )
        self.stale_writes = self._counter(
            "stale_writes_rejected", "Writes that a fence refused", "op"
        )

    def _declare_wakeups(self) -> None:
        self.published = self._counter(
            "wakeups_published", "Wake-ups sent: confirmed, failed", "result"
        )
        _begin_at_zero(self.published, "confirmed", "failed")
        self.received = self._counter(
            "wakeups_received", "Wake-ups that arrived, by what came of them", "result"
        )
        _begin_at_zero(
            self.received, "claimed", "nothing_to_do", "no_room", "handed_back", "dropped"
        )
        self.announcements = self._counter(
            "announcements", "Announcements to all workers: sent, dropped, or not heard", "result"
        )
        _begin_at_zero(self.announcements, "sent", "dropped", "not_heard")
        self.reconnects = self._counter("broker_reconnects", "Connections to RabbitMQ opened anew")
        self.consumer_cancelled = self._counter(
            "consumer_cancelled", "Consumers that RabbitMQ cancelled or lost"
        )
        self.confirm_s = self._histogram(
            "publish_confirm_seconds",
            "From sending wake-ups to their confirmation",
            buckets=FAST_BUCKETS,
        )

    def _declare_callbacks(self) -> None:
        self._called = self._counter(
            "callback_requests",
            "Calls of endpoints, by status (other: unassigned) or why none came",
            "job",
            "code",
        )
        self.notifications = self._counter(
            "notifications",
            "Notifications of ends and cancels: sent, failed, given_up, postponed (their host or"
            " key has to wait), dropped",
            "result",
        )
        _begin_at_zero(self.notifications, "sent", "failed", "given_up", "postponed", "dropped")
        self.blocked = self._counter(
            "callback_blocked", "Calls that the guard refused, by its rule", "reason"
        )
        self._breaker_open = self._gauge(
            "breaker_open",
            "1 for each host, or single job of one, that this worker leaves alone or probes",
            "host",
            "job",
        )

    def _declare_plumbing(self) -> None:
        self.batch_rows = self._histogram(
            "commit_batch_rows",
            "Rows that shared a transaction: submit, claim, record, job_data",
            "op",
            buckets=ROW_BUCKETS,
        )
        self.database_s = self._histogram(
            "db_operation_seconds", "How long that transaction took", "op", buckets=FAST_BUCKETS
        )
        self.loop_failures = self._counter(
            "loop_failures",
            "Failures of background loops, each of which was restarted",
            "loop",
        )
        self.loop_lag_s = self._histogram(
            "event_loop_lag_seconds",
            "How late a worker's event loop came to its turn; above a second a job blocks it",
            buckets=FAST_BUCKETS,
        )
        self.requests = self._counter(
            "http_requests", "Requests answered", "route", "method", "code"
        )
        self.http_refused = self._counter(
            "http_refused", "Requests and connections refused before any route", "reason"
        )
        _begin_at_zero(self.http_refused, "head_too_large", "head_too_slow", "body_too_slow")
        self.request_s = self._histogram(
            "http_request_duration_seconds",
            "How long an answer took",
            "route",
            buckets=FAST_BUCKETS,
        )

    def _declare_gauges(self) -> None:
        self.programs = self._gauge("programs", "Programs that have not ended", "status")
        self.queue_depth = self._gauge("queue_depth", "Wake-ups that wait in RabbitMQ", "queue")
        self.oldest_due_s = self._gauge(
            "oldest_due_age_seconds",
            "How long the oldest due program has waited for a worker",
            "queue",
        )
        self.workers = self._gauge("workers", "Live workers that serve a queue", "queue")
        self.slots = self._gauge("worker_slots", "Slots of all live workers: busy, free", "state")
        self.build = self._gauge("build_info", "1, for the version that runs", "version")
        self.build.labels(version=VERSION).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="program_executor", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="program_executor", registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SLOW_BUCKETS
    ) -> Histogram:
        ours: dict[str, Any] = {"namespace": "program_executor", "registry": self.registry}
        return Histogram(name, text, labels, buckets=buckets, **ours)


def _begin_at_zero(counter: Counter, *values: str) -> None:
    """Show what has not happened yet: else Prometheus would not see the first time it does."""
    for value in values:
        counter.labels(value)


SAID_BY_US = ("aio_pika", "aiormq")
"""Whose errors we log ourselves, each once."""

LIBRARIES = (
    "aiosqlite",
    "aiohttp",
    "alembic",
    "asyncio",
    "asyncpg",
    "hpack",
    "httpcore",
    "httpx",
    "sqlalchemy",
    "urllib3",
)
"""Whose lines below WARNING are never written: some hold parameters, and some
headers with keys and cookies, which are the users' data."""


class StderrHandler(logging.Handler):
    """Write the lines of jobs and libraries to where our events go."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        logs.STANDARD_ERROR.write(self.format(record))


def configure_logging(
    *,
    level: str,
    is_json: bool,
    has_trace_ids: bool = False,
    redaction: Redaction | None = None,
) -> None:
    """Send our events and the lines of jobs and libraries to standard error, one line each."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        bounded,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([guarded(add_trace_id)] if has_trace_ids else []),
        *([redaction.log_line] if redaction is not None and redaction.is_on else []),
    ]
    rendering = renderers(is_json=is_json)
    logs.log.configure([*shared, *rendering], level, is_for_machines=is_json)
    handler = StderrHandler()
    handler.setFormatter(LineFormatter(shared, rendering))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    least = max(logging.WARNING, logging.getLevelNamesMapping()[level])
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(least)
    for library in SAID_BY_US:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
