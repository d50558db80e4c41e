"""Explain: why a program is not moving, in words and in fields, and when it will."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter

from program_service.api.obstacles import Obstacle, at, breaker_of, limit_of, obstacle_of
from program_service.api.programs import Reader, RunId
from program_service.api.responses import problems
from program_service.api.seen import find_seen
from program_service.api.services import Services, Serving
from program_service.api.views import ExplanationModel
from program_service.bookkeeping.errors import JobNotFound
from program_service.bookkeeping.flaws import UNREADABLE, unreadable
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.ledger.registry import Job, find_job
from program_service.bookkeeping.ledger.workers import Worker
from program_service.bookkeeping.lifecycle import Status
from program_service.wakeups.broker import BrokerReading

router = APIRouter(prefix="/programs", tags=["programs"])

BROKER_AGE_S = 1.0
"""How old what is said of the broker may be, if it answers."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an explanation looks at besides the program."""

    workers: list[Worker]
    broker: BrokerReading
    job: Job | None = None
    """The current job as it is registered."""


@router.get(
    "/{run_id}/explain",
    operation_id="explain_program",
    summary="Explain a program",
    responses={200: {"description": "Why it is not moving."}, **problems(404)},
)
async def explain_program(run_id: RunId, services: Serving, caller: Reader) -> ExplanationModel:
    """Say why a program is not moving and when it will."""
    return await explained(services, await find_seen(services, run_id, caller))


async def explained(services: Services, program: Program) -> ExplanationModel:
    """Look around and explain a program."""
    around = Surroundings(
        workers=await services.live_workers(),
        broker=await services.monitor.read([program.queue], max_age_s=BROKER_AGE_S),
        job=await _registered(services, program.job),
    )
    obstacle = _obstacle(program, around)
    if obstacle is not None:
        reason, text, moves_at = obstacle.reason, obstacle.text, obstacle.until
    else:
        reason, text = explain(program, around, now=datetime.now(UTC))
        moves_at = None if program.status.is_final else program.due_at
    return ExplanationModel(
        run_id=program.run_id,
        status=program.status,
        reason=reason,
        text=text,
        moves_at=moves_at,
        facts=_facts(program, around),
    )


async def _registered(services: Services, job: str) -> Job | None:
    try:
        return await services.database.read(find_job, job)
    except JobNotFound:
        return None


def _obstacle(program: Program, around: Surroundings) -> Obstacle | None:
    """Find out whether a program is due, and those who could run it have no room for it."""
    if program.status is not Status.PENDING or (around.job and around.job.disabled_at):
        return None
    serving = [
        worker
        for worker in around.workers
        if program.job in worker.jobs and program.queue in worker.queues
    ]
    return obstacle_of(program.job, around.job, serving)


def explain(program: Program, around: Surroundings, *, now: datetime) -> tuple[str, str]:
    """Return a stable word for the reason, and the reason in words."""
    final = _explain_final(program)
    if final:
        return final
    if program.status is Status.RUNNING:
        return _explain_running(program, around, now)
    if program.flaw is not None:
        text = (
            f"{unreadable(program.flaw)} The worker that claims it next ends it with this error;"
            " repair the row, or cancel the program."
        )
        return UNREADABLE, text
    if program.status is Status.WAITING:
        return "awaiting_completion", f"The endpoint of {program.job!r} has yet to complete it."
    return _explain_not_due(program) or _explain_pending(program, around)


def _explain_not_due(program: Program) -> tuple[str, str] | None:
    if program.status is Status.RETRYING:
        text = (
            f"Step {program.step} ({program.job!r}) failed and is tried again at"
            f" {at(program.due_at)} (retry {program.step_retry_count}): {program.error_message}"
        )
        return "backing_off", text
    if program.status is Status.SCHEDULED:
        return "not_due", f"It is not due before {at(program.due_at)}."
    return None


