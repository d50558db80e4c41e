"""Supervisor: whatever ends a loop, it is restarted, and all others continue."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from patience import eventually
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.retry import Retry
from program_service.loops import supervisor as supervision
from program_service.loops.supervisor import Loop, Named, Once, Supervisor
from program_service.loops.turns import take_turns, turn
from program_service.telemetry import Metrics

AT_ONCE = Retry(initial_s=0, jitter="none")

Fault = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def restarted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no backoff."""
    monkeypatch.setattr(supervision, "BACKOFF", AT_ONCE)
    monkeypatch.setattr(supervision, "OUTAGE_BACKOFF", AT_ONCE)


class Ticking:
    """A loop that takes turns, of which one may meet a fault."""

    def __init__(self, name: str, *faults: Fault) -> None:
        """Meet one fault after the other, and then none."""
        self.name = name
        self.turns = 0
        self._faults = list(faults)

    async def run(self) -> None:
        """Take turns."""
        await take_turns(self._tick, every_s=0, within_s=0.05)

    async def _tick(self) -> None:
        if self._faults:
            await self._faults.pop(0)()
        self.turns += 1

    async def goes_on(self) -> None:
        """Wait until it has taken another turn."""
        seen = self.turns

        async def look() -> bool:
            return self.turns > seen

        await eventually(look)


async def raising() -> None:
    message = "publish"
    raise AttributeError(message)


async def stray_cancellation() -> None:
    raise asyncio.CancelledError


async def exiting() -> None:
    raise SystemExit(3)


async def hanging() -> None:
    await asyncio.Event().wait()


def failures_of(metrics: Metrics, loop: str) -> float | None:
    return metrics.registry.get_sample_value("program_executor_loop_failures_total", {"loop": loop})


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (raising, "AttributeError"),
        (stray_cancellation, "CancelledError"),
        (exiting, "SystemExit"),
        (hanging, "TimeoutError"),
    ],
)
async def test_loop_that_fails_is_restarted_and_the_others_continue(
    fault: Fault, kind: str
) -> None:
    metrics = Metrics()
    bad, good = Ticking("bad", fault), Ticking("good")
    with capture_logs() as lines:
        async with Supervisor(metrics).running(bad, good):
            await bad.goes_on()
            await good.goes_on()
    (line,) = lines
    assert (line["event"], line["log_level"], line["loop"]) == ("loop.failed", "error", "bad")
    assert line["error_message"].startswith(kind)
    assert line["failures"] == 1
    assert line["exc_info"].__traceback__ is not None
    assert (failures_of(metrics, "bad"), failures_of(metrics, "good")) == (1, 0)


async def test_loop_that_returns_has_failed() -> None:
    returned = 0

    async def work() -> None:
        nonlocal returned
        returned += 1
        if returned > 1:
            await asyncio.Event().wait()

    async def is_restarted() -> bool:
        return returned > 1

    with capture_logs() as lines:
        async with Supervisor(Metrics()).running(Named("short", work)):
            await eventually(is_restarted)
    assert "must work until it is cancelled" in lines[0]["error_message"]


async def test_loop_whose_task_group_fails_is_restarted() -> None:
    """Before Python 3.13 its task is then marked as if somebody had cancelled it."""
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_raise_soon())

    async def is_restarted() -> bool:
        return runs > 1

    with capture_logs() as lines:
        async with Supervisor(Metrics()).running(Named("group", work)):
            await eventually(is_restarted)
    assert [line["loop"] for line in lines] == ["group"]


async def _raise_soon() -> None:
    await asyncio.sleep(0)
    await raising()


