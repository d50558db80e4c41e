"""Status in SQL: the twin of `lifecycle.status_of`, for filters, counts and the view."""

from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.lifecycle import Status

Rule = tuple[sa.ColumnElement[bool], Status]


def _rules(programs: sa.FromClause, clock: sa.ColumnElement[Any]) -> list[Rule]:
    """List the conditions in order: the first that holds gives the status."""
    row = programs.c
    has_errored = row.errored_at.is_not(None)
    is_due_later = sa.and_(row.due_at.is_not(None), row.due_at > clock)
    return [
        (row.finished_at.is_not(None), Status.FINISHED),
        (sa.and_(has_errored, row.cancelled_at.is_not(None)), Status.CANCELLED),
        (has_errored, Status.ERRORED),
        (row.claimed_by.is_not(None), Status.RUNNING),
        (row.awaiting.is_not(None), Status.WAITING),
        (sa.and_(row.step_retry_count > 0, is_due_later), Status.RETRYING),
        (is_due_later, Status.SCHEDULED),
    ]


def status_expression(
    programs: sa.FromClause, clock: sa.ColumnElement[Any]
) -> sa.ColumnElement[str]:
    """Return the status of a row as an SQL expression."""
    whens: list[tuple[Any, Any]] = [
        (holds, sa.literal_column(f"'{status}'")) for holds, status in _rules(programs, clock)
    ]
    return sa.case(*whens, else_=sa.literal_column(f"'{Status.PENDING}'"))


def is_open(programs: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition of rows that have not ended, in the words of the partial index."""
    return sa.and_(programs.c.finished_at.is_(None), programs.c.errored_at.is_(None))


def has_status(
    programs: sa.FromClause, clock: sa.ColumnElement[Any], status: Status
) -> sa.ColumnElement[bool]:
    """Return the condition of rows with this status, so that an index can serve it."""
    exact = status_expression(programs, clock) == status.value
    if status is Status.FINISHED:
        return programs.c.finished_at.is_not(None)
    if status.is_final:
        return sa.and_(programs.c.errored_at.is_not(None), exact)
    if status in {Status.RETRYING, Status.SCHEDULED}:
        # said once more, so that the index on due rows passes over a long queue
        return sa.and_(is_open(programs), programs.c.due_at > clock, exact)
    return sa.and_(is_open(programs), exact)
