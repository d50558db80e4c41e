"""Rooms: claimed programs, for tests without a database."""

from datetime import UTC, datetime

from program_service.bookkeeping.lifecycle import Claimed

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def a_program(name: str, *jobs: str, step: int = 0) -> Claimed:
    """Return a claimed program; its lease has its name."""
    return Claimed(
        id=1,
        run_id=name,
        lease=name,
        jobs=jobs,
        step=step,
        step_retry_count=0,
        lease_losses=0,
        program_data={},
        job_data={},
        created_at=MOMENT,
        claimed_at=MOMENT,
        version=1,
    )
