"""Transactional: a program that exists exactly if the transaction of an application commits.

For applications whose tables stand in the same database as the bookkeeping. The sweeper wakes the
program within two seconds of the commit.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import uuid_utils

from program_service.api.schemas import ProgramRequest
from program_service.bookkeeping.books import Books
from program_service.bookkeeping.borrowed import (
    Awaiting,
    Blocking,
    in_blocking_session,
    in_session,
)
from program_service.bookkeeping.ledger.job_data import too_large
from program_service.bookkeeping.ledger.registry import list_jobs
from program_service.bookkeeping.ledger.submitting import NewProgram, submit
from program_service.bookkeeping.storable import storable_object
from program_service.tracing.spans import HEADER
from program_service.tracing.switch import current_headers

DEFAULT_TABLE = "programs"


def submit_in(
    session: Blocking,
    jobs: Sequence[str],
    *,
    table_name: str = DEFAULT_TABLE,
    **fields: Any,
) -> str:
    """Submit a program in the transaction of a SQLAlchemy session, and return its run_id.

    Fields are those of `POST /programs`: program_data, job_data, labels, start_at.

    Raises:
        ValueError: a field is wrong, or a job is registered nowhere.
        NotBorrowable: the database is SQLite.
    """
    wish = _Wish(jobs, **fields)
    return in_blocking_session(session, wish.submit, table_name=table_name)


async def submit_in_async(
    session: Awaiting,
    jobs: Sequence[str],
    *,
    table_name: str = DEFAULT_TABLE,
    **fields: Any,
) -> str:
    """Submit a program in the transaction of an `AsyncSession`, as `submit_in` does."""
    wish = _Wish(jobs, **fields)
    return await in_session(session, wish.submit, table_name=table_name)


class _Wish:
    """A program to be, checked as the service checks it."""

    def __init__(
        self,
        jobs: Sequence[str],
        *,
        program_data: Mapping[str, Any] | None = None,
        job_data: Mapping[str, Mapping[str, Any]] | None = None,
        labels: Mapping[str, str] | None = None,
        start_at: datetime | None = None,
    ) -> None:
        given = {"program_data": program_data, "job_data": job_data, "labels": labels}
        objects: dict[str, Any] = {
            name: storable_object(value, what=name)
            for name, value in given.items()
            if value is not None
        }
        self._request = ProgramRequest(jobs=list(jobs), start_at=start_at, **objects)
        self._traceparent = current_headers().get(HEADER)

    async def submit(self, books: Books) -> str:
        """Write it down."""
        request = self._request
        if error := too_large(request.job_data, most=books.max_job_data_bytes):
            raise ValueError(str(error))
        queues = {job.name: job.queue for job in await list_jobs(books)}
        if unknown := sorted(set(request.jobs) - queues.keys()):
            message = f"no worker ever registered {', '.join(map(repr, unknown))}: start one first"
            raise ValueError(message)
        new = NewProgram(
            run_id=str(uuid_utils.uuid7()),
            jobs=request.jobs,
            queue=queues[request.jobs[0]],
            program_data=request.program_data,
            job_data=request.job_data,
            labels=request.labels,
            start_at=request.start_at,
            traceparent=self._traceparent,
        )
        await submit(books, [new])
        return new.run_id
