"""Retry: how often, and how late, a failed step is tried again."""

from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from random import Random
from typing import Literal

LONGEST_S = 10 * 366 * 86_400.0
"""Ten years: whoever asks for a longer delay would leave the calendar of the databases."""


MOST = 2**53
"""Integers up to here are the same for every reader of JSON."""

_random = Random()  # noqa: S311 - jitter


def draw() -> float:
    """Draw a number from 0 to 1, for jitter.

    Not by the functions of `random`: a job module may seed them, and all workers would wait alike.
    """
    return _random.random()


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how late a failed step is tried again.

    The delay before retry k (from 1) is drawn evenly from 0 to
    min(max_s, initial_s * factor^(k-1)): exponential backoff with full jitter, as in Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. `jitter="none"` waits the whole
    bound instead.
    """

    max_attempts: int = 25
    initial_s: float = 1.0
    factor: float = 2.0
    max_s: float = 3600.0
    jitter: Literal["full", "none"] = "full"

    def __post_init__(self) -> None:
        """Refuse policies that cannot be meant, naming the field.

        Raises:
            ValueError: a field is out of its range.
        """
        tries: object = self.max_attempts
        if not (isinstance(tries, int) and not isinstance(tries, bool) and 1 <= tries <= MOST):
            msg = (
                f"max_attempts is {tries!r:.100}; it is a whole number that counts the first try"
                " too: at least 1"
            )
            raise ValueError(msg)
        for name, least in (("initial_s", 0), ("max_s", 0), ("factor", 1)):
            value = getattr(self, name)
            if not _is_from(least, value):
                msg = f"{name} is {value!r:.100}; it is a number, at least {least}"
                raise ValueError(msg)
        if self.jitter not in ("full", "none"):
            msg = f'jitter is {self.jitter!r:.100}; it is "full" or "none"'
            raise ValueError(msg)

    def delay_s(self, retry: int, *, after: timedelta | None, draw: float) -> float:
        """Return the seconds to wait before `retry` (from 1); `after` is a lower bound.

        `draw` is the random number in [0, 1) that jitter scales the bound by.
        """
        bound_s = self._bound_s(retry)
        wait_s = bound_s * draw if self.jitter == "full" else bound_s
        return min(LONGEST_S, max(wait_s, after.total_seconds() if after else 0.0))

    def _bound_s(self, retry: int) -> float:
        if self.initial_s == 0:
            return 0.0
        longest_s = min(self.max_s, LONGEST_S)
        try:
            return min(longest_s, self.initial_s * self.factor ** (retry - 1))
        except OverflowError:  # far beyond any max_s
            return longest_s


def _is_from(least: float, value: object) -> bool:
    """Say whether a value is a number that can be stored, and at least so much."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value and (isfinite(value) if isinstance(value, float) else value <= MOST)
