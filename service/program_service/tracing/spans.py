"""Spans: what is told of a program's life; here while nobody listens.

The context of a program's trace is stored with it at its submit. While traces are off it is handed
on as it is, and that is all; `live` has what is done while they are on.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import ClassVar

HEADER = "traceparent"

Facts = Mapping[str, str | int]


class Kind(Enum):
    """What a span does; the names are OpenTelemetry's."""

    SERVER = "answers a request"
    CLIENT = "makes a request"
    CONSUMER = "works at what was submitted before"


class Span:
    """A span that is not recorded."""

    def __init__(self, traceparent: str | None = None) -> None:
        """Take the context that is handed on."""
        self._traceparent = traceparent

    def headers(self) -> dict[str, str]:
        """Return what continues the trace in a call."""
        return {} if self._traceparent is None else {HEADER: self._traceparent}

    def exemplar(self) -> dict[str, str] | None:
        """Return what leads from a measurement to the trace."""
        return None

    def note(self, facts: Facts) -> None:
        """Add facts."""

    def fail(self, kind: str, message: str, *, stack: str | None = None) -> None:
        """Say that what the span stands for went wrong, and how."""


class Traces:
    """Traces that are off."""

    is_on: ClassVar[bool] = False

    def span(
        self, kind: Kind, name: str, facts: Facts, *, of: str | None, caller: str | None = None
    ) -> AbstractContextManager[Span]:
        """Begin a span of a program; it ends with the block.

        `of` is the context of the program, `caller` that of a request that is answered.
        """
        del kind, name, facts, caller
        return nullcontext(Span(of))

    def current(self) -> Span:
        """Return the span that we are in."""
        return Span()

    def onward(self, given: str | None) -> str | None:
        """Return what a program stores that is submitted here: where we are, or what was given."""
        return given
