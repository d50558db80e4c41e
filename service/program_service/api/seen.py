"""Seen: programs as far as a caller may see them; what a key with a label may not see is not there.

Labels of a program never change, so what was looked at once holds for the request.
"""

from collections.abc import Sequence
from dataclasses import replace

from program_service.api.auth import Caller, Scope
from program_service.api.services import Services
from program_service.bookkeeping.ledger.reading import Program, find, having_label, no_program


async def find_seen(services: Services, run_id: str, caller: Caller) -> Program:
    """Find a program that the caller may see.

    Raises:
        ProgramNotFound: there is none, or it has other labels than the key is bound to.
    """
    program = await services.database.read(find, run_id)
    if not caller.sees(program.labels):
        raise no_program(run_id)
    return program


async def require_seen(services: Services, run_id: str, caller: Caller) -> None:
    """Require that a caller whose key has a label may see a program; others cost no query.

    Raises:
        ProgramNotFound: there is none, or it has other labels.
    """
    if caller.label is not None:
        await find_seen(services, run_id, caller)


async def shown_to(
    services: Services, caller: Caller, programs: Sequence[Program]
) -> list[Program]:
    """Return programs as somebody sees them: redacted, and without parents that are of others."""
    shown = [services.redaction.program(program) for program in programs]
    parents = {each.parent_run_id for each in shown if each.parent_run_id is not None}
    if caller.label is None or not parents:
        return shown
    seen = await services.database.read(having_label, sorted(parents), caller.label)
    return [
        each if each.parent_run_id in seen else replace(each, parent_run_id=None) for each in shown
    ]


async def as_steered_by(services: Services, caller: Caller, program: Program) -> Program:
    """Return what somebody sees of a program who has steered it: without `read`, a receipt."""
    if caller.may(Scope.READ):
        (shown,) = await shown_to(services, caller, [program])
        return shown
    return replace(
        program,
        jobs=[],
        program_data={},
        job_data={},
        step=0,
        step_retry_count=0,
        error_message=None,
        claimed_by=None,
        job="",
        queue="",
        labels={},
        submitted_by=None,
        parent_run_id=None,
        traceparent=None,
        notify=None,
    )
