"""Failures: the programs that errored lately, those together that failed in the same way."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.reading import has_label
from program_service.bookkeeping.stored import read_text

Labels: TypeAlias = Sequence[tuple[str, str]]

NEWEST = 5_000
"""Errored programs that are looked at."""
PAGES = 4
"""Of so many rows that errored or were cancelled: when thousands were cancelled at once, fewer
errored ones are looked at."""
READ = 300
"""Characters of a message that are read, so that its pattern has its length."""
MAX_PATTERN = 200

VARIABLE = re.compile(
    r"(?P<uuid>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)"
    r"|(?P<hex>\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,}\b)"
    r"|(?P<n>[0-9]+(?:[.,][0-9]+)*)",
    re.IGNORECASE,
)
"""What differs between messages of the same failure, in words that are not letters alone."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Programs that errored in the same job and with messages of one pattern."""

    job: str
    pattern: str
    """A message with `<uuid>`, `<hex>` and `<n>` in the place of ids and numbers."""
    message: str
    run_id: str
    """The newest program's; `message` is the beginning of its own."""
    count: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class FailureGroups:
    """The groups, the largest first, of the newest programs that errored."""

    groups: list[FailureGroup]
    looked_at: int
    has_more: bool
    """Whether older programs were not looked at."""


async def failure_groups(
    books: Books, *, newest: int = NEWEST, labels: Labels = ()
) -> FailureGroups:
    """Group the newest programs that errored, and were not cancelled, by job and message.

    With labels, of those that have them.
    """
    rows, has_more = await _newest_errored(books, newest, labels)
    members: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        key = (read_text(row.job), pattern_of(read_text(row.message)))
        members.setdefault(key, []).append(row)
    groups = [_group(*key, of_key) for key, of_key in members.items()]
    groups.sort(key=lambda group: (-group.count, group.job, group.pattern))
    return FailureGroups(groups, looked_at=len(rows), has_more=has_more)


async def members_of(
    books: Books, job: str, pattern: str, *, newest: int = NEWEST, labels: Labels = ()
) -> list[str]:
    """Return the run_ids of a group, the newest first."""
    rows, _ = await _newest_errored(books, newest, labels)
    wanted = (job, pattern)
    return [
        row.run_id
        for row in rows
        if (read_text(row.job), pattern_of(read_text(row.message))) == wanted
    ]


async def _newest_errored(books: Books, newest: int, labels: Labels) -> tuple[list[Any], bool]:
    """Read the newest, page by page in the order of the index; say whether there may be more."""
    row, found = books.tables.programs.c, list[Any]()
    message = sa.func.substr(sa.func.coalesce(row.error_message, ""), 1, READ).label("message")
    page = (
        sa.select(row.id, row.run_id, row.job, row.errored_at, row.cancelled_at, message)
        .where(
            row.errored_at.is_not(None),
            row.finished_at.is_(None),
            *(has_label(books, key, value) for key, value in labels),
        )
        .order_by(row.id.desc())
        .limit(newest + 1)
    )
    last = sa.true()
    for _ in range(PAGES):
        rows = await books.select(page.where(last))
        found += [each for each in rows if each.cancelled_at is None]
        if len(rows) <= newest or len(found) > newest:
            return found[:newest], len(found) > newest
        last = row.id < rows[-1].id
    return found, True


def pattern_of(message: str) -> str:
    """Put placeholders for what differs between messages of the same failure, and cut it."""
    # most words need no look: 5,000 messages take 0.05 s, not 0.3
    words = (word if word.isalpha() else _without_ids(word) for word in message[:READ].split())
    return " ".join(words)[:MAX_PATTERN]


def _without_ids(word: str) -> str:
    return VARIABLE.sub(lambda found: f"<{found.lastgroup}>", word)


def _group(job: str, pattern: str, rows: Sequence[Any]) -> FailureGroup:
    example = rows[0]
    moments = [row.errored_at for row in rows]
    return FailureGroup(
        job=job,
        pattern=pattern,
        message=read_text(example.message),
        run_id=example.run_id,
        count=len(rows),
        first_seen=min(moments),
        last_seen=max(moments),
    )
