"""Rows: read the row of a claimed program, or say why it cannot be read."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from program_service.bookkeeping.flaws import flaw_of_facts, flaw_of_program
from program_service.bookkeeping.lifecycle import Claimed
from program_service.bookkeeping.tables import read_json, require_moment

COLUMNS = (
    "id, run_id, lease, jobs, step, step_retry_count, lease_losses, program_data, job_data,"
    " created_at, updated_at, version, resumes, traceparent"
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A program that was claimed and cannot be run: its row has a flaw."""

    id: int
    run_id: str
    lease: str
    flaw: str
    is_taken_over: bool = field(default=False, compare=False)


ClaimedRow: TypeAlias = Claimed | Unreadable
"""A program under a lease, as its row was read."""


def claimed_from(row: Any, *, is_taken_over: bool = False) -> ClaimedRow:
    """Read a row of `COLUMNS`; whatever is in it, the rows beside it are read."""
    jobs, step = read_json(row.jobs), row.step
    program_data, job_data = read_json(row.program_data), read_json(row.job_data)
    created_at = require_moment(row.created_at)
    flaw = flaw_of_program(jobs, step, program_data, job_data) or flaw_of_facts(
        created_at, row.step_retry_count, row.lease_losses
    )
    if flaw is not None:
        return Unreadable(row.id, row.run_id, row.lease, flaw, is_taken_over=is_taken_over)
    return Claimed(
        id=row.id,
        run_id=row.run_id,
        lease=row.lease,
        jobs=jobs,
        step=step,
        step_retry_count=row.step_retry_count,
        lease_losses=row.lease_losses,
        program_data=program_data,
        job_data=job_data,
        created_at=created_at,
        claimed_at=require_moment(row.updated_at),
        version=row.version,
        resumes=row.resumes,
        traceparent=row.traceparent,
        is_taken_over=is_taken_over,
    )
