"""Striking: make any loop of the product raise, be cancelled, return or hang, where it just is.

`strikable_loops` puts a driver around each loop that a supervisor starts. The driver passes on what
the loop awaits. It can throw an exception into it at that very place, or keep it waiting there.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import Enum, auto
from functools import partial
from typing import Any

import pytest

from program_service.bookkeeping.group_commit import GroupCommit
from program_service.loops import supervisor as supervision
from program_service.loops import turns
from program_service.loops.supervisor import Finishing, Loop, Supervisor, Watch

_current: ContextVar["StrikableLoop | None"] = ContextVar("_current", default=None)


class Fault(Enum):
    """What ends a loop."""

    RAISE = auto()
    """An exception that nobody foresaw."""
    CANCEL = auto()
    """A `CancelledError` that nobody asked for."""
    RETURN = auto()


class Unforeseen(Exception):
    """Nobody foresaw this."""


class StrikableLoop:
    """A loop of the product, inside a driver."""

    def __init__(self, loop: Loop, supervisor: Supervisor) -> None:
        """Drive this loop."""
        self.name = loop.name
        self.supervisor = supervisor
        self.failures = 0
        self.is_broken = False
        """Whether it raises whenever it is started."""
        self.hangs_in_turn = False
        """Whether what it awaits in a turn never comes."""
        self.drivers: list[_Driver] = []
        """Of the loop itself, and of what commits for it in tasks of its own."""
        self.scopes: list[asyncio.Timeout] = []
        """The time limits of its turn, which is over at once when it hangs."""
        self._loop = loop
        self._may_run = asyncio.Event()
        self._may_run.set()

    def __repr__(self) -> str:
        """Name it."""
        return f"<{self.name}>"

    async def run(self) -> None:
        """Run the loop."""
        _current.set(self)
        if self.is_broken:
            raise Unforeseen
        await self._may_run.wait()
        await self.drive(self._loop.run())

    async def drive(self, work: Coroutine[Any, Any, None]) -> None:
        """Do a part of the loop's work inside a driver."""
        driver = _Driver(self, work)
        self.drivers.append(driver)
        try:
            await driver
        finally:
            self.drivers.remove(driver)

    def strike(self, fault: Fault) -> None:
        """Let a fault happen where the loop is now; it may be met by what the loop calls."""
        if self.drivers and not any(driver.is_struck for driver in self.drivers):
            self.drivers[-1 if fault is Fault.RAISE else 0].strike(fault)

    def hang(self) -> None:
        """Do nothing from the next start on."""
        self._may_run.clear()

    def release(self) -> None:
        """Let it continue."""
        self.hangs_in_turn = False
        self._may_run.set()

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """What it runs in."""
        return self.drivers[0].task if self.drivers else None

    async def hang_here(self) -> None:
        """Wait in vain if it is in a turn that is to hang, whose time is over at once."""
        lasting = [scope for scope in self.scopes if not scope.expired()]
        if self.hangs_in_turn and lasting:
            for scope in lasting:
                scope.reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()


class FinishingStrikableLoop(StrikableLoop):
    """One that finishes what it does when it is asked to end."""

    def finish(self) -> None:
        """Ask it to end."""
        assert isinstance(self._loop, Finishing)
        self._loop.finish()


class _Driver:
    """Passes on what a coroutine awaits."""

    def __init__(self, loop: StrikableLoop, work: Coroutine[Any, Any, None]) -> None:
        self.task = asyncio.current_task()
        self._loop = loop
        self._work = work
        self._coming: Fault | None = None
        self._last: Fault | None = None

    @property
    def is_struck(self) -> bool:
        return self._coming is not None

    def strike(self, fault: Fault) -> None:
        """Wake the task, as a cancellation does, and let it meet this in its place."""
        assert self.task is not None
        self._coming = fault
        self.task.cancel()

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._work.__await__()
        step = partial(inner.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration:
                return
            except asyncio.CancelledError:
                if self._last is Fault.RETURN:
                    return
                raise
            try:
                value = yield awaited
                yield from self._loop.hang_here().__await__()
            except BaseException as error:  # noqa: BLE001 - all of them are passed on
                step = partial(inner.throw, self._in_place_of(error))
            else:
                step = partial(inner.send, value)

    def _in_place_of(self, error: BaseException) -> BaseException:
        if self._coming is None or not isinstance(error, asyncio.CancelledError):
            return error
        self._last, self._coming = self._coming, None
        assert self.task is not None
        if self.task.uncancel():
            self._last = None
            return error  # it is being stopped, too
        return Unforeseen() if self._last is Fault.RAISE else asyncio.CancelledError()


class _NotingScopes:
    """The module `asyncio`, whose time limits are noted for the loop that is inside."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncGenerator[asyncio.Timeout]:
        """Bound a turn, or a pause."""
        loop = _current.get()
        async with asyncio.timeout(seconds) as scope:
            if loop is None or loop.task is not asyncio.current_task():
                yield scope
                return
            loop.scopes.append(scope)
            try:
                yield scope
            finally:
                loop.scopes.remove(scope)


def strikable_loops(monkeypatch: pytest.MonkeyPatch) -> list[StrikableLoop]:
    """Return the list of all loops that any supervisor starts from now on."""
    loops: list[StrikableLoop] = []
    start, note_failure = Supervisor._start, Supervisor._note_failure

    def start_strikable(supervisor: Supervisor, watch: Watch) -> asyncio.Task[None]:
        kind = FinishingStrikableLoop if isinstance(watch.loop, Finishing) else StrikableLoop
        loops.append(kind(watch.loop, supervisor))
        watch.loop = loops[-1]
        return start(supervisor, watch)

    def count(supervisor: Supervisor, watch: Watch, problem: BaseException) -> float:
        assert isinstance(watch.loop, StrikableLoop)
        watch.loop.failures += 1
        return note_failure(supervisor, watch, problem)

    monkeypatch.setattr(supervision.Supervisor, "_start", start_strikable)
    monkeypatch.setattr(supervision.Supervisor, "_note_failure", count)
    monkeypatch.setattr(GroupCommit, "_run_lane", _driven(GroupCommit._run_lane))
    monkeypatch.setattr(turns, "asyncio", _NotingScopes())
    return loops


def _driven(run_lane: Any) -> Any:
    async def run(group: Any) -> None:
        loop = _current.get()
        await (run_lane(group) if loop is None else loop.drive(run_lane(group)))

    return run
