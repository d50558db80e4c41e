"""Obstacles: limits and breakers that keep workers from a program that is due.

They are read from what workers report, whose release may be another one: what is missing or
strange is left out.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from program_service.bookkeeping.ledger.registry import Job
from program_service.bookkeeping.ledger.workers import Worker
from program_service.bookkeeping.lifecycle import Json

LIMITS = {
    "max_concurrency": (
        "limit_reached",
        "Each worker runs {job!r} at most {limit} at a time (`max_concurrency`)",
    ),
    "threads": ("threads_busy", "{job!r} needs one of the worker's {limit} threads (`THREADS`)"),
    "breaker": ("breaker_open", "Calls of {job!r} failed again and again"),
}
"""The limits that workers report, each with the stable word of its explanation."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a worker has no room for a job: a stable word, and the reason in words."""

    reason: str
    text: str
    until: datetime | None = None
    """When it is looked at again, where that is known."""


def obstacle_of(job: str, registered: Job | None, workers: Sequence[Worker]) -> Obstacle | None:
    """Find out why none of these workers has room for a job; None if one of them may have."""
    obstacles = [
        (registered and _breaker(registered, worker)) or _limit(job, worker) for worker in workers
    ]
    known = [each for each in obstacles if each is not None]
    if not known or len(known) < len(workers):
        return None
    return min(known, key=lambda each: each.until or datetime.max.replace(tzinfo=UTC))


def breaker_of(job: Job, worker: Worker) -> tuple[str, Json] | None:
    """Return the open breaker that keeps a worker from calling a job: whose it is, and the report.

    Releases before breakers of jobs reported those of hosts, without a time and an error.
    """
    if job.endpoint is None:
        return None
    authority = job.endpoint.host.partition("://")[2]
    of_job = _object(worker.endpoints.get("job_breakers")).get(job.name)
    if isinstance(of_job, dict):
        return f"The endpoint of {job.name!r}", of_job
    of_host = _object(worker.endpoints.get("breakers")).get(authority)
    return (f"The host {authority}", of_host) if isinstance(of_host, dict) else None


def limit_of(job: str, worker: Worker) -> Json:
    """Return what a worker reports of the limit that programs at a job wait for there, or `{}`."""
    return _object(_object(worker.endpoints.get("limits")).get(job))


def waiting_at(worker: Worker) -> dict[str, int]:
    """Return {job: how many programs wait for room there}."""
    reports = _object(worker.endpoints.get("limits")).items()
    waiting = {job: _object(report).get("waiting") for job, report in reports}
    return {job: count for job, count in waiting.items() if isinstance(count, int)}


def _breaker(job: Job, worker: Worker) -> Obstacle | None:
    breaker = breaker_of(job, worker)
    if breaker is None:
        return None
    party, report = breaker
    since, until = _moment(report.get("since")), _moment(report.get("probed_at"))
    text = f"{party} has failed"
    text += f" since {at(since)}" if since else " again and again"
    text += f": {report['error']}." if report.get("error") else "."
    text += f" {worker.name!r} leaves it alone, and tries one call"
    text += f" at {at(until)}." if until else " from time to time."
    return Obstacle("breaker_open", f"{text} Programs that wait for it spend no attempts.", until)


def _limit(job: str, worker: Worker) -> Obstacle | None:
    report = limit_of(job, worker)
    if report.get("reason") not in LIMITS:
        return None
    reason, rule = LIMITS[report["reason"]]
    run_ids = report.get("held_by")
    holders = ", ".join(map(str, run_ids)) if isinstance(run_ids, list) and run_ids else "others"
    text = (
        f"{rule.format(job=job, limit=report.get('limit'))}, and {worker.name!r} runs {holders}"
        f" now. {_programs(report.get('waiting'))} there until a place is free."
    )
    return Obstacle(reason, text)


def _programs(count: Any) -> str:
    return "1 program waits" if count == 1 else f"{count} programs wait"


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _moment(value: Any) -> datetime | None:
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(value)
    return None


def at(moment: datetime | None) -> str:
    """Write a moment as the rest of the API does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "no known time"