def _explain_final(program: Program) -> tuple[str, str] | None:
    match program.status:
        case Status.FINISHED:
            return "finished", f"It finished at {at(program.finished_at)}."
        case Status.CANCELLED:
            return (
                "cancelled",
                f"It was cancelled at {at(program.cancelled_at)}; it can be resumed.",
            )
        case Status.ERRORED:
            text = (
                f"It errored at step {program.step} ({program.job!r}): {program.error_message};"
                " it can be resumed" + (", once its row is repaired." if program.flaw else ".")
            )
            return "errored", text
        case _:
            return None


def _explain_running(program: Program, around: Surroundings, now: datetime) -> tuple[str, str]:
    holder = program.claimed_by
    if any(worker.name == holder for worker in around.workers):
        return "running", f"Worker {holder!r} runs step {program.step} ({program.job!r})."
    if program.due_at is not None and program.due_at > now:
        text = (
            f"Worker {holder!r} held it and has not been heard of; another takes over when its"
            f" lease ends, at {at(program.due_at)}."
        )
        return "lease_of_a_lost_worker", text
    return "lease_lapsed", f"The lease of worker {holder!r} has ended; another takes over soon."


def _explain_unusable(program: Program, job: Job | None) -> tuple[str, str] | None:
    if job is not None and job.flaw is not None:
        text = (
            f"What is stored of the job {program.job!r} cannot be read ({job.flaw});"
            f" `PUT /jobs/{program.job}` replaces it."
        )
        return "job_unreadable", text
    if job is not None and job.disabled_at is not None:
        text = (
            f"The endpoint of {program.job!r} answered 410 at {at(job.disabled_at)} and is"
            f" called no more; `PUT /jobs/{program.job}` enables it again."
        )
        return "endpoint_disabled", text
    return None


def _explain_pending(program: Program, around: Surroundings) -> tuple[str, str]:
    unusable = _explain_unusable(program, around.job)
    if unusable:
        return unusable
    knowing = [worker for worker in around.workers if program.job in worker.jobs]
    if not knowing:
        return "no_worker_knows_the_job", f"No live worker knows the job {program.job!r}."
    serving = [worker for worker in knowing if program.queue in worker.queues]
    if not serving:
        text = (
            f"{len(knowing)} live workers know {program.job!r}, but none serves the queue"
            f" {program.queue!r}."
        )
        return "no_worker_serves_the_queue", text
    if without_broker := _explain_broker(program, around.broker):
        return without_broker
    if all(worker.busy >= worker.slots for worker in serving):
        return "workers_are_full", f"All slots of the {len(serving)} workers for it are taken."
    depth = around.broker.depths.get(program.queue, "some")
    return "queued", f"It is due, and {depth} wake-ups wait in the queue {program.queue!r}."


def _explain_broker(program: Program, broker: BrokerReading) -> tuple[str, str] | None:
    if trouble := broker.trouble:
        is_blocked = trouble.startswith("blocked")
        what = "takes no messages" if is_blocked else "does not answer"
        reason = "broker_blocked" if is_blocked else "broker_down"
        return reason, f"The broker {what} ({trouble}); it runs when the broker is back."
    if trouble := broker.queue_troubles.get(program.queue):
        return "queue_unusable", f"The queue {program.queue!r} does not work: {trouble}."
    return None


def _facts(program: Program, around: Surroundings) -> dict[str, Any]:
    return {
        "job": program.job,
        "queue": program.queue,
        "step": program.step,
        "step_retry_count": program.step_retry_count,
        "lease_losses": program.lease_losses,
        "due_at": program.due_at,
        "claimed_by": program.claimed_by,
        "error_message": program.error_message,
        "wakeups_in_queue": around.broker.depths.get(program.queue),
        "workers_that_know_the_job": [
            worker.name for worker in around.workers if program.job in worker.jobs
        ],
        "workers_that_serve_the_queue": [
            worker.name for worker in around.workers if program.queue in worker.queues
        ],
        "limits": {
            worker.process: limit
            for worker in around.workers
            if (limit := limit_of(program.job, worker))
        },
        "breakers": {
            worker.process: breaker[1]
            for worker in around.workers
            if around.job and (breaker := breaker_of(around.job, worker))
        },
    }
