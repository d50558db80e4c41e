"""Messages: how wake-ups and announcements are written, and what is accepted of them.

Anybody who may publish to RabbitMQ can put anything into a queue. Whatever is out of its range is
`Unparsable`, so that nothing behind this module needs to doubt a wake-up.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from program_service.wakeups.broker import (
    MAX_BUNDLE,
    MAX_HOPS,
    Announcement,
    Cancelled,
    Quieted,
    Wakeup,
)

MAX_RUN_IDS = 8 * MAX_BUNDLE
"""Other releases may bundle more than we do."""

MAX_RUN_ID = 255

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""Before there was any wake-up."""

FUTURE = timedelta(days=3_650)
"""How far `published_at`, the database's time, may be ahead of this host's clock.

So long, because a host whose clock is wrong must not throw away everybody's wake-ups.
"""


class Unparsable(ValueError):
    """A message is none of ours."""


def write(wakeup: Wakeup) -> bytes:
    """Write a wake-up."""
    return orjson.dumps(
        {
            "run_ids": wakeup.run_ids,
            "published_at": wakeup.published_at.isoformat(),
            "hops": wakeup.hops,
        }
    )


def read(body: bytes, queue: str) -> Wakeup:
    """Read a wake-up.

    Raises:
        Unparsable: the message is none.
    """
    try:
        value = orjson.loads(body)
        return Wakeup(
            queue,
            run_ids=_run_ids(value["run_ids"]),
            published_at=_moment(value["published_at"]),
            hops=_hops(value.get("hops", 0)),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{error!r:.200}"  # it may quote the whole message
        raise Unparsable(msg) from error


def _run_ids(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_RUN_IDS:
        msg = f"run_ids must be a list of 1 to {MAX_RUN_IDS} texts"
        raise Unparsable(msg)
    if not all(map(_is_run_id, value)):
        msg = f"each of run_ids must be a text of 1 to {MAX_RUN_ID} characters, without NUL"
        raise Unparsable(msg)
    return tuple(value)


def _is_run_id(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_RUN_ID and "\0" not in value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        msg = "published_at has no zone"
        raise Unparsable(msg)
    # a host without a clock lives in 1970
    latest = max(datetime.now(UTC), EARLIEST + FUTURE) + FUTURE
    if not EARLIEST.year <= moment.year <= latest.year:
        msg = f"published_at must be in the years {EARLIEST.year} to {latest.year}"
        raise Unparsable(msg)
    return moment


def _hops(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_HOPS:
        msg = f"hops must be a whole number from 0 to {MAX_HOPS}"
        raise Unparsable(msg)
    return value


def write_announcement(announcement: Announcement) -> bytes:
    """Write what all workers are told."""
    match announcement:
        case Cancelled(run_id, lease):
            return orjson.dumps({"cancelled": run_id, "lease": lease})
        case Quieted(process):
            return orjson.dumps({"quieted": process})


def read_announcement(body: bytes) -> Announcement:
    """Read what all workers are told.

    Raises:
        Unparsable: it is nothing that we know; a newer version may say more.
    """
    try:
        match orjson.loads(body):
            case {"cancelled": str(run_id), **rest}:
                lease = rest.get("lease")
                return Cancelled(run_id, lease if isinstance(lease, str) else None)
            case {"quieted": str(process)}:
                return Quieted(process)
            case _:
                msg = "no announcement that this release knows"
                raise Unparsable(msg)
    except orjson.JSONDecodeError as error:
        raise Unparsable(str(error)) from error
