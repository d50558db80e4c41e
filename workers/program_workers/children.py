"""Children: the programs that a step starts, each once, however often the step is tried.

A child is stored under a name: the step, and the key that the job gives it, or else the number of
the call. A key that looks like a number has a name of another form, so that it is never taken for
the number of a call. Earlier releases had one form for both. A step that such a release has begun
finds its children by that form: it belongs to whichever of the two calls comes first.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from program_service.bookkeeping.lifecycle import Claimed, Json

NUMBER = re.compile("[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class ChildProgram:
    """A program that a job wants to have started."""

    jobs: Sequence[str]
    program_data: Json = field(default_factory=dict)
    job_data: dict[str, Json] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    start_at: datetime | None = None
    key: str | None = None
    """Names the child among those of this step; by default it is the number of the call, from 1."""


class ChildDesk(Protocol):
    """What submits children."""

    async def start_program(
        self, parent: Claimed, child: ChildProgram, name: str, *, formerly: str | None = None
    ) -> str:
        """Submit a program once for each name, and return its run_id; `formerly` is a name, too."""


class Children:
    """The children that one try of a step starts."""

    def __init__(self, parent: Claimed, desk: ChildDesk) -> None:
        """Begin without any."""
        self._parent = parent
        self._desk = desk
        self._calls = 0
        self._numbers: set[str] = set()
        """The numbers that stood for a key in this try."""
        self._by_key: dict[str, str] = {}
        """{key that looks like a number: run_id}."""

    async def start(self, child: ChildProgram) -> str:
        """Start a child, and return its run_id."""
        self._calls += 1
        key, step = child.key, self._parent.step
        if not key:
            return await self._start_numbered(child, str(self._calls))
        if NUMBER.fullmatch(key):
            return await self._start_keyed(child, key)
        return await self._desk.start_program(self._parent, child, f"{step}-{key}")

    async def _start_numbered(self, child: ChildProgram, number: str) -> str:
        self._numbers.add(number)
        step = self._parent.step
        run_id = await self._desk.start_program(self._parent, child, f"{step}-{number}")
        if run_id == self._by_key.get(number):  # an earlier release has stored it for the key
            run_id = await self._desk.start_program(self._parent, child, f"{step}#{number}")
        return run_id

    async def _start_keyed(self, child: ChildProgram, key: str) -> str:
        step = self._parent.step
        formerly = None if key in self._numbers else f"{step}-{key}"
        run_id = await self._desk.start_program(
            self._parent, child, f"{step}:{key}", formerly=formerly
        )
        self._by_key[key] = run_id
        return run_id
