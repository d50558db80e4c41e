"""Resuming: let an errored or cancelled program go on, by a call or by hand.

Protocol rule R14.
"""

import asyncio
import threading
from typing import Any

from builders import by_hand, lapse, row_of, seconds_ago
from patience import eventually
from program_executor import JobContext, ThreadJobContext, job
from servers import on_postgresql
from serving import Json, Service, json_of, problem_of


async def resume(service: Service, run_id: str, **body: Any) -> Json:
    """Resume a program and return it."""
    answer = await service.client.post(f"/programs/{run_id}/resume", json=body)
    assert answer.status_code == 200, answer.text
    return json_of(answer)


async def test_errored_program_goes_on_from_its_failed_step(service: Service) -> None:
    is_repaired = False
    ran: list[str] = []

    @job
    async def reserve(_ctx: JobContext) -> None:
        ran.append("reserve")

    @job
    async def charge(ctx: JobContext) -> dict[str, int]:
        ran.append("charge")
        if not is_repaired:
            raise LookupError("no such card")
        return {"attempt": ctx.attempt}

    await service.crew.hire(reserve, charge)
    run_id = (await service.submit("reserve", "charge"))["run_id"]
    assert (await service.ended(run_id))["status"] == "errored"
    is_repaired = True
    program = await resume(service, run_id)
    assert (program["status"], program["step"], program["resumes"]) == ("pending", 1, 1)
    assert (program["errored_at"], program["error_message"]) == (None, None)
    program = await service.ended(run_id)
    assert program["status"] == "finished"
    assert program["job_data"] == {"charge": {"attempt": 1}}  # a resume begins a new budget
    assert ran == ["reserve", "charge", "charge"]


async def test_program_goes_on_from_the_step_that_is_asked_for(service: Service) -> None:
    ran: list[int] = []

    @job
    async def reserve(ctx: JobContext) -> None:
        ran.append(ctx.step)

    run_id = (await service.submit("reserve", "reserve", "reserve", "reserve"))["run_id"]
    await service.cancel(run_id)
    program = await resume(service, run_id, from_step=2)
    assert (program["step"], program["progress"]) == (2, {"done": 2, "total": 4})
    await service.crew.hire(reserve)
    await service.ended(run_id)
    assert ran == [2, 3]


async def test_cancelled_program_is_resumed_while_its_old_run_still_holds_it(
    service: Service,
) -> None:
    """Rules R2 and R14: the resume takes the lease away; the old run can write no more."""
    goes: list[str] = []
    let_go = threading.Event()

    @job
    def reserve(_ctx: ThreadJobContext) -> dict[str, str]:
        goes.append("go")
        if len(goes) == 1:
            let_go.wait(60)
            return {"from": "the cancelled go"}
        return {"from": "the resumed go"}

    shift = await service.crew.hire(reserve)
    run_id = await service.running("reserve")
    await service.cancel(run_id)
    await resume(service, run_id)
    program = await service.ended(run_id)
    let_go.set()
    await shift.stop()
    assert program["status"] == "finished"
    assert program["job_data"] == {"reserve": {"from": "the resumed go"}}
    assert await service.get(run_id) == program


async def test_only_errored_and_cancelled_programs_are_resumed(service: Service) -> None:
    @job
    async def charge(_ctx: JobContext) -> None:
        pass

    await service.crew.hire(charge)
    finished = (await service.ended((await service.submit("charge"))["run_id"]))["run_id"]
    pending = (await service.submit("reserve"))["run_id"]
    for run_id in (finished, pending):
        answer = await service.client.post(f"/programs/{run_id}/resume")
        problem_of(answer, 409, "not_resumable")


async def test_resume_from_a_step_that_is_not_there_is_refused(service: Service) -> None:
    run_id = (await service.submit("reserve", "charge"))["run_id"]
    await service.cancel(run_id)
    answer = await service.client.post(f"/programs/{run_id}/resume", json={"from_step": 2})
    assert "steps 0 to 1" in problem_of(answer, 409, "not_resumable")["detail"]
    for wrong in (-1, 1_000, 1.5, "1", True, [0]):
        answer = await service.client.post(f"/programs/{run_id}/resume", json={"from_step": wrong})
        problem_of(answer, 422, "invalid")
    assert (await service.get(run_id))["status"] == "cancelled"


async def test_resume_needs_no_body(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    await service.cancel(run_id)
    assert (await service.client.post(f"/programs/{run_id}/resume")).status_code == 200


@on_postgresql
async def test_errored_at_set_by_hand_stops_a_program_and_clearing_it_revives_it(
    service: Service,
) -> None:
    """As with the ancestor; the service needs no other way to stop what it runs."""
    stopped = asyncio.Event()
    goes: list[str] = []

    @job
    async def reserve(_ctx: JobContext) -> None:
        goes.append("go")
        if len(goes) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    await service.crew.hire(reserve, lease_s=1.5)
    run_id = await service.running("reserve")
    await by_hand(service.database, run_id, errored_at=seconds_ago(service.database, 0))
    assert (await service.get(run_id))["status"] == "errored"
    await stopped.wait()  # at the next renewal, which does not return it (rule R3)

    async def is_let_go() -> bool:
        return (await service.get(run_id))["claimed_by"] is None

    await eventually(is_let_go)
    assert (await row_of(service.database, run_id))["due_at"] is not None
    await by_hand(service.database, run_id, errored_at=None)
    program = await service.ended(run_id)
    assert (program["status"], program["lease_losses"]) == ("finished", 0)


async def test_errored_at_set_by_hand_stops_a_program_that_waits(service: Service) -> None:
    ran: list[str] = []

    @job
    async def reserve(ctx: JobContext) -> None:
        ran.append(ctx.run_id)

    run_id = (await service.submit("reserve"))["run_id"]
    await by_hand(service.database, run_id, errored_at=seconds_ago(service.database, 0))
    await service.crew.hire(reserve)
    other = (await service.submit("reserve"))["run_id"]
    await service.ended(other)
    assert ran == [other]
    await by_hand(service.database, run_id, errored_at=None)
    await lapse(service.database, run_id)
    assert (await service.ended(run_id))["status"] == "finished"
