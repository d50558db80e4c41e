"""Steering: cancel and resume, with all that must be told; for the API and for the dashboard."""

from program_service.api.actors import Actor
from program_service.api.seen import find_seen, require_seen
from program_service.api.services import Services
from program_service.bookkeeping.ledger.reading import Program
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.ledger.waking import Due
from program_service.bookkeeping.lifecycle import Status
from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.broker import Cancelled


async def cancel_now(services: Services, run_id: str, actor: Actor) -> Program:
    """End a program now, also while a worker runs its step.

    Raises:
        ProgramNotFound: no program has this run_id.
        AlreadyFinal: it has finished or errored.
    """
    await require_seen(services, run_id, actor.caller)
    entry = actor.entry("program_cancelled", run_id=run_id)
    program, is_new = await services.database.transact(cancel, run_id, entry)
    if is_new:
        services.metrics.finished.labels("cancelled").inc()
        log.info(Event.PROGRAM_CANCELLED, run_id=run_id, job=program.job, step=program.step)
        log.info(Event.AUDIT_CANCELLED, run_id=run_id, by=actor.by, client=actor.client)
        services.notifier.tell_cancelled(program)
    if program.lease is not None:  # else there is no worker to be told
        await services.broker.announce(Cancelled(run_id, program.lease))
    return program


async def resume_now(
    services: Services, run_id: str, actor: Actor, *, from_step: int | None = None
) -> Program:
    """Let an errored or cancelled program go on from its failed step, or from another.

    Raises:
        ProgramNotFound: no program has this run_id.
        NotResumable: it has not errored, or has no such step.
    """
    before = await find_seen(services, run_id, actor.caller)
    queues = await services.directory.queues(before.jobs)
    entry = actor.entry("program_resumed", run_id=run_id)
    program = await services.database.transact(
        resume, run_id, queues=queues, from_step=from_step, entry=entry
    )
    by, client = actor.by, actor.client
    log.info(Event.AUDIT_RESUMED, run_id=run_id, step=program.step, by=by, client=client)
    wake_if_pending(services, program)
    return program


def wake_if_pending(services: Services, program: Program) -> None:
    """Have a worker woken for a program that was just made due, unless one has it already."""
    if program.status is not Status.PENDING or program.due_at is None:
        return
    row = Due(
        program.id,
        program.run_id,
        program.queue,
        program.due_at,
        is_suspect=program.lease_losses > 0,
        job=program.job,
    )
    services.relay.wake_soon([row], committed_at=program.due_at)
