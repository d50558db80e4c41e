"""Messages: how wake-ups and announcements are written, and what is accepted of them.

Anybody who may publish to RabbitMQ can put anything into a queue. Whatever is out of its range is
`Unparsable`, so that nothing behind this module needs to doubt a wake-up.
"""

from codecs import BOM_UTF8
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from program_service.names import MAX_NAME
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

MAX_LEASE = 32

MAX_BYTES = 1_000_000
"""Of one message: as many of the longest ids as may be named, whatever their characters are."""

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
        value = _parsed(body)
        return Wakeup(
            queue,
            run_ids=_run_ids(value["run_ids"]),
            published_at=_moment(value["published_at"]),
            hops=_hops(value.get("hops", 0)),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{error!r:.200}"  # it may quote the whole message
        raise Unparsable(msg) from error


def _parsed(body: bytes) -> Any:
    if len(body) > MAX_BYTES:
        msg = f"a message has at most {MAX_BYTES:,} bytes, and this one has {len(body):,}"
        raise Unparsable(msg)
    return orjson.loads(body.removeprefix(BOM_UTF8))


def _run_ids(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_RUN_IDS:
        msg = f"run_ids must be a list of 1 to {MAX_RUN_IDS} texts"
        raise Unparsable(msg)
    return tuple(_name("each of run_ids", each) for each in value)


def _name(what: str, value: object, *, longest: int = MAX_NAME) -> str:
    if isinstance(value, str) and 1 <= len(value) <= longest and "\0" not in value:
        return value
    msg = f"{what} must be a text of 1 to {longest} characters, without NUL"
    raise Unparsable(msg)


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
        match _parsed(body):
            case {"cancelled": run_id, "lease": str(lease)}:
                return Cancelled(
                    _name("cancelled", run_id), _name("lease", lease, longest=MAX_LEASE)
                )
            case {"cancelled": run_id}:
                return Cancelled(_name("cancelled", run_id))
            case {"quieted": process}:
                return Quieted(_name("quieted", process))
            case _:
                msg = "no announcement that this release knows"
                raise Unparsable(msg)
    except orjson.JSONDecodeError as error:
        raise Unparsable(str(error)) from error
