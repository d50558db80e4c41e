"""Cancelling: end a program now, in whatever state it is.

Protocol rule R14.
"""

import asyncio
import threading

import pytest

from builders import by_hand, claimed
from patience import eventually
from program_executor import JobContext, Retry, RetryableError, ThreadJobContext, job
from program_service.wakeups.broker import Announcement, Cancelled
from serving import Service, json_of, problem_of
from wakeups import listening


@pytest.mark.parametrize("start_at", [None, "2099-01-01T00:00:00Z"])
async def test_program_that_waits_is_cancelled(service: Service, start_at: str | None) -> None:
    run_id = (await service.submit("reserve", start_at=start_at))["run_id"]
    program = await service.cancel(run_id)
    assert program["status"] == "cancelled"
    assert program["cancelled_at"] == program["errored_at"] is not None
    assert program["finished_at"] is None
    assert await service.get(run_id) == program


async def test_cancelled_program_never_runs(service: Service) -> None:
    """Invariant 6: a final program never changes again."""
    ran: list[str] = []

    @job
    async def reserve(ctx: JobContext) -> None:
        ran.append(ctx.run_id)

    run_id = (await service.submit("reserve"))["run_id"]
    program = await service.cancel(run_id)
    await service.crew.hire(reserve)
    other = (await service.submit("reserve"))["run_id"]
    await service.ended(other)
    assert ran == [other]
    assert await service.get(run_id) == program


async def test_program_that_backs_off_is_cancelled(service: Service) -> None:
    @job(retry=Retry(initial_s=3_600, jitter="none"))
    async def reserve(_ctx: JobContext) -> None:
        raise RetryableError("the desk is closed")

    await service.crew.hire(reserve)
    run_id = (await service.submit("reserve"))["run_id"]
    await eventually(lambda: service.has_status(run_id, "retrying"))
    program = await service.cancel(run_id)
    assert (program["status"], program["step_retry_count"]) == ("cancelled", 1)
    assert program["error_message"] == "the desk is closed"


async def test_running_async_job_is_cancelled(service: Service) -> None:
    stopped = asyncio.Event()

    @job
    async def reserve(_ctx: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    await service.crew.hire(reserve)
    run_id = await service.running("reserve", "charge")
    program = await service.cancel(run_id)
    assert program["status"] == "cancelled"
    async with asyncio.timeout(10):  # the announcement; a renewal would come after 10 s
        await stopped.wait()

    async def is_let_go() -> bool:
        return (await service.get(run_id))["claimed_by"] is None

    await eventually(is_let_go)
    attempts = json_of(await service.client.get(f"/programs/{run_id}/attempts"))["attempts"]
    assert [each["outcome"] for each in attempts] == ["cancelled"]
    assert (await service.get(run_id))["step"] == 0


async def test_nobody_is_told_of_the_cancel_of_a_program_that_nobody_holds(
    service: Service,
) -> None:
    told: list[Announcement] = []
    async with listening(service.broker, told.append):
        await asyncio.sleep(0)
        waiting = (await service.submit("reserve"))["run_id"]
        await service.cancel(waiting)
        assert told == []
        held = await claimed(service.database, jobs=["reserve"])
        await service.cancel(held.run_id)
        assert told == [Cancelled(held.run_id, held.lease)]


async def test_running_thread_sees_that_it_is_cancelled(service: Service) -> None:
    asked: list[bool] = []

    @job
    def reserve(ctx: ThreadJobContext) -> dict[str, str]:
        while not ctx.cancelled:
            threading.Event().wait(0.01)
        asked.append(ctx.cancelled)
        return {"must not": "be recorded"}

    shift = await service.crew.hire(reserve)
    run_id = await service.running("reserve")
    assert (await service.cancel(run_id))["status"] == "cancelled"
    assert (await shift.stop()).name == "DRAINED"
    assert asked == [True]
    assert (await service.get(run_id))["job_data"] == {}


async def test_job_that_ends_well_after_a_cancel_changes_nothing(service: Service) -> None:
    """The cancel was answered: what the job returns then is refused."""
    let_go = threading.Event()

    @job
    def reserve(_ctx: ThreadJobContext) -> dict[str, int]:
        let_go.wait(60)
        return {"seat": 12}

    shift = await service.crew.hire(reserve)
    run_id = await service.running("reserve")
    program = await service.cancel(run_id)
    let_go.set()
    await shift.stop()
    after = await service.get(run_id)
    assert (after["status"], after["job_data"], after["step"]) == ("cancelled", {}, 0)
    assert after["cancelled_at"] == program["cancelled_at"]


async def test_cancelled_program_that_waited_for_a_thread_never_runs(service: Service) -> None:
    """It waits unclaimed, and its worker finds it gone."""
    let_go, ran = threading.Event(), []

    @job
    def charge(_ctx: ThreadJobContext) -> None:
        let_go.wait(60)

    @job
    def reserve(ctx: ThreadJobContext) -> None:
        ran.append(ctx.run_id)

    shift = await service.crew.hire(charge, reserve, threads=1, worker_beat_s=0.1)
    await service.running("charge")
    run_id = (await service.submit("reserve"))["run_id"]

    async def waits() -> bool:
        return bool((await service.explain(run_id))["reason"] == "threads_busy")

    await eventually(waits)
    await service.cancel(run_id)
    let_go.set()
    await shift.stop()
    assert ran == []


async def test_second_cancel_is_answered_like_the_first(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    first = await service.client.post(f"/programs/{run_id}/cancel")
    second = await service.client.post(f"/programs/{run_id}/cancel")
    assert (first.status_code, second.status_code) == (200, 200)
    assert json_of(first) == json_of(second)
    assert first.headers["etag"] == second.headers["etag"]


async def test_program_that_ended_is_not_cancelled(service: Service) -> None:
    @job
    async def reserve(_ctx: JobContext) -> None:
        pass

    @job
    async def charge(_ctx: JobContext) -> None:
        raise LookupError("no such card")

    await service.crew.hire(reserve, charge)
    for jobs in (["reserve"], ["charge"]):
        program = await service.ended((await service.submit(*jobs))["run_id"])
        answer = await service.client.post(f"/programs/{program['run_id']}/cancel")
        assert program["status"] in problem_of(answer, 409, "already_final")["detail"]
        assert await service.get(program["run_id"]) == program


async def test_cancelled_program_that_was_revived_by_hand_and_finished_is_finished(
    service: Service,
) -> None:
    @job
    async def reserve(_ctx: JobContext) -> None:
        pass

    run_id = (await service.submit("reserve"))["run_id"]
    await service.cancel(run_id)
    await by_hand(service.database, run_id, errored_at=None)
    await service.crew.hire(reserve)
    assert (await service.ended(run_id))["status"] == "finished"
    problem_of(await service.client.post(f"/programs/{run_id}/cancel"), 409, "already_final")