async def test_loop_that_says_nothing_of_its_turns_is_well_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the process would be restarted two minutes later, though all is well."""
    monkeypatch.setattr(supervision, "NOT_ALIVE_AFTER_S", 0.0)
    faults = [raising] * supervision.UNREADY_AFTER

    async def work() -> None:
        if faults:
            await faults.pop()()
        await asyncio.Event().wait()

    supervisor = Supervisor(Metrics())

    async def is_over() -> bool:
        return not faults and supervisor.report == "ok"

    async with supervisor.running(Named("quiet", work)):
        await eventually(lambda: _is(not supervisor.is_alive))
        monkeypatch.setattr(supervision, "WELL_AFTER_S", 0.0)
        await eventually(is_over)
        assert supervisor.is_alive


async def test_outage_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "UNREADY_AFTER", 1)

    async def without_database() -> None:
        raise DatabaseUnavailable

    async def without_broker() -> None:
        raise ConnectionResetError

    metrics, supervisor = Metrics(), Supervisor(Metrics())
    loop = Ticking("loop", without_database, without_broker)
    with capture_logs() as lines:
        async with supervisor.running(loop):
            await loop.goes_on()
            assert supervisor.is_ready
    assert [line["event"] for line in lines] == ["database.unavailable", "broker.lost"]
    assert failures_of(metrics, "loop") is None


async def test_loop_that_keeps_failing_makes_the_process_unready_and_then_not_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor, good = Supervisor(Metrics()), Ticking("good")

    async def is_unready() -> bool:
        return not supervisor.is_ready

    async with supervisor.running(Named("bad", raising), good):
        await eventually(is_unready)
        health = [supervisor.is_alive]
        assert supervisor.report.startswith("failing: bad (")
        assert "AttributeError: publish" in supervisor.report
        monkeypatch.setattr(supervision, "NOT_ALIVE_AFTER_S", 0.0)
        health.append(supervisor.is_alive)
        assert health == [True, False]
        await good.goes_on()
    assert (supervisor.is_ready, supervisor.report) == (True, "ok")


async def test_completed_turn_ends_a_series_of_failures() -> None:
    supervisor = Supervisor(Metrics())
    loop = Ticking("loop", *[raising] * supervision.UNREADY_AFTER)
    async with supervisor.running(loop):
        await loop.goes_on()
        await eventually(lambda: _is(supervisor.is_ready))


async def _is(value: object) -> object:
    return value


async def test_work_that_is_done_once_is_tried_again_until_it_succeeds() -> None:
    faults = [raising, stray_cancellation]
    done = 0

    async def work() -> None:
        nonlocal done
        if faults:
            await faults.pop()()
        done += 1

    once = Once("once", work)
    async with Supervisor(Metrics()).running(once):
        await once.is_done.wait()
        await asyncio.sleep(0)
    assert done == 1


class Slow:
    """A loop that finishes what it does when it is asked to end."""

    name = "slow"

    def __init__(self) -> None:
        """Begin with nothing done."""
        self.has_finished = False
        self._ending = asyncio.Event()

    def finish(self) -> None:
        """End soon."""
        self._ending.set()

    async def run(self) -> None:
        """Work until asked to end, and then a little more."""
        await self._ending.wait()
        await asyncio.sleep(0.01)
        self.has_finished = True


async def test_loop_that_can_finish_is_not_cancelled() -> None:
    slow = Slow()
    with capture_logs() as lines:
        async with Supervisor(Metrics()).running(slow):
            await asyncio.sleep(0)
    assert slow.has_finished
    assert lines == []


async def test_loop_that_does_not_end_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "STOP_WITHIN_S", 0.01)
    monkeypatch.setattr(supervision, "CANCEL_WITHIN_S", 0.01)
    release = asyncio.Event()

    async def work() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    stubborn: Loop = Named("stubborn", work)
    with capture_logs() as lines:
        async with Supervisor(Metrics()).running(stubborn):
            await asyncio.sleep(0)
    assert [(line["event"], line["loop"]) for line in lines] == [("loop.stuck", "stubborn")]
    release.set()
    await asyncio.sleep(0.01)


async def test_turn_without_a_supervisor_is_bounded_all_the_same() -> None:
    with pytest.raises(TimeoutError):
        async with turn(within_s=0.01):
            await hanging()
