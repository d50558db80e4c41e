"""Python imports this first, where it is told to: a wall clock that a file steps.

Not libfaketime: its clock_nanosleep refuses what `time.sleep` asks of the monotonic clock. The
monotonic clock stays as it is, as it does when a real host's clock is stepped.
"""

import datetime as dt
import os
import time

LOOK_EVERY_S = 0.2

_FILE = os.environ["STORM_CLOCK"]
_right_time, _right_time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_right = dt.datetime


class _Step:
    """By how much the clock is off, read again and again."""

    looked_at = float("-inf")
    by_s = 0.0

    @classmethod
    def now(cls) -> float:
        if _monotonic() - cls.looked_at > LOOK_EVERY_S:
            cls.looked_at = _monotonic()
            with open(_FILE) as file:  # noqa: PTH123 - nothing is imported here that need not be
                cls.by_s = float(file.read() or cls.by_s)
        return cls.by_s


class _Kind(type):
    """Have every moment of the real class pass for one of ours."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _right)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _right)


class _Moment(_right, metaclass=_Kind):
    __slots__ = ()  # compiled modules look at the size

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return _right.now(tz) + dt.timedelta(seconds=_Step.now())

    @classmethod
    def utcnow(cls) -> dt.datetime:  # type: ignore[override]
        return _right.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


time.time = lambda: _right_time() + _Step.now()
time.time_ns = lambda: _right_time_ns() + int(_Step.now() * 1e9)
dt.datetime = _Moment  # type: ignore[misc]

import strays  # type: ignore[import-not-found]  # noqa: E402 - it is in our folder

strays.when_a_loop_runs()
